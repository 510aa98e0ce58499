"""A certificate authority for tests that says of its certificates what it is told to say, and the server that says it.

What it says is right unless an argument makes it wrong in one thing. `Server` is polite: what hangs or drips is for
`tests.doubles.registry.raw`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from asn1crypto import ocsp as asn1_ocsp  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from webhook.demo.registry import Incoming, Outgoing, Receive, Scope, Send

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Hash = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SIGNS = (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)  # certificates and lists
SIGNS_NO_LISTS = (x509.KeyUsage(False, False, False, False, False, True, False, False, False), True)
AUTHORITY = (x509.BasicConstraints(ca=True, path_length=None), True)
UNKNOWN_EXTENSION = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.999"), b"\x05\x00")


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate and its key, which may issue others."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def issue(
        self,
        name: str,
        *extensions: tuple[x509.ExtensionType, bool],
        serial: int | None = None,
        valid: tuple[datetime, datetime] = (NOW - 365 * DAY, NOW + 365 * DAY),
        digest: Hash = hashes.SHA256(),  # noqa: B008 - it has no state
        key: Key | None = None,
    ) -> Authority:
        """A certificate by this one."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        return Authority(
            _certificate(name, key, self.certificate.subject, self.key, serial, extensions, valid, digest), key
        )

    def response(
        self,
        certificate: x509.Certificate,
        *,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        issuer: Authority | None = None,
        signer: Authority | None = None,
        carried: tuple[x509.Certificate, ...] | None = None,
        since: datetime = NOW - timedelta(hours=1),
        until: datetime | None = NOW + timedelta(hours=1),
        reason: x509.ReasonFlags | None = None,
        named_by: Hash | hashes.SHA1 = hashes.SHA1(),  # noqa: B008 - it has no state; what responders use
        digest: Hash = hashes.SHA256(),  # noqa: B008
        extensions: Extensions = (),
    ) -> bytes:
        """What OCSP says of `certificate`; `signer` is a delegate, whose certificate is carried along."""
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        by = signer or self
        carried = carried if carried is not None else ((by.certificate,) if signer else ())
        builder = ocsp.OCSPResponseBuilder().responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate)
        builder = builder.add_response(
            certificate,
            (issuer or self).certificate,
            named_by,
            status,
            since,
            until,
            NOW - DAY if revoked else None,
            reason if revoked else None,
        )
        for value, critical in extensions:
            builder = builder.add_extension(value, critical)
        if carried:
            builder = builder.certificates(list(carried))
        return builder.sign(by.key, digest).public_bytes(serialization.Encoding.DER)

    def resigned(
        self, response: bytes, change: Callable[[asn1_ocsp.ResponseData], None] = lambda data: None, sha1: bool = False
    ) -> bytes:
        """`response` with `change` made to what is signed, and signed again."""
        whole = asn1_ocsp.OCSPResponse.load(response)
        basic = whole["response_bytes"]["response"].parsed
        change(basic["tbs_response_data"])
        assert isinstance(self.key, ec.EllipticCurvePrivateKey)
        signed = basic["tbs_response_data"].dump(force=True)
        basic["signature"] = self.key.sign(signed, ec.ECDSA(hashes.SHA1() if sha1 else hashes.SHA256()))
        basic["signature_algorithm"] = {"algorithm": "sha1_ecdsa" if sha1 else "sha256_ecdsa"}
        again = asn1_ocsp.OCSPResponse(
            {
                "response_status": "successful",
                "response_bytes": {"response_type": "basic_ocsp_response", "response": basic},
            }
        )
        return bytes(again.dump())

    def revocation_list(
        self,
        *entries: x509.RevokedCertificate,
        number: int | None = 7,
        base: int | None = None,
        until: datetime = NOW + timedelta(hours=1),
        digest: Hash = hashes.SHA256(),  # noqa: B008
        name: x509.Name | None = None,
        rsa_padding: padding.PSS | None = None,
        extensions: Extensions = (),
        encoding: serialization.Encoding = serialization.Encoding.DER,
    ) -> bytes:
        """A list of `entries`; a delta list where `base` is the number of the list that it changes."""
        builder = x509.CertificateRevocationListBuilder(name or self.certificate.subject, NOW - DAY, until)
        numbers = [(x509.CRLNumber(number), False)] if number is not None else []
        delta = [(x509.DeltaCRLIndicator(base), True)] if base is not None else []
        for value, critical in (*numbers, *delta, *extensions):
            builder = builder.add_extension(value, critical)
        for entry in entries:
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, digest, rsa_padding=rsa_padding).public_bytes(encoding)


