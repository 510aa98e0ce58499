"""Early feedback: what is denied, warned of or let through, and that nothing of our own failures ever denies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admission import checker
from tests.policy.build import IMAGE, judge, outcome, policies, policy, rule
from tests.web.serving import pod_of, review
from webhook import settings
from webhook.admission import early
from webhook.admission.handler import Handler
from webhook.admission.places import Places
from webhook.admission.watch import Watch
from webhook.admission.workloads import TIMEOUT, Workloads
from webhook.audit.record import Entry
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.kube import extractors
from webhook.oci import reference
from webhook.oci.authn import PrivateCredentials
from webhook.policy import decide
from webhook.policy.decision import ImageDecision, Paths, Result, ReviewDecision
from webhook.policy.model import PolicySet
from webhook.settings import Early
from webhook.trust.at_hand import Trust
from webhook.verification import Pending, Verifier

PATHS = (("spec.template.spec.containers[0]", "api"),)
CONTROLLERS = "system:serviceaccount:kube-system"

VERDICTS: Mapping[str, tuple[Result, Code | None]] = {
    "verified": (Result.VERIFIED, None),
    "unsigned": (Result.DENIED, Code.NO_SIGNATURE),
    "forged": (Result.DENIED, Code.SIGNATURE_INVALID),
    "tampered": (Result.DENIED, Code.REGISTRY_VIOLATION),
    "invalid": (Result.DENIED, Code.REFERENCE_INVALID),
    "missing": (Result.DENIED, Code.IMAGE_NOT_FOUND),
    "away": (Result.ERROR, Code.REGISTRY_UNAVAILABLE),
    "late": (Result.ERROR, Code.DEADLINE_EXCEEDED),
}


def image(name: str, paths: Paths = PATHS) -> ImageDecision:
    result, code = VERDICTS[name]
    return ImageDecision(f"r.example.com/{name}:1", paths, None, result, code, "a detail")


def decision(*names: str) -> ReviewDecision:
    return decide.decide_review([image(name) for name in names], revision="rev1")


# --- softening

# what is examined and refused, in mode deny: the status; and the codes of what is only warned of
SOFTENED: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "verified": (("verified",), 200, ()),
    "unsigned": (("unsigned",), 403, ()),
    "forged": (("forged",), 403, ()),
    "tampered": (("tampered",), 403, ()),
    "invalid": (("invalid",), 400, ()),
    "missing": (("missing",), 200, ("image_not_found",)),
    "away": (("away",), 200, ("registry_unavailable",)),
    "late": (("late",), 200, ("deadline_exceeded",)),
    "away-and-missing": (("away", "missing"), 200, ("image_not_found", "registry_unavailable")),
    "unsigned-and-away": (("unsigned", "away", "verified"), 403, ("registry_unavailable",)),
    "invalid-and-missing": (("invalid", "missing"), 400, ("image_not_found",)),
}


@pytest.mark.parametrize(("names", "status", "warned"), SOFTENED.values(), ids=SOFTENED)
def test_only_what_was_examined_and_refused_denies(
    names: tuple[str, ...], status: int, warned: tuple[str, ...]
) -> None:
    told = early.soften(decision(*names), Early.DENY)
    assert (200 if told.denial is None else told.denial.status) == status
    assert [warning.split(": ")[2].split(";")[0] for warning in told.warnings] == list(warned)
    word = "deny" if status != 200 else "warn" if warned else "allow"
    assert (told.word, told.annotations["decision"]) == (word, word)


@pytest.mark.parametrize("name", VERDICTS)
def test_where_it_only_warns_nothing_denies(name: str) -> None:
    told = early.soften(decision(name), Early.WARN)
    assert told.denial is None
    assert bool(told.warnings) == (name != "verified")
    assert told.word == ("allow" if name == "verified" else "warn")


@given(st.lists(st.sampled_from(sorted(VERDICTS)), min_size=1, max_size=9), st.sampled_from([Early.WARN, Early.DENY]))
def test_softening_never_denies_more_than_the_pods_get(names: list[str], mode: Early) -> None:
    given_decision = decision(*names)
    told = early.soften(given_decision, mode)
    assert told.denial is None or (told.denial.status in (400, 403) and not given_decision.allowed)
    assert given_decision.allowed == (not told.warnings and told.denial is None)
    checker._check_warnings(told.warnings)


def test_a_warning_says_where_who_what_and_that_pods_decide() -> None:
    warned = judge(policies(policy("production", default=rule("release"))), outcome(Code.NO_SIGNATURE))
    (text,) = early.soften(decide.decide_review([warned], revision="r"), Early.WARN).warnings
    assert text == (
        f'{warned.paths[0][0]}: {IMAGE} would be denied by policy "production" as it is now: no_signature; '
        "its pods are judged when they are made"
    )
    (forged,) = early.soften(decision("forged"), Early.WARN).warnings
    assert "r.example.com/forged:1 will be denied: signature_invalid; its pods" in forged


def test_warnings_stay_within_what_an_api_server_takes() -> None:
    paths = tuple((f"spec.replicas['{'x' * 300}'].containers[{index}]", "\x1b" * 99) for index in range(9))
    images = [
        ImageDecision(
            f"\u202e{'a' * 500}:{index}", paths[index % 8 :], None, Result.DENIED, Code.REFERENCE_INVALID, "x" * 999
        )
        for index in range(12)
    ]
    told = early.soften(decide.decide_review(images, revision="r"), Early.WARN)
    checker._check_warnings(told.warnings)
    assert len(told.warnings) == 5
    assert "more warnings" in told.warnings[-1]
    assert all("reference_invalid" in warning for warning in told.warnings[:-1])


# --- the entry


class ScriptedVerifier(Verifier):
    """The verifier's seam: what an image gets stands in its tag; `breaks` is a fault of ours, `asks` asks outside."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.seconds: list[float] = []  # that were left when a registry was asked

    def begin(
        self,
        text: str,
        *,
        paths: Paths,
        namespace: str,
        policies: PolicySet,
        now: datetime,
        credentials: PrivateCredentials | None = None,
    ) -> ImageDecision | Pending:
        self.begun.append(text)
        verdict = text.rpartition(":")[2]
        if verdict == "breaks":
            raise RuntimeError("a secret detail")
        if verdict == "waits":
            raise InconclusiveError(Code.OVERLOADED, "9 reviews wait already")
        if verdict == "asks":
            return Pending(reference.parse(text), paths, namespace, policies, (), Trust(), now)
        return image(verdict, paths)

    def is_underway(self, pending: Pending) -> bool:
        return False

    async def finish(self, pending: Pending, *, deadline: float) -> ImageDecision:
        self.seconds.append(deadline - asyncio.get_running_loop().time())
        return image("verified", pending.paths)


