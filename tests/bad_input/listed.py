"""What is meant by a bad signature, by name: of another image or time, or logged or stamped for another one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from tests.bad_input.makers import (
    ATTESTED_BY_KEY,
    DAY,
    ENTRY,
    HUNDRED,
    NOTE,
    PROOF,
    UNKNOWN_LOG,
    Row,
    by_release,
    checkpoint,
    crowd,
    digest_in,
    entry_of,
    instance,
    moved_referrer,
    moved_signature,
    of_document,
    padded,
    with_entry,
)
from tests.doubles.verifying import Shelf
from tests.private_sigstore import attach, documents, images
from tests.private_sigstore.asked import MINUTE, OTHER, OURS, STRANGER, THIRD_KEY
from tests.private_sigstore.authority import SCTS
from tests.private_sigstore.documents import edit, flipped, put
from tests.private_sigstore.images import (
    ISSUER,
    SLSA,
    Attach,
    all_of,
    attestation,
    attestations,
    bundle,
    demanding,
    made,
    member,
    signature,
    signatures,
    statement,
    twisted,
    under,
)
from tests.private_sigstore.instance import (
    AT,
    CERTIFICATE,
    SIGNATURE,
    YEAR,
    PrivateSigstore,
)
from tests.private_sigstore.logs import RekorV2
from tests.private_sigstore.recipe import Twist
from webhook.demo.content import as_json
from webhook.demo.signing import base64_of
from webhook.errors import Code
from webhook.settings import MIB


def promised_for_another() -> bytes:
    """The timestamps of CT logs in another certificate."""
    return OURS.issue(THIRD_KEY).extensions.get_extension_for_oid(SCTS).value.public_bytes()


def of_another_rekor_2() -> PrivateSigstore:
    """A log that has our log's key and id, and calls itself by another name."""
    named = RekorV2("evil.example")
    named.key = OURS.rekor2.key
    return instance(rekor2=named)


def as_by_our_log(make: PrivateSigstore) -> Attach:
    log_id = base64_of(OURS.rekor2.log_id)
    return made(lambda image: edit(make.keyless_bundle(image, log="v2"), (*ENTRY, "logId", "keyId"), log_id))


def strangers(total: int) -> Attach:
    """Signatures that are right in all, by somebody whom nobody trusts."""

    def make(shelf: Shelf, image: str) -> None:
        payload, annotations = OURS.legacy_signature(image, subject="mallory@example.com")
        short = {name: annotations[name] for name in (SIGNATURE, CERTIFICATE)}  # that a manifest may hold so many
        layers = [(payload, {**short, "number": str(number)}) for number in range(total)]
        attach.signatures(shelf.stored, shelf.name, image, layers)

    return make


BIG = {"filler": "x" * (11 * MIB)}  # 14.7 MiB as base64, in an envelope of at most 16


def announced_smaller(shelf: Shelf, image: str) -> None:
    """A layer of 32 MiB, of which the manifest says that it is small."""
    images.attestation()(shelf, image)
    stored = shelf.stored.repository(shelf.name)
    for digest, data in stored.blobs.items():
        if b"payloadType" in data:
            stored.blobs[digest] = data.ljust(32 * MIB)


# --- the names that stand in the list of bad input


