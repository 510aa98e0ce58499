"""Signatures of the shape that AWS Signer's have, and other Notary Project envelopes, under private roots.

`AWSLikeSigner` makes what AWS Signer makes, a hierarchy of four and JWS envelopes, right in everything that a test does
not say otherwise. `issue` and `sign` are for all other chains and envelopes. Times are fixed: `AT` is when things are
signed. Names of AWS in certificates are there for the shape only.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from asn1crypto import x509 as asn1_x509  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest
from webhook.trust.notary import stores
from webhook.trust.notary.stores import StoreKind, TrustStore

AT = datetime(2026, 11, 21, 8, 2, 41, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 8, 3, 41, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)

SCHEME = "io.cncf.notary.signingScheme"
SIGNING_TIME = "io.cncf.notary.signingTime"
AUTHENTIC_TIME = "io.cncf.notary.authenticSigningTime"
EXPIRY = "io.cncf.notary.expiry"
PLUGIN, MIN_VERSION = "io.cncf.notary.verificationPlugin", "io.cncf.notary.verificationPluginMinVersion"
AWS_PLUGIN = "com.amazonaws.signer.notation.plugin"
PROFILE_VERSION, JOB = "com.amazonaws.signer.signingProfileVersion", "com.amazonaws.signer.signingJob"
X509, AUTHORITY = "notary.x509", "notary.x509.signingAuthority"

MANIFEST = b'{"schemaVersion":2,"note":"stands for an image manifest"}'
IMAGE = Descriptor(
    "application/vnd.oci.image.manifest.v1+json",
    Digest("sha256", hashlib.sha256(MANIFEST).hexdigest()),
    len(MANIFEST),
    None,
    {},
    None,
)


# --- certificates


@dataclass(frozen=True)
class Node:
    """One certificate with its key, and whoever issued it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    issuer: Node | None = None

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *(self.issuer.chain if self.issuer else ()))

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def store(self, name: str, kind: StoreKind) -> TrustStore:
        return stores.parse(name, kind, self.pem)


def issue(
    subject: str | x509.Name,
    issuer: Node | None = None,
    *,
    ca: bool | None = None,
    path_length: int | None = None,
    start: datetime = AT - 365 * DAY,
    end: datetime = AT + 3650 * DAY,
    key: ec.EllipticCurvePrivateKey | None = None,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    extensions: Sequence[x509.ExtensionType] = (),
) -> Node:
    """A certificate for `C=US,ST=WA,O=Org,CN=x`; without `issuer` a root, with it a leaf, unless `ca` tells."""
    key = key or ec.generate_private_key(ec.SECP384R1())
    is_ca = issuer is None if ca is None else ca
    named = name(subject) if isinstance(subject, str) else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(issuer.certificate.subject if issuer else named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(_usage(is_ca), critical=True)
    )
    if is_ca:
        builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
    if purposes:
        critical = ExtendedKeyUsageOID.TIME_STAMPING in purposes
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=critical)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Node(builder.sign(issuer.key if issuer else key, hashes.SHA384()), key, issuer)


def unreadable(issuer: Node | None = None) -> Node:
    """A certificate whose subject is not UTF-8, which no builder would write, and which is read when it is asked for;
    without `issuer` a root."""
    node = issue("C=US,ST=WA,O=Acme,CN=NoUTF8", issuer)
    changed = asn1_x509.Certificate.load(node.der.replace(b"NoUTF8", b"No\xff\xfe\xfd8"))
    signed = (issuer or node).key.sign(changed["tbs_certificate"].dump(), ec.ECDSA(hashes.SHA384()))
    changed["signature_value"] = signed
    return replace(node, certificate=x509.load_der_x509_certificate(changed.dump()))


def name(text: str) -> x509.Name:
    pairs = (part.split("=", 1) for part in text.split(","))
    return x509.Name([x509.NameAttribute(_OIDS[kind.strip()], value) for kind, value in pairs])


_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
}


def _usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


# --- envelopes