class Desk:
    def __init__(self, mode: Early = Early.WARN, **limits: int) -> None:
        self.verifier = ScriptedVerifier()
        configured = settings.Admission(**limits)  # type: ignore[arg-type]
        handler = Handler(
            policies=lambda: PolicySet((), "rev1", "nowhere"),
            verifier=self.verifier,
            places=Places(places=4, listed=frozenset()),
            limits=configured,
        )
        self.known = extractors.join(
            [extractors.Extractor("example.com", "things", pod_specs=(extractors.parse_path("spec.template.spec"),))]
        )
        self.entry = Workloads(
            handler=handler, extractors=lambda: self.known, early=mode, references_max=configured.references_max
        )

    async def ask(
        self, document: dict[str, Any], *, timeout: float | None = 5.0
    ) -> tuple[checker.Answer, Entry | None]:
        asked = self.entry.parse(json.dumps(document).encode())
        entry, body = await self.entry.decide(Watch(), asked, timeout)
        return checker.check(body, uid=document["request"]["uid"]), entry


def workload(
    *images: str,
    group: str = "apps",
    resource: str = "deployments",
    kind: str = "Deployment",
    owner: Mapping[str, object] | None = None,
    **request: Any,
) -> dict[str, Any]:
    """A review of an object that makes pods of `images`."""
    template = {"spec": pod_of(*images)["spec"]}
    metadata: dict[str, object] = {"name": "shop", "uid": "u-7"}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    obj = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "spec": {"template": template}}
    fields: dict[str, Any] = {
        "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": resource},
        "object": obj,
    }
    return review(**fields | request)


