"""Roots made of PEM by hand: what they believe, and what is refused, each rule with a near miss."""

from __future__ import annotations

import functools
import hashlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID
from sigstore.models import TrustedRoot
from sigstore_models.trustroot import v1 as trustroot_v1

from tests.private_sigstore.asked import IMAGE, OTHER, OURS, Asked, judge, told
from webhook.demo import signing
from webhook.errors import Code, MalformedError
from webhook.evidence.model import Form
from webhook.trust import byhand, root, sources
from webhook.trust.byhand import LogKey
from webhook.trust.root import TrustRoot

key_of = functools.cache(signing.new_key)


def _pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _spki(kind: str) -> bytes:
    key = serialization.load_pem_public_key(key_of(kind).public_pem.encode())
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@functools.cache
def chain() -> tuple[str, str]:
    """An intermediate and its root, in PEM."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("intermediate", "corp root")]
    pems = []
    for name, key in zip(names, keys, strict=True):
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[1])
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2026, 1, 1))  # noqa: DTZ001
            .not_valid_after(datetime(2036, 1, 1))  # noqa: DTZ001
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(keys[1], hashes.SHA256())
        )
        pems.append(made.public_bytes(serialization.Encoding.PEM).decode())
    return pems[0], pems[1]


def test_pem_by_hand_makes_a_root() -> None:
    intermediate, top = chain()
    made = byhand.from_material(
        certificate_authorities=[intermediate + top],
        transparency_logs=[LogKey(key_of("p256").public_pem, "https://rekor.corp")],
        ct_logs=[LogKey(key_of("p384").public_pem)],
        timestamp_authorities=[(top + intermediate).encode()],
    )
    rekor, ct = made.logs[0], made.ct_logs[0]
    assert (rekor.url, rekor.log_id) == ("https://rekor.corp", hashlib.sha256(_spki("p256")).digest())
    assert (ct.url, ct.key.schemes) == ("", ("sha384",))
    for authority in (*made.certificate_authorities, *made.timestamp_authorities):
        assert [one.subject.rfc4514_string() for one in authority.chain] == ["CN=intermediate", "CN=corp root"]
        assert datetime(2026, 1, 1, tzinfo=UTC) in authority.window


def test_what_is_assembled_is_read_by_sigstore_too() -> None:
    document = byhand.assemble(
        certificate_authorities=[chain()[1]],
        transparency_logs=[LogKey(key_of("ed25519").public_pem, origin="rekor.corp")],
        ct_logs=[LogKey(key_of("rsa3072").public_pem)],
    )
    TrustedRoot(trustroot_v1.TrustedRoot.from_json(document))
    assert root.parse(document).logs[0].url == "https://rekor.corp"


def test_a_log_with_an_origin_has_the_id_of_its_name() -> None:
    """The public-good log of the Rekor v2 kind, from its key and name."""
    log = sources.packaged().logs[1]
    pem = _pem(serialization.load_der_public_key(log.key.spki))
    made = byhand.from_material(transparency_logs=[LogKey(pem, origin="log2025-1.rekor.sigstore.dev")])
    assert made.logs[0].log_id == log.log_id
    without = byhand.from_material(transparency_logs=[LogKey(pem)])
    assert without.logs[0].log_id == hashlib.sha256(log.key.spki).digest()


V2 = OURS.rekor2
LOGS = {
    "origin": LogKey(V2.key.public_pem, origin=V2.origin),
    "url-and-origin": LogKey(V2.key.public_pem, V2.url, V2.origin),
    "url-with-port-and-path": LogKey(V2.key.public_pem, f"{V2.url}:3000/api", V2.origin),
}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
def test_logs_of_both_kinds_by_hand_are_believed(log: LogKey) -> None:
    made = byhand.from_material(
        certificate_authorities=[OURS.ca_pem],
        transparency_logs=[LogKey(OURS.rekor_pem), log],
        ct_logs=[LogKey(OURS.ct_pem)],
        timestamp_authorities=[OURS.clock_pem],
    )
    for bundle in (OURS.keyless_bundle(IMAGE), OURS.keyless_bundle(IMAGE, log="v2")):
        assert told(judge(Form.BUNDLE, (bundle, {}), Asked(root=made.document))) == "verified"
        foreign = Asked(root=made.document, image=OTHER)
        assert told(judge(Form.BUNDLE, (bundle, {}), foreign)) == "subject_mismatch"


def test_a_log_of_the_rekor_v2_kind_without_its_origin_is_another_log() -> None:
    made = byhand.from_material(
        certificate_authorities=[OURS.ca_pem],
        transparency_logs=[LogKey(V2.key.public_pem, V2.url)],
        ct_logs=[LogKey(OURS.ct_pem)],
        timestamp_authorities=[OURS.clock_pem],
    )
    bundle = OURS.keyless_bundle(IMAGE, log="v2")
    assert told(judge(Form.BUNDLE, (bundle, {}), Asked(root=made.document))) == "tlog_invalid"


def _material(**given: Any) -> Callable[[], TrustRoot]:
    return lambda: byhand.from_material(**given)


def _sigstore_root() -> str:
    return sources.packaged().certificate_authorities[0].chain[0].public_bytes(serialization.Encoding.PEM).decode()


def _weak_pem() -> bytes:
    return _pem(rsa.generate_private_key(65537, 1024).public_key())


def _odd() -> str:
    """A certificate of a version that there is not."""
    der = x509.load_pem_x509_certificate(chain()[1].encode()).public_bytes(serialization.Encoding.DER)
    return ssl.DER_cert_to_PEM_cert(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"))


LOG = LogKey(key_of("p256").public_pem)
ED25519 = key_of("ed25519").public_pem
MALFORMED, UNSUPPORTED, LIMIT = Code.MALFORMED, Code.UNSUPPORTED, Code.LIMIT_EXCEEDED
SECRET = "-----BEGIN EC PRIVATE KEY-----\n"

BY_HAND: dict[str, tuple[Callable[[], TrustRoot], Code, str]] = {
    "origin-of-another-host": (
        _material(transparency_logs=[LogKey(ED25519, "https://rekor.corp", "log1.rekor.corp")]),
        MALFORMED,
        "transparency log 1: origin: the host of its URL expected, 'rekor.corp', found 'log1.rekor.corp'",
    ),
    "origin-with-a-path": (
        _material(transparency_logs=[LogKey(ED25519, origin="rekor.corp/1")]),
        MALFORMED,
        "found 'rekor.corp/1'",
    ),
    "origin-in-upper-case": (
        _material(transparency_logs=[LogKey(ED25519, origin="Rekor.corp")]),
        MALFORMED,
        "found 'Rekor.corp'",
    ),
    "chain-of-version-2": (_material(certificate_authorities=[_odd()]), MALFORMED, "certificates in PEM"),
    "no-pem": (_material(certificate_authorities=["x"]), MALFORMED, "certificate authority 1: certificates in PEM"),
    "empty": (_material(certificate_authorities=[""]), MALFORMED, "certificates in PEM"),
    "key-as-chain": (_material(timestamp_authorities=[LOG.pem]), MALFORMED, "timestamp authority 1"),
    "chain-as-key": (_material(ct_logs=[LogKey(chain()[1])]), MALFORMED, "certificate transparency log 1.*certificate"),
    "private-key": (_material(certificate_authorities=[chain()[1] + SECRET]), MALFORMED, "private key"),
    "two-authorities": (_material(certificate_authorities=[chain()[1] + _sigstore_root()]), MALFORMED, "no chain"),
    "same-key-twice": (_material(transparency_logs=[LOG, LOG]), MALFORMED, "stands twice"),
    "too-long": (_material(certificate_authorities=["x" * (128 << 10) + "x"]), LIMIT, "at most 131072"),
    "eleven": (_material(certificate_authorities=[chain()[1] * 11]), LIMIT, "at most 10"),
    "weak-key": (_material(ct_logs=[LogKey(_weak_pem())]), UNSUPPORTED, "1024 bits"),
}


@pytest.mark.parametrize(("make", "code", "said"), BY_HAND.values(), ids=BY_HAND)
def test_what_is_handed_over_wrongly_is_refused(make: Callable[[], TrustRoot], code: Code, said: str) -> None:
    with pytest.raises(MalformedError, match=said) as caught:
        make()
    assert caught.value.code is code
