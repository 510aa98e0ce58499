"""Envelopes made on the spot, for the tests of this package: signed well, with the one change that a test is about.

Certificates are issued by private authorities. COSE is written by another implementation of CBOR than ours, JWS by
hand; `members` of a protected header are changed before it is signed, those of an unprotected one at any time.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from webhook.errors import CountersignError, TamperedError
from webhook.notation import cose, envelope, jws
from webhook.notation.attributes import (
    AUTHENTIC_SIGNING_TIME,
    EXPIRY,
    PAYLOAD_TYPE,
    SCHEME,
    SIGNING_AGENT,
    SIGNING_TIME,
    TIMESTAMP,
)
from webhook.notation.envelope import Scheme

JWS, COSE = jws.MEDIA_TYPE, cose.MEDIA_TYPE
SIGNED_AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
DELETED = object()  # in place of a member's value

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey

ALGORITHMS = {
    "p256": "ES256",
    "p384": "ES384",
    "p521": "ES512",
    "rsa2048": "PS256",
    "rsa3072": "PS384",
    "rsa4096": "PS512",
}
_NUMBERS = {name: number for number, name in cose.ALGORITHMS.items()}
_CURVES: dict[str, ec.EllipticCurve] = {
    "p224": ec.SECP224R1(),
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "k256": ec.SECP256K1(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


@functools.cache
def key_of(kind: str, which: str = "") -> Key:
    """A key of this kind; `which` tells several apart."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "dsa":
        return dsa.generate_private_key(2048)
    if kind == "rsa2048-e3":
        return rsa.generate_private_key(3, 2048)
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    return ec.generate_private_key(_CURVES[kind])


# --- certificates


@dataclass(frozen=True, slots=True)
class Node:
    """A certificate with its key and whoever issued it."""

    certificate: x509.Certificate
    key: Key
    issuer: Node | None = None

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *(self.issuer.chain if self.issuer else ()))


LEAF_USAGE, CA_USAGE = ("digital_signature",), ("key_cert_sign", "crl_sign")
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profile:
    """What stands in a certificate; `None` leaves an extension out. `constraints` are cA and pathLen."""

    constraints: tuple[bool, int | None] | None = None
    constraints_critical: bool = True
    usage: Sequence[str] | None = LEAF_USAGE
    usage_critical: bool = True
    purposes: Sequence[x509.ObjectIdentifier] | None = None
    purposes_critical: bool = False
    others: Sequence[tuple[x509.ExtensionType, bool]] = ()
    hash: hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | hashes.SHA3_256 | None = field(
        default_factory=hashes.SHA256
    )
    pss: bool = False  # the issuer signs with RSASSA-PSS


LEAF = Profile()
CA = Profile(constraints=(True, None), usage=CA_USAGE)


def name_of(common_name: str) -> x509.Name:
    pairs = (
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.STATE_OR_PROVINCE_NAME, "WA"),
        (NameOID.ORGANIZATION_NAME, "acme.example"),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in pairs])


def issue(
    name: str | x509.Name, issuer: Node | None, profile: Profile = LEAF, *, key: Key | None = None, kind: str = "p256"
) -> Node:
    """A certificate as `profile` says, issued by `issuer`, or by itself; `key` is what it is about."""
    key = key or key_of(kind, str(name))
    subject = name_of(name) if isinstance(name, str) else name
    builder = x509.CertificateBuilder(
        issuer_name=issuer.certificate.subject if issuer else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=int.from_bytes(hashlib.sha256(repr((name, profile)).encode()).digest()[:8]) | 1,
        not_valid_before=SIGNED_AT - timedelta(days=1),
        not_valid_after=SIGNED_AT + timedelta(days=365),
    )
    for extension, critical in _extensions(profile):
        builder = builder.add_extension(extension, critical)
    signer = issuer.key if issuer else key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else profile.hash
    if profile.pss and profile.hash is not None:
        pss = padding.PSS(padding.MGF1(profile.hash), padding.PSS.DIGEST_LENGTH)
        return Node(builder.sign(signer, algorithm, rsa_padding=pss), key, issuer)
    return Node(builder.sign(signer, algorithm), key, issuer)


def _extensions(profile: Profile) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if profile.constraints is not None:
        found.append((x509.BasicConstraints(*profile.constraints), profile.constraints_critical))
    if profile.usage is not None:
        found.append((x509.KeyUsage(**{name: name in profile.usage for name in _USAGES}), profile.usage_critical))
    if profile.purposes is not None:
        found.append((x509.ExtendedKeyUsage(profile.purposes), profile.purposes_critical))
    return [*found, *profile.others]


@functools.cache
def leaf_of(kind: str = "p256", length: int = 3) -> Node:
    """A leaf under `length` - 1 authorities; alone, it is self-signed."""
    if length == 1:
        return issue("leaf", None, LEAF, kind=kind)
    issuer = issue("root", None, CA, kind=kind)
    for number in range(length - 2):
        issuer = issue(f"intermediate {number}", issuer, CA, kind=kind)
    return issue("leaf", issuer, LEAF, kind=kind)


def der_of(chain: Sequence[x509.Certificate]) -> list[bytes]:
    return [one.public_bytes(Encoding.DER) for one in chain]


# --- envelopes


def _changed(members: Mapping[str, object] | Mapping[int | str, object], changes: Mapping) -> dict:  # type: ignore[type-arg]
    return {name: value for name, value in {**members, **changes}.items() if value is not DELETED}


TARGET: Mapping[str, object] = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": f"sha256:{hashlib.sha256(b'the manifest of the image').hexdigest()}",
    "size": 942,
}


