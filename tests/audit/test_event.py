"""What a record tells is an Event that says enough, lies where people look, and breaks no limit of an API server."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.audit.test_record import AT, DIGEST, POLICY, request
from webhook.audit import change as changes
from webhook.audit import ending
from webhook.audit.event import NOTE_MAX_BYTES, Notice, event, name_of, notices
from webhook.audit.record import Entry, Record, compose
from webhook.errors import Code
from webhook.kube.workload import Owner, Request
from webhook.policy.configmaps import Change, PolicyChange
from webhook.policy.decision import ImageDecision, PolicyDecision, Result, ReviewDecision
from webhook.policy.model import Mode, PolicyException

OWNER = Owner("apps/v1", "ReplicaSet", "api-7f", "11111111-2222-3333-4444-555555555555")
POD = {"api_version": "v1", "object_uid": "aaaaaaaa-2222-3333-4444-555555555555"}
POD_REFERENCE = {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "api-1", "uid": POD["object_uid"]}
OWNER_REFERENCE = {
    "apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "shop", "name": "api-7f", "uid": OWNER.uid,
}  # fmt: skip


NOTHING = "nothing signed with this key was found for this digest"


def image(
    result: Result = Result.DENIED,
    code: Code = Code.NO_SIGNATURE,
    *,
    mode: Mode = Mode.ENFORCE,
    detail: str = NOTHING,
    text: str = "ghcr.io/acme/shop:1",
) -> ImageDecision:
    of_policy = Result.DENIED if result is Result.WARNED else result
    policy = PolicyDecision(POLICY, mode, of_policy, code, detail, "signers", "any of: release, pipeline")
    return ImageDecision(text, (("spec.containers[0]", "api"),), DIGEST, result, code, detail, (policy,))


def entry(*images: ImageDecision, word: str = "deny", webhook: str = "pods", **fields: Any) -> Entry:
    decision = ReviewDecision(word in ("warn", "allow", "skip"), 200, images, "rev1") if images else None
    asked = request(**POD | fields)
    code = None if images else Code.MALFORMED
    return Entry(AT, 0.1, asked, word, 403, decision, code, "" if images else "no such thing", webhook)


def told(entry: Entry) -> list[Notice]:
    """As the sink has it, which reads lines."""
    return list(notices(orjson.loads(orjson.dumps(compose(entry)))))


def body(notice: Notice, count: int = 1) -> dict[str, Any]:
    name = name_of(notice, 1_700_000_000_000_000_000)
    return dict(event(notice, namespace=notice.namespace, name=name, instance="pod-1", count=count, last=notice.at))


def test_a_denied_pod_is_told_at_its_owner() -> None:
    (notice,) = told(entry(image(), owner=OWNER))
    assert body(notice) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "shop", "name": "api-7f.17979cfe362a0000"},
        "eventTime": "2026-11-21T13:00:00.005000Z",
        "reportingController": "countersign.dev/webhook",
        "reportingInstance": "pod-1",
        "action": "VerifyImages",
        "reason": "ImageVerificationFailed",
        "type": "Warning",
        "note": f"image ghcr.io/acme/shop:1 ({DIGEST}) of spec.containers[0] api was denied by"
        ' policy "production" (revision 3f9c3f9c3f9c), which wants any of: release, pipeline: no_signature:'
        " nothing signed with this key was found for this digest;"
        " see https://countersign.dev/docs/denied.md#no_signature",
        "regarding": OWNER_REFERENCE,
        "related": POD_REFERENCE,
    }


LOOKED_AT: Mapping[str, tuple[dict[str, Any], Mapping[str, str], Mapping[str, str] | None]] = {
    "owned": ({"owner": OWNER}, OWNER_REFERENCE, POD_REFERENCE),
    "alone": ({}, POD_REFERENCE, None),
    "there-already": ({"owner": OWNER, "operation": "UPDATE"}, POD_REFERENCE, None),
    "ephemeral": (
        {"owner": OWNER, "operation": "UPDATE", "subresource": "ephemeralcontainers"}, POD_REFERENCE, None
    ),
    "name-to-be-made": ({"name": "", "generate_name": "api-"}, {**POD_REFERENCE, "name": "api-"}, None),
    "workload": (
        {"group": "apps", "resource": "deployments", "kind": "Deployment", "api_version": "apps/v1", "owner": OWNER},
        {**POD_REFERENCE, "apiVersion": "apps/v1", "kind": "Deployment"}, None,
    ),
    "longest-name": ({"name": "a" * 253}, {**POD_REFERENCE, "name": "a" * 253}, None),
    "owner-of-no-kind": ({"owner": replace(OWNER, kind="Replica Set")}, POD_REFERENCE, None),
    "owner-without-a-name": ({"owner": replace(OWNER, name="../other")}, POD_REFERENCE, None),
    "owner-too-long": ({"owner": replace(OWNER, name="a" * 254)}, POD_REFERENCE, None),
    "owner-in-letters-of-others": ({"owner": replace(OWNER, name="\u0430pi")}, POD_REFERENCE, None),
    "owner-of-a-strange-uid": (
        {"owner": replace(OWNER, uid="x\ny")},
        {key: value for key, value in OWNER_REFERENCE.items() if key != "uid"}, POD_REFERENCE,
    ),
    "owner-of-a-strange-version": (
        {"owner": replace(OWNER, api_version="a b")},
        {key: value for key, value in OWNER_REFERENCE.items() if key != "apiVersion"}, POD_REFERENCE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "regarding", "related"), LOOKED_AT.values(), ids=LOOKED_AT)
def test_people_are_told_where_they_look(
    fields: dict[str, Any], regarding: Mapping[str, str], related: Mapping[str, str] | None
) -> None:
    (notice,) = told(entry(image(), webhook="workloads" if "group" in fields else "pods", **fields))
    assert (notice.regarding, notice.related) == (regarding, related)


@pytest.mark.parametrize("claimed", ["kube-system", "../kube-system", ""])
def test_an_owner_is_never_in_another_namespace(claimed: str) -> None:
    record = compose(entry(image(), owner=OWNER))
    owner: Any = record["owner"]
    (notice,) = notices({**record, "owner": {**owner, "namespace": claimed}})
    assert notice.namespace == "shop"
    assert notice.regarding["namespace"] == "shop"


REASONS = {
    "denied": (entry(image()), ["ImageVerificationFailed"]),
    "unexamined": (
        entry(image(Result.ERROR, Code.REGISTRY_UNAVAILABLE), word="error"), ["ImageVerificationError"]
    ),
    "both": (
        entry(image(), image(Result.ERROR, Code.REGISTRY_UNAVAILABLE)),
        ["ImageVerificationFailed", "ImageVerificationError"],
    ),
    "warned": (entry(image(Result.WARNED, mode=Mode.WARN), word="warn"), ["ImageVerificationWarning"]),
    "warned-early": (entry(image(), word="warn", webhook="workloads"), ["ImageVerificationWarning"]),
    "refused-unseen": (entry(), ["ImageVerificationFailed"]),
    "unexamined-unseen": (entry(word="error"), ["ImageVerificationError"]),
    "one-of-two": (entry(image(), image(Result.VERIFIED)), ["ImageVerificationFailed"]),
}  # fmt: skip


@pytest.mark.parametrize(("entry", "reasons"), REASONS.values(), ids=REASONS)
def test_the_reason_says_what_became_of_it(entry: Entry, reasons: list[str]) -> None:
    assert [notice.reason for notice in told(entry)] == reasons


UNTOLD = {
    "allowed": entry(image(Result.VERIFIED), word="allow"),
    "skipped": entry(image(Result.UNCHANGED), word="skip"),
    "dry-run": entry(image(), dry_run=True),
    "policies": entry(word="deny", webhook="policies"),
    "pin": entry(word="error", webhook="pin"),
    "no-namespace": entry(image(), namespace=""),
    "no-such-namespace": entry(image(), namespace="../shop"),
    "no-name": entry(image(), name=""),
    "no-such-name": entry(image(), name="A\nb"),
}


@pytest.mark.parametrize("entry", UNTOLD.values(), ids=UNTOLD)
def test_nothing_is_told_of(entry: Entry) -> None:
    assert told(entry) == []


def test_what_is_the_same_has_the_same_key() -> None:
    def key(entry: Entry) -> str:
        (notice,) = told(entry)
        return notice.key

    first = entry(image(), owner=OWNER)
    assert key(first) == key(
        replace(first, at=AT + timedelta(1), request=replace(first.request, name="api-2", uid="u-2"))
    )
    others = (
        entry(image(), owner=replace(OWNER, uid="other")),
        entry(image(), owner=OWNER, namespace="bank"),
        entry(image(Result.ERROR), owner=OWNER),
        entry(image(code=Code.REVOKED), owner=OWNER),
        entry(replace(image(), digest=None), owner=OWNER),
    )
    assert len({key(first), *map(key, others)}) == 6


def test_a_pod_that_is_tried_again_is_the_same_though_its_uid_is_not() -> None:
    keys = {told(entry(image(), object_uid=uid))[0].key for uid in ("u-1", "u-2")}
    assert len(keys) == 1
    keys = {told(entry(image(), object_uid=uid, operation="UPDATE"))[0].key for uid in ("u-1", "u-2")}
    assert len(keys) == 2, "those are two pods"


def test_repetitions_are_a_series() -> None:
    (notice,) = told(entry(image()))
    assert "series" not in body(notice)
    assert body(notice, count=3)["series"] == {"count": 3, "lastObservedTime": "2026-11-21T13:00:00.005000Z"}


# --- ConfigMaps of policies


def change(kind: str, *, after: str = "", before: str = "", detail: str = "", namespace: str = "countersign") -> Record:
    """As the sink has it, which reads lines."""
    found = PolicyChange("production", "u-1", Change(kind), before, after, detail)
    record: Record = orjson.loads(orjson.dumps(changes.compose(found, at=AT, namespace=namespace)))
    return record


CHANGES = {
    "loaded": (
        change("loaded", after="bb", detail="policies: production"), "Normal", "PolicyLoaded",
        "revision bb of this ConfigMap is in force (policies: production)",
    ),
    "loaded-anew": (
        change("loaded", after="bb", before="aa", detail="policies: a, b"), "Normal", "PolicyLoaded",
        "revision bb of this ConfigMap is in force in the place of aa (policies: a, b)",
    ),
    "invalid": (
        change("invalid", after="bb", before="aa", detail="a.yaml:3: no mode\nand more"), "Warning",
        "PolicyInvalid",
        "revision bb of this ConfigMap cannot be used, and revision aa stays in force: a.yaml:3: no mode; and more",
    ),
    "invalid-from-the-start": (
        change("invalid", after="bb", detail="not YAML"), "Warning", "PolicyInvalid",
        "revision bb of this ConfigMap cannot be used, and nothing is in force in its place: not YAML",
    ),
    "removed": (
        change("removed", before="aa"), "Normal", "PolicyRemoved",
        "revision aa of this ConfigMap is no longer in force",
    ),
    "repaired": (
        change("repaired", after="bb", detail="policies: a"), "Normal", "PolicyRepaired",
        "this ConfigMap can be used again: revision bb is in force (policies: a)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("record", "type_", "reason", "note"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_policies_is_told_at_the_config_map(record: Record, type_: str, reason: str, note: str) -> None:
    (notice,) = notices(record)
    assert (notice.type, notice.reason, notice.note) == (type_, reason, note)
    assert notice.regarding == {
        "apiVersion": "v1", "kind": "ConfigMap", "namespace": "countersign", "name": "production", "uid": "u-1",
    }  # fmt: skip


def test_an_unknown_change_is_not_told() -> None:
    assert list(notices({**change("loaded"), "change": "imagined"})) == []


def test_the_end_of_an_exception_is_told() -> None:
    exception = PolicyException(DIGEST, ("shop",), datetime(2026, 11, 24, tzinfo=UTC), "vendor signs on Monday")
    policy = replace(POLICY, exceptions=(exception,), origin="configmap/production: a.yaml:1")
    (notice,) = notices(ending.compose(policy, 0, at=AT, namespace="countersign"))
    assert notice.reason == "PolicyExceptionEnds"
    assert notice.regarding["name"] == "production"
    assert notice.note == (
        f'policy "production" (revision 3f9c3f9c3f9c): exceptions[0] for {DIGEST} ends at 2026-11-24T00:00:00+00:00,'
        " and the image is judged like any other from then on: vendor signs on Monday"
    )
    from_a_file = replace(policy, origin="production.yaml:1")
    assert list(notices(ending.compose(from_a_file, 0, at=AT, namespace="countersign"))) == []


# --- limits of the API server's strict validation

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = re.compile(rf"{LABEL}(\.{LABEL})*")


def check(notice: Notice) -> None:
    """As the API server validates it."""
    found = orjson.loads(orjson.dumps(body(notice, count=2)))
    assert SUBDOMAIN.fullmatch(found["metadata"]["name"])
    assert len(found["metadata"]["name"]) <= 253
    assert found["regarding"]["namespace"] == found["metadata"]["namespace"] != ""
    assert 0 < len(found["note"].encode()) <= 1024
    assert found["note"].isprintable()
    assert found["type"] in ("Normal", "Warning")
    assert all(0 < len(found[field]) <= 128 for field in ("action", "reason", "reportingInstance"))
    for time in (found["eventTime"], found["series"]["lastObservedTime"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)


@pytest.mark.parametrize("letter", ["x", "\u00fc", "\u20ac", "\U0001f512"])
@pytest.mark.parametrize("length", range(996, 1030))
def test_a_note_ends_within_its_bytes_between_two_letters(letter: str, length: int) -> None:
    (notice,) = notices(change("invalid", detail=letter * length))
    assert len(notice.note.encode()) <= NOTE_MAX_BYTES
    assert "\ufffd" not in notice.note


TEXT = st.text(max_size=400)


@given(
    TEXT,
    TEXT,
    TEXT,
    st.sampled_from(list(Result)),
    st.sampled_from(list(Code)),
    st.sampled_from(["deny", "error", "warn"]),
)
def test_whatever_a_review_says_the_event_is_valid(
    name: str, text: str, detail: str, result: Result, code: Code, word: str
) -> None:
    for names in itertools.product((name, "a" * 253, "web-"), repeat=2):
        owner = Owner(name, "ReplicaSet", names[0], name)
        asked = entry(
            image(result, code, detail=detail, text=text), word=word, name=names[1], owner=owner, user=name, kind="Pod"
        )
        for notice in told(asked):
            check(notice)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["decision", "images", "namespace", "name", "kind", "owner", "api_version", "object_uid", "code", "detail",
     "operation", "resource", "webhook", "configmap", "change", "revision", "previous_revision", "policy", "digest"]
)  # fmt: skip
BASES = (
    orjson.loads(orjson.dumps(compose(entry(image(), owner=OWNER)))),
    orjson.loads(orjson.dumps(compose(entry()))),
    dict(change("invalid", detail="bad")),
)


@example(BASES[2], {"revision": "\b"})
@given(st.sampled_from(BASES), st.dictionaries(FIELDS, VALUES, max_size=4))
def test_whatever_stands_in_a_record_the_event_is_valid(base: dict[str, Any], fields: dict[str, Any]) -> None:
    for notice in notices(base | fields):
        check(notice)


def test_a_request_may_have_no_namespace_at_all() -> None:
    nothing = Request("u-1", "", "", "", "", "", "", "", "", False, (), ())
    assert told(Entry(AT, 0, nothing, "deny", 400, code=Code.LIMIT_EXCEEDED, detail="too long")) == []
