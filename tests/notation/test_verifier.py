"""The five checks held together: real signatures, each failure under each level, what is proved, and what is asked."""

from __future__ import annotations

import hashlib
import itertools
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from tests.notation import aws_like, vectors
from tests.notation.aws_like import AT, AUTHORITY, DAY, IMAGE, NOW, SECOND, X509, Node
from tests.trust import tokens
from webhook.errors import Code
from webhook.evidence import unsettled
from webhook.evidence.model import (
    COSE_ENVELOPE,
    JWS_ENVELOPE,
    Evidence,
    Outcome,
    SignedTime,
    Signer,
    SignerKind,
    Verdict,
)
from webhook.evidence.unsettled import Unsettled
from webhook.notation import verifier
from webhook.notation.plugin import Plugin
from webhook.trust import material
from webhook.trust.notary import levels, subject
from webhook.trust.notary.inquiry import ChainInquiry, Standing, Status
from webhook.trust.notary.levels import Action, CertificateRule, Check, Level, VerifyTimestamp
from webhook.trust.notary.stores import StoreKind, TrustStore

GOOD, REVOKED = Status(Standing.GOOD), Status(Standing.REVOKED, "certificate 1 was revoked")
UNKNOWN = Status(Standing.UNKNOWN, "ocsp.example.com: no answer")
VERIFIED = "verified"

ROOT = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")
CA = aws_like.issue("C=US,ST=WA,O=Acme,CN=CA", ROOT, ca=True, path_length=0)
LEAF = aws_like.issue("C=US,ST=WA,L=Seattle,O=Acme,CN=Release", CA)
SHORT = aws_like.issue("C=US,ST=WA,O=Acme,CN=Short", CA, start=AT - DAY, end=AT + 30 * SECOND)
STRANGER = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root")
ACME = subject.parse("C=US,ST=WA,O=Acme")

CA_STORE, AUTHORITY_STORE = ROOT.store("acme", StoreKind.CA), ROOT.store("acme", StoreKind.SIGNING_AUTHORITY)
STRICT = levels.actions_of(Level.STRICT)
RULE = CertificateRule((CA_STORE, AUTHORITY_STORE), (ACME,), STRICT)
AUDIT = replace(RULE, actions=levels.actions_of(Level.AUDIT))


def evidence(payload: bytes, media_type: str = JWS_ENVELOPE) -> Evidence:
    return vectors.evidence(payload, media_type, IMAGE)


def signer(rule: CertificateRule) -> Signer:
    return Signer("acme", SignerKind.CERTIFICATE, rule)


def judge(payload: bytes | Evidence, rule: CertificateRule = RULE, *, now: datetime = NOW) -> Outcome | Unsettled:
    candidate = evidence(payload) if isinstance(payload, bytes) else payload
    (found,) = verifier.verify(candidate, [signer(rule)], now=now)
    return found


def settled(found: Outcome | Unsettled, status: Status = GOOD) -> Outcome:
    """What becomes of it where whatever is asked has this answer."""
    if isinstance(found, Outcome):
        return found
    return unsettled.settle(found, {ask.inquiry: status for ask in found.asks})


def told(payload: bytes | Evidence, rule: CertificateRule = RULE, *, now: datetime = NOW) -> str:
    outcome = settled(judge(payload, rule, now=now))
    return outcome.code.value if outcome.code else outcome.verdict.value


def asked(found: Outcome | Unsettled) -> list[Check]:
    return [ask.check for ask in found.asks] if isinstance(found, Unsettled) else []


# --- real ones


def check_expected(outcome: Outcome, expect: Mapping[str, Any]) -> None:
    found = outcome.code.value if outcome.code else VERIFIED
    assert found == vectors.code(expect.get("code", VERIFIED)), outcome.detail
    if "check" in expect:
        assert outcome.facts[expect["check"]].startswith(found)
    logged = {check: vectors.code(name) for check, name in expect.get("logged", {}).items()}
    assert {check: outcome.facts[check].partition(":")[0] for check in logged} == logged
    assert [note.partition(":")[0] for note in outcome.notes] == list(logged.values())


