"""What somebody tried with Notary Project signatures who wanted an image to run, or one that is signed well not to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.doubles.verifying import NOW, RELEASE, Cluster, opened, told, trusted
from tests.notation import aws_like, made
from tests.notation.aws_like import DAY, AWSLikeSigner, Node
from tests.trust import tokens
from webhook import settings
from webhook.demo import signing
from webhook.errors import Code, InconclusiveError
from webhook.evidence import settling
from webhook.evidence.model import COSE_ENVELOPE, JWS_ENVELOPE, NOTARY_SIGNATURE
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest
from webhook.policy.decision import Result
from webhook.trust.notary.inquiry import ChainInquiry, Inquiry, SignerInquiry, Standing, Status
from webhook.workers import Workers

SUBJECT = "C=US,ST=WA,O=Acme,CN=Release"
GOOD = Status(Standing.GOOD)
AWS = AWSLikeSigner()
ROOT = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")
LEAF = aws_like.issue(SUBJECT, ROOT)
VERIFIED = (Result.VERIFIED, None)

Answer = Callable[[Inquiry], Awaitable[Status]]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with opened() as found:
        found.verifier.means.revocation = nothing_revoked
        yield found


async def nothing_revoked(inquiry: Inquiry) -> Status:
    del inquiry
    return GOOD


async def never(inquiry: Inquiry) -> Status:
    del inquiry
    await asyncio.Event().wait()
    raise AssertionError


def described(cluster: Cluster, digest: str) -> Descriptor:
    """The image as its registry has it."""
    algorithm, _, hexadecimal = digest.partition(":")
    size = len(cluster.stored.repository(cluster.name).manifests[digest].data)
    return Descriptor(manifest.OCI_MANIFEST, Digest(algorithm, hexadecimal), size, None, {}, None)


def attach(
    cluster: Cluster,
    image: Descriptor,
    *envelopes: bytes,
    media_type: str = JWS_ENVELOPE,
    created: str = "",
    **members: object,
) -> str:
    """The envelopes stand in one referrer of `image`; returns its digest."""
    layers = [
        {"mediaType": media_type, "digest": cluster.stored.push_blob(cluster.name, one), "size": len(one)}
        for one in envelopes
    ]
    config = cluster.stored.push_blob(cluster.name, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "artifactType": NOTARY_SIGNATURE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": layers,
        "subject": {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size},
        "annotations": {"org.opencontainers.image.created": created},
    } | members
    return cluster.stored.push_manifest(cluster.name, json.dumps(document).encode(), manifest.OCI_MANIFEST)


def store(name: str, *nodes: Node, kind: str = "ca") -> dict[str, str]:
    return {"name": name, "type": kind, "certificates": "".join(node.pem for node in nodes)}


def certificate(name: str = "acme", **members: object) -> dict[str, object]:
    return {"name": name, "trustStore": "acme", "subjects": ["C=US, ST=WA, O=Acme"]} | members


def profile(name: str = "ecr", **members: object) -> dict[str, object]:
    return {"name": name, "arn": AWS.arn, "trustStore": "aws-like"} | members


ACME: Mapping[str, Any] = {"trustStores": [store("acme", ROOT)], "certificates": [certificate()]}
ECR: Mapping[str, Any] = {
    "trustStores": [store("aws-like", AWS.root, kind="signingAuthority")],
    "signerProfiles": [profile()],
}
BOTH: Mapping[str, Any] = {
    **ACME,
    **ECR,
    "trustStores": [store("acme", ROOT), store("aws-like", AWS.root, kind="signingAuthority")],
}


def job(number: int) -> AWSLikeSigner:
    """The same profile in another job, which is another question."""
    return AWS.another(job=f"5808635f-05de-4207-a891-{number:012x}")


# --- what waits for an answer about revocation


def answering(answers: Mapping[type, Answer]) -> Answer:
    async def ask(inquiry: Inquiry) -> Status:
        return await answers[type(inquiry)](inquiry)

    return ask


async def test_a_responder_that_hangs_does_not_hide_another_signer(cluster: Cluster) -> None:
    image = described(cluster, cluster.image())
    attach(cluster, image, aws_like.sign(LEAF, image=image), created="2026-11-21T09:00:00Z")
    attach(cluster, image, AWS.sign(image=image), created="2026-11-21T08:00:00Z")
    cluster.policy(**BOTH)
    cluster.verifier.means.revocation = answering({ChainInquiry: never, SignerInquiry: nothing_revoked})
    assert told(await cluster.verify(f"@{image.digest}", seconds=5)) == VERIFIED


async def test_a_responder_that_hangs_does_not_hide_a_cosign_signature(cluster: Cluster) -> None:
    image = described(cluster, cluster.image())
    attach(cluster, image, AWS.sign(image=image))
    cluster.sign(str(image.digest), RELEASE)
    cluster.policy(**ECR)
    cluster.verifier.means.revocation = never
    assert told(await cluster.verify(f"@{image.digest}", seconds=5)) == VERIFIED


async def test_an_answer_that_never_comes_does_not_hide_the_signer_s_next_signature(cluster: Cluster) -> None:
    image = described(cluster, cluster.image())
    for number in range(4):
        attach(cluster, image, job(number).sign(image=image), created=f"2026-11-21T08:00:0{9 - number}Z")
    cluster.policy(**ECR)

    async def ask(inquiry: Inquiry) -> Status:
        assert isinstance(inquiry, SignerInquiry)
        return GOOD if inquiry.job_arn == job(3).job_arn else await never(inquiry)

    cluster.verifier.means.revocation = ask
    assert told(await cluster.verify(f"@{image.digest}", seconds=5)) == VERIFIED


async def test_an_image_that_was_signed_often_has_few_calls_made(cluster: Cluster) -> None:
    """AWS is asked by few threads for all images, and whoever may sign may sign fifty times."""
    image = described(cluster, cluster.image())
    for number in range(50):
        attach(cluster, image, job(number).sign(image=image))
    cluster.policy(**ECR)
    asked: list[Inquiry] = []

    async def slowly(inquiry: Inquiry) -> Status:
        asked.append(inquiry)
        await never(inquiry)
        return GOOD

    cluster.verifier.means.revocation = slowly
    assert (await cluster.verify(f"@{image.digest}", seconds=3)).result is Result.ERROR
    assert len(asked) == settling.AT_ONCE


async def test_one_question_is_asked_once(cluster: Cluster) -> None:
    """Whoever may push can write what nobody signed anew, as often as they like: it stays one signature."""
    image = described(cluster, cluster.image())
    envelope = AWS.sign(image=image)
    for number in range(20):
        attach(cluster, image, envelope + b" " * number)
    cluster.policy(**{**ECR, "signerProfiles": [profile(), profile("one", arn=AWS.version_arn)]})
    asked: list[Inquiry] = []

    async def unknown(inquiry: Inquiry) -> Status:
        asked.append(inquiry)
        return Status(Standing.UNKNOWN, "throttled")

    cluster.verifier.means.revocation = unknown
    assert told(await cluster.verify(f"@{image.digest}")) == (Result.ERROR, Code.REVOCATION_UNKNOWN)
    assert len(asked) == 1


async def failing(inquiry: Inquiry) -> Status:
    raise InconclusiveError(Code.RATE_LIMITED, "too many requests")


async def broken(inquiry: Inquiry) -> Status:
    raise RuntimeError("a mistake of ours")


async def cancelled(inquiry: Inquiry) -> Status:
    raise asyncio.CancelledError


async def nothing(inquiry: Inquiry) -> Any:
    return None


async def nonsense(inquiry: Inquiry) -> Any:
    return Status("fine", "nothing was found")  # type: ignore[arg-type]


ANSWERS = {"fails": failing, "breaks": broken, "answers nothing": nothing, "answers nonsense": nonsense}


@pytest.mark.parametrize("on_unavailable", ["deny", "known", "allow"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_whatever_goes_wrong_with_asking_is_no_good_answer(
    cluster: Cluster, answer: Answer, on_unavailable: str
) -> None:
    image = described(cluster, cluster.image())
    attach(cluster, image, AWS.sign(image=image))
    anywhere = {"images": [cluster.host], "onUnavailable": on_unavailable}
    cluster.policy(**{**ECR, "rules": [anywhere]})
    if on_unavailable == "known":
        assert told(await cluster.verify(f"@{image.digest}")) == VERIFIED
    cluster.verifier.means.revocation = answer
    assert told(await cluster.verify(f"@{image.digest}")) == (Result.ERROR, Code.REVOCATION_UNKNOWN)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_whatever_goes_wrong_with_asking_hides_nobody_else(cluster: Cluster, answer: Answer) -> None:
    image = described(cluster, cluster.image())
    attach(cluster, image, aws_like.sign(LEAF, image=image), created="2026-11-21T09:00:00Z")
    attach(cluster, image, AWS.sign(image=image), created="2026-11-21T08:00:00Z")
    cluster.policy(**BOTH)
    cluster.verifier.means.revocation = answering({ChainInquiry: answer, SignerInquiry: nothing_revoked})
    assert told(await cluster.verify(f"@{image.digest}")) == VERIFIED


@pytest.mark.parametrize(
    ("revocation", "result"), [("enforce", Result.ERROR), ("warn", Result.VERIFIED), ("off", Result.VERIFIED)]
)
async def test_a_deadline_while_asking(cluster: Cluster, revocation: str, result: Result) -> None:
    """`warn` admits what could not be asked, also where the time of the review was used up by asking."""
    image = described(cluster, cluster.image())
    attach(cluster, image, AWS.sign(image=image))
    cluster.policy(**{**ECR, "signerProfiles": [profile(revocation=revocation)]})
    cluster.verifier.means.revocation = never
    decision = await cluster.verify(f"@{image.digest}", seconds=1)
    assert decision.result is result
    assert [("nobody said in time" in text) for text in decision.warnings] == [True] * (revocation == "warn")


# --- whose certificates are believed


OTHER_ROOT = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")  # of the same name
OTHER_LEAF = aws_like.issue(SUBJECT, OTHER_ROOT)


async def test_stores_of_one_name_in_two_policies_are_two_stores(cluster: Cluster) -> None:
    image = described(cluster, cluster.image())
    cluster.policy("one", **ACME)
    cluster.policy("two", **{**ACME, "trustStores": [store("acme", OTHER_ROOT)]})
    attach(cluster, image, aws_like.sign(LEAF, image=image))
    decision = await cluster.verify(f"@{image.digest}")
    found = [(one.policy.name, one.result, one.code) for one in decision.policies]
    assert found == [
        ("one", Result.VERIFIED, None),
        ("two", Result.DENIED, Code.UNTRUSTED_MATERIAL),
    ]
    attach(cluster, image, aws_like.sign(OTHER_LEAF, image=image))
    assert told(await cluster.verify(f"@{image.digest}")) == VERIFIED


async def test_a_worker_keeps_signers_of_one_name_apart(cluster: Cluster) -> None:
    pool = Workers(settings.Verification(time_limit=60.0))
    cluster.verifier.means.judge = pool.judge
    image = described(cluster, cluster.image())
    cluster.policy("one", **{**ACME, "trustStores": [store("acme", OTHER_ROOT)]})
    cluster.policy("two", **ACME)
    attach(cluster, image, aws_like.sign(LEAF, image=image))
    decision = await cluster.verify(f"@{image.digest}")
    await pool.close()
    assert [one.result for one in decision.policies] == [Result.DENIED, Result.VERIFIED]


BETWEEN = aws_like.issue("C=US,ST=WA,O=Acme,CN=Between", ROOT, ca=True)
CROSSED = aws_like.issue("C=US,ST=WA,O=Acme,CN=Between", OTHER_ROOT, ca=True, key=BETWEEN.key)
BELOW = aws_like.issue(SUBJECT, BETWEEN)
BELOW_CROSSED = replace(BELOW, issuer=CROSSED)  # the same leaf, by the other certificate of its issuer


def fingerprint(node: Node) -> str:
    return hashlib.sha256(node.der).hexdigest()


def key_fingerprint(node: Node) -> str:
    spki = node.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["own", "of another policy"])
@pytest.mark.parametrize("leaf", [BELOW, BELOW_CROSSED], ids=["", "cross-signed"])
@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"keyFingerprint": key_fingerprint(BELOW)}, Code.BLOCKED),
        ({"keyFingerprint": key_fingerprint(BETWEEN)}, Code.BLOCKED),
        ({"keyFingerprint": key_fingerprint(LEAF)}, None),
        ({"certificateFingerprint": fingerprint(BELOW)}, Code.BLOCKED),
        ({"certificateFingerprint": fingerprint(LEAF)}, None),
    ],
)
async def test_a_stolen_key_of_an_authority_is_blocked_whichever_certificate_is_shown(
    cluster: Cluster, entry: Mapping[str, str], code: Code | None, leaf: Node, elsewhere: bool
) -> None:
    image = described(cluster, cluster.image())
    deny: dict[str, Any] = {"deny": [{**entry, "reason": "stolen in May"}]}
    cluster.policy(**{**ACME, "trustStores": [store("acme", ROOT, OTHER_ROOT)], **({} if elsewhere else deny)})
    if elsewhere:
        cluster.policy("other", mode="warn", **deny)
    attach(cluster, image, aws_like.sign(leaf, image=image))
    assert (await cluster.verify(f"@{image.digest}")).policies[0].code is code


@pytest.mark.parametrize("names", [("release", "acme"), ("acme", "again"), ("release", "acme", "again")])
async def test_one_key_counts_once_however_it_signs(cluster: Cluster, names: tuple[str, ...]) -> None:
    """Once as cosign does, and twice with certificates of one key under two authorities."""
    key = signing.new_key("p384")
    leaves = [aws_like.issue(SUBJECT, root, key=key.private) for root in (ROOT, OTHER_ROOT)]  # type: ignore[arg-type]
    image = described(cluster, cluster.image())
    cluster.policy(
        trustedKeys=[trusted("release", key)],
        trustStores=[store("acme", ROOT), store("again", OTHER_ROOT)],
        certificates=[certificate(), certificate("again", trustStore="again")],
        rules=[{"images": [cluster.host], "require": 2, "signers": list(names)}],
    )
    cluster.sign(str(image.digest), key)
    for leaf in leaves:
        attach(cluster, image, aws_like.sign(leaf, image=image))
    assert told(await cluster.verify(f"@{image.digest}")) == (Result.DENIED, Code.NOT_ENOUGH_SIGNERS)


@pytest.mark.parametrize("level", ["permissive", "audit"])
async def test_what_one_level_lets_pass_counts_for_no_other(cluster: Cluster, level: str) -> None:
    """A stranger's signature counts for whoever asks only for that much, and never as somebody else's."""
    image = described(cluster, cluster.image())
    cluster.policy(
        trustStores=[store("acme", ROOT)],
        certificates=[certificate("strict"), certificate("lax", level=level)],
        rules=[{"images": [cluster.host], "require": "all", "signers": ["strict", "lax"]}],
    )
    attach(cluster, image, aws_like.sign(OTHER_LEAF, image=image))
    attach(cluster, image, aws_like.sign(aws_like.issue(SUBJECT, OTHER_ROOT), image=image))
    expected = Code.NOT_ENOUGH_SIGNERS if level == "audit" else Code.UNTRUSTED_MATERIAL
    assert told(await cluster.verify(f"@{image.digest}")) == (Result.DENIED, expected)


async def test_nobody_is_asked_about_a_stranger_s_chain(cluster: Cluster) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(trustStores=[store("acme", ROOT)], certificates=[certificate(level="audit")])
    cluster.verifier.means.revocation = broken
    attach(cluster, image, aws_like.sign(OTHER_LEAF, image=image))
    decision = await cluster.verify(f"@{image.digest}")
    assert told(decision) == VERIFIED
    assert decision.policies[0].outcomes[0].facts["revocation"] == "not asked: the chain is not trusted"


# --- when it was signed


TSA_KEYS = tokens.make_key(), tokens.make_key()
TSA_ROOT = tokens.make_certificate("TSA Root", TSA_KEYS[0])
TSA_LEAF = tokens.make_certificate(
    "TSA", TSA_KEYS[1], issuer=tokens.Issuer(TSA_KEYS[0], TSA_ROOT), ca=False, purposes=[tokens.TIME_STAMPING]
)
CLOCK = {"name": "clock", "type": "tsa", "certificates": TSA_ROOT.public_bytes(Encoding.PEM).decode()}
STAMPED: Mapping[str, Any] = {
    "trustStores": [store("acme", ROOT), CLOCK],
    "certificates": [certificate(timestamp={"trustStore": "clock"})],
}


def stamp(at: datetime) -> Callable[[bytes], bytes]:
    return lambda signature: tokens.make_token(signature, key=TSA_KEYS[1], certificate=TSA_LEAF, at=at)


@pytest.mark.parametrize(
    ("signed", "stamped", "code"),
    [
        pytest.param(NOW - DAY, NOW - DAY, None, id="young"),
        pytest.param(NOW - 30 * DAY, NOW - 30 * DAY, Code.TIME_INVALID, id="old"),
        pytest.param(NOW - 30 * DAY, NOW - DAY, Code.TIME_INVALID, id="old, and stamped anew"),
        pytest.param(NOW + 30 * DAY, NOW - 30 * DAY, Code.TIME_INVALID, id="old, and said to be young"),
        pytest.param(NOW - DAY, NOW + DAY, Code.TIME_INVALID, id="young, by a clock that goes ahead"),
        pytest.param(NOW + DAY, NOW - DAY, None, id="young, by a signer whose clock goes ahead"),
    ],
)
async def test_an_old_signature_stays_old_whoever_stamps_it_anew(
    cluster: Cluster, signed: datetime, stamped: datetime, code: Code | None
) -> None:
    """What a timestamp authority signs is not signed itself, and anybody may ask one about anything."""
    image = described(cluster, cluster.image())
    cluster.policy(**{**STAMPED, "rules": [{"images": [cluster.host], "maxAge": "7d"}]})
    attach(cluster, image, aws_like.sign(LEAF, image=image, at=signed, token=stamp(stamped)))
    assert (await cluster.verify(f"@{image.digest}")).code is code


async def test_a_token_of_another_signature_says_nothing(cluster: Cluster) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(**STAMPED)
    attach(cluster, image, aws_like.sign(LEAF, image=image, token=lambda _: stamp(NOW - DAY)(b"another")))
    assert (await cluster.verify(f"@{image.digest}")).code is Code.TIME_INVALID


# --- what is unsigned, and where it stands


def rewritten(envelope: bytes, **header: object) -> bytes:
    document = json.loads(envelope)
    document["header"] |= header
    return json.dumps(document).encode()


def x5c(*nodes: Node) -> list[str]:
    return [base64.b64encode(node.der).decode() for node in nodes]


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        pytest.param((LEAF, ROOT), None, id="right"),
        pytest.param((LEAF, OTHER_ROOT), Code.CERT_CHAIN_INVALID, id="a root of the same name"),
        pytest.param((OTHER_LEAF, OTHER_ROOT, ROOT), Code.SIGNATURE_INVALID, id="another leaf, and the root behind"),
        pytest.param((LEAF, ROOT, ROOT), Code.CERT_CHAIN_INVALID, id="the root twice"),
        pytest.param((LEAF, BETWEEN, ROOT), Code.CERT_CHAIN_INVALID, id="a CA that did not issue it"),
        pytest.param((LEAF,), Code.CERT_CHAIN_INVALID, id="without the root"),
        pytest.param((ROOT, LEAF), Code.SIGNATURE_INVALID, id="root first"),
    ],
)
async def test_a_chain_that_somebody_wrote_anew(cluster: Cluster, chain: tuple[Node, ...], code: Code | None) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(**ACME)
    attach(cluster, image, rewritten(aws_like.sign(LEAF, image=image), x5c=x5c(*chain)))
    assert (await cluster.verify(f"@{image.digest}")).code is code


async def test_a_stranger_s_signature_with_the_trusted_root_behind_its_own_chain(cluster: Cluster) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(**ACME)
    mine = aws_like.sign(OTHER_LEAF, image=image)
    attach(cluster, image, rewritten(mine, x5c=x5c(OTHER_LEAF, OTHER_ROOT, ROOT)))
    attach(cluster, image, rewritten(mine, x5c=x5c(OTHER_LEAF, ROOT)))
    assert told(await cluster.verify(f"@{image.digest}")) == (Result.DENIED, Code.CERT_CHAIN_INVALID)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        pytest.param({}, None, id="right"),
        pytest.param({"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"}, Code.NO_SIGNATURE,
                     id="said to be a bundle"),
        pytest.param({"artifactType": ""}, Code.NO_SIGNATURE, id="said to be nothing"),
        pytest.param({"subject": None}, Code.MALFORMED, id="of no image"),
    ],
)  # fmt: skip
async def test_an_envelope_is_one_where_its_manifest_says_so(
    cluster: Cluster, members: dict[str, Any], code: Code | None
) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(**ACME)
    signature = attach(cluster, image, aws_like.sign(LEAF, image=image), **members)
    index = {"mediaType": manifest.OCI_MANIFEST, "digest": signature, "artifactType": NOTARY_SIGNATURE}
    size = len(cluster.stored.repository(cluster.name).manifests[signature].data)
    listed = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [{**index, "size": size}]}
    tag = str(image.digest).replace(":", "-")
    cluster.stored.push_manifest(cluster.name, json.dumps(listed).encode(), manifest.OCI_INDEX, tag=tag)
    assert (await cluster.verify(f"@{image.digest}")).code is code


@pytest.mark.parametrize("media_type", ["application/vnd.dev.sigstore.bundle.v0.3+json", COSE_ENVELOPE])
async def test_an_envelope_under_another_media_type_is_none(cluster: Cluster, media_type: str) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(**ACME)
    attach(cluster, image, aws_like.sign(LEAF, image=image), media_type=media_type)
    expected = Code.MALFORMED if media_type == COSE_ENVELOPE else Code.UNSUPPORTED
    assert (await cluster.verify(f"@{image.digest}")).code is expected


@pytest.mark.parametrize(
    "other",
    [
        {"digest": Digest("sha256", "ab" * 32)},
        {"media_type": manifest.OCI_INDEX},
        {"size": 1},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_what_was_signed_is_this_image_in_every_part(cluster: Cluster, other: dict[str, Any]) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(**ACME)
    attach(cluster, image, aws_like.sign(LEAF, image=replace(image, **other)))
    assert (await cluster.verify(f"@{image.digest}")).code is Code.SUBJECT_MISMATCH


async def test_decoys_that_say_they_are_newer_crowd_a_signature_out_and_are_told(cluster: Cluster) -> None:
    """Only so many are looked at: whoever may push can have a signed image denied, and can have none admitted."""
    image = described(cluster, cluster.image())
    cluster.policy(**ACME)
    attach(cluster, image, aws_like.sign(LEAF, image=image), created="2026-11-21T08:00:00Z")
    for number in range(50):
        attach(cluster, image, b"decoy %d" % number, created="2999-01-01T00:00:00Z")
    decision = await cluster.verify(f"@{image.digest}")
    assert told(decision) == (Result.DENIED, Code.LIMIT_EXCEEDED)
    assert "51 candidates listed as referrers, of which 50 were examined" in decision.detail


# --- where the price is paid by another


@pytest.mark.parametrize("mode", ["enforce", "warn"])
async def test_a_broken_copy_beside_a_good_signature_does_nothing(cluster: Cluster, mode: str) -> None:
    image = described(cluster, cluster.image())
    cluster.policy(**{**ACME, "mode": mode})
    good = aws_like.sign(LEAF, image=image)
    document = json.loads(good)
    document["signature"] = ("B" if document["signature"][0] == "A" else "A") + document["signature"][1:]
    attach(cluster, image, json.dumps(document).encode(), created="2026-11-21T09:00:00Z")
    attach(cluster, image, good, created="2026-11-21T08:00:00Z")
    assert (await cluster.verify(f"@{image.digest}")).policies[0].result is Result.VERIFIED


@pytest.mark.parametrize(("count", "said"), [(9_000, "whole"), (11_000, "limit_exceeded")])
def test_names_that_mean_nothing_are_bounded_in_number(count: int, said: str) -> None:
    """A megabyte of them, which nobody signs and anybody can add, would take 80 ms to read."""
    assert made.told(made.sign_jws(header={f"x{number}": 1 for number in range(count)}), made.JWS) == said