@pytest.mark.parametrize("name", ["unsigned", "away", "verified"])
@pytest.mark.parametrize("mode", list(Early))
async def test_what_becomes_of_a_workload(mode: Early, name: str) -> None:
    desk = Desk(mode)
    answer, entry = await desk.ask(workload(f"a:{name}"))
    assert answer.allowed == (not (mode is Early.DENY and name == "unsigned"))
    assert bool(answer.warnings) == (name == "away" or (name == "unsigned" and mode is Early.WARN)) * (
        mode is not Early.OFF
    )
    assert bool(desk.verifier.begun) == (entry is not None) == (mode is not Early.OFF)


async def test_a_denial_is_that_of_the_pods_with_the_path_in_the_object() -> None:
    answer, entry = await Desk(Early.DENY).ask(workload("a:verified", "a:forged", "a:away"))
    assert (answer.allowed, answer.code, answer.reason) == (False, 403, "Forbidden")
    assert 'container "c1" (spec.template.spec.containers[1])' in answer.message
    assert "signature_invalid" in answer.message
    assert answer.annotations["decision"] == "deny"
    assert [warning.rpartition(": ")[2].split(";")[0] for warning in answer.warnings] == ["registry_unavailable"]
    assert entry is not None
    assert (entry.word, entry.status) == ("deny", 403)


async def test_what_is_softened_is_recorded_as_it_was_found() -> None:
    answer, entry = await Desk().ask(workload("a:unsigned"))
    assert answer.annotations == answer.annotations | {"decision": "warn", "reason": "no_signature"}
    assert entry is not None
    assert (entry.word, entry.status) == ("warn", 200)
    assert entry.decision is not None
    assert not entry.decision.allowed


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "overload": (workload("a:waits"), "overloaded"),
    "a-fault-of-ours": (workload("a:breaks"), "internal_error"),
    "no-extractor": (workload("a:forged", group="evil.example", resource="things"), "unsupported"),
    "pods-are-not-ours": (review("a:forged"), "unsupported"),
    "too-many-values": (
        workload(object={"spec": {"template": {"spec": {"containers": [{}] * extractors.VISITS_MAX}}}}),
        "limit_exceeded",
    ),
}


@pytest.mark.parametrize("mode", [Early.WARN, Early.DENY])
@pytest.mark.parametrize(("document", "code"), FAILURES.values(), ids=FAILURES)
async def test_our_own_failures_warn_and_never_deny(document: dict[str, Any], code: str, mode: Early) -> None:
    answer, entry = await Desk(mode).ask(document)
    assert answer.allowed
    assert answer.annotations == {"decision": "warn", "reason": code}
    assert code in answer.warnings[0]
    assert "secret" not in answer.warnings[0]
    assert entry is not None
    assert (entry.word, entry.code) == ("warn", code)
    assert entry.request.unexpected == (code == "unsupported")


async def test_one_image_too_many_is_refused_as_for_pods() -> None:
    texts = [f"{index}:verified" for index in range(3)]
    assert (await Desk(Early.DENY, references_max=3).ask(workload(*texts)))[0].allowed
    answer, _ = await Desk(Early.DENY, references_max=2).ask(workload(*texts))
    assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, 400, "too_many_references")


async def test_ten_thousand_containers_are_told_and_hurt_nobody() -> None:
    answer, _ = await Desk().ask(workload(*[f"{index}:forged" for index in range(10_000)]))
    assert answer.allowed
    assert "too_many_references" in answer.warnings[0]


SKIPPED: dict[str, dict[str, Any]] = {
    "delete": workload("a:forged", operation="DELETE", object=None),
    "connect": workload("a:forged", operation="CONNECT"),
    "scale": workload("a:forged", operation="UPDATE", subResource="scale"),
    "status": workload("a:forged", operation="UPDATE", subResource="status"),
    "no-object": workload(object=None),
    "template-null": workload(object={"spec": {"template": None}}),
    "no-images": workload(object={"spec": {"template": {"spec": {"containers": [{"name": "a", "image": ""}]}}}}),
}