@pytest.mark.parametrize("case", vectors.cases(vectors.NOTATION, "envelope"), ids=lambda case: case["id"])
def test_real_envelopes(case: Mapping[str, Any]) -> None:
    signers = vectors.Statement.of_case(case, vectors.NOTATION).signers()
    plugins = {one["name"]: Plugin(one["name"], one["version"], frozenset()) for one in case.get("plugins", [])}
    candidate = vectors.of_case(case, vectors.NOTATION)
    now = vectors.time(case["now"])
    (found,) = verifier.verify(candidate, signers, now=now, plugins=plugins or verifier.PLUGINS)
    outcome = settled(found)
    check_expected(outcome, case["expect"])
    if "userMetadata" in case:
        assert outcome.proof is not None
        assert outcome.proof.annotations.items() >= case["userMetadata"].items()
    if plugins:  # none of them is one of ours
        (found,) = verifier.verify(candidate, signers, now=now)
        assert settled(found).code is Code.VERIFICATION_PLUGIN_UNAVAILABLE


@pytest.mark.parametrize("case", vectors.cases(vectors.NOTATION, "oci-layout"), ids=lambda case: case["id"])
def test_real_layouts(case: Mapping[str, Any]) -> None:
    signers = vectors.Statement.of_case(case, vectors.NOTATION).signers()
    found = vectors.of_layout(case)
    assert len(found) == case["expect"]["signatures"]
    for candidate in found:
        (one,) = verifier.verify(candidate, signers, now=vectors.time(case["now"]))
        check_expected(settled(one), case["expect"])


# --- levels

FOREIGN = aws_like.sign(aws_like.issue("C=US,ST=WA,O=Acme,CN=x", STRANGER))
OTHER = aws_like.sign(aws_like.issue("C=US,ST=WA,O=Other,CN=x", CA))
EXPIRED = aws_like.sign(LEAF, expires_at=AT + SECOND)
OVER = aws_like.sign(SHORT)  # its certificate is valid no more
RIGHT = aws_like.sign(LEAF)

# What each level says of authenticity, authentic timestamp, expiry and revocation
LEVELS = {Level.STRICT: "EEEE", Level.PERMISSIVE: "ELLL", Level.AUDIT: "LLLL"}
CHECKS = (Check.AUTHENTICITY, Check.AUTHENTIC_TIMESTAMP, Check.EXPIRY, Check.REVOCATION)
FAILURES: Sequence[tuple[Check, bytes, Status, str]] = [
    (Check.AUTHENTICITY, FOREIGN, GOOD, "untrusted_material"),
    (Check.AUTHENTICITY, OTHER, GOOD, "identity_mismatch"),
    (Check.AUTHENTIC_TIMESTAMP, OVER, GOOD, "time_invalid"),
    (Check.EXPIRY, EXPIRED, GOOD, "signature_expired"),
    (Check.REVOCATION, RIGHT, REVOKED, "revoked"),
    (Check.REVOCATION, RIGHT, UNKNOWN, "revocation_unknown"),
]
CHANGES: Sequence[Mapping[Check, Action]] = [
    {},
    *({check: action} for check in CHECKS for action in (Action.ENFORCE, Action.LOG)),
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("check", "payload", "status", "code"), FAILURES, ids=[failure[3] for failure in FAILURES])
@pytest.mark.parametrize("override", CHANGES, ids=lambda change: "-".join(f"{c}-{a}" for c, a in change.items()) or "-")
def test_each_failure_under_each_level(
    level: Level, check: Check, payload: bytes, status: Status, code: str, override: Mapping[Check, Action]
) -> None:
    actions = levels.actions_of(level, override)
    letters = zip(CHECKS, LEVELS[level], strict=True)
    expected = {**{one: Action.ENFORCE if letter == "E" else Action.LOG for one, letter in letters}, **override}
    found = judge(payload, replace(RULE, actions=actions))
    outcome = settled(found, status)
    if expected[check] is Action.ENFORCE:
        assert outcome.code == code
        assert outcome.proof is None
    elif check is Check.AUTHENTICITY and expected[Check.REVOCATION] is Action.ENFORCE:
        # Enforced is what cannot be asked of a stranger's chain
        assert (outcome.code, asked(found)) == (Code.UNTRUSTED_MATERIAL, [])
    else:
        assert (outcome.verdict, outcome.facts[check].partition(":")[0]) == (Verdict.VERIFIED, code)
        assert [note.partition(":")[0] for note in outcome.notes] == [code]


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_noted_of_a_right_one(level: Level) -> None:
    outcome = settled(judge(RIGHT, replace(RULE, actions=levels.actions_of(level))))
    assert (outcome.verdict, outcome.notes) == (Verdict.VERIFIED, ())
    assert {check.value: outcome.facts[check] for check in Check} == dict.fromkeys(Check, "ok")


