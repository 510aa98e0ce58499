"""Keyless signatures and attestations of every form, whole, and each way to bend one thing in them.

The instance is private and made here; what it makes verifies under its own trust root. The rows of the second half are
the holes that other verifiers had, or could have had, with the code by which each is refused.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.cosign import made
from tests.cosign.made import IMAGE, OTHER_IMAGE
from tests.private_sigstore import documents
from tests.private_sigstore.instance import AT, PrivateSigstore, Window, key_of
from tests.private_sigstore.recipe import Twist
from tests.trust.tokens import Details
from webhook.cosign import verifier
from webhook.demo import signing
from webhook.evidence.model import SIGN_PREDICATE, Evidence, Form, Outcome, Signer, SignerKind, Verdict
from webhook.trust import material
from webhook.trust import root as trust_root
from webhook.trust.at_hand import Trust
from webhook.trust.identity import Identity
from webhook.trust.root import RootKind, RootSource

SUBJECT, ISSUER = "dev@example.com", "https://issuer.example.com"
SLSA = "https://slsa.dev/provenance/v1"
PRIVATE = RootSource("private", RootKind.FILE, "file private.json")
WANTED = Identity(issuer=ISSUER, subject=SUBJECT)


@functools.cache
def ours() -> PrivateSigstore:
    return PrivateSigstore()


@functools.cache
def stranger() -> PrivateSigstore:
    return PrivateSigstore(name="stranger.test")


@dataclass(frozen=True)
class Asked:
    """How evidence is judged: by whom, under which demands, with which root, for what."""

    identity: Identity = WANTED
    source: RootSource = PRIVATE
    root: bytes = b""
    predicates: frozenset[str] = frozenset()
    windows: Mapping[str, Window] = field(default_factory=dict)


def judge(found: Evidence, asked: Asked = Asked()) -> Outcome:
    document = asked.root or ours().trusted_root(windows=asked.windows)
    trust = Trust({PRIVATE.key: trust_root.parse(document)})
    by = Signer("dev", SignerKind.KEYLESS, asked.identity, asked.source)
    return made.verify(found, by, predicates=asked.predicates, trust=trust)


def bundle(data: bytes) -> Evidence:
    return made.evidence(Form.BUNDLE, data, {})


def layer(form: Form, made_of: tuple[bytes, dict[str, str]]) -> Evidence:
    return made.evidence(form, *made_of)


FORMS: dict[str, Callable[..., Evidence]] = {
    "legacy": lambda **how: layer(Form.LEGACY, ours().legacy_signature(str(IMAGE), **how)),
    "bundle 0.3": lambda **how: bundle(ours().keyless_bundle(str(IMAGE), **how)),
    "bundle 0.2": lambda **how: bundle(ours().keyless_bundle(str(IMAGE), version="0.2", **how)),
    "bundle 0.1": lambda **how: bundle(ours().keyless_bundle(str(IMAGE), version="0.1", **how)),
    "bundle, Rekor 2": lambda **how: bundle(ours().keyless_bundle(str(IMAGE), log="v2", **how)),
}
ATTESTED: dict[str, Callable[..., Evidence]] = {
    "att": lambda **how: layer(Form.DSSE, ours().legacy_attestation(str(IMAGE), predicate_type=SLSA, **how)),
    "bundle": lambda **how: bundle(ours().keyless_bundle(str(IMAGE), predicate_type=SLSA, **how)),
    "bundle, Rekor 2": lambda **how: bundle(ours().keyless_bundle(str(IMAGE), predicate_type=SLSA, log="v2", **how)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_signature_of_every_form_proves_who_and_when(form: str) -> None:
    outcome = judge(FORMS[form]())

    assert made.told(outcome) == "verified", outcome.detail
    assert outcome.proof is not None
    assert outcome.proof.claims is not None
    assert outcome.proof.claims.issuer == ISSUER
    assert outcome.proof.claims.subjects == (("email", SUBJECT),)
    assert outcome.proof.material == f'identity:["{ISSUER}", ["{SUBJECT}"]]'
    assert outcome.proof.at is not None
    assert timedelta() < outcome.proof.at - AT < timedelta(seconds=10)
    assert len(outcome.proof.logged) == 1


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa3072", "ed25519"])
def test_each_kind_of_key_in_a_certificate(kind: str) -> None:
    for form in ("legacy", "bundle 0.3"):
        assert made.told(judge(FORMS[form](key=key_of(kind)))) == "verified"


@pytest.mark.parametrize("entry", ["dsse", "intoto 0.0.2"])
@pytest.mark.parametrize("form", ["att", "bundle"])
def test_an_attestation_is_attested_where_its_type_is_wanted(form: str, entry: str) -> None:
    found = ATTESTED[form](entry=entry, predicate={"builder": "x"})

    wanted = judge(found, Asked(predicates=frozenset({SLSA})))
    assert (wanted.verdict, wanted.code) == (Verdict.ATTESTED, None), wanted.detail
    assert wanted.proof is not None
    assert wanted.proof.attestation is not None
    assert wanted.proof.attestation.statement["predicate"] == {"builder": "x"}


@pytest.mark.parametrize("form", ATTESTED)
def test_an_attestation_is_never_a_signature(form: str) -> None:
    """CVE-2022-35929, CVE-2022-35930: nor is one of another type than the one that is wanted."""
    assert made.told(judge(ATTESTED[form]())) == "claim_mismatch"
    assert made.told(judge(ATTESTED[form](), Asked(predicates=frozenset({f"{SLSA}.1"})))) == "claim_mismatch"


def test_a_signature_is_no_attestation() -> None:
    outcome = judge(FORMS["bundle 0.3"](), Asked(predicates=frozenset({SLSA})))

    assert outcome.verdict is Verdict.VERIFIED
    assert outcome.proof is not None
    assert outcome.proof.attestation is None


def test_a_sign_statement_in_an_att_layer_is_no_signature() -> None:
    found = layer(Form.DSSE, ours().legacy_attestation(str(IMAGE), predicate_type=SIGN_PREDICATE))

    assert made.told(judge(found)) == "claim_mismatch"


@pytest.mark.parametrize("form", ["legacy", "bundle 0.3"])
def test_signed_annotations_are_told(form: str) -> None:
    proof = judge(FORMS[form](annotations={"env": "prod"})).proof
    assert proof is not None
    assert proof.annotations == {"env": "prod"}


def test_one_certificate_that_fits_two_names_is_one_material() -> None:
    found = FORMS["legacy"]()
    other = Identity(issuer=ISSUER, subject_glob="*@example.com")

    first, second = judge(found).proof, judge(found, Asked(other)).proof

    assert first is not None
    assert second is not None
    assert first.material == second.material


# --- one thing otherwise

NO_LOG = replace(PRIVATE, require_log=False, require_timestamp=True)
NO_SCT = replace(PRIVATE, require_sct=False)
DAY = timedelta(days=1)


def everywhere(expected: str, asked: Asked | None = None, **how: object) -> list[object]:
    """The same thing bent in a legacy signature and in bundles of both logs."""
    forms = ("legacy", "bundle 0.3", "bundle, Rekor 2")
    bent = ", ".join(how) or "asked"
    return [pytest.param(form, how, asked or Asked(), expected, id=f"{form}: {bent}: {expected}") for form in forms]


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[object], object]:
    def apply(document: object) -> object:
        assert isinstance(document, dict)
        copied = json.loads(json.dumps(document))
        change(copied)
        return copied

    return apply


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("form", "how", "asked", "expected"),
    [
        # whom the certificate names
        *everywhere("identity_mismatch", subject="mallory@example.com"),
        *everywhere("identity_mismatch", issuer="https://evil.example.com"),
        *everywhere("identity_mismatch", issuer=f"{ISSUER}.evil.example"),
        *everywhere(
            "identity_mismatch", leaf=ours().leaf(subject=SUBJECT, issuer=ISSUER, issuer_v1=None, issuer_v2=None)
        ),
        *everywhere("malformed", leaf=ours().leaf(subject=SUBJECT, issuer=ISSUER, issuer_v1="https://other.example")),
        *everywhere("identity_mismatch", Asked(Identity(issuer=ISSUER, subject="DEV@example.com"))),
        *everywhere("identity_mismatch", Asked(replace(WANTED, extensions=(("buildTrigger", "push"),)))),
        # what the certificate may do, and since when
        *everywhere("untrusted_material", leaf=ours().leaf(subject=SUBJECT, issuer=ISSUER, logs=())),
        *everywhere("untrusted_material", leaf=ours().leaf(subject=SUBJECT, issuer=ISSUER, logs=(stranger().ct_log,))),
        *everywhere("untrusted_material", leaf=ours().leaf(subject=SUBJECT, issuer=ISSUER, ca=True)),
        *everywhere(
            "untrusted_material",
            leaf=ours().leaf(subject=SUBJECT, issuer=ISSUER, usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
        ),
        *everywhere("untrusted_material", Asked(root=ours().trusted_root(without=["ct"]))),
        *everywhere("untrusted_material", Asked(windows={"ca": (AT + DAY, None)})),
        *everywhere("untrusted_material", Asked(windows={"ct": (AT + DAY, None)})),
        # when it was signed
        *everywhere("time_invalid", logged_at=AT + DAY, stamped_at=AT + DAY),
        *everywhere("time_invalid", logged_at=AT - DAY, stamped_at=AT - DAY),
        pytest.param(
            "bundle 0.3", {"timestamp": True, "stamped_at": AT + DAY}, Asked(), "time_invalid", id="one time outside"
        ),
        pytest.param("bundle, Rekor 2", {"timestamp": False}, Asked(), "time_invalid", id="Rekor 2 and no timestamp"),
        pytest.param("bundle 0.3", {"promise": False}, Asked(), "time_invalid", id="CVE-2024-55655 time unsigned"),
        pytest.param(
            "bundle, Rekor 2", {}, Asked(root=ours().trusted_root(without=["clock"])), "time_invalid", id="no clock"
        ),
        pytest.param(
            "bundle, Rekor 2", {}, Asked(windows={"clock": (AT + DAY, None)}), "time_invalid", id="clock not yet valid"
        ),
        pytest.param(
            "legacy", {}, Asked(windows={"rekor": (AT - DAY, AT)}), "time_invalid", id="key rotated out, legacy"
        ),
        pytest.param("bundle 0.3", {}, Asked(windows={"rekor": (AT + DAY, None)}), "time_invalid", id="key too young"),
        pytest.param(
            "bundle, Rekor 2",
            {},
            Asked(windows={"rekor2": (AT - DAY, AT)}),
            "time_invalid",
            id="CVE-2026-54787 log key's window",
        ),
        pytest.param(
            "bundle, Rekor 2", {"twist": Twist(stamped=flipped)}, Asked(), "time_invalid", id="token of another"
        ),
        pytest.param("bundle, Rekor 2", {"twist": Twist(stamp=flipped)}, Asked(), "time_invalid", id="token broken"),
        # the log
        pytest.param("legacy", {"log": "none"}, Asked(), "tlog_invalid", id="legacy: no entry"),
        pytest.param("bundle 0.3", {"log": "none"}, Asked(), "tlog_invalid", id="bundle: no entry"),
        *everywhere("tlog_invalid", Asked(root=ours().trusted_root(without=["rekor", "rekor2"]))),
        *everywhere("tlog_entry_mismatch", twist=Twist(verifier=lambda _: key_of("p384"))),
        # the signature and what it says
        *everywhere("signature_invalid", twist=Twist(signed=flipped)),
        pytest.param(
            "legacy",
            {"twist": Twist(payload=edited(lambda d: d["critical"].update(type="atomic container signature")))},  # type: ignore[attr-defined]
            Asked(),
            "claim_mismatch",
            id="podman's type",
        ),
        pytest.param(
            "bundle 0.3",
            {"twist": Twist(payload=edited(lambda d: d.update(subject=[{"digest": {"sha512": IMAGE.hex}}])))},
            Asked(),
            "subject_mismatch",
            id="digest under another algorithm only",
        ),
        pytest.param(
            "bundle 0.3",
            {"twist": Twist(payload=edited(lambda d: d.update(subject=[])))},
            Asked(),
            "malformed",
            id="no subject",
        ),
        pytest.param(
            "bundle 0.3",
            {"twist": Twist(payload=edited(lambda d: d.update(_type="https://in-toto.io/Statement/v2")))},
            Asked(),
            "unsupported",
            id="another kind of statement",
        ),
    ],
)
def test_one_thing_bent_is_refused(form: str, how: dict[str, object], asked: Asked, expected: str) -> None:
    outcome = judge(FORMS[form](**how), asked)

    assert made.told(outcome) == expected, outcome.detail


def test_a_statement_about_a_hundred_digests_counts_for_each() -> None:
    named = [{"digest": {"sha256": f"{number:064x}"}} for number in range(100)]
    about_us = {"digest": {"sha256": IMAGE.hex}}

    for subjects, expected in (([*named, about_us], "verified"), (named, "subject_mismatch")):
        bent = Twist(payload=edited(lambda d, s=subjects: d.update(subject=s)))  # type: ignore[misc]
        outcome = judge(FORMS["bundle 0.3"](twist=bent))
        assert made.told(outcome) == expected
    assert "and 99 more" in outcome.detail


@pytest.mark.parametrize("form", ["legacy", "bundle 0.3", "bundle, Rekor 2"])
def test_a_signature_of_another_image_is_told_from_a_wrong_one(form: str) -> None:
    found = replace(FORMS[form](), subject=OTHER_IMAGE)

    assert made.told(judge(found)) == "subject_mismatch"


@pytest.mark.parametrize("form", ["legacy", "bundle 0.3", "bundle, Rekor 2"])
def test_another_instance_is_not_believed(form: str) -> None:
    outcome = judge(FORMS[form](), Asked(root=stranger().trusted_root()))

    assert made.told(outcome) == "tlog_invalid"  # none of its logs


def test_an_instance_without_a_log_needs_a_clock() -> None:
    """As GitHub's private one: its root's demands are its own, and hold for nothing else."""
    stamped = FORMS["bundle 0.3"](log="none", timestamp=True)

    assert made.told(judge(stamped, Asked(source=NO_LOG))) == "verified"
    assert made.told(judge(stamped)) == "tlog_invalid"
    assert made.told(judge(FORMS["bundle 0.3"](log="none"), Asked(source=NO_LOG))) == "time_invalid"
    assert made.told(judge(FORMS["bundle 0.3"](), Asked(source=NO_LOG))) == "time_invalid"


def test_an_instance_without_a_certificate_log_says_so() -> None:
    unseen = FORMS["legacy"](leaf=ours().leaf(subject=SUBJECT, issuer=ISSUER, logs=()))

    assert made.told(judge(unseen, Asked(source=NO_SCT))) == "verified"
    assert made.told(judge(unseen)) == "untrusted_material"


@pytest.mark.parametrize("form", ["legacy", "bundle 0.3"])
def test_an_entry_that_a_log_vouches_for_and_is_about_something_else_proves_an_attack(form: str) -> None:
    """CVE-2022-23649, CVE-2026-22703: a promise of an unrelated entry."""
    vouched = judge(FORMS[form](twist=Twist(body=edited(_of_another_artifact))))
    assert (made.told(vouched), vouched.tampered) == ("tlog_entry_mismatch", True)


def _of_another_artifact(body: dict[str, object]) -> None:
    spec = body["spec"]
    assert isinstance(spec, dict)
    hashed = spec["data"]["hash"] if "data" in spec else spec["payloadHash"]
    hashed["value"] = "00" * 32


def test_a_broken_entry_about_something_else_proves_nothing() -> None:
    found = FORMS["bundle 0.3"](twist=Twist(body=edited(_of_another_artifact)))
    document = json.loads(found.payload)
    entry = document["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionPromise"]["signedEntryTimestamp"] = "AAAA"
    outcome = judge(bundle(documents.as_bytes(document)))

    assert (made.told(outcome), outcome.tampered) == ("tlog_entry_mismatch", False)


@pytest.mark.parametrize("form", ["bundle 0.3", "bundle, Rekor 2"])
def test_one_entry_twice_is_not_two(form: str) -> None:
    """CVE-2026-49834."""
    document = json.loads(FORMS[form]().payload)
    material = document["verificationMaterial"]
    material["tlogEntries"] *= 2

    assert made.told(judge(bundle(documents.as_bytes(document)))) == "malformed"


def test_an_entry_of_an_unknown_log_is_passed_over_and_helps_nothing() -> None:
    document = json.loads(FORMS["bundle 0.3"]().payload)
    foreign = json.loads(stranger().keyless_bundle(str(IMAGE)))["verificationMaterial"]["tlogEntries"]
    entries = document["verificationMaterial"]["tlogEntries"]

    document["verificationMaterial"]["tlogEntries"] = entries + foreign
    assert made.told(judge(bundle(documents.as_bytes(document)))) == "verified"
    document["verificationMaterial"]["tlogEntries"] = foreign
    assert made.told(judge(bundle(documents.as_bytes(document)))) == "tlog_invalid"


def test_the_attackers_own_chain_gives_no_trust() -> None:
    payload, annotations = stranger().legacy_signature(str(IMAGE), subject=SUBJECT, issuer=ISSUER)
    theirs = made.evidence(Form.LEGACY, payload, annotations)

    assert made.told(judge(theirs)) == "tlog_invalid"
    with_our_log = replace(PRIVATE, require_log=False)
    stamped = made.evidence(Form.LEGACY, *stranger().legacy_signature(str(IMAGE), log="none", timestamp=True))
    assert made.told(judge(stamped, Asked(source=with_our_log))) == "time_invalid"


def test_a_signature_made_with_a_key_is_nobodys() -> None:
    for found in (
        layer(Form.LEGACY, ours().legacy_signature(str(IMAGE), keyless=False)),
        bundle(ours().key_bundle(str(IMAGE))),
    ):
        assert made.told(judge(found)) == "unsupported"


def test_without_its_root_an_identity_cannot_be_judged() -> None:
    by = Signer("dev", SignerKind.KEYLESS, WANTED, PRIVATE)

    outcome = made.verify(FORMS["legacy"](), by, trust=Trust(problems={PRIVATE.key: "the file is gone"}))

    assert (outcome.verdict, made.told(outcome)) == (Verdict.INCONCLUSIVE, "trust_unavailable")
    assert "the file is gone" in outcome.detail


# --- keys and the log


@pytest.mark.parametrize("form", ["legacy", "bundle"])
def test_a_key_may_demand_a_log_entry(form: str) -> None:
    trust = Trust({PRIVATE.key: trust_root.parse(ours().trusted_root())})

    def by_key(require_log: bool, **how: object) -> str:
        data = (
            layer(Form.LEGACY, ours().legacy_signature(str(IMAGE), keyless=False, **how))  # type: ignore[arg-type]
            if form == "legacy"
            else bundle(ours().key_bundle(str(IMAGE), **how))  # type: ignore[arg-type]
        )
        key = material.parse_public_key(key_of("p256").public_pem)
        by = Signer("release", SignerKind.KEY, key, PRIVATE, require_log)
        return made.told(made.verify(data, by, trust=trust))

    assert by_key(True) == "verified"
    assert by_key(False) == "verified"
    assert by_key(True, log="none") == "tlog_invalid"
    assert by_key(False, log="none") == "verified"
    other = Twist(verifier=lambda _: key_of("p384"))
    assert by_key(False, twist=other) == "tlog_entry_mismatch"  # what is there must be right
    assert by_key(True, key=key_of("p384")) == "signature_invalid"


# --- several signers, one candidate

LAX = replace(PRIVATE, require_log=False, require_sct=False, require_timestamp=True)
FOREIGN = RootSource("foreign", RootKind.FILE, "file foreign.json")
BARE_KEY = material.parse_public_key(key_of("p256").public_pem)
OTHER_KEY = material.parse_public_key(key_of("p384").public_pem)
SIGNERS = {
    "strict": Signer("strict", SignerKind.KEYLESS, WANTED, PRIVATE),
    "lax": Signer("lax", SignerKind.KEYLESS, WANTED, LAX),
    "lax with SCT": Signer("lax", SignerKind.KEYLESS, WANTED, replace(LAX, require_sct=True)),
    "strict without SCT": Signer("strict", SignerKind.KEYLESS, WANTED, replace(PRIVATE, require_sct=False)),
    "foreign root": Signer("foreign", SignerKind.KEYLESS, WANTED, FOREIGN),
    "other person": Signer("other", SignerKind.KEYLESS, Identity(issuer=ISSUER, subject="x@y.example"), PRIVATE),
    "key": Signer("key", SignerKind.KEY, BARE_KEY),
    "logged key": Signer("logged", SignerKind.KEY, BARE_KEY, PRIVATE, require_log=True),
    "foreign logged key": Signer("logged", SignerKind.KEY, BARE_KEY, FOREIGN, require_log=True),
    "other key": Signer("other key", SignerKind.KEY, OTHER_KEY),
}
CANDIDATES: dict[str, Callable[[], Evidence]] = {
    "legacy": FORMS["legacy"],
    "legacy, no SCT": lambda: FORMS["legacy"](leaf=ours().leaf(logs=())),
    "bundle": FORMS["bundle 0.3"],
    "bundle, no log": lambda: FORMS["bundle 0.3"](log="none", timestamp=True),
    "bundle, no SCT": lambda: FORMS["bundle, Rekor 2"](leaf=ours().leaf(logs=())),
    "bundle, stranger": lambda: bundle(stranger().keyless_bundle(str(IMAGE))),
    "bundle, key": lambda: bundle(ours().key_bundle(str(IMAGE))),
}


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_what_one_signer_is_told_is_not_told_to_another(candidate: str) -> None:
    """Flags of one trust root, or the proof of a key, never help a signer who asks for something else."""
    found = CANDIDATES[candidate]()
    roots = {PRIVATE.key: ours().trusted_root(), FOREIGN.key: stranger().trusted_root()}
    trust = Trust({name: trust_root.parse(data) for name, data in roots.items()})
    alone = {name: made.told(made.verify(found, one, trust=trust)) for name, one in SIGNERS.items()}
    assert len(set(alone.values())) > 1
    names = list(SIGNERS)
    for order in (names, names[::-1]):
        for first in range(len(order)):  # each of them asks first once
            asked = order[first:] + order[:first]
            signers = [SIGNERS[name] for name in asked]
            outcomes = verifier.verify(found, signers, predicates=frozenset(), trust=trust, now=made.NOW)
            assert [made.told(one) for one in outcomes] == [alone[name] for name in asked]


# --- what a stranger may cost


def _with_stamps(data: bytes, stamps: list[bytes]) -> bytes:
    path = ("verificationMaterial", "timestampVerificationData")
    listed = [{"signedTimestamp": signing.base64_of(one)} for one in stamps]
    return documents.edit(data, path, {"rfc3161Timestamps": listed})


@pytest.mark.parametrize(("strangers", "expected"), [(3, "verified"), (4, "limit_exceeded")])
def test_timestamps_of_strangers_are_passed_over_and_counted(strangers: int, expected: str) -> None:
    data = ours().keyless_bundle(str(IMAGE), log="v2")
    document = json.loads(data)
    signature = base64.b64decode(document["dsseEnvelope"]["signatures"][0]["sig"])
    [own] = document["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    foreign = [stranger().clock.stamp(signature, AT, details=Details(serial=n + 1)) for n in range(strangers)]

    found = bundle(_with_stamps(data, [*foreign, base64.b64decode(own["signedTimestamp"])]))

    assert made.told(judge(found)) == expected
