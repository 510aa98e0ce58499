"""The denials in a record, as messages for people who do not read records: one for each image that may not run.

A message says what was denied, where, who asked, why, and by which policy; what makes two of them the same denial is
its key. It is made of a record, whose texts are printable ASCII and bounded, so a message is too: 32 KiB at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from webhook.audit.record import Record

REFUSING = ("deny", "error")  # the words by which records count reviews that were not allowed
IMAGES_MAX = 20  # of one review; a pod has a handful
POLICIES_MAX = 10
PLACES_MAX = 10
_HEADLINES = {"deny": "countersign denied", "error": "countersign could not examine"}


@dataclass(frozen=True, slots=True)
class Denial:
    """`key` is equal for what is the same denial: the policies, the image's digest, the code, the namespace."""

    key: str
    headline: str
    content: Mapping[str, object]

    def body(self, repeats: int) -> bytes:
        """JSON. `repeats` is how often the same was denied since it was last told."""
        return orjson.dumps({**self.content, "repeats": repeats})


def denials(record: Record) -> Iterator[Denial]:
    """Those of a review that was not allowed; none of a dry run, for which nothing was to run."""
    if record.get("event") != "review" or record.get("decision") not in REFUSING or record.get("dry_run"):
        return
    refused = [image for image in records_in(record.get("images")) if image.get("result") in ("denied", "error")]
    for image in refused[:IMAGES_MAX] or [{}]:  # the review itself, where no image was looked at
        yield _denial(record, image, more=max(0, len(refused) - IMAGES_MAX))


def _denial(record: Record, image: Record, *, more: int) -> Denial:
    code = str(image.get("code") or record.get("code") or "")
    policies = [shown for shown in records_in(image.get("policies")) if refuses(shown)]
    names = [str(policy.get("policy")) for policy in policies]
    what = str(image.get("reference") or f"{record.get('kind')} {record.get('name')}")
    namespace = str(record.get("namespace"))
    parts = (namespace, ",".join(sorted(names)), str(image.get("digest") or what), code)
    content: dict[str, object] = {
        "event": "denial",
        **{name: record.get(name) for name in ("time", "decision", "status")},
        "code": code,
        "detail": image.get("detail") or record.get("detail", ""),
        "image": image.get("reference"),
        "digest": image.get("digest"),
        "paths": _items(image.get("paths"))[:PLACES_MAX],
        **{name: record.get(name) for name in ("namespace", "kind", "name", "operation", "user", "uid")},
        "policies": [_policy(policy) for policy in policies[:POLICIES_MAX]],
        "policy_revision": record.get("policy_revision"),
    }
    if more:
        content["more_images"] = more
    headline = f"{_HEADLINES[str(record['decision'])]} ({code}) in {namespace}: {what}"
    return Denial(hashlib.sha256("\n".join(parts).encode()).hexdigest(), headline, content)


def refuses(policy: Record) -> bool:
    """Whether the image may not run because of this policy alone: as `PolicyDecision.refuses` has it."""
    refused = policy.get("result") in ("denied", "error") and policy.get("mode") == "enforce"
    return refused or bool(policy.get("tampered") or policy.get("blocked"))


def _policy(shown: Record) -> Record:
    return {name: shown.get(name, "") for name in ("policy", "revision", "rule", "code", "wants", "detail")}


def records_in(value: object) -> list[Record]:
    """The records in a list of them; none where there is none."""
    return [item for item in _items(value) if isinstance(item, dict)]


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