@pytest.mark.parametrize("level", LEVELS)
def test_integrity_and_subject_are_enforced_at_every_level(level: Level) -> None:
    rule = replace(RULE, actions=levels.actions_of(level))
    broken = RIGHT.replace(b'"signature":"', b'"signature":"AAAA')
    assert told(broken, rule) == "signature_invalid"
    assert told(replace(evidence(RIGHT), subject=vectors.digest_of(b"another image")), rule) == "subject_mismatch"
    assert told(aws_like.sign(replace(LEAF, issuer=None)), rule) == "cert_chain_invalid"
    assert told(aws_like.sign(LEAF, extended={"com.example.x": "y"}), rule) == "critical_attribute_unprocessed"
    assert told(aws_like.sign(LEAF, extended={aws_like.PLUGIN: "x"}), rule) == "verification_plugin_unavailable"


def test_an_envelope_that_its_own_leaf_did_not_sign_was_tampered_with() -> None:
    broken = RIGHT.replace(b'"signature":"', b'"signature":"AAAA')
    assert settled(judge(broken)).tampered
    assert not settled(judge(FOREIGN)).tampered


# --- subject


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        (IMAGE, VERIFIED),
        (None, VERIFIED),  # not known: the digest says it
        (replace(IMAGE, size=IMAGE.size + 1), "subject_mismatch"),
        (replace(IMAGE, media_type="application/vnd.oci.image.index.v1+json"), "subject_mismatch"),
        (replace(IMAGE, media_type=IMAGE.media_type.upper()), "subject_mismatch"),
    ],
)
def test_what_was_signed_is_what_is_described(described: Any, expected: str) -> None:
    assert told(replace(evidence(RIGHT), described=described)) == expected


def test_the_digest_counts_whatever_is_described() -> None:
    other = vectors.digest_of(b"another image")
    for described in (None, IMAGE, replace(IMAGE, digest=other)):
        assert told(replace(evidence(RIGHT), subject=other, described=described)) == "subject_mismatch"


# --- authenticity


@pytest.mark.parametrize(
    ("scheme", "stores", "expected"),
    [
        (X509, [CA_STORE], VERIFIED),
        (X509, [AUTHORITY_STORE], "untrusted_material"),
        (X509, [STRANGER.store("other", StoreKind.CA), CA_STORE], VERIFIED),
        (X509, [STRANGER.store("other", StoreKind.CA)], "untrusted_material"),
        (X509, [CA.store("between", StoreKind.CA)], VERIFIED),
        (AUTHORITY, [AUTHORITY_STORE], VERIFIED),
        (AUTHORITY, [CA_STORE], "untrusted_material"),
        (AUTHORITY, [CA_STORE, STRANGER.store("other", StoreKind.SIGNING_AUTHORITY)], "untrusted_material"),
    ],
)
def test_stores_count_by_the_scheme(scheme: str, stores: list[TrustStore], expected: str) -> None:
    assert told(aws_like.sign(LEAF, scheme=scheme), replace(RULE, stores=tuple(stores))) == expected


def test_a_certificate_is_trusted_byte_for_byte() -> None:
    """Another certificate of the same authority, with its name and its key, is another one."""
    again = aws_like.issue("C=US,ST=WA,O=Acme,CN=Root", end=AT + 10 * DAY, key=ROOT.key)
    assert told(RIGHT, replace(RULE, stores=(again.store("acme", StoreKind.CA),))) == "untrusted_material"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["C=US,ST=WA,O=Acme"], VERIFIED),
        (["C=US,ST=WA,O=Other", "C=US,ST=WA,O=Acme,CN=Release"], VERIFIED),
        (["C=US,ST=WA,O=Acme,CN=release"], "identity_mismatch"),
        (["C=US,ST=WA,O=Acme,CN=CA"], "identity_mismatch"),  # its issuer's
        ([], VERIFIED),
    ],
)
def test_subjects(rules: list[str], expected: str) -> None:
    assert told(RIGHT, replace(RULE, subjects=tuple(map(subject.parse, rules)))) == expected