@pytest.mark.parametrize("document", SKIPPED.values(), ids=SKIPPED)
async def test_what_starts_no_image_passes(document: dict[str, Any]) -> None:
    desk = Desk(Early.DENY)
    answer, entry = await desk.ask(document)
    assert (answer.allowed, answer.warnings, answer.annotations["decision"]) == (True, (), "skip")
    assert not desk.verifier.begun
    assert entry is not None
    assert entry.word == "skip"


# --- what controllers do


async def test_an_old_object_stays_editable_while_its_images_are_unchanged() -> None:
    old = workload("a:forged", "b:unsigned")["request"]["object"]
    scaled = json.loads(json.dumps(old)) | {"metadata": {"name": "shop", "labels": {"a": "b"}}}
    scaled["spec"]["replicas"] = 0
    desk = Desk(Early.DENY)
    answer, _ = await desk.ask(workload(object=scaled, oldObject=old, operation="UPDATE", resource="replicasets"))
    assert (answer.allowed, answer.annotations["decision"], desk.verifier.begun) == (True, "skip", [])
    scaled["spec"]["template"]["spec"]["containers"][0]["image"] = "other:forged"
    answer, _ = await desk.ask(workload(object=scaled, oldObject=old, operation="UPDATE", resource="replicasets"))
    assert (answer.allowed, desk.verifier.begun) == (False, ["other:forged"])


def owner(kind: str = "Deployment", api_version: str = "apps/v1", **more: object) -> dict[str, object]:
    return {"apiVersion": api_version, "kind": kind, "name": "shop", "uid": "u-1", "controller": True} | more


REPLICA_SET = {"resource": "replicasets", "kind": "ReplicaSet"}
JOB = {"group": "batch", "resource": "jobs", "kind": "Job"}
DEPLOYING = {"username": f"{CONTROLLERS}:deployment-controller", "groups": ["system:serviceaccounts"]}
RUNNING = {"username": f"{CONTROLLERS}:cronjob-controller", "groups": ["system:serviceaccounts"]}
MANAGING = {"username": "system:kube-controller-manager", "groups": ["system:authenticated"]}

MADE: dict[str, dict[str, Any]] = {
    "replica-set": {**REPLICA_SET, "owner": owner(), "userInfo": DEPLOYING},
    "replica-set-by-the-manager": {**REPLICA_SET, "owner": owner(), "userInfo": MANAGING},
    "job": {**JOB, "owner": owner("CronJob", "batch/v1"), "userInfo": RUNNING},
    "job-by-the-manager": {**JOB, "owner": owner("CronJob", "batch/v1"), "userInfo": MANAGING},
}
FORGED: dict[str, dict[str, Any]] = {
    "a-user-who-names-an-owner": {**REPLICA_SET, "owner": owner(), "userInfo": {"username": "mallory"}},
    "a-group-for-a-user": {**REPLICA_SET, "owner": owner(), "userInfo": {"username": "m", "groups": [CONTROLLERS]}},
    "an-account-elsewhere": {
        **REPLICA_SET,
        "owner": owner(),
        "userInfo": {"username": "system:serviceaccount:shop:deployment-controller"},
    },
    "a-longer-name": {
        **REPLICA_SET,
        "owner": owner(),
        "userInfo": {"username": f"{CONTROLLERS}:deployment-controller-2"},
    },
    "another-controller": {**REPLICA_SET, "owner": owner(), "userInfo": RUNNING},
    "a-job-of-a-deployment": {**JOB, "owner": owner(), "userInfo": DEPLOYING},
    "no-owner": {**REPLICA_SET, "userInfo": DEPLOYING},
    "another-kind-of-owner": {**REPLICA_SET, "owner": owner("Rollout", "argoproj.io/v1alpha1"), "userInfo": DEPLOYING},
    "another-group-of-owner": {**REPLICA_SET, "owner": owner(api_version="evil/v1"), "userInfo": DEPLOYING},
    "an-owner-that-is-no-controller": {**REPLICA_SET, "owner": owner(controller=False), "userInfo": DEPLOYING},
    "an-owner-of-other-types": {**REPLICA_SET, "owner": owner(uid=7), "userInfo": DEPLOYING},
    "a-deployment": {"owner": owner(), "userInfo": DEPLOYING},
    "a-stateful-set": {"resource": "statefulsets", "owner": owner(), "userInfo": MANAGING},
    "an-update": {**REPLICA_SET, "owner": owner(), "userInfo": DEPLOYING, "operation": "UPDATE"},
}


