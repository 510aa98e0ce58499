"""The holes that other verifiers had, by the number of their advisory: what they took for good.

spec: the advisories; in-toto, DSSE, Rekor and RFC 3161 for what each of them broke.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.bad_input.makers import (
    CHAINED,
    DAY,
    ENTRIES,
    ENTRY,
    FORGED,
    REAL,
    SPDX,
    STAMPED,
    STAMPS,
    Row,
    attested,
    below,
    body,
    checkpoint,
    clock,
    crowd,
    entry_of,
    instance,
    more_entries,
    padded,
    serving,
    with_annotation,
)
from tests.doubles.verifying import Shelf
from tests.private_sigstore import attach, images
from tests.private_sigstore.asked import MINUTE, OTHER, OURS, STRANGER, THIRD_KEY
from tests.private_sigstore.authority import Authority
from tests.private_sigstore.documents import DELETED, Document, edit, put
from tests.private_sigstore.images import (
    ISSUER,
    SLSA,
    Attach,
    all_of,
    annotated,
    attestation,
    attestations,
    bundle,
    by,
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
    REKOR_BUNDLE,
    YEAR,
    Layer,
    key_of,
)
from tests.private_sigstore.recipe import Twist
from tests.trust.tokens import Details, Mistakes
from webhook.demo.registry import OCI_INDEX
from webhook.demo.signing import base64_of
from webhook.errors import Code
from webhook.evidence.model import SIGN_PREDICATE
from webhook.settings import MIB

SHORT = OURS.root.intermediate("short", AT - YEAR, AT + MINUTE)


def entry_of_another(kind: str) -> Attach:
    """An authentic entry of that kind, about another signing of the same statement."""

    def make(image: str) -> Layer:
        one, two = attested(image, entry=kind), attested(image, entry=kind)
        return one[0], {**one[1], REKOR_BUNDLE: two[1][REKOR_BUNDLE]}

    return attestations(make)


def worthless(count: int) -> Attach:
    """So many layers of attestations that are none."""

    def put_beside(shelf: Shelf, image: str) -> None:
        layers: list[Layer] = [(b"{}", {"number": str(number)}) for number in range(count)]
        attach.attestations(shelf.stored, shelf.name, image, layers)

    return put_beside


def both_kinds(document: Document) -> object:
    return {**document, "manifests": []}


VULNERABILITIES: Mapping[str, Row] = {
    "CVE-2022-23649 GHSA-ccxc-vr6p-4858: log entry of other content": Row(
        Code.TLOG_ENTRY_MISMATCH, with_annotation(REKOR_BUNDLE, lambda _: OURS.legacy_signature(OTHER)), signature(),
        tampers=True,
    ),
    "CVE-2022-36056 GHSA-8gw7-4j42-w388: log entry of another signature": Row(
        Code.TLOG_ENTRY_MISMATCH, with_annotation(REKOR_BUNDLE, OURS.legacy_signature), signature(), tampers=True
    ),
    "CVE-2022-36056 GHSA-8gw7-4j42-w388: log entry of another certificate": Row(
        Code.TLOG_ENTRY_MISMATCH, twisted(verifier=lambda _: OURS.issue(key_of("p256"))), tampers=True
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: dsse of another signature": Row(
        Code.TLOG_ENTRY_MISMATCH, body(("spec", "signatures", 0, "signature"), base64_of(b"another")), tampers=True
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: dsse of another certificate": Row(
        Code.TLOG_ENTRY_MISMATCH, twisted(verifier=lambda _: key_of("p384")), tampers=True
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: dsse of another payload": Row(
        Code.TLOG_ENTRY_MISMATCH, body(("spec", "payloadHash", "value"), OTHER[7:]), tampers=True
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: intoto 0.0.2 of another certificate": Row(
        Code.TLOG_ENTRY_MISMATCH,
        bundle(entry="intoto 0.0.2", twist=Twist(verifier=lambda _: OURS.issue(key_of("p256")))),
        bundle(entry="intoto 0.0.2"), tampers=True,
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: intoto 0.0.2 of another payload": Row(
        Code.TLOG_ENTRY_MISMATCH,
        body(("spec", "content", "payloadHash", "value"), OTHER[7:], entry="intoto 0.0.2"),
        bundle(entry="intoto 0.0.2"), tampers=True,
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: Rekor 2, of another signature": Row(
        Code.TLOG_ENTRY_MISMATCH,
        body(("spec", "hashedRekordV002", "signature", "content"), base64_of(b"another"), log="v2"),
        STAMPED, tampers=True,
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: Rekor 2, of another certificate": Row(
        Code.TLOG_ENTRY_MISMATCH, bundle(twist=Twist(verifier=lambda _: OURS.issue(key_of("p256"))), log="v2"),
        STAMPED, tampers=True,
    ),
    "CVE-2026-22703 GHSA-whqx-f9j3-ch6m: Rekor 2, of other content": Row(
        Code.TLOG_ENTRY_MISMATCH,
        body(("spec", "hashedRekordV002", "data", "digest"), base64_of(b"d" * 32), log="v2"), STAMPED, tampers=True,
    ),
    **{
        f"CVE-2026-22703 GHSA-whqx-f9j3-ch6m: {kind} of another envelope": Row(
            Code.TLOG_ENTRY_MISMATCH, entry_of_another(kind), attestation(entry=kind), demanding(), tampers=True
        )
        for kind in ("dsse", "intoto 0.0.1", "intoto 0.0.2")
    },
    "CVE-2024-51746: another entry behind the right one": Row(
        Code.TLOG_ENTRY_MISMATCH, more_entries(entry_of(lambda _: OURS.keyless_bundle(OTHER))),
        more_entries(entry_of(STRANGER.keyless_bundle)), tampers=True,
    ),
    "CVE-2024-51746: another entry before the right one": Row(
        Code.TLOG_ENTRY_MISMATCH, more_entries(entry_of(lambda _: OURS.keyless_bundle(OTHER)), first=True),
        more_entries(entry_of(STRANGER.keyless_bundle), first=True), tampers=True,
    ),
    "CVE-2022-35929 GHSA-vjxv-45g9-9296: an attestation where a signature is wanted": Row(
        Code.NO_SIGNATURE, bundle(predicate_type=SLSA)
    ),
    "CVE-2022-35929 GHSA-vjxv-45g9-9296: the same, listed as a signature": Row(
        Code.CLAIM_MISMATCH, bundle(predicate_type=SLSA, hint=SIGN_PREDICATE)
    ),
    "CVE-2022-35930 GHSA-739f-hw6h-7wq8: another attestation than the rule names": Row(
        Code.NO_SIGNATURE, attestation(predicate_type=SPDX), attestation(), demanding()
    ),
    "CVE-2022-35930 GHSA-739f-hw6h-7wq8: the same, listed as the one it names": Row(
        Code.NO_SIGNATURE, bundle(predicate_type=SPDX, hint=SLSA), bundle(predicate_type=SLSA), demanding(),
        words=f"found '{SPDX}'",
    ),
    "CVE-2022-35930 GHSA-739f-hw6h-7wq8: another version of it": Row(
        Code.NO_SIGNATURE, bundle(predicate_type="https://slsa.dev/provenance/v0.2", hint=SLSA),
        bundle(predicate_type=SLSA), demanding(), words="found 'https://slsa.dev/provenance/v0.2'",
    ),
    "CVE-2026-39395 GHSA-w6c6-c85g-mmv6: a predicate that is no object": Row(
        Code.MALFORMED, attestation(predicate="ok"), attestation(predicate={"ok": True}),
        demanding(condition="predicate.ok"),
    ),
    "CVE-2026-39395 GHSA-w6c6-c85g-mmv6: a predicate without what is asked": Row(
        Code.CONDITION_ERROR, attestation(predicate={"k": True}), attestation(predicate={"ok": True}),
        demanding(condition="predicate.ok"),
    ),
    "CVE-2026-39395 GHSA-w6c6-c85g-mmv6: no predicate": Row(
        Code.CONDITION_ERROR,
        attestation(twist=Twist(payload=lambda document: put(document, ("predicate",), DELETED))),
        attestation(predicate={"ok": True}), demanding(condition="predicate.ok"),
    ),
    "CVE-2026-39395 GHSA-w6c6-c85g-mmv6: a predicate that says no": Row(
        Code.CLAIM_MISMATCH, attestation(predicate={"ok": False}), attestation(predicate={"ok": True}),
        demanding(condition="predicate.ok"),
    ),
    "CVE-2023-46737 GHSA-vfp6-jrw2-99g9: attestations without end": Row(
        Code.LIMIT_EXCEEDED, worthless(1000), attestation(), demanding(), words="of which 50 were examined", alone=True,
    ),
    "CVE-2024-29902 GHSA-88jx-383q-w4qc: a huge attachment": Row(
        Code.LIMIT_EXCEEDED, signatures(padded(OURS.legacy_signature, 200 * MIB)), signature(),
    ),
    "CVE-2024-29903 GHSA-95pr-fxf5-86gv: 1,001 layers": Row(
        Code.LIMIT_EXCEEDED, crowd(0, 1001), crowd(0, 1000), words="at most 1000 are read", alone=True
    ),
    "CVE-2024-45395 GHSA-cq38-jh5f-37mq: 1,025 subjects": Row(
        Code.LIMIT_EXCEEDED, statement(("subject",), lambda own: own * 1025),
        statement(("subject",), lambda own: own * 1024),
    ),
    "CVE-2024-45395 GHSA-cq38-jh5f-37mq: 33 digests": Row(
        Code.LIMIT_EXCEEDED,
        statement(("subject", 0, "digest"), lambda own: {**own, **{f"x{n}": "0" for n in range(32)}}),
        statement(("subject", 0, "digest"), lambda own: {**own, **{f"x{n}": "0" for n in range(31)}}),
    ),
    "CVE-2024-45395 GHSA-cq38-jh5f-37mq: 33 entries": Row(
        Code.LIMIT_EXCEEDED, more_entries(*[entry_of(STRANGER.keyless_bundle)] * 32),
        more_entries(*[entry_of(STRANGER.keyless_bundle)] * 31),
    ),
    "CVE-2023-47122: an entry of a log that nobody named": Row(
        Code.TLOG_INVALID, bundle(by=instance(rekor=STRANGER.rekor)), bundle()
    ),
    "CVE-2023-47122: the same, that calls itself ours": Row(
        Code.TLOG_INVALID,
        made(lambda image: edit(instance(rekor=STRANGER.rekor).keyless_bundle(image),
                                (*ENTRY, "logId", "keyId"), base64_of(OURS.rekor.log_id))),
    ),
    "CVE-2024-55655 GHSA-hhfg-fwrw-87w7: a time that nobody signed": Row(
        Code.TIME_INVALID, bundle(promise=False), bundle()
    ),
    "CVE-2024-55655 GHSA-hhfg-fwrw-87w7: a time that somebody changed": Row(
        Code.TLOG_INVALID, member((*ENTRY, "integratedTime"), str(int((AT + MINUTE).timestamp())))
    ),
    "CVE-2025-52556 GHSA-6qhv-4h7r-2g9m: token whose signature was changed": Row(
        Code.TIME_INVALID, bundle(by=clock(REAL, mistakes=Mistakes(flip_signature=True)), log="v2"), STAMPED
    ),
    "CVE-2025-52556 GHSA-6qhv-4h7r-2g9m: token over another message": Row(
        Code.TIME_INVALID, bundle(by=clock(REAL, mistakes=Mistakes(imprint=b"i" * 32)), log="v2"), STAMPED
    ),
    "CVE-2025-52556 GHSA-6qhv-4h7r-2g9m: token by another key": Row(
        Code.TIME_INVALID, bundle(by=clock(replace(REAL, key=FORGED.key)), log="v2"), STAMPED
    ),
    "CVE-2026-33753 GHSA-3xxc-pwj6-jgrj: token by another, our clock's certificate in its bag": Row(
        Code.TIME_INVALID, bundle(by=clock(FORGED, details=Details(certificates=(REAL.certificate,))), log="v2"),
        bundle(by=clock(REAL, details=Details(certificates=(FORGED.certificate,))), log="v2"),
    ),
    "CVE-2026-39984 GHSA-xm5m-wgh2-rrg3: token by another that names our clock": Row(
        Code.TIME_INVALID,
        bundle(by=clock(FORGED, details=Details(certificates=(REAL.certificate,)),
                        mistakes=Mistakes(sid=REAL.certificate, named=REAL.certificate)), log="v2"),
        STAMPED,
    ),
    "CVE-2026-33753: another certificate of our clock's authority": Row(
        Code.TIME_INVALID,
        bundle(by=clock(Authority(THIRD_KEY, OURS.issue(THIRD_KEY), OURS.authority.chain)), log="v2"), STAMPED,
    ),
    "CVE-2026-24122 GHSA-wfqv-66vq-46rm: issuer expired when it was signed": Row(
        Code.UNTRUSTED_MATERIAL, below(SHORT, logged_at=AT + 2 * MINUTE), below(SHORT, logged_at=AT + MINUTE),
        under(instance(authority=SHORT)),
    ),
    "CVE-2026-49834 GHSA-9vcr-p3rj-q5q6: one entry twice": Row(
        Code.MALFORMED, member(ENTRIES, lambda own: own * 2)
    ),
    "CVE-2026-49834 GHSA-9vcr-p3rj-q5q6: one token twice": Row(
        Code.MALFORMED, member(STAMPS, lambda own: own * 2, log="v2"), STAMPED
    ),
    "CVE-2026-54787 GHSA-wqqc-jjcq-vfxm: stamped when the log's key had ended": Row(
        Code.TIME_INVALID, STAMPED, bundle(log="v2", at=AT - DAY), under(windows={"rekor2": (AT - YEAR, AT - MINUTE)})
    ),
    "CVE-2026-54787 GHSA-wqqc-jjcq-vfxm: the same, Rekor 1 without promise": Row(
        Code.TIME_INVALID, bundle(promise=False, timestamp=True), bundle(promise=False, timestamp=True, at=AT - DAY),
        under(windows={"rekor": (AT - YEAR, AT - MINUTE)}),
    ),
    "CVE-2024-53267: checkpoint of another root": Row(Code.TLOG_INVALID, checkpoint(root=b"r" * 32)),
    "CVE-2024-53267: checkpoint of another size": Row(Code.TLOG_INVALID, checkpoint(size=3)),
    "CVE-2026-22772: an issuer that goes on behind the expression": Row(
        Code.IDENTITY_MISMATCH, bundle(issuer=f"{ISSUER}.evil.example"), bundle(),
        by(issuer=None, issuerRegex=r"https://issuer\.example\.com"),
    ),
    "CVE-2026-22772: an issuer that begins before the expression": Row(
        Code.IDENTITY_MISMATCH, bundle(issuer=f"https://evil.example/?{ISSUER}"), bundle(),
        by(issuer=None, issuerRegex=r"https://issuer\.example\.com"),
    ),
    "CVE-2025-29778: issuer alone denies": Row(Code.IDENTITY_MISMATCH, bundle(issuer="https://other.example.com")),
    "CVE-2025-29778: subject alone denies": Row(Code.IDENTITY_MISMATCH, bundle(subject="ops@example.com")),
    "CVE-2025-29778: issuerRegex alone denies": Row(
        Code.IDENTITY_MISMATCH, bundle(issuer="https://issuer3.example.com"), bundle(issuer="https://issuer2.example.com"),
        by(issuer=None, issuerRegex=r"https://issuer[12]\.example\.com"),
    ),
    "CVE-2025-29778: subjectRegex alone denies": Row(
        Code.IDENTITY_MISMATCH, bundle(subject="dev3@example.com"), bundle(subject="dev2@example.com"),
        by(subject=None, subjectRegex=r"dev[12]@example\.com"),
    ),
    "CVE-2025-29778: subjectGlob alone denies": Row(
        Code.IDENTITY_MISMATCH, bundle(subject="dev@example.com.evil.example"), bundle(subject="ops@example.com"),
        by(subject=None, subjectGlob="*@example.com"),
    ),
    "CVE-2025-29778: extensions alone deny": Row(
        Code.IDENTITY_MISMATCH, bundle(leaf=OURS.leaf(extensions={"buildTrigger": "pull_request"})),
        bundle(leaf=OURS.leaf(extensions={"buildTrigger": "push"})), by(extensions={"buildTrigger": "push"}),
    ),
    "CVE-2025-29778: an extension that is not there denies": Row(
        Code.IDENTITY_MISMATCH, bundle(), bundle(leaf=OURS.leaf(extensions={"buildTrigger": "push"})),
        by(extensions={"buildTrigger": "push"}),
    ),
    "CVE-2025-29778: never the issuer of one and the subject of another": Row(
        Code.IDENTITY_MISMATCH, bundle(subject="ops@example.com"), bundle(),
        {"keyless": [images.DEV, {**images.DEV, "name": "ops", "issuer": "https://ops.test",
                                  "subject": "ops@example.com"}]},
    ),
    "CVE-2021-41190 GHSA-77vh-xpmg-72qh: manifest and index at once": Row(
        Code.MALFORMED, images.manifest(both_kinds), signature()
    ),
    "GHSA-5j5w-g665-5m35: another media type inside than outside": Row(
        Code.REGISTRY_VIOLATION, images.manifest(lambda own: {**own, "mediaType": OCI_INDEX}), signature()
    ),
    "CVE-2023-42814 CVE-2023-42815 CVE-2023-42816: data without end": Row(
        Code.REGISTRY_VIOLATION,
        all_of(signature(), serving("blobs/", bytes(80 * MIB))), signature(), tampers=True, alone=True,
    ),
    "CVE-2023-42814 CVE-2023-42815 CVE-2023-42816: a manifest without end": Row(
        Code.LIMIT_EXCEEDED, serving(".sig", bytes(80 * MIB)), signature(), alone=True
    ),
    "CVE-2026-44310: no certificate in the chain": Row(
        Code.MALFORMED, member(CHAINED, [], version="0.2"), bundle(version="0.2")
    ),
    "CVE-2026-44310: no chain": Row(
        Code.MALFORMED, member(CHAINED[:-1], {}, version="0.2"), bundle(version="0.2")
    ),
    "CVE-2026-44310: no certificate in the PEM": Row(
        Code.MALFORMED, annotated({CERTIFICATE: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"}),
        signature(),
    ),
    "CVE-2026-44310: no certificate in the annotation": Row(
        Code.UNSUPPORTED, annotated({CERTIFICATE: ""}), signature()
    ),
    "CVE-2026-44310: no certificate in the token, and nobody's": Row(
        Code.TIME_INVALID, bundle(by=clock(FORGED), embed=False, log="v2"), bundle(embed=False, log="v2")
    ),
}  # fmt: skip


# What no image can show, and the test that does
ELSEWHERE: Mapping[str, str] = {
    "CVE-2026-24137 GHSA-fcv2-xgw5-pqxf: a target's name that leaves the folder": "trust/test_mirror.py:rename_target",
    "CVE-2021-41131: a role's name that leaves the folder": "trust/test_mirror.py:rename_target",
    "key in PEM of more than 64 KiB": "trust/test_material.py:over 64 KiB",
    "trust root of more than 4 MiB": "trust/test_root.py:over-4-MiB",
}