def test_a_subject_that_cannot_be_told_is_nobodys_but_in_a_rule_for_any() -> None:
    payload = aws_like.sign(aws_like.issue("C=US,ST=WA,O=Acme,DC=example", CA))
    assert told(payload) == "identity_mismatch"
    assert told(payload, replace(RULE, subjects=())) == VERIFIED


# --- expiry


@pytest.mark.parametrize(
    ("now", "expected"),
    [(AT + DAY - SECOND, VERIFIED), (AT + DAY, "signature_expired"), (AT + DAY + SECOND, "signature_expired")],
)
def test_a_signature_expires_at_the_very_moment(now: datetime, expected: str) -> None:
    assert told(aws_like.sign(LEAF, expires_at=AT + DAY), now=now) == expected


# --- authentic timestamp

TSA_KEYS = tokens.make_key(), tokens.make_key()
TSA_ROOT = tokens.make_certificate("TSA Root", TSA_KEYS[0])
TSA_LEAF = tokens.make_certificate(
    "TSA", TSA_KEYS[1], issuer=tokens.Issuer(TSA_KEYS[0], TSA_ROOT), ca=False, purposes=[tokens.TIME_STAMPING]
)
TSA = TrustStore("tsa", StoreKind.TSA, (TSA_ROOT.public_bytes(Encoding.DER),))
OTHER_TSA = TrustStore(
    "other", StoreKind.TSA, (tokens.make_certificate("TSA Root", tokens.make_key()).public_bytes(Encoding.DER),)
)
STAMPED = replace(RULE, timestamp_stores=(TSA,))


def stamp(at: datetime = AT, accuracy: timedelta = SECOND) -> Callable[[bytes], bytes]:
    details = tokens.Details(accuracy=accuracy)
    return lambda signature: tokens.make_token(signature, key=TSA_KEYS[1], certificate=TSA_LEAF, at=at, details=details)


@pytest.mark.parametrize(
    ("token", "rule", "expected"),
    [
        (stamp(), STAMPED, VERIFIED),
        (stamp(AT + 29 * SECOND), STAMPED, VERIFIED),
        (stamp(AT + 30 * SECOND), STAMPED, "time_invalid"),
        (stamp(AT - DAY), STAMPED, "time_invalid"),
        (stamp(AT - DAY + SECOND), STAMPED, VERIFIED),
        (stamp(accuracy=31 * SECOND), STAMPED, "time_invalid"),
        (None, STAMPED, "time_invalid"),
        (lambda signature: b"garbage", STAMPED, "time_invalid"),
        (lambda signature: stamp()(b"another signature"), STAMPED, "time_invalid"),
        (stamp(), replace(RULE, timestamp_stores=(OTHER_TSA,)), "time_invalid"),
        (stamp(), replace(RULE, timestamp_stores=(OTHER_TSA, TSA)), VERIFIED),
        (stamp(), RULE, "time_invalid"),
        (stamp(), replace(STAMPED, verify_timestamp=VerifyTimestamp.AFTER_CERT_EXPIRY), VERIFIED),
    ],
    ids=["right", "last-second", "too-late", "too-early", "first-second", "too-vague", "none", "garbage",
         "another-message", "another-authority", "one-of-two", "not-wanted", "after-expiry"],
)  # fmt: skip
def test_a_countersignature_of_a_certificate_that_is_over(
    token: Callable[[bytes], bytes] | None, rule: CertificateRule, expected: str
) -> None:
    assert told(aws_like.sign(SHORT, token=token), rule) == expected


def test_a_token_that_is_not_needed_is_not_looked_at() -> None:
    after = replace(STAMPED, verify_timestamp=VerifyTimestamp.AFTER_CERT_EXPIRY)
    payload = aws_like.sign(LEAF, token=lambda signature: b"garbage")
    assert told(payload, after) == VERIFIED
    assert told(payload, STAMPED) == "time_invalid"