@pytest.mark.parametrize("fields", MADE.values(), ids=MADE)
async def test_what_follows_from_an_object_judged_already_is_skipped(fields: dict[str, Any]) -> None:
    desk = Desk(Early.DENY)
    answer, entry = await desk.ask(workload("a:forged", **fields))
    assert (answer.allowed, answer.annotations["decision"], desk.verifier.begun) == (True, "skip", [])
    assert entry is not None
    assert entry.request.owner is not None


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED)
async def test_an_owner_that_anybody_may_name_exempts_from_nothing(fields: dict[str, Any]) -> None:
    answer, _ = await Desk(Early.DENY).ask(workload("a:forged", **fields))
    assert (answer.allowed, answer.code) == (False, 403)


async def test_a_deletion_timestamp_exempts_from_nothing() -> None:
    document = workload("a:forged")
    document["request"]["object"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not (await Desk(Early.DENY).ask(document))[0].allowed


# --- time, extractors, bytes


@pytest.mark.parametrize(("asked", "seconds"), [(None, 4.0), (30.0, 4.0), (2.0, 1.6)])
async def test_the_entry_has_less_time_than_pods(asked: float | None, seconds: float) -> None:
    desk = Desk()
    await desk.ask(workload("a:asks"), timeout=asked)
    assert desk.verifier.seconds == [pytest.approx(seconds, abs=0.1)]
    assert settings.Admission().timeout > TIMEOUT


async def test_extractors_that_change_are_used_at_the_next_review() -> None:
    desk = Desk(Early.DENY)
    document = workload("a:forged", group="example.com", resource="things", kind="Thing")
    assert not (await desk.ask(document))[0].allowed
    desk.known = extractors.join(())
    answer, entry = await desk.ask(document)
    assert (answer.allowed, entry is not None and entry.code) == (True, Code.UNSUPPORTED)


def test_pull_secrets_of_a_template_are_read() -> None:
    document = workload("a:verified")
    spec = document["request"]["object"]["spec"]["template"]["spec"]
    spec |= {"imagePullSecrets": [{"name": "registry"}], "serviceAccountName": "builder"}
    assert Desk().entry.parse(json.dumps(document).encode()).request.pull_secrets == ("registry",)
    del spec["imagePullSecrets"]
    assert Desk().entry.parse(json.dumps(document).encode()).request.service_account == "builder"


async def test_where_it_is_off_nothing_of_the_object_is_read() -> None:
    body = (
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1","object":' + b"[" * 99_999
    )
    desk = Desk(Early.OFF)
    entry, answer = await desk.entry.decide(Watch(), desk.entry.parse(body), None)
    assert entry is None
    assert checker.check(answer, uid="u-1").allowed
    with pytest.raises(MalformedError):
        Desk().entry.parse(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(workload()["request"])), JSON)
def test_no_field_of_any_type_denies_or_breaks(name: str, value: object) -> None:
    document = workload("a:verified")
    document["request"][name] = value
    desk = Desk(Early.DENY)
    try:
        asked = desk.entry.parse(json.dumps(document).encode())
    except MalformedError:
        return
    _, body = asyncio.run(decided(desk, asked))
    assert checker.check(body, uid=asked.request.uid).allowed


async def decided(desk: Desk, asked: Any) -> tuple[Entry | None, bytes]:
    return await desk.entry.decide(Watch(), asked, None)
