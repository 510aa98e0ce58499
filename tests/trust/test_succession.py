"""Which root may take another's place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from webhook.trust import mirror, root, succession
from webhook.trust.root import TrustRoot

SHIPPED = root.parse(mirror.packaged_document())


def edited(edit: Callable[[Any], object]) -> TrustRoot:
    document = json.loads(mirror.packaged_document())
    edit(document)
    return root.parse(json.dumps(document).encode())


def _end(document: Any, when: str | None) -> None:
    document["tlogs"][0]["publicKey"]["validFor"]["end"] = when


ENDED = edited(lambda document: _end(document, "2026-06-01T00:00:00Z"))

CASES = {
    "the-same": (SHIPPED, SHIPPED, True),
    "a-log-was-ended": (ENDED, SHIPPED, True),
    "a-log-was-opened-again": (SHIPPED, ENDED, False),
    "a-log-ends-earlier": (edited(lambda document: _end(document, "2026-05-01T00:00:00Z")), ENDED, True),
    "a-log-ends-later": (edited(lambda document: _end(document, "2026-07-01T00:00:00Z")), ENDED, False),
    "a-log-was-added": (SHIPPED, edited(lambda document: document["tlogs"].pop()), True),
    "a-log-is-gone": (edited(lambda document: document["tlogs"].pop()), SHIPPED, False),
    "a-ct-log-is-gone": (edited(lambda document: document["ctlogs"].pop()), SHIPPED, False),
    "an-authority-is-gone": (edited(lambda document: document["certificateAuthorities"].pop(0)), SHIPPED, False),
    "a-clock-is-gone": (edited(lambda document: document.pop("timestampAuthorities")), SHIPPED, False),
    "a-url-was-changed": (edited(lambda document: document["tlogs"][0].pop("baseUrl")), SHIPPED, True),
}


@pytest.mark.parametrize(("new", "old", "expected"), CASES.values(), ids=CASES)
def test_a_later_root_takes_nothing_back(new: TrustRoot, old: TrustRoot, expected: bool) -> None:
    assert succession.follows(new, old) is expected


def test_a_key_that_took_the_id_of_another_is_another_log() -> None:
    def swap(document: Any) -> None:
        document["tlogs"][0]["logId"] = document["ctlogs"].pop(0)["logId"]

    assert not succession.follows(edited(swap), SHIPPED)


def test_what_is_different_is_told() -> None:
    assert succession.changes(SHIPPED, SHIPPED) == ()
    (ended,) = succession.changes(ENDED, SHIPPED)
    assert ended.startswith(
        "changed: transparency log https://rekor.sigstore.dev c0d23d6ad406: 2021-01-12T11:53:27+00:00"
    )
    assert ended.endswith("to open, now 2021-01-12T11:53:27+00:00 to 2026-06-01T00:00:00+00:00")
    fewer = edited(lambda document: document["tlogs"].pop())
    line = "transparency log https://log2025-1.rekor.sigstore.dev "
    assert [text.partition(line)[0] for text in succession.changes(SHIPPED, fewer)] == ["added: "]
    assert [text.partition(line)[0] for text in succession.changes(fewer, SHIPPED)] == ["removed: "]
