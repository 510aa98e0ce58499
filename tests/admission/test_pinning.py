"""Pinning: what is written, what is demanded, that the two agree, and that the mutating entry never denies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.admission.pinned import ON, scene
from tests.doubles.registry import on
from tests.doubles.verifying import NAME, RELEASE, STRANGER, trusted
from tests.web.serving import pod_of, review
from webhook import settings
from webhook.audit import record
from webhook.errors import MalformedError
from webhook.settings import NoMatch

EXCEPTION = {"until": "2026-11-22T00:00:00Z", "reason": "being signed"}


def with_object(document: Mapping[str, Any], pod: Mapping[str, Any]) -> dict[str, Any]:
    return {**document, "request": {**document["request"], "object": pod}}


async def test_what_was_pinned_is_what_is_verified_without_resolving_again() -> None:
    async with scene() as at:
        asked = review(f"{at.image}:1")
        mutated = await at.mutate(asked)
        assert mutated.images == [f"{at.image}:1@{at.signed}"]
        assert at.asked == [f"HEAD /v2/{NAME}/manifests/1"]
        at.cluster.image("somebody's", tag="1")  # the tag moves
        answer = await at.validate(with_object(asked, mutated.pod))
        assert answer.allowed
        assert not [line for line in at.asked if line.endswith("/manifests/1")]
        assert answer.annotations["digests"] == at.signed
        moved = await at.mutate(asked)
        assert (await at.validate(with_object(asked, moved.pod))).code == 403, "what the tag names now is not signed"


async def test_an_unsigned_image_is_pinned_and_then_denied() -> None:
    async with scene() as at:
        asked = review(f"{at.image}:unsigned")
        mutated = await at.mutate(asked)
        assert mutated.images == [f"{at.image}:unsigned@{at.unsigned}"]
        answer = await at.validate(with_object(asked, mutated.pod))
        assert (answer.allowed, answer.code, "no_signature" in answer.message) == (False, 403, True)


async def test_what_is_pinned_already_stays_when_a_sidecar_is_injected() -> None:
    async with scene() as at:
        first = await at.mutate(review(f"{at.image}:1"))
        pod = first.pod
        pod["spec"]["containers"].append({"name": "sidecar", "image": f"{at.image}:unsigned"})
        second = await at.mutate(review(object=pod))
        assert [operation["path"] for operation in second.operations] == ["/spec/containers/1/image"]
        assert second.images == [f"{at.image}:1@{at.signed}", f"{at.image}:unsigned@{at.unsigned}"]
        at.asked.clear()
        third = await at.mutate(review(object=second.pod))
        assert (third.operations, at.asked) == ([], [])


async def test_a_tag_is_resolved_once_however_it_is_spelled() -> None:
    async with scene() as at:
        untagged = at.cluster.image("latest", tag="latest")
        mutated = await at.mutate(review(at.image, f"{at.image}:latest", at.image, f"{at.image}@{at.signed}"))
        assert mutated.images == [
            f"{at.image}@{untagged}",
            f"{at.image}:latest@{untagged}",
            f"{at.image}@{untagged}",
            f"{at.image}@{at.signed}",
        ]
        assert at.asked == [f"HEAD /v2/{NAME}/manifests/latest"]


async def test_a_dry_run_is_patched_alike() -> None:
    async with scene() as at:
        wet, dry = [await at.mutate(review(f"{at.image}:1", dryRun=dry)) for dry in (False, True)]
        assert wet.operations
        assert dry.operations == wet.operations


async def test_what_is_told_of_pinning() -> None:
    async with scene() as at:
        mutated = await at.mutate(review(f"{at.image}:1", f"{at.image}:missing"))
        reference = f"{at.image}:1@{at.signed}"
        assert mutated.answer.annotations == {
            "decision": "allow",
            "pinned": reference,
            "pin-reason": "image_not_found",
        }
        (warning,) = mutated.answer.warnings
        assert warning.startswith(f"{at.image}:missing: not pinned: image_not_found: ")
        told = record.compose(mutated.entry)
        assert (told["decision"], told["code"]) == ("allow", "image_not_found")
        assert str(told["detail"]).startswith(f"pinned 1 of 2, {reference}")
        nothing = await at.mutate(review("registry.k8s.io/pause@sha256:" + "ab" * 32))
        assert nothing.answer.annotations == {"decision": "skip"}
        assert (nothing.entry.word, nothing.entry.detail) == ("skip", "nothing to pin")


# --- who is pinned is who is asked for a digest

JUDGED: dict[str, tuple[list[dict[str, Any]], bool, int]] = {
    "enforced": ([{}], True, 503),
    "enforced-here": ([{"mode": "warn", "enforceIn": ["shop"]}], True, 503),
    "enforced-elsewhere": ([{"mode": "warn", "enforceIn": ["other"]}, {"exemptRegistries": ["$"]}], False, 200),
    "warned": ([{"mode": "warn"}, {"exemptRegistries": ["$"]}], False, 200),
    "exempt": ([{"exemptRegistries": ["$"]}], False, 200),
    "exempt-in-one-of-two": ([{"exemptRegistries": ["$"]}, {}], True, 503),
    "unmatched": ([{"namespaces": {"include": ["other"]}}], False, 403),
    "tags-denied": ([{"tags": "deny"}], False, 403),
    "tags-denied-by-another": ([{}, {"tags": "deny"}], False, 403),
    "blocked": ([{"deny": [{"image": "$/**", "reason": "no"}]}], False, 403),
    "blocked-by-a-warn-policy": ([{}, {"mode": "warn", "deny": [{"image": "$/**", "reason": "no"}]}], False, 403),
    "denies-some-digest": ([{"deny": [{"digest": "sha256:" + "ab" * 32, "reason": "no"}]}], True, 503),
    "an-exception-may-hold": (
        [{"exceptions": [{"digest": "sha256:" + "ab" * 32, "namespaces": ["*"], **EXCEPTION}]}], True, 503,
    ),
    "an-outage-is-allowed": (
        [{"rules": [{"images": ["$"], "onUnavailable": "allow", "signers": ["release"]}]}], True, 503,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("policies", "pinned", "status"), JUDGED.values(), ids=JUDGED)
async def test_only_what_an_enforcing_rule_judges(policies: list[dict[str, Any]], pinned: bool, status: int) -> None:
    async with scene(*policies) as at:
        asked = review(f"{at.image}:1")
        mutated = await at.mutate(asked)
        assert bool(mutated.operations) is pinned
        assert bool(at.asked) is pinned, "what is not pinned is not resolved either"
        answer = await at.validate(asked)
        assert answer.code == status
        assert ("not_pinned" in answer.message) is pinned
        if pinned:
            assert at.asked == [], "no registry is asked for what needs a digest first"
            assert (await at.validate(with_object(asked, mutated.pod))).allowed


async def test_unmatched_images_are_no_concern_of_pinning() -> None:
    async with scene({"namespaces": {"include": ["other"]}}, no_match=NoMatch.ALLOW) as at:
        asked = review(f"{at.image}:1")
        assert not (await at.mutate(asked)).operations
        assert (await at.validate(asked)).allowed
        assert at.asked == []


async def test_a_policy_that_warns_is_not_told_to_ask_for_a_digest() -> None:
    async with scene({}, {"mode": "warn"}) as at:
        answer = await at.validate(review(f"{at.image}:1"))
        assert (answer.code, answer.retry_after, answer.warnings) == (503, 1, ())
        assert 'policy "p0"' in answer.message
        assert 'policy "p1"' not in answer.message


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        (True, "is installed, and did not write one in time"),
        (False, "is not installed"),
        (None, "did not write one in time, or is not installed"),
    ],
)
async def test_the_denial_says_whether_the_webhook_is_there(installed: bool | None, said: str) -> None:
    async with scene({"trustedKeys": [trusted("a", RELEASE), trusted("b", STRANGER)]}) as at:
        at.installed = installed
        answer = await at.validate(review(f"{at.image}:1"))
        assert (answer.code, answer.reason, answer.annotations["reason"]) == (503, "ServiceUnavailable", "not_pinned")
        assert said in answer.message
        assert "retry in a moment, or write the reference with its digest" in answer.message


async def test_a_replica_that_demands_no_digest_writes_one_when_it_is_asked() -> None:
    """It is one of before the upgrade that turns pinning on, beside those that demand."""
    async with scene(configured=settings.Pin()) as at:
        asked = review(f"{at.image}:1")
        assert (await at.validate(asked)).allowed, "by the digest that the tag names now"
        assert (await at.mutate(asked)).images == [f"{at.image}:1@{at.signed}"]


OWNER = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "db", "uid": "u1", "controller": True}
EXCLUDED: dict[str, tuple[settings.Pin, dict[str, Any], bool]] = {
    "nobody": (ON, OWNER, True),
    "owner": (settings.Pin(enabled=True, exclude_owners=("Cluster.postgresql.cnpg.io",)), OWNER, False),
    "no-controller": (
        settings.Pin(enabled=True, exclude_owners=("Cluster.postgresql.cnpg.io",)),
        {**OWNER, "controller": False},
        True,
    ),
    "namespace": (settings.Pin(enabled=True, exclude_namespaces=("shop",)), OWNER, False),
    "another-namespace": (settings.Pin(enabled=True, exclude_namespaces=("db",)), OWNER, True),
}  # fmt: skip


@pytest.mark.parametrize(("configured", "owner", "pinned"), EXCLUDED.values(), ids=EXCLUDED)
async def test_an_exclusion_is_from_pinning_and_not_from_verification(
    configured: settings.Pin, owner: dict[str, Any], pinned: bool
) -> None:
    async with scene(configured=configured) as at:
        asked = review(object=pod_of(f"{at.image}:1", ownerReferences=[owner]))
        assert bool((await at.mutate(asked)).operations) is pinned
        assert (await at.validate(asked)).code == (503 if pinned else 200)
        unsigned = review(object=pod_of(f"{at.image}:unsigned", ownerReferences=[owner]))
        assert (await at.validate(unsigned)).code == (503 if pinned else 403)


# --- by operation


async def test_an_update_is_pinned_where_it_changes_images() -> None:
    async with scene() as at:
        old, new = pod_of(f"{at.image}:old"), pod_of(f"{at.image}:old", f"{at.image}:1")
        same = review(object=old, oldObject=old, operation="UPDATE")
        assert not (await at.mutate(same)).operations
        assert (await at.validate(same)).allowed, "what runs by its tag already is not asked for a digest"
        changed = await at.mutate(review(object=new, oldObject=old, operation="UPDATE"))
        assert [operation["path"] for operation in changed.operations] == ["/spec/containers/1/image"]


async def test_every_place_of_a_pod_and_added_ephemeral_containers() -> None:
    async with scene() as at:
        tagged = f"{at.image}:1"
        pod = pod_of(tagged)
        pod["spec"]["initContainers"] = [{"name": "i", "image": tagged}]
        pod["spec"]["volumes"] = [{"name": "v", "image": {"reference": tagged}}]
        mutated = await at.mutate(review(object=pod))
        assert len(mutated.operations) == 3
        assert (await at.validate(review(object=mutated.pod))).allowed
        debugged = {**pod, "spec": {**pod["spec"], "ephemeralContainers": [{"name": "debug", "image": tagged}]}}
        added = review(object=debugged, oldObject=pod, operation="UPDATE", subResource="ephemeralcontainers")
        assert (await at.validate(added)).code == 503
        mutated = await at.mutate(added)
        assert [operation["path"] for operation in mutated.operations] == ["/spec/ephemeralContainers/0/image"]
        assert (await at.validate(with_object(added, mutated.pod))).allowed


async def test_a_mirror_pod_is_not_patched_and_a_forged_one_is() -> None:
    node = {"username": "system:node:n1", "groups": ["system:nodes"]}
    async with scene() as at:
        pod = pod_of(f"{at.image}:1", annotations={"kubernetes.io/config.mirror": "x"})
        pod["spec"]["nodeName"] = "n1"
        assert not (await at.mutate(review(object=pod, userInfo=node))).operations
        assert (await at.mutate(review(object=pod))).operations


# --- bad input, and outages


async def test_a_template_is_left_to_its_pods() -> None:
    async with scene() as at:
        of_pod = at.pinning.parse(json.dumps(review(f"{at.image}:1")).encode())
        of_template = replace(of_pod, group="apps", resource="deployments")
        image = at.begun(of_pod)
        assert at.demand.refuse(of_pod, image)
        assert at.demand.refuse(of_template, image) is None
        deployment = review(resource={"group": "apps", "version": "v1", "resource": "deployments"}, object={"spec": {}})
        assert (await at.mutate(deployment)).answer.annotations == {"decision": "skip"}


UNREADABLE = {
    "upper-case": "ghcr.io/Acme/Shop:1",
    "unicode": "nginx\u202e:1",
    "newline": "nginx\n",
    "empty": "",
    "64-hex": "ab" * 32,
    "image-id": "sha256:" + "ab" * 32,
    "two-digests": "nginx@sha256:" + "ab" * 32 + "@sha256:" + "ab" * 32,
    "long": "a" * 100_000,
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_is_no_reference_is_left_alone_beside_one_that_is(text: str) -> None:
    async with scene() as at:
        asked = review(text, f"{at.image}:1")
        mutated = await at.mutate(asked)
        assert mutated.images == [text, f"{at.image}:1@{at.signed}"]
        answer = await at.validate(with_object(asked, mutated.pod))
        assert (answer.code, "reference_invalid" in answer.message) == (400, True)


OBJECTS: dict[str, Any] = {
    "null": None,
    "number": 7,
    "no-spec": {},
    "null-containers": {"spec": {"containers": None}},
    "numbers-for-containers": {"spec": {"containers": [1]}},
    "number-for-an-image": {"spec": {"containers": [{"name": "a", "image": 1}]}},
}


@pytest.mark.parametrize("pod", OBJECTS.values(), ids=OBJECTS)
async def test_an_object_that_cannot_be_read_is_left_to_the_other_entry(pod: object) -> None:
    async with scene() as at:
        request = at.pinning.parse(json.dumps(review(object=pod)).encode())
        assert request.images == ()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"{" * 100_000], ids=["empty", "array", "no-kind", "deep"])
async def test_what_is_no_review_is_no_request(body: bytes) -> None:
    async with scene() as at:
        with pytest.raises(MalformedError):
            at.pinning.parse(body)


async def test_as_many_images_as_a_review_takes_and_one_more() -> None:
    async with scene() as at:
        texts = [f"{at.image}:1"] * 400 + [f"{at.image}:{index}" for index in range(100)]
        assert len((await at.mutate(review(*texts))).operations) == 401
        asked = review(*texts, f"{at.image}:1")
        at.asked.clear()
        assert not (await at.mutate(asked)).operations
        assert at.asked == []
        assert (await at.validate(asked)).code == 400


async def test_an_outage_denies_nothing_here_and_is_told() -> None:
    async with scene() as at:
        at.registry.rules.append(on("/manifests/", 503))
        asked = review(f"{at.image}:1")
        mutated = await at.mutate(asked)
        assert not mutated.operations
        assert mutated.answer.annotations["pin-reason"] == "registry_unavailable"
        assert (await at.validate(asked)).annotations["reason"] == "not_pinned"
        at.registry.rules.clear()
        assert (await at.mutate(asked)).operations


REMEMBERING = settings.Cache(tag_lifetime=0.0)  # each review asks, and what was said before is remembered


@pytest.mark.parametrize(
    ("status", "cache", "pinned"),
    [
        pytest.param(503, REMEMBERING, True, id="away"),
        pytest.param(429, REMEMBERING, True, id="limited"),
        pytest.param(404, REMEMBERING, False, id="gone"),
        pytest.param(403, REMEMBERING, False, id="refused"),
        pytest.param(503, replace(REMEMBERING, presence_stale=0.0), False, id="too-long-ago"),
    ],
)
async def test_only_where_a_registry_does_not_answer_a_tag_is_pinned_from_memory(
    status: int, cache: settings.Cache, pinned: bool
) -> None:
    async with scene(cache=cache) as at:
        asked = review(f"{at.image}:1")
        fresh = await at.mutate(asked)
        at.registry.rules.append(on("/manifests/1", status))
        mutated = await at.mutate(asked)
        assert (mutated.operations == fresh.operations) is pinned
        assert "stale" not in fresh.answer.annotations
        assert ("stale" in mutated.answer.annotations) is pinned
        assert ("stale" in record.compose(mutated.entry)) is pinned
        never = await at.mutate(review(f"{at.image}:unsigned"))
        assert "stale" not in never.answer.annotations, "this tag was asked for now"
        answer = await at.validate(with_object(asked, mutated.pod))
        assert (answer.allowed, answer.code) == ((True, 200) if pinned else (False, 503))


async def test_what_is_pinned_from_memory_is_told_and_judged_like_any_digest() -> None:
    async with scene(cache=REMEMBERING) as at:
        asked = review(f"{at.image}:unsigned")
        await at.mutate(asked)
        at.registry.rules.append(on("/manifests/unsigned", 503))
        mutated = await at.mutate(asked)
        told = mutated.answer.annotations["stale"]
        assert told.startswith(f"tag: {at.image}:unsigned: the digest of 2026-11-21T12:00:00+00:00; ")
        assert "registry_unavailable" in told
        (line,) = record.compose(mutated.entry)["stale"]["tag"]  # type: ignore[index]
        assert line.startswith(f"{at.image}:unsigned: the digest of ")
        answer = await at.validate(with_object(asked, mutated.pod))
        assert (answer.code, "no_signature" in answer.message) == (403, True)


async def test_the_judgement_of_a_bare_tag_uses_no_memory() -> None:
    async with scene(configured=settings.Pin(), cache=REMEMBERING) as at:
        asked = review(f"{at.image}:1")
        assert (await at.validate(asked)).allowed
        at.registry.rules.append(on("/manifests/1", 503))
        assert (await at.validate(asked)).code == 503


async def test_no_time_is_no_patch_and_no_denial() -> None:
    async with scene() as at:
        mutated = await at.mutate(review(f"{at.image}:1"), timeout=0.000001)
        assert not mutated.operations
        assert mutated.answer.annotations["pin-reason"] in ("deadline_exceeded", "overloaded")


async def test_a_full_house_is_no_patch_and_no_denial() -> None:
    async with scene(limits=settings.Admission(verifications=1, queue_max=0)) as at:
        asked = review(f"{at.image}:1")
        assert at.places.take("elsewhere", "registry.example.com")
        mutated = await at.mutate(asked)
        assert (mutated.operations, mutated.answer.annotations["pin-reason"]) == ([], "overloaded")
        at.places.release("elsewhere", "registry.example.com")
        assert (await at.mutate(asked)).operations


async def test_a_failure_of_ours_is_no_patch_and_no_denial(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as at:
        at.broken = True
        mutated = await at.mutate(review(f"{at.image}:1", *UNREADABLE.values()))
        assert len(mutated.answer.warnings) == 5, "within the API server's limits, whatever the images are called"
        assert (mutated.operations, mutated.answer.annotations["pin-reason"]) == ([], "internal_error")
        assert "pinning for review" in caplog.text
