"""Evidence made on the spot, for the tests of this package: signed well, then changed in one thing."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from webhook.cosign import verifier
from webhook.demo import signing
from webhook.demo.signing import SigningKey
from webhook.evidence.model import SIMPLE_SIGNING, Evidence, Form, Outcome, Place, Signer, SignerKind
from webhook.oci.reference import Digest
from webhook.trust import material
from webhook.trust.at_hand import Trust
from webhook.trust.material import Padding, PublicKey

NOW = datetime(2026, 11, 21, tzinfo=UTC)
REFERENCE = "registry.example/org/app"
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"

KINDS = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", "rsa-pss", "ed25519")

key_of = functools.cache(signing.new_key)


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


IMAGE = digest_of(b"the manifest of the image")
OTHER_IMAGE = digest_of(b"the manifest of another image")
MANIFEST = digest_of(b"the manifest of the signature")


@functools.cache
def public_key(kind: str = "p256") -> PublicKey:
    padding = Padding.PSS if kind == "rsa-pss" else Padding.PKCS1V15
    return material.parse_public_key(key_of(kind).public_pem, padding=padding)


def signer(key: PublicKey | None = None) -> Signer:
    return Signer("release", SignerKind.KEY, key or public_key())


def evidence(form: Form, payload: bytes, annotations: Mapping[str, str], *, subject: Digest = IMAGE) -> Evidence:
    media_type = SIMPLE_SIGNING if form is Form.LEGACY else signing.BUNDLE
    return Evidence(
        form, subject, Place.SIGNATURE_TAG, MANIFEST, digest_of(payload), media_type, annotations, payload
    )  # fmt: skip


def verify(
    found: Evidence, by: Signer | None = None, *, predicates: Iterable[str] = (), trust: Trust | None = None
) -> Outcome:
    """What `found` proves for one signer, where attestations of `predicates` are wanted."""
    wanted = frozenset(predicates)
    [outcome] = verifier.verify(found, (by or signer(),), predicates=wanted, trust=trust or Trust(), now=NOW)
    return outcome


def told(outcome: Outcome) -> str:
    """The outcome in a word: `verified`, `attested`, or the code."""
    return str(outcome.code or outcome.verdict)


# --- legacy


def simple_payload(**critical: object) -> dict[str, object]:
    """A good payload as a document, with members of `critical` replaced."""
    document = json.loads(signing.simple_payload(str(IMAGE), REFERENCE))
    return {**document, "critical": {**document["critical"], **critical}}


def legacy(
    payload: object = None, key: SigningKey | None = None, annotations: Mapping[str, str] | None = None
) -> Evidence:
    """Legacy evidence: `payload`, a document or bytes, really signed, with further `annotations`."""
    data = as_bytes(simple_payload() if payload is None else payload)
    signature = (key or key_of("p256")).sign(data)
    return evidence(Form.LEGACY, data, {SIGNATURE: signing.base64_of(signature), **(annotations or {})})


def certificate_of(key: SigningKey, *, issuer: str = "dev") -> bytes:
    """The DER of a certificate that `key` signed for itself, in its own name where `issuer` is `dev`."""
    private = key.private
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    subject, issued_by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("dev", issuer))
    day = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(issued_by, subject, private.public_key(), 1, day, day + timedelta(minutes=10))
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# --- bundles


def statement(**members: object) -> dict[str, object]:
    """A good statement as a document, with members replaced."""
    document: dict[str, object] = json.loads(signing.sign_statement(str(IMAGE)))
    return {**document, **members}


def envelope(content: object = None, key: SigningKey | None = None) -> dict[str, object]:
    """An envelope of a statement, a document or bytes, really signed."""
    return signing.sign_envelope(key or key_of("p256"), as_bytes(statement() if content is None else content))


def bundle_document(sealed: object = None, **members: object) -> dict[str, object]:
    """A good bundle as a document, with members replaced."""
    return {
        "mediaType": signing.BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key_of("p256").hint}},
        "dsseEnvelope": envelope() if sealed is None else sealed,
        **members,
    }


def bundle(document: object = None) -> Evidence:
    """Bundle evidence of a document or bytes."""
    return evidence(Form.BUNDLE, as_bytes(bundle_document() if document is None else document), {})


def as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
