"""How certificates of strangers are read: without noise, whatever is odd about them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.trust.tokens import make_certificate, make_key
from webhook.trust import certificates

READ = """
import sys
from cryptography import x509
from webhook.trust import certificates

for text in sys.argv[1:]:
    certificate = x509.load_der_x509_certificate(bytes.fromhex(text))
    print(certificate.serial_number, certificate.subject.rfc4514_string())
"""


def _odd_serial() -> bytes:
    der = make_certificate("odd", make_key(), serial=0x1122334455).public_bytes(serialization.Encoding.DER)
    return der.replace(bytes.fromhex("02051122334455"), bytes.fromhex("0205f122334455"))


def _odd_country() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "XY"), x509.NameAttribute(NameOID.COMMON_NAME, "abc")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day).sign(key, hashes.SHA256())
    der = made.public_bytes(serialization.Encoding.DER)
    common_name, country = bytes.fromhex("0603550403"), bytes.fromhex("0603550406")
    return der.replace(country, common_name).replace(common_name + b"\x0c\x03", country + b"\x0c\x03")


def test_odd_certificates_write_nothing_to_stderr() -> None:
    """Otherwise whoever attaches signatures to an image could fill the log, in words that nobody understands."""
    texts = [_odd_serial().hex(), _odd_country().hex()]
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", READ, *texts], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[0].startswith("-")
    assert "C=abc" in ran.stdout


def test_who_says_to_issue_others() -> None:
    key = make_key()
    assert certificates.is_authority(make_certificate("root", key))
    assert not certificates.is_authority(make_certificate("leaf", key, ca=False))
    assert certificates.extension(make_certificate("bare", key, ca=None, usage=()), x509.KeyUsage) is None
