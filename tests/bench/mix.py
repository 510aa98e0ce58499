"""What a soak asks: reviews of many kinds, each with the answer that is right.

A choice is made by a seeded generator, so a run can be repeated. Cold images are of copied repositories, which the
counting registry serves: each is asked for once.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.web.serving import pod_of, review

WARM = 300  # images of a kind that are asked for again and again
NAMESPACES = tuple(f"team-{number}" for number in range(8))
HANG_UP_SECONDS = 0.03  # after which, at most, a client that hangs up is gone


@dataclass(frozen=True, slots=True)
class Asked:
    """A review as it is sent. `allowed` is the right answer; `hangs_up` after how many seconds nobody wants it."""

    kind: str
    body: bytes
    uid: str
    allowed: bool
    hangs_up: float | None = None


class Mix:
    """Reviews without end, of images of the registry at `host` that stand in the list at `images`."""

    def __init__(self, images: Path, *, host: str, seed: int) -> None:
        self._host, self._choice = host, random.Random(seed)
        listed = json.loads(images.read_text())
        self._images = {
            kind: [one for one in listed if one["kind"] == kind] for kind in {one["kind"] for one in listed}
        }
        self._next: Mapping[str, Iterator[int]] = {kind: itertools.count() for kind in self._images}
        self._kinds: dict[str, tuple[int, Callable[[], dict[str, Any]], bool]] = {
            "warm digest": (25, lambda: review(self._warm("signed")), True),
            "warm tag": (10, lambda: review(self._warm("signed", tag=True)), True),
            "warm keyless bundle": (5, lambda: review(self._warm("keyless-bundle")), True),
            "cold digest": (15, lambda: review(self._cold("signed")), True),
            "cold tag": (5, lambda: review(self._cold("signed", tag=True)), True),
            "cold bundle": (5, lambda: review(self._cold("bundle")), True),
            "cold keyless": (2, lambda: review(self._cold("keyless")), True),
            "unsigned": (6, lambda: review(self._cold("unsigned")), False),
            "unsigned, again": (4, lambda: review(self._warm("unsigned")), False),
            "wrong key": (6, lambda: review(self._cold("otherkey")), False),
            "wrong key, again": (4, lambda: review(self._warm("otherkey")), False),
            "three images": (5, lambda: review(*(self._cold("signed") for _ in range(3))), True),
            "three images, one unsigned": (
                3, lambda: review(self._warm("signed"), self._cold("unsigned"), self._cold("signed")), False,
            ),
            "unchanged update": (2, lambda: self._update(same=True), True),
            "update to a wrong key": (2, lambda: self._update(same=False), False),
            "exempt": (1, lambda: review("registry.k8s.io/pause:3.10"), True),
        }  # fmt: skip

    def next(self, *, hanging_up: bool) -> Asked:
        """Another review; `hanging_up` says that nobody waits for its answer."""
        weights = [weight for weight, _, _ in self._kinds.values()]
        (kind,) = self._choice.choices(list(self._kinds), weights)
        _, make, allowed = self._kinds[kind]
        document = make()
        document["request"]["namespace"] = self._choice.choice(NAMESPACES)
        after = self._choice.uniform(0, HANG_UP_SECONDS) if hanging_up else None
        return Asked(kind, json.dumps(document).encode(), document["request"]["uid"], allowed, after)

    def _update(self, *, same: bool) -> dict[str, Any]:
        before = self._warm("unsigned")
        now = before if same else self._cold("otherkey")
        return review(now, operation="UPDATE", oldObject=pod_of(before))

    def _warm(self, kind: str, *, tag: bool = False) -> str:
        images = self._images[kind]
        return self._reference(images[self._choice.randrange(min(WARM, len(images)))], 0, tag=tag)

    def _cold(self, kind: str, *, tag: bool = False) -> str:
        images = self._images[kind]
        copy, index = divmod(next(self._next[kind]), len(images))
        return self._reference(images[index], copy + 1, tag=tag)

    def _reference(self, image: Mapping[str, str], copy: int, *, tag: bool) -> str:
        folder, _, name = image["repo"].partition("/")
        repository = f"{self._host}/{folder}/copy-{copy}/{name}" if copy else f"{self._host}/{image['repo']}"
        return f"{repository}:{image['tag']}" if tag else f"{repository}@{image['digest']}"
