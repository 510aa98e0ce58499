"""What OCSP responses and revocation lists are worth, for one certificate and for a chain: nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from asn1crypto import ocsp as asn1_ocsp  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.responder import (
    DAY,
    NOW,
    SIGNS_NO_LISTS,
    UNKNOWN_EXTENSION,
    Authority,
    deltas,
    entry,
    large_list,
    lists,
    responders,
    root,
    uri,
)
from webhook.errors import Code, InconclusiveError
from webhook.trust.notary import revocation
from webhook.trust.notary.inquiry import Standing, Status
from webhook.trust.notary.revocation import Finding, Kind, Question, Reply

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "notation"
GOOD, REVOKED, UNKNOWN = Standing.GOOD, Standing.REVOKED, Standing.UNKNOWN
HOUR = timedelta(hours=1)
OCSP_URL, LIST_URL, DELTA_URL = "http://ocsp.example", "http://lists.example/1.crl", "http://lists.example/1d.crl"
Reason, OCSPStatus = x509.ReasonFlags, ocsp.OCSPCertStatus
T = TypeVar("T")

CA = root()
OTHER = root("other")
NAMESAKE = root("root")  # another key under the same name
LEAF = CA.issue("leaf", responders(OCSP_URL)).certificate
SIBLING = CA.issue("sibling").certificate
LISTED = CA.issue("listed", lists((LIST_URL,))).certificate


def examine(
    certificate: x509.Certificate,
    answers: Mapping[str, bytes],
    *,
    issuer: Authority = CA,
    now: datetime = NOW,
    asked: list[Question] | None = None,
) -> Finding:
    """What comes of `answers`, by address; nobody answers at any other."""
    return drive(certificate.public_bytes(serialization.Encoding.DER), issuer.der, answers, now=now, asked=asked)


def drive(
    certificate: bytes,
    issuer: bytes,
    answers: Mapping[str, bytes],
    *,
    now: datetime = NOW,
    asked: list[Question] | None = None,
) -> Finding:
    dialogue = revocation.examine(certificate, issuer)
    try:
        question = next(dialogue)
        while True:
            if asked is not None:
                asked.append(question)
            if question.url in answers:
                question = dialogue.send(Reply(answers[question.url], now))
            else:
                question = dialogue.throw(InconclusiveError(Code.REGISTRY_UNAVAILABLE, "nobody answers"))
    except StopIteration as end:
        found: Finding = end.value
        return found


def status_of(certificate: x509.Certificate, answers: Mapping[str, bytes], signed_at: datetime | None = None) -> Status:
    return examine(certificate, answers).status(signed_at)


def one(items: list[T]) -> T:
    assert len(items) == 1
    return items[0]


# --- Whom to ask


def test_a_certificate_that_names_nobody_is_not_revocable() -> None:
    found = examine(SIBLING, {})
    assert (found.status(None), found.kind) == (Status(GOOD), None)


@pytest.mark.parametrize(
    ("extensions", "asked"),
    [
        ([responders(OCSP_URL)], [OCSP_URL]),
        ([lists((LIST_URL,))], [LIST_URL]),
        ([responders(OCSP_URL), lists((LIST_URL,))], [OCSP_URL, LIST_URL]),
        ([responders("http://a.example", "http://b.example")], ["http://a.example", "http://b.example"]),
        ([responders(*(f"http://{n}.example" for n in range(5)))], [f"http://{n}.example" for n in range(3)]),
        ([lists(("ldap://a.example/x", LIST_URL))], [LIST_URL]),
        ([lists((LIST_URL,), ("http://b.example",))], [LIST_URL, "http://b.example"]),
        ([lists((LIST_URL,), (LIST_URL,))], [LIST_URL]),
        ([lists((LIST_URL,), ("ldap://a.example/x",))], [LIST_URL]),
        ([lists(*((f"http://{n}.example",) for n in range(6)))], [f"http://{n}.example" for n in range(5)]),
        ([lists(("HTTP://a.example",))], ["HTTP://a.example"]),
        ([responders("https://a.example")], []),
        ([lists(("ldap://a.example/x", "https://a.example"))], []),
        ([deltas(DELTA_URL)], []),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_which_addresses_are_asked(extensions: list[Any], asked: list[str]) -> None:
    """Where nobody answers, or nobody is to be asked that way, nothing is known."""
    questions: list[Question] = []
    found = examine(CA.issue("leaf", *extensions).certificate, {}, asked=questions)
    assert [question.url for question in questions] == asked
    assert found.status(None).standing is UNKNOWN


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(LIST_URL,)], GOOD),
        ([(LIST_URL,), ("http://lists.example/2.crl",)], UNKNOWN),  # that nobody answers at
        ([(LIST_URL,), ("ldap://lists.example/2.crl",)], UNKNOWN),
        ([(LIST_URL, "ldap://lists.example/1.crl")], GOOD),
        ([(LIST_URL,), x509.DistributionPoint(None, OTHER.certificate.subject.rdns[0], None, None)], UNKNOWN),
        ([x509.DistributionPoint([uri(LIST_URL)], None, None, [x509.DirectoryName(CA.certificate.subject)])], UNKNOWN),
        ([x509.DistributionPoint([uri(LIST_URL)], None, None, None)], GOOD),
    ],
)
def test_all_distribution_points_must_tell(points: list[Any], expected: Standing) -> None:
    leaf = CA.issue("leaf", lists(*points)).certificate
    assert status_of(leaf, {LIST_URL: CA.revocation_list()}).standing is expected


def test_six_lists_are_too_many_and_five_are_not() -> None:
    urls = [f"http://lists.example/{n}.crl" for n in range(6)]
    answers = dict.fromkeys(urls, CA.revocation_list())
    assert status_of(CA.issue("leaf", lists(*((url,) for url in urls[:5]))).certificate, answers).standing is GOOD
    found = status_of(CA.issue("leaf", lists(*((url,) for url in urls))).certificate, answers)
    assert found.standing is UNKNOWN
    assert "over 5 lists" in found.detail


def test_what_a_responder_is_asked() -> None:
    questions: list[Question] = []
    examine(LEAF, {}, asked=questions)
    asked = ocsp.load_der_ocsp_request(one(questions).request)
    assert asked.serial_number == LEAF.serial_number
    assert isinstance(asked.hash_algorithm, hashes.SHA1)
    assert list(asked.extensions) == []


def test_good_by_ocsp_leaves_lists_alone_and_unknown_does_not() -> None:
    leaf = CA.issue("leaf", responders("http://a.example", "http://b.example"), lists((LIST_URL,))).certificate
    good, unknown = CA.response(leaf), CA.response(leaf, status=OCSPStatus.UNKNOWN)
    revoked_by_list = {LIST_URL: CA.revocation_list(entry(leaf))}
    for answers, expected, count in [
        ({"http://a.example": good}, GOOD, 1),
        ({"http://a.example": unknown, "http://b.example": good}, GOOD, 2),
        ({"http://a.example": unknown}, REVOKED, 3),
        ({}, REVOKED, 3),
    ]:
        questions: list[Question] = []
        found = examine(leaf, answers | revoked_by_list, asked=questions)
        assert (found.status(None).standing, len(questions)) == (expected, count)
    assert status_of(leaf, {LIST_URL: CA.revocation_list()}).standing is GOOD


# --- OCSP


def delegate(
    *, by: Authority = CA, usage: Any = ExtendedKeyUsageOID.OCSP_SIGNING, nocheck: bool = True, **how: Any
) -> Authority:
    purposes = [(x509.ExtendedKeyUsage([usage]), False)] if usage is not None else []
    unchecked = [(x509.OCSPNoCheck(), False)] if nocheck else []
    return by.issue("responder", *purposes, *unchecked, *how.pop("more", ()), **how)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _two_answers(data: asn1_ocsp.ResponseData) -> None:
    data["responses"] = [data["responses"][0], data["responses"][0]]


RSA_CA = root("rsa", key=rsa.generate_private_key(65537, 2048))
RSA_LEAF = RSA_CA.issue("leaf", responders(OCSP_URL), lists((LIST_URL,))).certificate
NONCE = (x509.OCSPNonce(b"0123456789abcdef"), False)


@pytest.mark.parametrize(
    ("make", "standing", "said"),
    [
        (lambda: CA.response(LEAF), GOOD, ""),
        (lambda: CA.response(LEAF, status=OCSPStatus.REVOKED), REVOKED, "was revoked on 2026-11-01"),
        (lambda: CA.response(LEAF, status=OCSPStatus.REVOKED, reason=Reason.ca_compromise), REVOKED, "(cACompromise)"),
        (lambda: CA.response(LEAF, status=OCSPStatus.UNKNOWN), UNKNOWN, "does not know the certificate"),
        (lambda: CA.response(LEAF, until=None), GOOD, ""),
        (lambda: CA.response(LEAF, until=None, since=NOW - timedelta(seconds=3601)), UNKNOWN, "without an end"),
        (lambda: CA.response(LEAF, until=NOW), GOOD, ""),
        (lambda: CA.response(LEAF, until=NOW - timedelta(seconds=1)), UNKNOWN, "held until 2026-11-02 11:59:59Z"),
        (lambda: CA.response(LEAF, since=NOW), GOOD, ""),
        (lambda: CA.response(LEAF, since=NOW + timedelta(seconds=1)), UNKNOWN, "holds only from 2026-11-02 12:00:01Z"),
        (lambda: CA.response(SIBLING), UNKNOWN, "about another certificate"),
        (lambda: CA.response(LEAF, issuer=OTHER), UNKNOWN, "about another certificate"),
        (lambda: CA.response(LEAF, named_by=hashes.SHA256()), UNKNOWN, "about another certificate"),
        (lambda: CA.response(LEAF, extensions=(NONCE,)), GOOD, ""),
        (lambda: CA.response(LEAF, extensions=((UNKNOWN_EXTENSION, False),)), GOOD, ""),
        (lambda: CA.response(LEAF, extensions=((UNKNOWN_EXTENSION, True),)), UNKNOWN, "critical extension"),
        (lambda: CA.response(LEAF, digest=hashes.SHA384()), GOOD, ""),
        (lambda: CA.resigned(CA.response(LEAF), sha1=True), UNKNOWN, "another hash than SHA-2"),
        (lambda: CA.response(LEAF, digest=hashes.SHA224()), UNKNOWN, "another hash than SHA-2"),
        (lambda: CA.resigned(CA.response(LEAF)), GOOD, ""),
        (lambda: CA.resigned(CA.response(LEAF), _two_answers), UNKNOWN, "not about one certificate"),
        (lambda: OTHER.resigned(CA.response(LEAF)), UNKNOWN, "not the issuer's"),
        (lambda: OTHER.response(LEAF, issuer=CA), UNKNOWN, "not the issuer's"),
        (lambda: NAMESAKE.response(LEAF, issuer=CA), UNKNOWN, "not the issuer's"),
        (lambda: CA.response(LEAF, carried=(CA.certificate,)), GOOD, ""),
        (lambda: CA.response(LEAF, signer=OTHER), UNKNOWN, "not for signing OCSP responses"),
        (lambda: CA.response(LEAF, signer=delegate()), GOOD, ""),
        (lambda: CA.response(LEAF, signer=delegate(), status=OCSPStatus.REVOKED), REVOKED, "was revoked"),
        (lambda: CA.response(LEAF, signer=delegate(), carried=()), UNKNOWN, "not the issuer's"),
        (lambda: CA.response(LEAF, signer=(d := delegate()), carried=(SIBLING, d.certificate)), GOOD, ""),
        (lambda: CA.response(LEAF, signer=(d := delegate()), carried=(d.certificate,) * 4), UNKNOWN, "over 3"),
        (lambda: CA.response(LEAF, signer=delegate(nocheck=False)), UNKNOWN, "nocheck"),
        (lambda: CA.response(LEAF, signer=delegate(usage=ExtendedKeyUsageOID.CODE_SIGNING)), UNKNOWN, "not for"),
        (lambda: CA.response(LEAF, signer=delegate(usage=None)), UNKNOWN, "not for signing OCSP"),
        (lambda: CA.response(LEAF, signer=delegate(by=OTHER)), UNKNOWN, "not by the issuer"),
        (lambda: CA.response(LEAF, signer=delegate(by=NAMESAKE)), UNKNOWN, "not by the issuer"),
        (lambda: CA.response(LEAF, signer=delegate(by=delegate())), UNKNOWN, "not by the issuer"),
        (lambda: CA.response(LEAF, signer=delegate(digest=hashes.SHA224())), UNKNOWN, "not by the issuer"),
        (lambda: CA.response(LEAF, signer=delegate(valid=(NOW - DAY, NOW))), GOOD, ""),
        (lambda: CA.response(LEAF, signer=delegate(valid=(NOW - 2 * DAY, NOW - DAY))), UNKNOWN, "not valid now"),
        (lambda: CA.response(LEAF, signer=delegate(valid=(NOW + DAY, NOW + 2 * DAY))), UNKNOWN, "not valid now"),
        (lambda: CA.response(LEAF, signer=delegate(more=((UNKNOWN_EXTENSION, False),))), GOOD, ""),
        (lambda: CA.response(LEAF, signer=delegate(more=((UNKNOWN_EXTENSION, True),))), UNKNOWN, "critical extension"),
        (lambda: b"", UNKNOWN, "cannot be read"),
        (lambda: b"<html>404</html>", UNKNOWN, "cannot be read"),
        (lambda: CA.response(LEAF) + b"\0", UNKNOWN, "cannot be read"),
        (lambda: _refusal(ocsp.OCSPResponseStatus.TRY_LATER), UNKNOWN, "answered try_later"),
        (lambda: _refusal(ocsp.OCSPResponseStatus.UNAUTHORIZED), UNKNOWN, "answered unauthorized"),
    ],
)  # fmt: skip
def test_what_an_ocsp_response_is_worth(make: Callable[[], bytes], standing: Standing, said: str) -> None:
    found = status_of(LEAF, {OCSP_URL: make()})
    assert (found.standing, said in found.detail) == (standing, True), found.detail
    assert (found.detail == "") is (standing is GOOD)


def _refusal(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(serialization.Encoding.DER)


def test_rsa_authorities_and_their_sizes() -> None:
    """A size that costs much is not checked, whoever names it."""
    assert examine(RSA_LEAF, {OCSP_URL: RSA_CA.response(RSA_LEAF)}, issuer=RSA_CA).status(None).standing is GOOD
    weak = root("weak", key=rsa.generate_private_key(65537, 1024))
    leaf = weak.issue("leaf", responders(OCSP_URL)).certificate
    found = examine(leaf, {OCSP_URL: weak.response(leaf)}, issuer=weak).status(None)
    assert found.standing is UNKNOWN
    assert "kind or size" in found.detail


@pytest.mark.parametrize(
    ("signed_at", "standing"),
    [(None, REVOKED), (NOW - 10 * DAY, REVOKED), (NOW - 10 * DAY - timedelta(seconds=1), GOOD)],
)
def test_what_was_signed_before_the_invalidity_date_stays_good(signed_at: datetime | None, standing: Standing) -> None:
    """Only where somebody vouches for the time; else a thief of the key would choose it."""

    def date(data: asn1_ocsp.ResponseData) -> None:
        data["responses"][0]["single_extensions"] = [
            {"extn_id": "2.5.29.24", "critical": False, "extn_value": NOW - 10 * DAY}
        ]

    by_ocsp = CA.resigned(CA.response(LEAF, status=OCSPStatus.REVOKED), date)
    assert status_of(LEAF, {OCSP_URL: by_ocsp}, signed_at).standing is standing
    by_list = CA.revocation_list(entry(LISTED, Reason.key_compromise, invalid_from=NOW - 10 * DAY))
    assert status_of(LISTED, {LIST_URL: by_list}, signed_at).standing is standing
    without = CA.revocation_list(entry(LISTED, Reason.key_compromise))
    assert status_of(LISTED, {LIST_URL: without}, signed_at).standing is REVOKED


def test_leniency_needs_every_list() -> None:
    """Where one list would pardon and another cannot be read, nobody is pardoned."""
    leaf = CA.issue("leaf", lists((LIST_URL,), ("http://b.example",))).certificate
    pardoned = CA.revocation_list(entry(leaf, invalid_from=NOW - 10 * DAY))
    before, after = NOW - 20 * DAY, NOW - 5 * DAY
    assert status_of(leaf, {LIST_URL: pardoned}, before).standing is UNKNOWN
    assert status_of(leaf, {LIST_URL: pardoned}, after).standing is REVOKED
    assert status_of(leaf, {LIST_URL: pardoned, "http://b.example": CA.revocation_list()}, before).standing is GOOD
    for_good = CA.revocation_list(entry(leaf))
    assert status_of(leaf, {LIST_URL: pardoned, "http://b.example": for_good}, before).standing is REVOKED


# --- Revocation lists


def scope(
    url: str | None = None,
    *,
    user: bool = False,
    ca: bool = False,
    attribute: bool = False,
    indirect: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    relative: x509.RelativeDistinguishedName | None = None,
) -> tuple[x509.IssuingDistributionPoint, bool]:
    names = [uri(url)] if url is not None else None
    return x509.IssuingDistributionPoint(names, relative, user, ca, reasons, indirect, attribute), True


UNKNOWN_CRITICAL = ((UNKNOWN_EXTENSION, True),)
SOME = frozenset({Reason.key_compromise, Reason.ca_compromise})
BY_ANOTHER = ((x509.CertificateIssuer([x509.DirectoryName(OTHER.certificate.subject)]), True),)


@pytest.mark.parametrize(
    ("make", "standing", "said"),
    [
        (lambda: CA.revocation_list(), GOOD, ""),
        (lambda: CA.revocation_list(entry(SIBLING)), GOOD, ""),
        (lambda: CA.revocation_list(entry(LISTED)), REVOKED, "'CN=listed' was revoked on 2026-11-01"),
        (lambda: CA.revocation_list(entry(LISTED, Reason.superseded)), REVOKED, "(superseded)"),
        (lambda: CA.revocation_list(entry(LISTED, Reason.certificate_hold)), REVOKED, "(certificateHold)"),
        (lambda: CA.revocation_list(entry(LISTED), encoding=serialization.Encoding.PEM), REVOKED, ""),
        (lambda: CA.revocation_list(encoding=serialization.Encoding.PEM), GOOD, ""),
        (lambda: b"-----BEGIN X509 CRL-----\n=", UNKNOWN, "neither DER nor PEM"),
        (lambda: b"-----BEGIN X509 CRL-----\n=-----END X509 CRL-----", UNKNOWN, "cannot be read"),
        (lambda: CA.revocation_list(number=None), GOOD, ""),
        (lambda: CA.revocation_list(until=NOW), GOOD, ""),
        (lambda: CA.revocation_list(until=NOW - timedelta(seconds=1)), UNKNOWN, "held until 2026-11-02 11:59:59Z"),
        (lambda: large_list(CA, 0), GOOD, ""),
        (lambda: large_list(CA, 0, until=None), UNKNOWN, "does not say until when"),
        (lambda: large_list(CA, 0, sha1=True), UNKNOWN, "another hash than SHA-2"),
        (lambda: CA.revocation_list(digest=hashes.SHA512()), GOOD, ""),
        (lambda: CA.revocation_list(digest=hashes.SHA224()), UNKNOWN, "another hash than SHA-2"),
        (lambda: OTHER.revocation_list(), UNKNOWN, "by another issuer"),
        (lambda: CA.revocation_list(name=OTHER.certificate.subject), UNKNOWN, "by another issuer"),
        (lambda: NAMESAKE.revocation_list(), UNKNOWN, "not the issuer's"),
        (lambda: NAMESAKE.revocation_list(entry(LISTED)), UNKNOWN, "not the issuer's"),
        (lambda: CA.revocation_list(extensions=((UNKNOWN_EXTENSION, False),)), GOOD, ""),
        (lambda: CA.revocation_list(extensions=UNKNOWN_CRITICAL), UNKNOWN, "critical extension"),
        (lambda: CA.revocation_list(entry(LISTED, extensions=UNKNOWN_CRITICAL)), UNKNOWN, "entry in the list"),
        (lambda: CA.revocation_list(entry(LISTED, extensions=BY_ANOTHER)), UNKNOWN, "entry in the list"),
        (lambda: CA.revocation_list(entry(LISTED, extensions=((UNKNOWN_EXTENSION, False),))), REVOKED, ""),
        (lambda: CA.revocation_list(extensions=(scope(LIST_URL),)), GOOD, ""),
        (lambda: CA.revocation_list(extensions=(scope("http://b.example"),)), UNKNOWN, "another distribution point"),
        (lambda: CA.revocation_list(extensions=(scope(relative=CA.certificate.subject.rdns[0]),)), UNKNOWN, "another"),
        (lambda: CA.revocation_list(extensions=(scope(user=True),)), GOOD, ""),
        (lambda: CA.revocation_list(extensions=(scope(ca=True),)), UNKNOWN, "of another kind"),
        (lambda: CA.revocation_list(extensions=(scope(attribute=True),)), UNKNOWN, "of another kind"),
        (lambda: CA.revocation_list(extensions=(scope(LIST_URL, indirect=True),)), UNKNOWN, "indirect"),
        (lambda: CA.revocation_list(extensions=(scope(reasons=SOME),)), UNKNOWN, "some reasons"),
        (lambda: CA.revocation_list(entry(LISTED), extensions=(scope(reasons=SOME),)), REVOKED, ""),
        (lambda: CA.revocation_list(base=3), UNKNOWN, "a delta list"),
        (lambda: CA.revocation_list(entry(LISTED), base=3), UNKNOWN, "a delta list"),
        (lambda: b"", UNKNOWN, "cannot be read"),
        (lambda: b"not found", UNKNOWN, "cannot be read"),
        (lambda: CA.revocation_list() + b"\0", UNKNOWN, "cannot be read"),
    ],
)
def test_what_a_revocation_list_is_worth(make: Callable[[], bytes], standing: Standing, said: str) -> None:
    found = status_of(LISTED, {LIST_URL: make()})
    assert (found.standing, said in found.detail) == (standing, True), found.detail
    assert (found.detail == "") is (standing is GOOD)


def test_lists_that_only_together_are_for_all_reasons() -> None:
    leaf = CA.issue("leaf", lists((LIST_URL,), ("http://b.example",))).certificate
    rest = frozenset(Reason) - SOME - {Reason.unspecified, Reason.remove_from_crl}
    some, others = (CA.revocation_list(extensions=(scope(reasons=which),)) for which in (SOME, rest))
    assert status_of(leaf, {LIST_URL: some, "http://b.example": others}).standing is GOOD
    assert status_of(leaf, {LIST_URL: some, "http://b.example": some}).standing is UNKNOWN


def test_lists_for_authorities_and_for_others() -> None:
    authority = CA.issue("intermediate", lists((LIST_URL,)), (x509.BasicConstraints(True, None), True)).certificate
    for extension, expected in [(scope(ca=True), GOOD), (scope(user=True), UNKNOWN)]:
        answers = {LIST_URL: CA.revocation_list(extensions=(extension,))}
        assert status_of(authority, answers).standing is expected


@pytest.mark.parametrize(("signs", "standing"), [(None, GOOD), (SIGNS_NO_LISTS, UNKNOWN)])
def test_an_issuer_that_signs_no_lists(signs: Any, standing: Standing) -> None:
    issuer = root(signs=signs)
    leaf = issuer.issue("leaf", lists((LIST_URL,))).certificate
    assert examine(leaf, {LIST_URL: issuer.revocation_list()}, issuer=issuer).status(None).standing is standing


@pytest.mark.parametrize(("salt", "standing"), [(padding.PSS.DIGEST_LENGTH, GOOD), (None, GOOD)])
def test_lists_signed_with_rsa(salt: Any, standing: Standing) -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt) if salt is not None else None
    listed = RSA_CA.issue("leaf", lists((LIST_URL,))).certificate
    signed = RSA_CA.revocation_list(rsa_padding=pss)
    assert examine(listed, {LIST_URL: signed}, issuer=RSA_CA).status(None).standing is standing
    assert examine(listed, {LIST_URL: flipped(signed, -1)}, issuer=RSA_CA).status(None).standing is UNKNOWN


def test_other_keys_sign_no_lists() -> None:
    other = root("p521", key=ec.generate_private_key(ec.SECP521R1()))
    leaf = other.issue("leaf", lists((LIST_URL,))).certificate
    assert examine(leaf, {LIST_URL: other.revocation_list()}, issuer=other).status(None).standing is GOOD


# --- Delta lists

BASE_WITH_DELTA = (deltas(DELTA_URL),)


def _base(*entries: x509.RevokedCertificate, **how: Any) -> bytes:
    return CA.revocation_list(*entries, **({"extensions": BASE_WITH_DELTA} | how))


@pytest.mark.parametrize(
    ("base", "delta", "standing"),
    [
        ([], [], GOOD),
        ([], [None], REVOKED),
        ([None], [], REVOKED),
        ([Reason.certificate_hold], [], REVOKED),
        ([Reason.certificate_hold], [Reason.remove_from_crl], GOOD),
        ([Reason.certificate_hold], [Reason.key_compromise], REVOKED),
        ([Reason.key_compromise], [Reason.remove_from_crl], REVOKED),
        ([None], [Reason.remove_from_crl], REVOKED),
        ([], [Reason.remove_from_crl], GOOD),
        ([Reason.remove_from_crl], [Reason.certificate_hold], REVOKED),
    ],
)
def test_the_later_list_decides_and_lifts_only_holds(
    base: list[x509.ReasonFlags | None], delta: list[x509.ReasonFlags | None], standing: Standing
) -> None:
    answers = {
        LIST_URL: _base(*(entry(LISTED, reason) for reason in base)),
        DELTA_URL: CA.revocation_list(*(entry(LISTED, reason) for reason in delta), number=9, base=7),
    }
    assert status_of(LISTED, answers).standing is standing


@pytest.mark.parametrize(
    ("base", "delta", "standing"),
    [
        ({}, {"number": 8, "base": 7}, GOOD),
        ({}, {"number": 8, "base": 3}, GOOD),
        ({}, {"number": 7, "base": 7}, UNKNOWN),
        ({}, {"number": 9, "base": 8}, UNKNOWN),
        ({}, {"number": 8}, UNKNOWN),  # no delta list
        ({}, {"number": None, "base": 7}, UNKNOWN),
        ({"number": None}, {"number": 8, "base": 7}, UNKNOWN),
        ({"base": 3}, {"number": 8, "base": 7}, UNKNOWN),  # itself a delta list
        ({}, {"number": 8, "base": 7, "until": NOW - HOUR}, UNKNOWN),
        ({}, {"number": 8, "base": 7, "extensions": UNKNOWN_CRITICAL}, UNKNOWN),
        ({}, {"number": 8, "base": 7, "extensions": (scope(user=True),)}, UNKNOWN),
        (
            {"extensions": (*BASE_WITH_DELTA, scope(user=True))},
            {"number": 8, "base": 7, "extensions": (scope(user=True),)},
            GOOD,
        ),
        ({"extensions": (deltas(DELTA_URL, "http://b.example"),)}, {"number": 8, "base": 7}, UNKNOWN),
        ({"extensions": (deltas("ldap://b.example"),)}, {"number": 8, "base": 7}, UNKNOWN),
        ({"extensions": ((BASE_WITH_DELTA[0][0], True),)}, {"number": 8, "base": 7}, UNKNOWN),
    ],
)
def test_which_delta_list_follows_a_base(base: dict[str, Any], delta: dict[str, Any], standing: Standing) -> None:
    answers = {LIST_URL: _base(**base), DELTA_URL: CA.revocation_list(**delta)}
    assert status_of(LISTED, answers).standing is standing


def test_delta_lists_of_others_and_missing_ones() -> None:
    for answers in ({}, {DELTA_URL: NAMESAKE.revocation_list(number=8, base=7)}):
        found = status_of(LISTED, {LIST_URL: _base(), **answers})
        assert found.standing is UNKNOWN
        assert "its delta list" in found.detail


def test_a_delta_list_that_only_the_certificate_names() -> None:
    leaf = CA.issue("leaf", lists((LIST_URL,)), deltas(DELTA_URL)).certificate
    delta = {DELTA_URL: CA.revocation_list(number=8, base=7)}
    assert status_of(leaf, {LIST_URL: CA.revocation_list(), **delta}).standing is UNKNOWN
    assert status_of(leaf, {LIST_URL: _base(), **delta}).standing is GOOD


# --- How long, how much, and whatever else


def test_how_long_answers_hold() -> None:
    soon = NOW + timedelta(minutes=1)
    assert examine(LEAF, {OCSP_URL: CA.response(LEAF, until=soon)}).until == soon
    assert examine(LEAF, {OCSP_URL: CA.response(LEAF, until=None)}).until is None
    answers = {LIST_URL: _base(), DELTA_URL: CA.revocation_list(number=8, base=7, until=soon)}
    assert examine(LISTED, answers).until == soon
    assert examine(LISTED, {LIST_URL: CA.revocation_list()}).until == NOW + HOUR


def test_a_list_of_a_million_bytes() -> None:
    assert status_of(LISTED, {LIST_URL: large_list(CA, 1 << 20)}).standing is GOOD
    last = CA.issue("last", lists((LIST_URL,)), serial=1 << 120 | ((1 << 20) // 35 - 1)).certificate
    assert status_of(last, {LIST_URL: large_list(CA, 1 << 20)}).standing is REVOKED


def test_problems_are_few_and_short_in_what_is_said() -> None:
    urls = [f"http://{n}.example/{'x' * 500}" for n in range(3)]
    leaf = CA.issue("l" * 60, responders(*urls), lists((LIST_URL,), ("http://b.example",))).certificate
    found = status_of(leaf, {})
    assert "; 2 more" in found.detail
    assert len(found.detail) < 700


def test_a_chain_is_what_its_worst_certificate_is() -> None:
    good, unknown, revoked = Status(GOOD), Status(UNKNOWN, "asked nobody"), Status(REVOKED, "gone")
    assert revocation.weigh([]) == good
    assert revocation.weigh([good, good]) == good
    assert revocation.weigh([good, unknown]) == unknown
    assert revocation.weigh([unknown, good, revoked, good]) == revoked
    assert revocation.weigh([Status(UNKNOWN, "first"), unknown]).detail == "first"


def _spoilt(answer: bytes, *signatures: bytes) -> st.SearchStrategy[bytes]:
    """`answer` with a byte changed, cut, or lengthened; but for how many bits before each signature are no part of it,
    which changes neither what is signed nor the signature."""
    places = sorted(set(range(len(answer))) - {answer.index(signature) - 1 for signature in signatures})
    flips = st.tuples(st.sampled_from(places), st.integers(1, 255)).map(
        lambda at: answer[: at[0]] + bytes([answer[at[0]] ^ at[1]]) + answer[at[0] + 1 :]
    )
    cuts = st.integers(0, len(answer) - 1).map(lambda at: answer[:at])
    return flips | cuts | st.binary(max_size=300) | st.binary(min_size=1, max_size=20).map(lambda more: answer + more)


DELEGATE = delegate()
RESPONSE = CA.response(LEAF, signer=DELEGATE, extensions=(NONCE,))
LIST = CA.revocation_list(entry(SIBLING, Reason.superseded, invalid_from=NOW), extensions=(scope(LIST_URL),))
SIGNATURES = (ocsp.load_der_ocsp_response(RESPONSE).signature, DELEGATE.certificate.signature)


@given(_spoilt(RESPONSE, *SIGNATURES))
def test_no_ocsp_response_with_a_changed_byte_is_believed(data: bytes) -> None:
    assert status_of(LEAF, {OCSP_URL: RESPONSE}).standing is GOOD
    assert status_of(LEAF, {OCSP_URL: data}).standing is UNKNOWN


@given(_spoilt(LIST, x509.load_der_x509_crl(LIST).signature))
def test_no_list_with_a_changed_byte_is_believed(data: bytes) -> None:
    assert status_of(LISTED, {LIST_URL: LIST}).standing is GOOD
    assert status_of(LISTED, {LIST_URL: data}).standing is UNKNOWN


@given(_spoilt(LISTED.public_bytes(serialization.Encoding.DER)), _spoilt(CA.der))
def test_certificates_that_cannot_be_read(certificate: bytes, issuer: bytes) -> None:
    """They come from a chain that was verified, but nothing else than our own findings may come out."""
    listed = LISTED.public_bytes(serialization.Encoding.DER)
    for pair in [(certificate, CA.der), (listed, issuer)]:
        found = drive(*pair, {LIST_URL: LIST}).status(None)
        assert found.standing in (GOOD, UNKNOWN)


# --- Given vectors

CASES = [case for case in json.loads((VECTORS / "index.json").read_text())["cases"] if case["kind"] == "crl"]
CODES = {"revoked": REVOKED, "revocation_unknown": UNKNOWN, None: GOOD}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_vectors(case: Mapping[str, Any]) -> None:
    chain = x509.load_pem_x509_certificates((VECTORS / case["chainFile"]).read_bytes())
    answers = {url: (VECTORS / file).read_bytes() for url, file in case["responses"].items()}
    now = datetime.fromisoformat(case["now"])
    found = []
    for certificate, issuer in pairwise(chain):
        by = Authority(issuer, CA.key)
        found.append(examine(certificate, answers, issuer=by, now=now))
    status = revocation.weigh(one.status(None) for one in found)
    assert status.standing is CODES[case["expect"].get("code")]
    assert [one.kind for one in found] == [Kind.CRL, Kind.CRL]


def test_there_are_vectors() -> None:
    assert len(CASES) == 3