@pytest.mark.parametrize(("late", "expected"), [(timedelta(), VERIFIED), (SECOND, "time_invalid")])
def test_a_token_is_needed_from_the_second_after_a_certificate_is_over(late: timedelta, expected: str) -> None:
    after = replace(STAMPED, verify_timestamp=VerifyTimestamp.AFTER_CERT_EXPIRY)
    assert told(aws_like.sign(SHORT), after, now=AT + 30 * SECOND + late) == expected


@pytest.mark.parametrize("revocation", Action)
def test_of_a_timestamp_authority_is_asked_whatever_becomes_of_revocation(revocation: Action) -> None:
    rule = replace(STAMPED, actions=levels.actions_of(Level.STRICT, {Check.REVOCATION: revocation}))
    found = judge(aws_like.sign(SHORT, token=stamp()), rule)
    revocations = [] if revocation is Action.SKIP else [Check.REVOCATION]
    assert asked(found) == [Check.AUTHENTIC_TIMESTAMP, *revocations]
    assert isinstance(found, Unsettled)
    assert found.asks[0].inquiry == ChainInquiry((TSA_LEAF.public_bytes(Encoding.DER), *TSA.certificates))
    assert settled(found, REVOKED).code in (Code.TIME_INVALID, Code.REVOKED)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (AT - DAY - SECOND, "time_invalid"),
        (AT - DAY, VERIFIED),
        (AT + 30 * SECOND, VERIFIED),
        (AT + 31 * SECOND, "time_invalid"),
    ],
)
def test_a_signing_authority_signs_while_every_certificate_is_valid(at: datetime, expected: str) -> None:
    """And the present has no part in it."""
    payload = aws_like.sign(SHORT, scheme=AUTHORITY, at=at)
    assert told(payload, now=NOW + 3000 * DAY) == expected
    short = aws_like.issue("C=US,ST=WA,O=Acme,CN=Short", ROOT, ca=True, start=AT - DAY, end=AT + 30 * SECOND)
    by_short = aws_like.sign(aws_like.issue("C=US,ST=WA,O=Acme,CN=x", short), scheme=AUTHORITY, at=at)
    assert told(by_short, now=NOW + 3000 * DAY) == expected


def test_who_signs_for_himself_cannot_say_when() -> None:
    assert told(aws_like.sign(SHORT, at=AT)) == "time_invalid"
    assert told(aws_like.sign(SHORT, at=AT + 5 * DAY), now=AT) == VERIFIED


# --- what is proved, and what is asked


def test_the_proof_of_a_certificate() -> None:
    found = judge(aws_like.sign(LEAF, annotations={"build": "42"}))
    proof = settled(found).proof
    assert proof is not None
    spki = LEAF.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key = hashlib.sha256(spki).hexdigest()
    assert (proof.material, proof.key_fingerprint) == (f"spki:{key}", key)
    assert proof.certificate_fingerprint == hashlib.sha256(LEAF.der).hexdigest()
    assert {hashlib.sha256(node.der).hexdigest() for node in (CA, ROOT)} <= set(proof.certificate_twins)
    assert proof.certificate_fingerprint not in proof.certificate_twins
    assert (proof.annotations, proof.times) == ({"build": "42"}, ())


def test_the_key_of_a_certificate_is_the_same_material_as_the_key_alone() -> None:
    proof = settled(judge(RIGHT)).proof
    pem = LEAF.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert proof is not None
    assert proof.material == f"spki:{material.parse_public_key(pem).fingerprint}"