def sign(
    leaf: Node,
    *,
    scheme: str = X509,
    at: datetime = AT,
    expires_at: datetime | None = None,
    extended: Mapping[str, object] | None = None,
    critical: Sequence[str] | None = None,
    image: Descriptor = IMAGE,
    annotations: Mapping[str, str] | None = None,
    token: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """A JWS envelope by `leaf` about `image`. All `extended` attributes are critical, unless `critical` names some;
    `token` makes a countersignature of the signature."""
    extended = extended or {}
    times: dict[str, str] = {AUTHENTIC_TIME if scheme == AUTHORITY else SIGNING_TIME: written(at)}
    if expires_at is not None:
        times[EXPIRY] = written(expires_at)
    marked = [SCHEME, *(one for one in times if one != SIGNING_TIME), *(extended if critical is None else critical)]
    protected = {
        "alg": f"ES{_HASHES[leaf.key.curve.name].name.removeprefix('sha')}",
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": marked,
        SCHEME: scheme,
        **times,
        **extended,
    }
    target: dict[str, object] = {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size}
    if annotations:
        target["annotations"] = annotations
    return jws(leaf, protected, {"targetArtifact": target}, token=token)


def jws(
    leaf: Node,
    protected: Mapping[str, object],
    payload: Mapping[str, object],
    *,
    token: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """The envelope with exactly this `protected` header and `payload`."""
    signed = f"{_base64url(_json(protected))}.{_base64url(_json(payload))}"
    signature = _signature(leaf.key, signed.encode())
    der = (certificate.public_bytes(Encoding.DER) for certificate in leaf.chain)
    header: dict[str, object] = {"x5c": [base64.b64encode(one).decode() for one in der]}
    if token is not None:
        header["io.cncf.notary.timestampSignature"] = base64.b64encode(token(signature)).decode()
    first, second = signed.split(".")
    return _json({"payload": second, "protected": first, "header": header, "signature": _base64url(signature)})


_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def _signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    half = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(_HASHES[key.curve.name])))
    return r.to_bytes(half) + s.to_bytes(half)


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def written(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


# --- AWS Signer


@dataclass(frozen=True)
class AWSLikeSigner:
    """One signing profile of one customer. `another` is somebody else's, under the same root."""

    region: str = "us-west-2"
    account: str = "111122223333"
    profile: str = "demo_profile"
    version: str = "IrwHQeF7XW"
    partition: str = "aws"
    job: str = "5808635f-05de-4207-a891-c95f827b50f4"
    regional: Node | None = field(default=None, repr=False)

    def another(self, **changes: str) -> AWSLikeSigner:
        return replace(self, regional=self.authority, **changes)

    @cached_property
    def authority(self) -> Node:
        """The CA of the region."""
        if self.regional is not None:
            return self.regional
        common = "C=US,O=AWS,OU=Cryptography,ST=WA,CN="
        root = issue(f"{common}AWS Signer Code Signing Root CA G1", end=AT + 36500 * DAY)
        between = issue(f"{common}AWS Signer Code Signing Int CA G1", root, ca=True, end=AT + 1800 * DAY)
        return issue(f"{common}AWS Signer {self.region} Code Signing CA G1", between, ca=True, path_length=0)

    @cached_property
    def root(self) -> Node:
        node = self.authority
        while node.issuer is not None:
            node = node.issuer
        return node

    @cached_property
    def leaf(self) -> Node:
        return self.new_leaf()

    def new_leaf(self, start: datetime = AT - DAY, end: datetime = AT + 5 * DAY) -> Node:
        """A leaf as AWS Signer uses it for days, with the same subject for all customers."""
        subject = "C=US,ST=WA,L=Seattle,O=AWS,OU=AWS Cryptography,CN=AWS Signer"
        return issue(subject, self.authority, start=start, end=end, purposes=[ExtendedKeyUsageOID.CODE_SIGNING])

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:signer:{self.region}:{self.account}:/signing-profiles/{self.profile}"

    @property
    def version_arn(self) -> str:
        return f"{self.arn}/{self.version}"

    @property
    def job_arn(self) -> str:
        return f"arn:{self.partition}:signer:{self.region}:{self.account}:/signing-jobs/{self.job}"

    @property
    def attributes(self) -> Mapping[str, object]:
        return {PLUGIN: AWS_PLUGIN, PROFILE_VERSION: self.version_arn, JOB: self.job_arn}

    def store(self, kind: StoreKind = StoreKind.SIGNING_AUTHORITY) -> TrustStore:
        return self.root.store("aws-like", kind)

    def sign(
        self,
        others: Mapping[str, object] | None = None,
        *,
        scheme: str = AUTHORITY,
        at: datetime = AT,
        expires_at: datetime | None = AT + 4109 * DAY,
        leaf: Node | None = None,
        without: str = "",
        critical: Sequence[str] | None = None,
        image: Descriptor = IMAGE,
        annotations: Mapping[str, str] | None = None,
    ) -> bytes:
        """An envelope under this profile; `others` are attributes besides or instead of its own, `without` is one that
        is left out."""
        extended = {name: value for name, value in {**self.attributes, **(others or {})}.items() if name != without}
        return sign(
            leaf or self.leaf,
            scheme=scheme,
            at=at,
            expires_at=expires_at,
            extended=extended,
            critical=critical,
            image=image,
            annotations=annotations,
        )