def payload_of(**members: object) -> bytes:
    """A payload about `TARGET`, with members of it changed."""
    return json.dumps({"targetArtifact": _changed(TARGET, members)}).encode()


@dataclass(frozen=True, slots=True)
class Spec:
    """What an envelope says, whatever it is written in. `critical` are those of `extended` that are marked so."""

    scheme: Scheme = Scheme.X509
    signed_at: datetime = SIGNED_AT
    expires_at: datetime | None = SIGNED_AT + timedelta(days=90)
    extended: Mapping[str, object] = field(default_factory=dict)
    critical: Sequence[str] = ()
    payload: bytes = field(default_factory=payload_of)
    content_type: str = PAYLOAD_TYPE
    token: bytes | None = None
    agent: str = "made/1.0"

    @property
    def times(self) -> Mapping[str, datetime]:
        name = SIGNING_TIME if self.scheme is Scheme.X509 else AUTHENTIC_SIGNING_TIME
        return {name: self.signed_at} | ({EXPIRY: self.expires_at} if self.expires_at else {})

    @property
    def all_critical(self) -> list[str]:
        return [SCHEME, *(name for name in self.times if name != SIGNING_TIME), *self.critical]


SPEC = Spec()
BY_AUTHORITY = replace(SPEC, scheme=Scheme.SIGNING_AUTHORITY)
NOTHING: Mapping[str, object] = {}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_jws(
    spec: Spec = SPEC,
    leaf: Node | None = None,
    *,
    protected: Mapping[str, object] | bytes = NOTHING,
    header: Mapping[str, object] = NOTHING,
    members: Mapping[str, object] = NOTHING,
) -> bytes:
    """An envelope in JWS. `protected`: members to change, or all of its bytes; `members`: those around it."""
    leaf = leaf or leaf_of()
    good = {
        "alg": algorithm_of(leaf.key),
        "cty": spec.content_type,
        "crit": spec.all_critical,
        SCHEME: spec.scheme,
        **{name: time.isoformat().replace("+00:00", "Z") for name, time in spec.times.items()},
        **spec.extended,
    }
    written = protected if isinstance(protected, bytes) else json.dumps(_changed(good, protected)).encode()
    parts = base64url(written), base64url(spec.payload)
    signature = sign(leaf.key, ".".join(parts).encode())
    unsigned: dict[str, object] = {
        "x5c": [base64.b64encode(der).decode() for der in der_of(leaf.chain)],
        SIGNING_AGENT: spec.agent,
    }
    if spec.token is not None:
        unsigned[TIMESTAMP] = base64.b64encode(spec.token).decode()
    document = {
        "payload": parts[1],
        "protected": parts[0],
        "header": _changed(unsigned, header),
        "signature": base64url(signature),
    }
    return json.dumps(_changed(document, members)).encode()


def sign_cose(
    spec: Spec = SPEC,
    leaf: Node | None = None,
    *,
    protected: Mapping[int | str, object] | bytes = NOTHING,  # type: ignore[assignment]  # empty, so of any key
    header: Mapping[int | str, object] = NOTHING,  # type: ignore[assignment]
) -> bytes:
    """An envelope in COSE. `protected`: members to change, or all of its bytes."""
    leaf = leaf or leaf_of()
    good: dict[int | str, object] = {
        1: _NUMBERS.get(algorithm_of(leaf.key), 0),
        2: spec.all_critical,
        3: spec.content_type,
        SCHEME: str(spec.scheme),
        **{name: cbor2.CBORTag(1, int(time.timestamp())) for name, time in spec.times.items()},
    }
    good.update(spec.extended.items())
    written = protected if isinstance(protected, bytes) else cbor2.dumps(_changed(good, protected))
    signature = sign(leaf.key, cbor2.dumps(["Signature1", written, b"", spec.payload]))
    unsigned: dict[int | str, object] = {33: der_of(leaf.chain), SIGNING_AGENT: spec.agent}
    if spec.token is not None:
        unsigned[TIMESTAMP] = spec.token
    return cbor2.dumps(cbor2.CBORTag(18, [written, _changed(unsigned, header), spec.payload, signature]))


def algorithm_of(key: Key) -> str:
    """The name of what `key` signs with; of a kind that must not sign, some name."""
    kind = f"rsa{key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else ""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        kind = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}.get(key.curve.name, "")
    return ALGORITHMS.get(kind, "ES256")


def sign(key: Key, message: bytes, *, salt: int | None = None) -> bytes:
    """The signature of an envelope; `salt` is the length of the PSS salt, where it is not to be that of the hash."""
    algorithm = _HASHES[algorithm_of(key)[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        length = padding.PSS.DIGEST_LENGTH if salt is None else salt
        return key.sign(message, padding.PSS(padding.MGF1(algorithm), length), algorithm)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        return b"".join(one.to_bytes(size) for one in decode_dss_signature(key.sign(message, ec.ECDSA(algorithm))))
    return key.sign(message) if isinstance(key, ed25519.Ed25519PrivateKey) else key.sign(message, algorithm)


# --- what becomes of them


def told(data: bytes, media_type: str) -> str:
    """What becomes of an envelope, in a word: `whole`, or the code."""
    try:
        envelope.open_envelope(data, media_type)
    except CountersignError as error:
        problem = error
    else:
        return "whole"
    assert isinstance(problem, TamperedError) == (problem.code == "signature_invalid")
    assert problem.detail.isascii()
    assert len(problem.detail) < 700
    return str(problem.code)