@pytest.mark.parametrize(
    ("payload", "rule", "times"),
    [
        (RIGHT, RULE, ()),
        (aws_like.sign(LEAF, scheme=AUTHORITY), RULE, (SignedTime(AT, "'CN=Root,O=Acme,ST=WA,C=US'"),)),
        (aws_like.sign(LEAF, scheme=AUTHORITY), AUDIT, (SignedTime(AT, "'CN=Root,O=Acme,ST=WA,C=US'"),)),
        (aws_like.sign(LEAF, token=stamp(AT + DAY)), STAMPED, (SignedTime(AT + DAY, "'CN=TSA'"),)),
        (aws_like.sign(LEAF, token=stamp(AT + DAY)), RULE, ()),
        # A time that may be a revoked authority's, and one under a root that is nobody's
        (aws_like.sign(LEAF, token=stamp()), replace(STAMPED, actions=levels.actions_of(Level.PERMISSIVE)), ()),
        (
            aws_like.sign(LEAF, scheme=AUTHORITY),
            replace(AUDIT, stores=(STRANGER.store("x", StoreKind.SIGNING_AUTHORITY),)),
            (),
        ),
        (
            aws_like.sign(SHORT, scheme=AUTHORITY, at=AT + DAY),
            AUDIT,
            (),
        ),
    ],
    ids=["claimed", "authority", "authority-audited", "stamped", "not-asked-for", "may-be-revoked", "stranger",
         "outside-validity"],
)  # fmt: skip
def test_times_are_those_of_trusted_clocks(
    payload: bytes, rule: CertificateRule, times: tuple[SignedTime, ...]
) -> None:
    proof = settled(judge(payload, rule)).proof
    assert proof is not None
    assert proof.times == times


@pytest.mark.parametrize(("scheme", "signed_at"), [(X509, None), (AUTHORITY, AT)])
def test_what_is_asked_of_a_chain(scheme: str, signed_at: datetime | None) -> None:
    found = judge(aws_like.sign(LEAF, scheme=scheme))
    assert isinstance(found, Unsettled)
    (ask,) = found.asks
    assert ask.inquiry == ChainInquiry((LEAF.der, CA.der, ROOT.der), signed_at)


def test_a_time_outside_of_validity_excuses_no_revocation() -> None:
    """It is only noted here, and what was signed before a key was lost must not be told by it."""
    found = judge(aws_like.sign(SHORT, scheme=AUTHORITY, at=AT + DAY), AUDIT)
    assert isinstance(found, Unsettled)
    (ask,) = found.asks
    assert ask.inquiry == ChainInquiry((SHORT.der, CA.der, ROOT.der), None)


@pytest.mark.parametrize("payload", [FOREIGN, OTHER], ids=["foreign-root", "another-subject"])
@pytest.mark.parametrize("token", [None, stamp()], ids=["", "stamped"])
def test_nobody_is_asked_about_a_stranger(payload: bytes, token: Callable[[bytes], bytes] | None) -> None:
    """At the level audit anybody's chain is accepted, with a note; its addresses are not fetched."""
    node = aws_like.issue("C=US,ST=WA,O=Acme,CN=x", STRANGER)
    stranger = payload if token is None else aws_like.sign(node, token=token)
    rule = replace(RULE if token is None else STAMPED, actions=levels.actions_of(Level.AUDIT))
    found = judge(stranger, rule)
    assert isinstance(found, Outcome)
    assert (found.verdict, len(found.notes)) == (Verdict.VERIFIED, 1)
    assert found.facts[Check.REVOCATION] == "not asked: the chain is not trusted"


@pytest.mark.parametrize("payload", [FOREIGN, OTHER, EXPIRED, OVER], ids=["foreign", "other", "expired", "over"])
def test_nobody_is_asked_about_what_fails_without_an_answer(payload: bytes) -> None:
    assert asked(judge(payload)) == []


def test_revocation_may_be_skipped() -> None:
    found = judge(RIGHT, replace(RULE, actions=levels.actions_of(Level.STRICT, {Check.REVOCATION: Action.SKIP})))
    assert isinstance(found, Outcome)
    assert (found.verdict, found.facts[Check.REVOCATION], found.notes) == (Verdict.VERIFIED, "skipped", ())


def test_facts() -> None:
    candidate = evidence(aws_like.sign(LEAF, scheme=AUTHORITY, expires_at=AT + DAY))
    outcome = settled(judge(candidate))
    assert outcome.proof is not None
    assert outcome.facts == {
        "form": "notation",
        "candidate": str(candidate.layer),
        "manifest": str(candidate.manifest),
        "place": "referrers",
        "fingerprint": outcome.proof.key_fingerprint,
        "scheme": AUTHORITY,
        "signed_at": "2026-11-21T08:02:41Z",
        "expires_at": "2026-11-22T08:02:41Z",
        **{check.value: "ok" for check in Check},
    }
    assert settled(judge(RIGHT)).facts["claimed_signed_at"] == "2026-11-21T08:02:41Z"