def large_list(
    authority: Authority, size: int, *, until: datetime | None = NOW + timedelta(hours=1), sha1: bool = False
) -> bytes:
    """A list of about `size` bytes, of serial numbers that nobody has; our library takes long for it."""
    algorithm = _tlv(0x30, _tlv(6, bytes.fromhex("2a8648ce3d0401" if sha1 else "2a8648ce3d040302")))
    when = _utc(NOW - DAY)
    entries = b"".join(b"\x30\x21\x02\x10" + (1 << 120 | n).to_bytes(16) + when for n in range(size // 35))
    signed = _tlv(
        0x30,
        _tlv(2, b"\x01") + algorithm + authority.certificate.subject.public_bytes() + when
        + (_utc(until) if until is not None else b"") + (_tlv(0x30, entries) if entries else b""),
    )  # fmt: skip
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    signature = authority.key.sign(signed, ec.ECDSA(hashes.SHA1() if sha1 else hashes.SHA256()))
    return _tlv(0x30, signed + algorithm + _tlv(3, b"\0" + signature))


def _utc(moment: datetime) -> bytes:
    return _tlv(0x17, f"{moment:%y%m%d%H%M%SZ}".encode())


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag]) + (length if size < 128 else bytes([0x80 | len(length)]) + length) + content


def root(name: str = "root", *, key: Key | None = None, signs: tuple[x509.KeyUsage, bool] | None = SIGNS) -> Authority:
    """A self-signed authority."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    extensions = (AUTHORITY, *((signs,) if signs else ()))
    valid = (NOW - 3650 * DAY, NOW + 3650 * DAY)
    return Authority(_certificate(name, key, _name(name), key, None, extensions, valid, hashes.SHA256()), key)


def entry(
    certificate: x509.Certificate,
    reason: x509.ReasonFlags | None = None,
    *,
    invalid_from: datetime | None = None,
    extensions: Extensions = (),
) -> x509.RevokedCertificate:
    """What stands in a list about `certificate`, revoked a day before `NOW`."""
    builder = x509.RevokedCertificateBuilder(certificate.serial_number, NOW - DAY)
    reasons = [(x509.CRLReason(reason), False)] if reason is not None else []
    dates = [(x509.InvalidityDate(invalid_from), False)] if invalid_from is not None else []
    for value, critical in (*reasons, *dates, *extensions):
        builder = builder.add_extension(value, critical)
    return builder.build()


def responders(*urls: str) -> tuple[x509.AuthorityInformationAccess, bool]:
    """The extension that names responders."""
    described = [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri(url)) for url in urls]
    issuers = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri("http://ca.example/ca.crt"))
    return x509.AuthorityInformationAccess([issuers, *described]), False


def lists(*points: tuple[str, ...] | x509.DistributionPoint) -> tuple[x509.CRLDistributionPoints, bool]:
    """The extension that names distribution points, each by its addresses."""
    return x509.CRLDistributionPoints([_point(one) for one in points]), False


def deltas(*urls: str) -> tuple[x509.FreshestCRL, bool]:
    """The extension that says where delta lists are, one distribution point for each address."""
    return x509.FreshestCRL([_point((url,)) for url in urls]), False


def uri(url: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(url)


def _point(one: tuple[str, ...] | x509.DistributionPoint) -> x509.DistributionPoint:
    if isinstance(one, x509.DistributionPoint):
        return one
    return x509.DistributionPoint([uri(url) for url in one], None, None, None)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    name: str,
    key: Key,
    issuer: x509.Name,
    issuer_key: Key,
    serial: int | None,
    extensions: Extensions,
    valid: tuple[datetime, datetime],
    digest: Hash,
) -> x509.Certificate:
    serial = serial or x509.random_serial_number()
    builder = x509.CertificateBuilder(issuer, _name(name), key.public_key(), serial, *valid)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer_key, digest)


@dataclass(slots=True)
class Server:
    """What lies at each path; what is asked of a responder is told by the whole rest of its path, or by POST."""

    answers: dict[str, Outgoing | bytes] = field(default_factory=dict)
    seen: list[Incoming] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = Incoming(scope["method"], scope["raw_path"].decode("ascii"), {}, headers, body)
        self.seen.append(request)
        answer = self._answer(request.path)
        raw = [(name.encode(), value.encode()) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})

    def _answer(self, path: str) -> Outgoing:
        for known, answer in self.answers.items():
            if path == known:
                return Outgoing(200, (), answer) if isinstance(answer, bytes) else answer
            if path.startswith(f"{known}/"):
                return answer_of(answer) if isinstance(answer, bytes) else answer
        return Outgoing(404)

    @property
    def paths(self) -> list[str]:
        """The first segment of each path that was asked for."""
        return [request.path.split("/")[1] for request in self.seen]


def answer_of(response: bytes) -> Outgoing:
    """`response` as a responder sends it."""
    return Outgoing(200, (("content-type", "application/ocsp-response"),), response)


def asked(request: Incoming) -> ocsp.OCSPRequest:
    """What a responder at a path of one segment was asked."""
    encoded = unquote(request.path.split("/", 2)[2]) if request.method == "GET" else ""
    return ocsp.load_der_ocsp_request(request.body or base64.b64decode(encoded, validate=True))
