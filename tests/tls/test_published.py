"""Which certificates a bundle vouches for, in what an API server's TLS finds too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.certificates import Authority as OpenSSL
from webhook.tls import authority, published

NOW = datetime(2026, 1, 20, tzinfo=UTC)
NAME = "countersign.countersign.svc"
DAY = timedelta(days=1)

Key = ec.EllipticCurvePrivateKey


def certificate(name: str, issuer: str, key: Key, issuer_key: Key, *, days: float = 10) -> bytes:
    """Without any extension: sparser than what authorities make, and good enough for an API server's paths."""
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + days * DAY)
        .sign(issuer_key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


ROOT_KEY, MIDDLE_KEY, LEAF_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
ROOT = certificate("root", "root", ROOT_KEY, ROOT_KEY)
MIDDLE = certificate("middle", "root", MIDDLE_KEY, ROOT_KEY)
LEAF = certificate("leaf", "middle", LEAF_KEY, MIDDLE_KEY)
ALONE = certificate("alone", "alone", LEAF_KEY, LEAF_KEY)
STRANGER = certificate("root", "root", LEAF_KEY, LEAF_KEY)  # of the same name, with a key of its own
FORGED = certificate("leaf", "middle", LEAF_KEY, LEAF_KEY)
ENDED = certificate("middle", "root", MIDDLE_KEY, ROOT_KEY, days=-0.5)
OLD, NEW = authority.make(NOW), authority.make(NOW)
CHAIN = OLD.issue((NAME,), NOW).chain

VOUCHED = {
    "its authority": (CHAIN, OLD.pem),
    "its authority among others": (CHAIN, NEW.pem + OLD.pem),
    "beside what cannot be read": (CHAIN, b"notes\n" + published.BEGIN + b"\nAAAA\n" + published.END + b"\n" + OLD.pem),
    "by way of an intermediate": (LEAF + MIDDLE, ROOT),
    "of which the root comes along": (LEAF + MIDDLE + ROOT, ROOT),
    "in whatever order": (LEAF + ROOT + MIDDLE, ROOT),
    "an intermediate is published": (LEAF, MIDDLE),
    "it is published itself": (ALONE, ALONE),
}
REFUSED = {
    "another authority": (CHAIN, NEW.pem),
    "an authority of the same name and another key": (LEAF + MIDDLE, STRANGER),
    "the intermediate is not sent": (LEAF, ROOT),
    "another signature": (FORGED + MIDDLE, ROOT),
    "the intermediate has ended": (LEAF + ENDED, ROOT),
    "what is published has ended": (LEAF, ENDED),
    "it is of itself": (ALONE, ROOT),
    "nothing is published": (CHAIN, b""),
    "garbage is published": (CHAIN, b"\x00\xff"),
    "nothing is served": (b"", OLD.pem),
}


@pytest.mark.parametrize(("chain", "bundle"), VOUCHED.values(), ids=VOUCHED)
def test_a_bundle_vouches(chain: bytes, bundle: bytes) -> None:
    assert published.is_vouched(chain, bundle, NOW)
    assert published.refusal(chain, bundle, NOW) == ""


@pytest.mark.parametrize(("chain", "bundle"), REFUSED.values(), ids=REFUSED)
def test_a_bundle_does_not_vouch(chain: bytes, bundle: bytes) -> None:
    assert not published.is_vouched(chain, bundle, NOW)
    assert "docs/operations.md#certificates" in published.refusal(chain, bundle, NOW)


@pytest.mark.parametrize("now", [NOW - DAY, NOW + 31 * DAY], ids=["not yet", "no longer"])
def test_what_does_not_hold_now_is_refused(now: datetime) -> None:
    assert not published.is_vouched(CHAIN, OLD.pem, now)


def test_what_is_not_known_is_no_refusal() -> None:
    assert published.refusal(CHAIN, None, NOW) == ""


def test_an_empty_bundle_is_told_apart() -> None:
    assert "has no caBundle" in published.refusal(CHAIN, b"\n", NOW)
    assert "does not vouch" in published.refusal(CHAIN, NEW.pem, NOW)


def test_what_openssl_issued(tmp_path: Path) -> None:
    real, other = OpenSSL(tmp_path / "one"), OpenSSL(tmp_path / "two")
    leaf, _ = real.issue("server", common_name=NAME, hosts=(NAME,))
    now = datetime.now(UTC)
    assert published.is_vouched(leaf.read_bytes(), real.certificate.read_bytes(), now)
    assert not published.is_vouched(leaf.read_bytes(), other.certificate.read_bytes(), now)


@given(st.binary(max_size=300), st.sampled_from([lambda junk: (CHAIN, junk), lambda junk: (junk, OLD.pem)]))
def test_garbage_vouches_for_nothing(junk: bytes, place: Callable[[bytes], tuple[bytes, bytes]]) -> None:
    chain, bundle = place(junk)
    assert not published.is_vouched(chain, bundle, NOW)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # a negative serial number
@given(st.integers(0, len(LEAF) - 1), st.integers(1, 255))
def test_a_flipped_byte_vouches_for_nothing_else(position: int, flip: int) -> None:
    changed = bytearray(LEAF)
    changed[position] ^= flip
    if published.is_vouched(bytes(changed), MIDDLE, NOW):  # line ends of PEM mean nothing, and some bits of DER neither
        same = x509.load_pem_x509_certificate(bytes(changed)).tbs_certificate_bytes
        assert same == x509.load_pem_x509_certificate(LEAF).tbs_certificate_bytes