NAMED: Mapping[str, Row] = {
    "signature for another digest: bundle": Row(Code.SUBJECT_MISMATCH, bundle(of=OTHER)),
    "signature for another digest: bundle, Rekor 2": Row(
        Code.SUBJECT_MISMATCH, bundle(of=OTHER, log="v2"), bundle(log="v2")
    ),
    "signature for another digest: legacy": Row(Code.SUBJECT_MISMATCH, signature(of=OTHER), signature()),
    "signature for another digest: attestation": Row(
        Code.SUBJECT_MISMATCH, attestation(of=OTHER), attestation(), demanding()
    ),
    "signature for another digest: attestation in a bundle": Row(
        Code.SUBJECT_MISMATCH, bundle(of=OTHER, predicate_type=SLSA), bundle(predicate_type=SLSA), demanding()
    ),
    "signature moved from another image: its tag": Row(Code.SUBJECT_MISMATCH, moved_signature, signature()),
    "signature moved from another image: its referrer": Row(
        Code.MALFORMED, moved_referrer, words="as its subject"
    ),
    "certificate outside its validity: logged before": Row(
        Code.TIME_INVALID, bundle(logged_at=AT - timedelta(seconds=1)), bundle(logged_at=AT)
    ),
    "certificate outside its validity: logged after": Row(
        Code.TIME_INVALID, bundle(logged_at=AT + 10 * MINUTE + timedelta(seconds=1)), bundle(logged_at=AT + 10 * MINUTE)
    ),
    "certificate outside its validity: legacy": Row(
        Code.TIME_INVALID, signature(logged_at=AT + 11 * MINUTE), signature(logged_at=AT + 9 * MINUTE)
    ),
    "certificate outside its validity: stamped after": Row(
        Code.TIME_INVALID, bundle(log="v2", stamped_at=AT + 11 * MINUTE), bundle(log="v2", stamped_at=AT + 9 * MINUTE)
    ),
    "certificate outside its validity: one time of two": Row(
        Code.TIME_INVALID,
        bundle(timestamp=True, stamped_at=AT + 11 * MINUTE),
        bundle(timestamp=True, stamped_at=AT + 9 * MINUTE),
    ),
    "certificate outside its validity: attestation": Row(
        Code.TIME_INVALID, attestation(logged_at=AT + DAY), attestation(), demanding()
    ),
    "wrong issuer extension: v1 is another": Row(
        Code.MALFORMED, bundle(leaf=OURS.leaf(issuer_v1="https://evil.example.com")),
        bundle(leaf=OURS.leaf(issuer_v1=None)),
    ),
    "wrong issuer extension: v2 is another": Row(
        Code.MALFORMED, bundle(leaf=OURS.leaf(issuer_v2="https://evil.example.com")),
        bundle(leaf=OURS.leaf(issuer_v2=None)),
    ),
    "wrong issuer extension: v2 alone, and another": Row(
        Code.IDENTITY_MISMATCH, bundle(leaf=OURS.leaf(issuer="https://evil.example.com", issuer_v1=None)),
        bundle(leaf=OURS.leaf(issuer_v1=None)),
    ),
    "wrong issuer extension: v1 alone, and another": Row(
        Code.IDENTITY_MISMATCH, bundle(leaf=OURS.leaf(issuer="https://evil.example.com", issuer_v2=None)),
        bundle(leaf=OURS.leaf(issuer_v2=None)),
    ),
    "wrong issuer extension: v2 as v1 has it": Row(
        Code.MALFORMED,
        bundle(leaf=OURS.leaf(issuer_v1=None, issuer_v2=None, extensions={"issuerV2": ISSUER.encode()})),
        bundle(leaf=OURS.leaf(issuer_v1=None, issuer_v2=None, extensions={"issuerV2": ISSUER})),
    ),
    "wrong issuer extension: v1 as v2 has it": Row(
        Code.MALFORMED,
        bundle(leaf=OURS.leaf(issuer_v1=None, issuer_v2=None,
                              extensions={"issuer": b"\x0c" + bytes([len(ISSUER)]) + ISSUER.encode()})),
        bundle(leaf=OURS.leaf(issuer_v1=None, issuer_v2=None, extensions={"issuer": ISSUER})),
    ),
    "wrong issuer extension: neither": Row(
        Code.IDENTITY_MISMATCH, signature(leaf=OURS.leaf(issuer_v1=None, issuer_v2=None)), signature()
    ),
    "no SCT: bundle": Row(Code.UNTRUSTED_MATERIAL, bundle(leaf=OURS.leaf(logs=()))),
    "no SCT: legacy": Row(Code.UNTRUSTED_MATERIAL, signature(leaf=OURS.leaf(logs=())), signature()),
    "no SCT: attestation": Row(
        Code.UNTRUSTED_MATERIAL, attestation(leaf=OURS.leaf(logs=())), attestation(), demanding()
    ),
    "no SCT: by the flag of another root": Row(
        Code.TLOG_INVALID, bundle(leaf=OURS.leaf(logs=())), bundle(),
        {"trustRoots": [images.trusted(), {**images.trusted(STRANGER, requireSct=False), "name": "other"}],
         "keyless": [images.DEV, {**images.DEV, "name": "other", "trustRoot": "other"}]},
        words="without any timestamp of a certificate log",
    ),
    "SCT by an unknown log": Row(
        Code.UNTRUSTED_MATERIAL, bundle(leaf=OURS.leaf(logs=(UNKNOWN_LOG,))),
        bundle(leaf=OURS.leaf(logs=(UNKNOWN_LOG, OURS.ct_log))),
    ),
    "SCT of another certificate": Row(
        Code.UNTRUSTED_MATERIAL,
        bundle(leaf=OURS.leaf(logs=(), extensions={SCTS.dotted_string: promised_for_another()})),
    ),
    "SCT before the log's key": Row(
        Code.UNTRUSTED_MATERIAL, bundle(leaf=OURS.leaf(sct_at=AT - 2 * YEAR)), bundle(leaf=OURS.leaf(sct_at=AT - DAY))
    ),
    "log entry of another artifact: bundle": Row(
        Code.TLOG_ENTRY_MISMATCH, with_entry(entry_of(lambda _: OURS.keyless_bundle(OTHER))), tampers=True
    ),
    "log entry of another artifact: Rekor 2": Row(
        Code.TLOG_ENTRY_MISMATCH, with_entry(entry_of(lambda _: OURS.keyless_bundle(OTHER, log="v2")), log="v2"),
        bundle(log="v2"), tampers=True,
    ),
    "log entry of another artifact: not authentic": Row(
        Code.TLOG_ENTRY_MISMATCH,
        with_entry(lambda _: put(entry_of(lambda _: OURS.keyless_bundle(OTHER))(""), ("integratedTime",), "1"))  # type: ignore[arg-type, return-value]
    ),
    "checkpoint of another origin": Row(
        Code.TLOG_INVALID, checkpoint(origin="evil.example - 1", name=OURS.rekor.host),
        checkpoint(origin=f"{OURS.rekor.host} - 1"),
    ),
    "checkpoint of another origin: Rekor 2": Row(
        Code.TLOG_INVALID, as_by_our_log(of_another_rekor_2()), bundle(log="v2")
    ),
    "checkpoint of another log": Row(
        Code.TLOG_INVALID,
        twisted(logged=lambda entry: put(entry, NOTE, STRANGER.rekor.checkpoint(
            origin=OURS.rekor.origin, size=int(str(documents.at(entry, ("inclusionProof", "treeSize")))),
            hint=OURS.rekor.log_id[:4]))),
    ),
    "proof for another tree size": Row(Code.TLOG_INVALID, member((*PROOF, "treeSize"), "1000")),
    "proof for another tree size: Rekor 2": Row(
        Code.TLOG_INVALID, member((*PROOF, "treeSize"), "1000", log="v2"), bundle(log="v2")
    ),
    "token with another imprint": Row(
        Code.TIME_INVALID, bundle(log="v2", twist=Twist(stamped=flipped)), bundle(log="v2")
    ),
    "token with another imprint: legacy": Row(
        Code.TIME_INVALID, signature(timestamp=True, twist=Twist(stamped=flipped)), signature(timestamp=True),
        under(requireTimestamp=True),
    ),
    "token with another imprint: the envelope, in a bundle": Row(
        Code.TIME_INVALID, bundle(log="none", timestamp=True, twist=Twist(stamped=lambda data: b"{}" + data)),
        bundle(log="none", timestamp=True), under(requireLog=False, requireTimestamp=True),
    ),
    "two bundles of which one is good: neither is": Row(
        Code.IDENTITY_MISMATCH, all_of(bundle(subject="mallory@example.com"), bundle(of=OTHER, issuer="https://x.test")),
        all_of(bundle(subject="mallory@example.com"), bundle()),
    ),
    "two bundles of which one is good: the first": Row(
        Code.SUBJECT_MISMATCH, all_of(bundle(of=OTHER), bundle(of=OTHER)), all_of(bundle(), bundle(of=OTHER)),
    ),
    "two bundles of which one is good: the other is of a legacy tag": Row(
        Code.SUBJECT_MISMATCH, all_of(signature(of=OTHER), bundle(of=OTHER)), all_of(signature(of=OTHER), bundle())
    ),
    "1,000 signatures: the good one is the 51st": Row(
        Code.LIMIT_EXCEEDED, crowd(50, 1000), crowd(49, 1000), words="of which 50 were examined", alone=True
    ),
    "1,000 signatures of others": Row(
        Code.IDENTITY_MISMATCH, strangers(1000), signature(), words="of which 50 were examined", alone=True
    ),
    "32 MiB attestation": Row(
        Code.LIMIT_EXCEEDED, attestations(padded(by_release, 32 * MIB)), attestation(predicate=BIG, keyless=False),
        ATTESTED_BY_KEY, words="at most 16777216 are read",
    ),
    "32 MiB attestation: in a bundle": Row(
        Code.LIMIT_EXCEEDED, made(lambda image: OURS.keyless_bundle(image, predicate_type=SLSA).ljust(32 * MIB),
                                  hint=SLSA), bundle(predicate_type=SLSA), demanding(),
    ),
    "32 MiB attestation: announced as small": Row(
        Code.REGISTRY_VIOLATION, announced_smaller, attestation(), demanding(), tampers=True, alone=True
    ),
    "DSSE with two signatures": Row(Code.MALFORMED, member(("dsseEnvelope", "signatures"), lambda both: both * 2)),
    "DSSE with two signatures: attestation": Row(
        Code.MALFORMED,
        attestations(lambda image: ((layer := by_release(image))[0] and edit(
            layer[0], ("signatures",), lambda one: [*one, {"sig": "AAAA"}]), layer[1])),
        attestations(by_release), ATTESTED_BY_KEY,
    ),
    "DSSE with no signature": Row(Code.MALFORMED, member(("dsseEnvelope", "signatures"), [])),
    "payload type confusion: another is said": Row(
        Code.UNSUPPORTED, member(("dsseEnvelope", "payloadType"), "application/json")
    ),
    "payload type confusion: another was signed": Row(
        Code.SIGNATURE_INVALID,
        twisted(signed=lambda data: data.replace(b"28 application/vnd.in-toto+json", b"16 application/json")),
    ),
    "payload type confusion: a statement in a .sig layer": Row(
        Code.MALFORMED,
        signature(twist=Twist(payload=lambda document: documents.statement(digest_in(document)))), signature(),
    ),
    "payload type confusion: a simple payload in an envelope": Row(
        Code.MALFORMED, of_document(lambda document: documents.simple_payload(digest_in(document)))
    ),
    "payload type confusion: an envelope in a .sig layer": Row(
        Code.MALFORMED, signatures(lambda image: OURS.legacy_attestation(image)), signature()
    ),
    "payload type confusion: a message signature over the statement": Row(
        Code.UNSUPPORTED, made(lambda image: OURS.message_bundle(as_json(documents.statement(image))))
    ),
    "payload type confusion: a message signature over what an envelope signs": Row(
        Code.UNSUPPORTED,
        made(lambda image: OURS.message_bundle(documents.signed_bytes(as_json(documents.statement(image))))),
    ),
    "payload type confusion: the JSON of another tool": Row(
        Code.CLAIM_MISMATCH,
        signature(twist=Twist(payload=lambda d: put(d, ("critical", "type"), "atomic container signature"))),
        signature(),
    ),
    "bundle without trusted time: no promise": Row(
        Code.TIME_INVALID, bundle(promise=False), bundle(promise=False, timestamp=True)
    ),
    "bundle without trusted time: Rekor 2 and no token": Row(
        Code.TIME_INVALID, bundle(log="v2", timestamp=False), bundle(log="v2")
    ),
    "bundle without trusted time: neither log nor token": Row(
        Code.TIME_INVALID, bundle(log="none"), bundle(log="none", timestamp=True),
        under(requireLog=False, requireTimestamp=True),
    ),
    "key rotated out of its window: log": Row(
        Code.TIME_INVALID, bundle(), bundle(at=AT - DAY), under(windows={"rekor": (AT - YEAR, AT)})
    ),
    "key rotated out of its window: log, legacy": Row(
        Code.TIME_INVALID, signature(), signature(at=AT - DAY), under(windows={"rekor": (AT - YEAR, AT)})
    ),
    "key rotated out of its window: log, not yet begun": Row(
        Code.TIME_INVALID, bundle(), bundle(at=AT + DAY), under(windows={"rekor": (AT + DAY, None)})
    ),
    "key rotated out of its window: Rekor 2": Row(
        Code.TIME_INVALID, bundle(log="v2"), bundle(log="v2", at=AT - DAY), under(windows={"rekor2": (AT - YEAR, AT)})
    ),
    "key rotated out of its window: clock": Row(
        Code.TIME_INVALID, bundle(log="v2"), bundle(log="v2", at=AT - DAY), under(windows={"clock": (AT - YEAR, AT)})
    ),
    "key rotated out of its window: authority": Row(
        Code.UNTRUSTED_MATERIAL, bundle(), bundle(at=AT - DAY), under(windows={"ca": (AT - YEAR, AT)})
    ),
    "key rotated out of its window: log of certificates": Row(
        Code.UNTRUSTED_MATERIAL, bundle(at=AT + DAY), bundle(), under(windows={"ct": (AT - YEAR, AT)})
    ),
    "a hundred digests in the statement": Row(
        Code.SUBJECT_MISMATCH, statement(("subject",), HUNDRED),
        statement(("subject",), lambda own: [*HUNDRED, *own]), words="and 99 more",
    ),
    "a hundred digests in the statement: attestation": Row(
        Code.SUBJECT_MISMATCH,
        attestation(twist=Twist(payload=lambda document: put(document, ("subject",), HUNDRED))),
        attestation(twist=Twist(payload=lambda document: put(document, ("subject",), lambda own: [*HUNDRED, *own]))),
        demanding(),
    ),
    "the digest under another algorithm only": Row(
        Code.SUBJECT_MISMATCH, statement(("subject", 0, "digest"), lambda own: {"sha512": own["sha256"]}),
        statement(("subject", 0, "digest"), lambda own: {"sha512": "00", **own}), words="no sha256 digest is named",
    ),
}  # fmt: skip
