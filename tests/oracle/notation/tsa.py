"""RFC 3161 TimeStampToken verification (bare CMS SignedData, as the envelopes carry it)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as ax509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as EKU

from tests.oracle.notation.certs import CertChainInvalid, ext, issued_by, validate_chain
from tests.oracle.notation.model import TimestampInvalid

_H = {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}
BASELINE_POLICY = "0.4.0.2023.1.1"


@dataclass
class Timestamp:
    gen_time: datetime
    accuracy: timedelta
    chain: list[x509.Certificate]

    @property
    def lower(self):
        return self.gen_time - self.accuracy

    @property
    def upper(self):
        return self.gen_time + self.accuracy


def _fail(msg):
    raise TimestampInvalid(msg, "authenticTimestamp")


def _chains(leaf, pool, roots, at, path=()):
    """All paths leaf..root inside `roots`, every certificate valid at `at`."""
    path = path + (leaf,)
    if len(path) > 8 or not (leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc):
        return
    eku = ext(leaf, x509.ExtendedKeyUsage)
    if eku and not set(eku.value) & {EKU.TIME_STAMPING, EKU.ANY_EXTENDED_KEY_USAGE}:
        return
    if leaf in roots:
        yield list(path)
        return
    for cand in list(roots) + pool:
        if cand not in path and issued_by(leaf, cand):
            yield from _chains(cand, pool, roots, at, path)


def verify_token(token: bytes, message: bytes, roots: list[x509.Certificate]) -> Timestamp:
    try:
        ci = cms.ContentInfo.load(token, strict=True)
        if ci["content_type"].native != "signed_data":
            _fail("not CMS SignedData")
        sd = ci["content"]
        if sd["version"].native != "v3":
            _fail("SignedData version must be 3")
        eci = sd["encap_content_info"]
        if eci["content_type"].native != "tst_info":
            _fail("content type is not id-ct-TSTInfo")
        content = bytes(eci["content"].contents)
        info = tsp.TSTInfo.load(content, strict=True)
        nat = info.native
        certs = []
        for c in sd["certificates"] if sd["certificates"].native is not None else []:
            if c.name == "certificate":
                certs.append(x509.load_der_x509_certificate(c.chosen.dump()))
        signers = list(sd["signer_infos"])
    except TimestampInvalid:
        raise
    except (ValueError, TypeError, KeyError) as e:
        _fail(f"malformed token: {e}")
    if nat["version"] != "v1":
        _fail("TSTInfo version must be 1")
    algo = nat["message_imprint"]["hash_algorithm"]["algorithm"]
    if algo not in _H:
        _fail(f"message imprint hash {algo} not allowed")
    if hashlib.new(algo, message).digest() != nat["message_imprint"]["hashed_message"]:
        _fail("message imprint does not match the signature")
    acc = nat["accuracy"] or {}
    accuracy = timedelta(
        seconds=acc.get("seconds") or 0, milliseconds=acc.get("millis") or 0, microseconds=acc.get("micros") or 0
    )
    if not accuracy and nat["policy"] == BASELINE_POLICY:
        accuracy = timedelta(seconds=1)
    gen = nat["gen_time"]
    if not signers:
        _fail("no signerInfo")
    if not roots:
        _fail("no TSA root configured")
    last: Exception | None = None
    for si in signers:
        try:
            return Timestamp(gen, accuracy, _signer(si, content, certs, roots, gen))
        except (TimestampInvalid, CertChainInvalid, ValueError, TypeError, KeyError) as e:
            last = e
    _fail(str(last))


def _signer(si, content, certs, roots, gen):
    if si["version"].native != "v1" or si["sid"].name != "issuer_and_serial_number":
        _fail("signerInfo must be version 1 with issuerAndSerialNumber")
    attrs = {}
    for a in si["signed_attrs"] if si["signed_attrs"].native is not None else []:
        if a["type"].dotted in attrs:
            _fail("duplicate signed attribute")
        attrs[a["type"].dotted] = a["values"]
    if not attrs:
        _fail("signed attributes missing")
    # RFC 5816 ESSCertIDv2 decides which certificate signed
    if "1.2.840.113549.1.9.16.2.47" not in attrs:
        _fail("signingCertificateV2 attribute missing")
    ess = tsp.SigningCertificateV2.load(attrs["1.2.840.113549.1.9.16.2.47"][0].dump(), strict=True)
    if not len(ess["certs"]):
        _fail("signingCertificateV2 is empty")
    e0 = ess["certs"][0]
    halgo = e0["hash_algorithm"]["algorithm"].native
    if halgo not in _H:
        _fail("certificate hash algorithm not allowed")
    if e0["issuer_serial"].native is not None:
        names = list(e0["issuer_serial"]["issuer"])
        if len(names) != 1 or names[0].name != "directory_name":
            _fail("issuer name missing in IssuerSerial")
        issuer, serial = names[0].chosen.untag().dump(), e0["issuer_serial"]["serial_number"].native
    else:
        issuer, serial = si["sid"].chosen["issuer"].dump(), si["sid"].chosen["serial_number"].native
    cert = next((c for c in certs if c.issuer.public_bytes() == issuer and c.serial_number == serial), None)
    if cert is None:
        _fail("signing certificate not in the token")
    sid = si["sid"].chosen  # unsigned, but it must name the same certificate
    if sid["serial_number"].native != cert.serial_number or sid["issuer"].dump() != cert.issuer.public_bytes():
        _fail("signer identifier names another certificate")
    from cryptography.hazmat.primitives.serialization import Encoding

    if hashlib.new(halgo, cert.public_bytes(Encoding.DER)).digest() != e0["cert_hash"].native:
        _fail("certificate hash mismatch")
    # signature over the DER SET of signed attributes
    dig = si["digest_algorithm"]["algorithm"].native
    if dig not in _H:
        _fail("digest algorithm not allowed")
    tbs = b"\x31" + si["signed_attrs"].dump(force=True)[1:]
    sig, key, h = si["signature"].native, cert.public_key(), _H[dig]()
    salg = si["signature_algorithm"]["algorithm"].native
    try:
        if isinstance(key, rsa.RSAPublicKey) and (salg == "rsassa_pkcs1v15" or salg == f"{dig}_rsa"):
            key.verify(sig, tbs, padding.PKCS1v15(), h)
        elif isinstance(key, ec.EllipticCurvePublicKey) and salg == f"{dig}_ecdsa":
            key.verify(sig, tbs, ec.ECDSA(h))
        else:
            _fail(f"signature algorithm {salg}/{dig} not allowed")
    except (InvalidSignature, UnsupportedAlgorithm):
        _fail("token signature does not verify")
    if "1.2.840.113549.1.9.3" not in attrs or attrs["1.2.840.113549.1.9.3"][0].native != "tst_info":
        _fail("contentType attribute missing or wrong")
    if (
        "1.2.840.113549.1.9.4" not in attrs
        or attrs["1.2.840.113549.1.9.4"][0].native != hashlib.new(dig, content).digest()
    ):
        _fail("messageDigest attribute missing or wrong")
    st = attrs.get("1.2.840.113549.1.9.5")
    err = "TSA certificate does not chain to a configured TSA root"
    for chain in _chains(cert, certs, roots, gen):
        try:
            validate_chain(chain, "timestamping")
        except CertChainInvalid as e:
            err = str(e)
            continue
        if st is not None and not all(c.not_valid_before_utc <= st[0].native <= c.not_valid_after_utc for c in chain):
            err = "signing time outside the TSA chain's validity"
            continue
        return chain
    _fail(err)