def test_facts_of_what_failed_say_how_far_it_came() -> None:
    facts = settled(judge(EXPIRED)).facts
    assert list(facts) == [Check.INTEGRITY, Check.AUTHENTICITY, Check.EXPIRY]
    assert facts[Check.EXPIRY] == "signature_expired: the signature expired at 2026-11-21T08:02:42Z"


# --- several signers, and whatever may come


def test_several_signers_are_answered_each_for_itself() -> None:
    rules = [
        RULE,
        replace(RULE, subjects=(subject.parse("C=US,ST=WA,O=Other"),)),
        replace(RULE, actions=levels.actions_of(Level.AUDIT)),
        STAMPED,
    ]
    payload = aws_like.sign(LEAF, token=stamp())
    together = verifier.verify(evidence(payload), [signer(rule) for rule in rules], now=NOW)
    assert list(together) == [judge(payload, rule) for rule in rules]


def test_signers_of_another_kind() -> None:
    pem = LEAF.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = Signer("key", SignerKind.KEY, material.parse_public_key(pem))
    (outcome,) = verifier.verify(evidence(RIGHT), [key], now=NOW)
    assert isinstance(outcome, Outcome)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, Code.UNSUPPORTED)


def test_no_signers() -> None:
    assert verifier.verify(evidence(RIGHT), [], now=NOW) == ()


@pytest.mark.parametrize(
    "payload", [RIGHT, EXPIRED, aws_like.sign(SHORT, token=stamp())], ids=["right", "bad", "stamped"]
)
def test_what_is_found_goes_to_other_processes(payload: bytes) -> None:
    found = judge(payload, STAMPED)
    assert pickle.loads(pickle.dumps(found)) == found


@given(st.binary(max_size=200), st.sampled_from([JWS_ENVELOPE, COSE_ENVELOPE, "", "text/plain"]))
def test_any_bytes(payload: bytes, media_type: str) -> None:
    outcome = judge(evidence(payload, media_type))
    assert isinstance(outcome, Outcome)
    assert outcome.code in (Code.MALFORMED, Code.UNSUPPORTED)


STAMPED_ENVELOPE = aws_like.sign(LEAF, token=stamp())


@given(st.integers(0, len(STAMPED_ENVELOPE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_another_envelope_or_none(position: int, change: int) -> None:
    changed = bytearray(STAMPED_ENVELOPE)
    changed[position] ^= change
    found, right = judge(bytes(changed), STAMPED), settled(judge(STAMPED_ENVELOPE, STAMPED))
    assert isinstance(found, Outcome) or settled(found).proof == right.proof


def test_a_subject_that_cannot_be_read() -> None:
    payload = aws_like.sign(aws_like.unreadable(CA))
    assert told(payload, replace(RULE, subjects=())) == "malformed"


def test_what_nobody_expected_is_no_proof_of_anything(caplog: pytest.LogCaptureFixture) -> None:
    garbage = TrustStore("tsa", StoreKind.TSA, (b"garbage",))
    outcome = settled(judge(aws_like.sign(LEAF, token=stamp()), replace(RULE, timestamp_stores=(garbage,))))
    assert (outcome.verdict, outcome.code) == (Verdict.INCONCLUSIVE, Code.INTERNAL_ERROR)
    assert "unexpected error" in caplog.text


def test_chains_of_one_to_four_certificates() -> None:
    for depth, purposes in itertools.product(range(4), ([], [ExtendedKeyUsageOID.CODE_SIGNING])):
        issuer: Node | None = None
        for number in range(depth):
            issuer = aws_like.issue(f"C=US,ST=WA,O=Acme,CN=CA {number}", issuer, ca=True)
        leaf = aws_like.issue("C=US,ST=WA,O=Acme,CN=x", issuer, ca=False, purposes=purposes)
        top = leaf
        while top.issuer is not None:
            top = top.issuer
        assert told(aws_like.sign(leaf), replace(RULE, stores=(top.store("top", StoreKind.CA),))) == VERIFIED
