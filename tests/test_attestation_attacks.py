"""What somebody tried who wanted an attestation to be believed, another one hidden, or the judging of them to stop.

Whole verifiers: policies as a user writes them, a private Sigstore, a registry on loopback, and workers that judge.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from tests.doubles.registry import HostileRegistry, on, registry_for, running
from tests.doubles.verifying import NAME, NOW, RELEASE, TRUST, Cluster, Shelf, told
from tests.private_sigstore import attach, documents, images
from tests.private_sigstore.asked import OTHER, OURS, STRANGER
from tests.private_sigstore.images import Attach, Fields, attestations
from tests.private_sigstore.instance import Layer, PrivateSigstore
from tests.private_sigstore.recipe import Twist
from webhook import settings
from webhook.demo import signing
from webhook.demo.content import as_json, descriptor
from webhook.demo.registry import Outgoing
from webhook.errors import Code
from webhook.evidence.collect import PAYLOADS_MAX_BYTES, Collector
from webhook.evidence.model import DSSE_ENVELOPE, Evidence
from webhook.judging import Judgement, Question
from webhook.oci import manifest
from webhook.policy import decide, message
from webhook.policy.decision import REFUSED, ImageDecision, Result
from webhook.settings import MIB
from webhook.verification import Verifier
from webhook.workers import Workers, _Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one worker for all

VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"
HOUR = timedelta(hours=1)
CLEAN: Fields = {"critical": 0}
BAD: Fields = {"critical": 7}
Made = Callable[[str], Layer]


@asynccontextmanager
async def working(workers: Workers, stored: HostileRegistry | None = None) -> AsyncIterator[Cluster]:
    """As the server joins it: evidence is judged by workers, and not kept."""
    stored = stored or HostileRegistry()
    async with running(stored) as host, registry_for(host) as registry:
        collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
        verifier = Verifier(
            registry=registry,
            collector=collector,
            policy=settings.Policy(),
            observe=lambda stage, seconds: None,
            trust=lambda: TRUST,
            judge=workers.judge,
            keep=Evidence.emptied,
        )
        yield Cluster(host, stored, verifier)
        await collector.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(settings.Verification(time_limit=60.0))
    yield workers
    await workers.close()


def scan(hours: float, what: object = CLEAN, *, by: PrivateSigstore = OURS, of: str = "", **how: Any) -> Made:
    """An attestation that was signed and logged so many hours ago."""
    return lambda image: by.legacy_attestation(
        of or image, predicate_type=VULN, predicate=what, at=NOW - hours * HOUR, **how
    )


def once_made(image: str) -> Layer:
    """A provenance, long before any scan."""
    return OURS.legacy_attestation(image, predicate_type=images.SLSA, at=NOW - 90 * 24 * HOUR)


def with_predicate(value: object) -> Made:
    return scan(1, twist=Twist(payload=lambda document: documents.put(document, ("predicate",), value)))


def of_type(predicate_type: str) -> Made:
    """It says that it is of the type that is wanted, and is of another."""

    def make(image: str) -> Layer:
        payload, annotations = OURS.legacy_attestation(image, predicate_type=predicate_type, predicate=CLEAN, at=NOW)
        return payload, {**annotations, "predicateType": VULN}

    return make


def nested(depth: int) -> object:
    return {"a": nested(depth - 1)} if depth else 0


def policy_of(
    name: str, *, mode: str = "enforce", tampered: str = "deny", by: str = images.SUBJECT, **rule: object
) -> dict[str, object]:
    """A policy that demands a scan, and no signature; what is no field of rules is one of the demand."""
    demand = {"predicateType": VULN, "condition": rule.pop("condition", "predicate.critical == 0")}
    spec = images.spec(
        **images.by(subject=by),
        mode=mode,
        tampered=tampered,
        rules=[{"images": ["**"], "require": "none", "attestations": [demand], **rule}],
    )
    return {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": name}, "spec": spec}


def demanding(**demand: object) -> dict[str, Any]:
    return images.spec(**images.demanding(**{"predicateType": VULN, "condition": "predicate.critical == 0"} | demand))


async def decided(cluster: Cluster, attach: Attach, **demand: object) -> ImageDecision:
    cluster.policies.clear()
    cluster.policy(**demanding(**demand))
    del cluster.policies[0]["spec"]["trustedKeys"]  # type: ignore[attr-defined]
    digest = cluster.image(f"image {len(cluster.stored.repository(NAME).manifests)}")
    attach(cluster, digest)
    return await cluster.verify(f"@{digest}")


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(workers: Workers) -> AsyncIterator[Cluster]:
    async with working(workers) as cluster:
        yield cluster


# --- which of several counts


def hidden(change: Callable[[Fields], object]) -> Attach:
    """A clean scan, and the newer one that is bad, whose layer in the manifest `change` changes."""

    def put(shelf: Shelf, image: str) -> None:
        layers = [scan(2)(image), scan(1, BAD)(image)]
        described = [{**descriptor(DSSE_ENVELOPE, data), "annotations": annotations} for data, annotations in layers]
        for data, _ in layers:
            shelf.stored.push_blob(NAME, data)
        changed = change(described[-1])
        more = changed if isinstance(changed, list) else [changed]
        body = {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "config": descriptor(signing.IMAGE_CONFIG, b"{}"),
            "layers": [described[0], *more],
        }
        tag = f"{image.replace(':', '-')}.att"
        shelf.stored.push_manifest(NAME, as_json(body), manifest.OCI_MANIFEST, tag=tag)

    return put


def times(layer: Fields, count: int) -> list[Fields]:
    """It, behind as many that are like it."""
    decoy = b"{}"
    annotations = {"predicateType": VULN}
    data = base64.b64encode(decoy).decode()
    one = {**descriptor(DSSE_ENVELOPE, decoy), "annotations": annotations, "data": data}
    return [layer, *[{**one, "annotations": {**annotations, "n": str(n)}} for n in range(count)]]


HIDDEN: Mapping[str, tuple[Attach, Result, Code | None]] = {
    "left as it is": (hidden(lambda layer: layer), Result.DENIED, Code.CLAIM_MISMATCH),
    "said to be larger": (
        hidden(lambda layer: {**layer, "size": int(str(layer["size"])) + 1}), Result.DENIED, Code.REGISTRY_VIOLATION,
    ),
    "said to be too large": (hidden(lambda layer: {**layer, "size": 17 * MIB}), Result.DENIED, Code.LIMIT_EXCEEDED),
    "inlined as another thing": (hidden(lambda layer: {**layer, "data": "e30="}), Result.DENIED,
                                 Code.REGISTRY_VIOLATION),
    "behind fifty newer ones": (hidden(lambda layer: times(layer, 50)), Result.DENIED, Code.LIMIT_EXCEEDED),
    "twice": (hidden(lambda layer: [layer, layer]), Result.DENIED, Code.CLAIM_MISMATCH),
    "before the older one": (
        attestations(scan(1, BAD), scan(2)), Result.DENIED, Code.CLAIM_MISMATCH,
    ),
    "the older one is the bad one": (attestations(scan(1), scan(2, BAD)), Result.VERIFIED, None),
    "by a stranger": (attestations(scan(2), scan(1, BAD, by=STRANGER)), Result.VERIFIED, None),
    "by somebody else": (attestations(scan(2), scan(1, BAD, subject="x@example.com")), Result.VERIFIED, None),
    "of another image": (attestations(scan(2), scan(1, BAD, of=OTHER)), Result.VERIFIED, None),
}  # fmt: skip


@pytest.mark.parametrize(("attach", "result", "code"), HIDDEN.values(), ids=HIDDEN)
async def test_the_newest_counts_however_it_is_hidden(
    cluster: Cluster, attach: Attach, result: Result, code: Code | None
) -> None:
    assert told(await decided(cluster, attach, pick="newest")) == (result, code)


@pytest.mark.parametrize("place", [".att", "/referrers/", f"/{NAME}/manifests/sha256-"])
async def test_a_place_that_cannot_be_asked_may_hide_the_newest(workers: Workers, place: str) -> None:
    stored = HostileRegistry()
    async with working(workers, stored) as cluster:
        assert told(await decided(cluster, attestations(scan(1)), pick="newest")) == (Result.VERIFIED, None)
        stored.rules.append(lambda request: Outgoing(503) if place in request.path else None)
        refused = await decided(cluster, attestations(scan(1)), pick="newest")
        assert told(refused) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)


ALONE: Mapping[str, tuple[Made, Code | None]] = {
    "as it should be": (scan(1), None),
    "too old": (scan(25), Code.TIME_INVALID),
    "logged tomorrow": (scan(-24), Code.TIME_INVALID),
    "of another image": (scan(1, of=OTHER), Code.SUBJECT_MISMATCH),
    "by another instance": (scan(1, by=STRANGER), Code.TLOG_INVALID),
    "by somebody else": (scan(1, subject="dev@example.com.evil"), Code.IDENTITY_MISMATCH),
    "its predicate is null": (with_predicate(None), Code.CONDITION_ERROR),
    "its predicate is a list": (with_predicate([]), Code.MALFORMED),
    "its predicate is missing": (with_predicate(documents.DELETED), Code.CONDITION_ERROR),
    "its predicate is empty": (scan(1, {}), Code.CONDITION_ERROR),
    "a text for a number": (scan(1, {"critical": "0"}), Code.CLAIM_MISMATCH),
    "a fraction that is no whole": (scan(1, {"critical": 1e-9}), Code.CLAIM_MISMATCH),
    "a number of 65 bits": (scan(1, {"critical": 1 << 64}), Code.CONDITION_ERROR),
    "nested too deeply": (scan(1, {"critical": nested(400)}), Code.CONDITION_ERROR),
    "a list as long as may be": (scan(1, {"critical": [0] * 200_000}), Code.CLAIM_MISMATCH),
    "eleven mebibytes": (scan(1, {"critical": "a" * 11 * MIB}), Code.CLAIM_MISMATCH),
    "what a terminal would obey": (scan(1, {"critical": "\x1b[2J\r\n\u202e" * 999}), Code.CLAIM_MISMATCH),
    "too many values": (scan(1, {"critical": [0] * 250_000}), Code.LIMIT_EXCEEDED),
    "a type in other letters": (of_type(VULN.upper()), Code.NO_SIGNATURE),
    "a type with a slash more": (of_type(f"{VULN}/"), Code.NO_SIGNATURE),
    "an older version of the type": (of_type(VULN.replace("v1", "v0")), Code.NO_SIGNATURE),
}


@pytest.mark.parametrize(("made", "code"), ALONE.values(), ids=ALONE)
async def test_one_alone(cluster: Cluster, made: Made, code: Code | None) -> None:
    decision = await decided(cluster, attestations(made), maxAge="24h")
    assert decision.code is code
    assert decision.result is (Result.DENIED if code else Result.VERIFIED)
    if code:
        said = message.denial(decide.decide_review([decision], revision="r"))
        assert f"- attestation vuln  {code}" in said
        assert len(said.encode()) <= message.MAX_MESSAGE_BYTES
        assert all(line.isprintable() for line in said.split("\n"))


async def test_an_old_one_does_not_come_back_by_being_attached_again(cluster: Cluster) -> None:
    """The old one was clean, and its manifest is the newest of all that is listed."""

    def put(shelf: Shelf, image: str) -> None:
        for hours, said, created in ((30, CLEAN, "2099-01-01T00:00:00Z"), (1, BAD, "2000-01-01T00:00:00Z")):
            data = OURS.keyless_bundle(image, predicate_type=VULN, predicate=said, at=NOW - hours * HOUR)
            size = len(shelf.stored.repository(NAME).manifests[image].data)
            subject: dict[str, object] = {"mediaType": manifest.OCI_MANIFEST, "size": size, "digest": image}
            made = attach.referrer(data, subject, predicate_type=VULN)
            body = documents.edit(made.manifest, ("annotations", "org.opencontainers.image.created"), created)
            attach.push(shelf.stored, NAME, replace(made, manifest=body))

    assert told(await decided(cluster, put, pick="newest")) == (Result.DENIED, Code.CLAIM_MISMATCH)
    assert told(await decided(cluster, put, pick="all")) == (Result.DENIED, Code.CLAIM_MISMATCH)
    assert told(await decided(cluster, put, pick="any")) == (Result.VERIFIED, None)
    assert told(await decided(cluster, put, pick="any", maxAge="24h")) == (Result.DENIED, Code.CLAIM_MISMATCH)


async def test_what_is_of_another_type_is_not_told_as_a_bad_signature(cluster: Cluster) -> None:
    cluster.policy(**demanding())
    digest = cluster.image()
    attestations(of_type(f"{VULN}/"))(cluster, digest)
    decision = await cluster.verify(f"@{digest}")
    assert told(decision) == (Result.DENIED, Code.NO_SIGNATURE)
    assert f"no attestation of type {VULN} was found" in decision.detail


# --- several policies


async def test_two_policies_judge_one_attestation_each_by_its_own_condition_and_signers(cluster: Cluster) -> None:
    digest = cluster.image()
    attestations(scan(1, BAD))(cluster, digest)
    cluster.policies += [policy_of("lenient", condition="predicate.critical < 9")]
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)
    cluster.policies += [policy_of("strict")]
    strict = await cluster.verify(f"@{digest}")
    assert told(strict) == (Result.DENIED, Code.CLAIM_MISMATCH)
    assert [one.code for one in strict.policies] == [None, Code.CLAIM_MISMATCH]
    cluster.policies[1] = policy_of("other", by="x@example.com", condition="predicate.critical < 9")
    other = await cluster.verify(f"@{digest}")
    assert [one.code for one in other.policies] == [None, Code.IDENTITY_MISMATCH]


@pytest.mark.parametrize("outage", ["", ".att", "/referrers/", "/blobs/"])
@pytest.mark.parametrize("choice", ["deny", "known", "allow"])
@pytest.mark.parametrize("attached", [True, False], ids=["attested", "bare"])
async def test_a_warn_policy_that_wants_attestations_admits_and_denies_nothing(
    workers: Workers, outage: str, choice: str, attached: bool
) -> None:
    stored = HostileRegistry()
    async with working(workers, stored) as cluster:
        digest = cluster.image()
        cluster.sign(digest, RELEASE)
        if attached:
            attestations(scan(1, BAD))(cluster, digest)
            images.bundle(predicate_type=VULN, at=NOW)(cluster, digest)
        cluster.policy(rules=[{"images": [cluster.host], "onUnavailable": choice}])
        if outage:
            stored.rules.append(on(outage, 503))
        alone = await cluster.verify(f"@{digest}")
        warning = policy_of("warning", mode="warn", tampered="warn")
        cluster.policies.insert(0, warning)
        assert ((await cluster.verify(f"@{digest}")).result in REFUSED) is (alone.result in REFUSED)


async def test_a_signature_that_is_listed_is_no_attestation_when_the_registry_fails(cluster: Cluster) -> None:
    """A policy that only wants attestations is not told of signatures, whoever else wants those."""
    assert isinstance(cluster.stored, HostileRegistry)
    cluster.policies.append(policy_of("attested", images=[cluster.host], onUnavailable="allow"))
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    cluster.stored.rules += [on(".att", 503), on("/referrers/", 503)]
    assert (await cluster.verify(f"@{digest}")).result is Result.WARNED
    cluster.policy("signed", mode="warn")
    assert (await cluster.verify(f"@{digest}")).result is Result.WARNED
    attestations(scan(1, BAD))(cluster, digest)
    cluster.stored.rules[:] = [on("/blobs/", 503)]
    assert told(await cluster.verify(f"@{digest}")) == (Result.ERROR, Code.REGISTRY_UNAVAILABLE)


@pytest.mark.parametrize("place", ["referrers", "att"])
async def test_the_scan_of_every_day_does_not_crowd_out_what_was_made_once(cluster: Cluster, place: str) -> None:
    cluster.policies.append(policy_of("both"))
    spec = cluster.policies[0]["spec"]
    assert isinstance(spec, dict)
    spec["rules"][0]["attestations"].append({"predicateType": images.SLSA})
    digest = cluster.image()
    if place == "referrers":
        for day in range(60):
            images.bundle(predicate_type=VULN, predicate=CLEAN, at=NOW - day * 24 * HOUR)(cluster, digest)
        images.bundle(predicate_type=images.SLSA, at=NOW)(cluster, digest)
    else:
        attestations(once_made, *(scan(24 * day) for day in range(60, 0, -1)))(cluster, digest)
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)


# --- workers in the loop


FORMS: Mapping[str, Attach] = {
    "sig": images.signature(at=NOW),
    "bundle": images.bundle(at=NOW),
    "bundle of Rekor 2": images.bundle(at=NOW, log="v2"),
    "att": attestations(scan(1)),
    "attestation in a bundle": images.bundle(predicate_type=VULN, predicate=CLEAN, at=NOW),
}


@pytest.mark.parametrize("inline", [False, True], ids=["blob", "inline"])
@pytest.mark.parametrize("form", FORMS)
async def test_every_form_passes_through_a_worker(cluster: Cluster, form: str, inline: bool) -> None:
    cluster.policy(**(demanding() if "att" in form else images.spec()))
    digest = cluster.image()
    FORMS[form](cluster, digest)
    if inline:
        inline_all(cluster)
    decision = await cluster.verify(f"@{digest}")
    assert told(decision) == (Result.VERIFIED, None)
    judged = [outcome for policy in decision.policies for outcome in policy.outcomes if outcome.evidence]
    assert judged
    for outcome in judged:
        assert outcome.evidence is not None
        assert (outcome.evidence.payload, outcome.evidence.annotations) == (b"", {}), "it lives as long as the review"


def inline_all(cluster: Cluster) -> None:
    """Every layer that was attached stands in its manifest."""
    stored = cluster.stored.repository(NAME)
    for name, found in list(stored.manifests.items()):
        document = json.loads(found.data)
        if not document.get("layers"):
            continue
        for layer in document["layers"]:
            layer["data"] = base64.b64encode(stored.blobs.pop(layer["digest"])).decode()
        tag = next((tag for tag, digest in stored.tags.items() if digest == name), None)
        del stored.manifests[name]
        cluster.stored.push_manifest(NAME, as_json(document), manifest.OCI_MANIFEST, tag=tag)


async def test_a_worker_that_dies_denies_and_hides_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two attestations the newer one kills its worker: the older one does not count as the newest."""
    ask = _Worker.ask

    async def killing(self: _Worker, evidence: Evidence, question: Question) -> Judgement:
        if evidence.annotations.get("kills"):
            self._process.kill()
        return await ask(self, evidence, question)

    monkeypatch.setattr(_Worker, "ask", killing)
    both = attestations(scan(2), images.changed(scan(1, BAD), {"kills": "it"}))
    assert told(await decided(cluster, both, pick="newest")) == (Result.ERROR, Code.INTERNAL_ERROR)
    assert told(await decided(cluster, both, pick="any")) == (Result.VERIFIED, None)


async def test_who_has_no_time_left_leaves_no_work_behind(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Evidence] = []

    async def never(self: _Worker, evidence: Evidence, question: Question) -> Judgement:
        asked.append(evidence)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(_Worker, "ask", never)
    cluster.policies.append(policy_of("production", images=[cluster.host], onUnavailable="allow"))
    digest = cluster.image()
    attestations(scan(1), scan(2))(cluster, digest)
    late = await asyncio.gather(*(cluster.verify(f"@{digest}", seconds=0.5) for _ in range(8)))
    assert {told(each) for each in late} == {(Result.ERROR, Code.DEADLINE_EXCEEDED)}
    assert len(asked) == 1
    assert cluster.verifier.means.collector.payloads.has(PAYLOADS_MAX_BYTES)
