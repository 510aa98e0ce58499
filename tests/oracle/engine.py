"""A second verifier of cosign and Sigstore evidence, written apart from ours: the measure of the bench, and an oracle.

It was the first to be written, to try out the rules, and is kept as it is: what it knows of legacy signatures, of keys
and of bundles without a log no other verifier in Python does. Nothing but tests may import it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError as X509Error,
)
from rfc3161_client import VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError as TsaError


# ---------------------------------------------------------------- errors
class Reason(str, Enum):
    MALFORMED = "malformed"  # could not be parsed / violates its own format
    UNSUPPORTED = "unsupported"  # well formed but outside what we accept
    LIMIT = "limit_exceeded"
    SIGNATURE = "signature_invalid"  # the key did not sign this
    UNTRUSTED = "untrusted_material"  # chain, SCT, log or TSA not anchored in the trust root
    TIME = "time_invalid"  # no trusted time, or outside a validity window
    TLOG = "tlog_invalid"  # SET / proof / checkpoint wrong
    TLOG_MISMATCH = "tlog_entry_mismatch"  # entry is about something else
    IDENTITY = "identity_mismatch"
    SUBJECT = "subject_mismatch"  # valid signature, other image
    CLAIM = "claim_mismatch"  # predicateType / critical.type / annotations


class VerifyError(Exception):
    def __init__(self, reason: Reason, msg: str):
        super().__init__(f"{reason.value}: {msg}")
        self.reason = reason


def fail(reason: Reason, msg: str):
    raise VerifyError(reason, msg)


# ---------------------------------------------------------------- limits
MAX_BUNDLE = 4 << 20
MAX_TLOG = 32
MAX_TS = 32
MAX_CERTS = 10
MAX_SUBJECTS = 1024
MAX_DIGESTS = 32
MAX_CHECKPOINT = 64 << 10
MAX_PAYLOAD = 16 << 20
MAX_RAW = 64 << 10  # one signature, one RFC 3161 token

INTOTO = "application/vnd.in-toto+json"
SIGN_V1 = "https://sigstore.dev/cosign/sign/v1"
SIMPLE_TYPE = "cosign container image signature"
STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
BUNDLE_TYPES = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": (0, 1),
    "application/vnd.dev.sigstore.bundle+json;version=0.2": (0, 2),
    "application/vnd.dev.sigstore.bundle+json;version=0.3": (0, 3),
    "application/vnd.dev.sigstore.bundle.v0.3+json": (0, 3),
}


# ---------------------------------------------------------------- small parsers
def _pairs(pairs):
    out = {}
    for k, v in pairs:
        if k in out:
            raise ValueError(f"duplicate key {k!r}")
        out[k] = v
    return out


def _const(c):
    raise ValueError(f"non-JSON constant {c}")


def loads(raw: bytes | str, limit: int):
    if len(raw) > limit:
        fail(Reason.LIMIT, f"JSON document of {len(raw)} bytes")
    try:
        if isinstance(raw, bytes):
            raw = raw.decode("utf-8", "strict")
        return json.loads(raw, object_pairs_hook=_pairs, parse_constant=_const)
    except (ValueError, RecursionError) as e:
        fail(Reason.MALFORMED, f"JSON: {str(e)[:120]}")


def b64(v, what: str, allow_empty=False) -> bytes:
    if not isinstance(v, str):
        fail(Reason.MALFORMED, f"{what}: base64 string expected")
    try:  # line breaks are tolerated, as Go decoders do
        out = base64.b64decode(v.replace("\n", "").replace("\r", ""), validate=True)
    except (ValueError, binascii.Error):
        fail(Reason.MALFORMED, f"{what}: bad base64")
    if not out and not allow_empty:
        fail(Reason.MALFORMED, f"{what}: empty")
    return out


def obj(v, what: str) -> dict:
    if not isinstance(v, dict):
        fail(Reason.MALFORMED, f"{what}: object expected")
    return v


def arr(v, what: str, limit: int) -> list:
    if v is None:
        return []
    if not isinstance(v, list):
        fail(Reason.MALFORMED, f"{what}: array expected")
    if len(v) > limit:
        fail(Reason.LIMIT, f"{what}: {len(v)} > {limit}")
    return v


def i64(v, what: str) -> int:
    """proto3 JSON int64: decimal string, number also accepted."""
    if isinstance(v, bool) or not isinstance(v, (str, int)):
        fail(Reason.MALFORMED, f"{what}: integer expected")
    if isinstance(v, str):
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", v):
            fail(Reason.MALFORMED, f"{what}: not an int64")
        v = int(v)
    if not 0 <= v < 1 << 63:
        fail(Reason.MALFORMED, f"{what}: out of range")
    return v


_HASHES = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


def hash_name(v) -> str | None:
    return _HASHES.get(v) if isinstance(v, str) else None


def rfc3339(v, what: str) -> datetime:
    try:
        d = datetime.fromisoformat(v.replace("Z", "+00:00"))
        if d.tzinfo is None:
            raise ValueError
        return d
    except (ValueError, AttributeError, TypeError):
        fail(Reason.MALFORMED, f"{what}: RFC 3339 time expected")


def sha256(b: bytes) -> bytes:
    return hashlib.sha256(b).digest()


def load_cert(der: bytes, what="certificate") -> x509.Certificate:
    try:
        c = x509.load_der_x509_certificate(der)
        c.extensions  # force parsing, duplicate extensions raise here
        c.public_key()
        return c
    except Exception as e:  # cryptography raises several types here
        fail(Reason.MALFORMED, f"{what}: {type(e).__name__}")


def spki(key) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


# ---------------------------------------------------------------- trust root
@dataclass(frozen=True)
class Window:
    start: datetime | None
    end: datetime | None

    def has(self, t: datetime) -> bool:  # closed interval
        return (self.start is None or self.start <= t) and (self.end is None or t <= self.end)


@dataclass(frozen=True)
class LogKey:
    url: str
    key: object
    hash: hashes.HashAlgorithm | None
    log_id: bytes
    window: Window

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or self.url

    def check(self, sig: bytes, data: bytes) -> bool:
        return raw_verify(self.key, self.hash, "pkcs1", sig, data)


@dataclass(frozen=True)
class Authority:
    chain: tuple[x509.Certificate, ...]  # leaf/intermediate first, root last
    window: Window


@dataclass(frozen=True)
class TrustRoot:
    tlogs: tuple[LogKey, ...] = ()
    ctlogs: tuple[LogKey, ...] = ()
    cas: tuple[Authority, ...] = ()
    tsas: tuple[Authority, ...] = ()

    DETAILS = {
        "PKIX_ECDSA_P256_SHA_256": (ec.EllipticCurvePublicKey, hashes.SHA256()),
        "PKIX_ECDSA_P384_SHA_384": (ec.EllipticCurvePublicKey, hashes.SHA384()),
        "PKIX_ECDSA_P521_SHA_512": (ec.EllipticCurvePublicKey, hashes.SHA512()),
        "PKIX_RSA_PKCS1V15_2048_SHA256": (rsa.RSAPublicKey, hashes.SHA256()),
        "PKIX_RSA_PKCS1V15_3072_SHA256": (rsa.RSAPublicKey, hashes.SHA256()),
        "PKIX_RSA_PKCS1V15_4096_SHA256": (rsa.RSAPublicKey, hashes.SHA256()),
        "PKCS1_RSA_PKCS1V5": (rsa.RSAPublicKey, hashes.SHA256()),
        "PKIX_ED25519": (ed25519.Ed25519PublicKey, None),
    }

    @classmethod
    def from_json(cls, raw: bytes) -> "TrustRoot":
        d = obj(loads(raw, 4 << 20), "trusted root")
        if d.get("mediaType") not in (
            "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        ):
            fail(Reason.UNSUPPORTED, "trusted root mediaType")

        def window(v, required, what):
            v = obj(v if v is not None else {}, what)
            start, end = v.get("start"), v.get("end")  # proto3 JSON: null means absent
            if required and start is None:
                fail(Reason.MALFORMED, f"{what}: validFor.start is required")
            return Window(
                rfc3339(start, what) if start is not None else None, rfc3339(end, what) if end is not None else None
            )

        def logs(name):
            out = []
            for t in arr(d.get(name), name, 256):
                t, pk = obj(t, name), obj(obj(t, name).get("publicKey"), name + ".publicKey")
                w = window(pk.get("validFor"), True, name)
                det = cls.DETAILS.get(str(pk.get("keyDetails")))
                if det is None:
                    continue  # unknown algorithm: key not usable, not fatal
                try:
                    key = serialization.load_der_public_key(b64(pk.get("rawBytes"), name))
                except ValueError:
                    fail(Reason.MALFORMED, f"{name}: public key")
                if not isinstance(key, det[0]):
                    fail(Reason.MALFORMED, f"{name}: keyDetails do not fit the key")
                lid = b64(obj(t.get("logId"), name).get("keyId"), name + ".logId")
                out.append(LogKey(str(t.get("baseUrl") or ""), key, det[1], lid, w))
            return tuple(out)

        def auths(name):
            out = []
            for a in arr(d.get(name), name, 256):
                certs = tuple(
                    load_cert(b64(obj(c, name).get("rawBytes"), name))
                    for c in arr(obj(obj(a, name).get("certChain"), name).get("certificates"), name, MAX_CERTS)
                )
                if not certs:
                    fail(Reason.MALFORMED, f"{name}: empty chain")
                out.append(Authority(certs, window(a.get("validFor"), False, name)))
            return tuple(out)

        return cls(logs("tlogs"), logs("ctlogs"), auths("certificateAuthorities"), auths("timestampAuthorities"))


# ---------------------------------------------------------------- raw signatures
def load_key_pem(pem: bytes):
    """One PEM block, PUBLIC KEY or RSA PUBLIC KEY (what `cosign public-key` writes)."""
    if len(pem) > 64 << 10:
        fail(Reason.LIMIT, "key")
    kinds = re.findall(rb"-----BEGIN ([A-Z0-9 ]+)-----", pem)
    if kinds not in ([b"PUBLIC KEY"], [b"RSA PUBLIC KEY"]):
        fail(Reason.MALFORMED, f"exactly one public key block expected, found {kinds}")
    try:
        key = serialization.load_pem_public_key(pem)
    except Exception as e:
        fail(Reason.MALFORMED, f"public key: {type(e).__name__}")
    candidates(key, ("pkcs1",))  # rejects unknown types, small RSA, odd curves
    return key


def raw_verify(key, h, scheme, sig: bytes, data: bytes, prehashed=False) -> bool:
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    try:
        hh = Prehashed(h) if prehashed and h is not None else h
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(sig, data, ec.ECDSA(hh))
        elif isinstance(key, rsa.RSAPublicKey):
            pad = padding.PKCS1v15() if scheme == "pkcs1" else padding.PSS(padding.MGF1(h), padding.PSS.AUTO)
            key.verify(sig, data, pad, hh)
        elif isinstance(key, ed25519.Ed25519PublicKey) and not prehashed:
            key.verify(sig, data)
        else:
            return False
        return True
    except (InvalidSignature, ValueError):
        return False


_CURVES = {
    "secp256r1": [hashes.SHA256()],
    "secp384r1": [hashes.SHA384(), hashes.SHA256()],  # second one: old clients
    "secp521r1": [hashes.SHA512(), hashes.SHA256()],
}


def candidates(key, rsa_schemes=("pkcs1",)) -> list[tuple[object, str]]:
    """(hash, scheme) pairs that may have been used with this key, best first."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            fail(Reason.UNSUPPORTED, f"curve {key.curve.name}")
        return [(h, "ecdsa") for h in _CURVES[key.curve.name]]
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048 or key.key_size > 8192:
            fail(Reason.UNSUPPORTED, f"RSA {key.key_size}")
        return [(hashes.SHA256(), s) for s in rsa_schemes]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return [(None, "ed25519")]
    fail(Reason.UNSUPPORTED, f"key type {type(key).__name__}")


def p1363_to_der(key, sig: bytes) -> bytes | None:
    """Azure and PKCS#11 signers emit r||s; cosign accepts both encodings."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    n = (key.curve.key_size + 7) // 8
    if len(sig) != 2 * n:
        return None
    return encode_dss_signature(int.from_bytes(sig[:n], "big"), int.from_bytes(sig[n:], "big"))


def verify_message(key, sig: bytes, data: bytes, rsa_schemes=("pkcs1",), allow_p1363=True):
    for h, scheme in candidates(key, rsa_schemes):
        if raw_verify(key, h, scheme, sig, data):
            return
    alt = p1363_to_der(key, sig) if allow_p1363 else None
    if alt:
        for h, scheme in candidates(key):
            if raw_verify(key, h, scheme, alt, data):
                return
    fail(Reason.SIGNATURE, "signature does not verify with the key")


def verify_digest(key, sig: bytes, alg: str, digest: bytes):
    h = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[alg]
    if isinstance(key, ed25519.Ed25519PublicKey):
        fail(Reason.UNSUPPORTED, "pure Ed25519 needs the artifact, not its digest")
    if not raw_verify(key, h, "pkcs1", sig, digest, prehashed=True):
        fail(Reason.SIGNATURE, "signature does not verify for the digest")


# ---------------------------------------------------------------- certificates
_CA_POL = ExtensionPolicy.webpki_defaults_ca().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
_EE_POL = ExtensionPolicy.webpki_defaults_ee().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)


def build_chain(leaf: x509.Certificate, root: TrustRoot, t: datetime) -> list[x509.Certificate]:
    last = "no certificate authority in the trust root"
    for ca in root.cas:
        if not ca.window.has(t):
            last = "time outside the CA's validity in the trust root"
            continue
        try:
            v = (
                PolicyBuilder()
                .store(Store([ca.chain[-1]]))
                .time(t)
                .extension_policies(ca_policy=_CA_POL, ee_policy=_EE_POL)
                .build_client_verifier()
            )
            chain = v.verify(leaf, list(ca.chain[:-1])).chain
        except (X509Error, ValueError, x509.UnsupportedGeneralNameType) as e:
            last = str(e)[:160]
            continue
        for c in chain[1:-1]:  # EKU nesting below the root
            try:
                eku = c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            except x509.ExtensionNotFound:
                continue
            if ExtendedKeyUsageOID.CODE_SIGNING not in eku:
                fail(Reason.UNTRUSTED, "intermediate is not allowed to sign code")
        return list(chain)
    fail(Reason.UNTRUSTED, f"no chain to a trusted CA: {last}")


def check_leaf_profile(c: x509.Certificate):
    ext = c.extensions
    try:
        if ext.get_extension_for_class(x509.BasicConstraints).value.ca:
            fail(Reason.UNTRUSTED, "leaf is a CA")
    except x509.ExtensionNotFound:
        pass
    try:
        ku = ext.get_extension_for_class(x509.KeyUsage).value
        eku = ext.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        fail(Reason.UNTRUSTED, "leaf lacks KeyUsage or ExtendedKeyUsage")
    if not ku.digital_signature or ku.key_cert_sign:
        fail(Reason.UNTRUSTED, "leaf KeyUsage")
    if ExtendedKeyUsageOID.CODE_SIGNING not in eku:
        fail(Reason.UNTRUSTED, "leaf is not for code signing")


def verify_sct(chain: list[x509.Certificate], root: TrustRoot, need=1):
    leaf, issuer = chain[0], chain[1]
    try:
        scts = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    except x509.ExtensionNotFound:
        fail(Reason.UNTRUSTED, "certificate has no embedded SCT")
    good = set()
    for s in list(scts)[:16]:
        log = next((k for k in root.ctlogs if k.log_id == s.log_id), None)
        if log is None:
            continue
        t = s.timestamp.replace(tzinfo=timezone.utc)
        if not log.window.has(t) or not isinstance(s.signature_hash_algorithm, hashes.SHA256):
            continue
        ms = int(t.timestamp()) * 1000 + t.microsecond // 1000
        tbs = leaf.tbs_precertificate_bytes
        ext = s.extension_bytes
        data = (
            struct.pack("!BBQH", 0, 0, ms, 1)
            + sha256(spki(issuer.public_key()))
            + struct.pack("!I", len(tbs))[1:]
            + tbs
            + struct.pack("!H", len(ext))
            + ext
        )
        if log.check(s.signature, data):
            good.add(s.log_id)
    if len(good) < need:
        fail(Reason.UNTRUSTED, "no SCT verifies with a CT log of the trust root")


OID = "1.3.6.1.4.1.57264.1."


def _der_utf8(raw: bytes) -> str:
    if len(raw) < 2 or raw[0] != 0x0C:
        fail(Reason.MALFORMED, "Fulcio extension is not a UTF8String")
    n, off = raw[1], 2
    if n & 0x80:
        k = n & 0x7F
        if k == 0 or k > 3 or len(raw) < 2 + k:
            fail(Reason.MALFORMED, "Fulcio extension length")
        n, off = int.from_bytes(raw[2 : 2 + k], "big"), 2 + k
    if len(raw) != off + n:
        fail(Reason.MALFORMED, "Fulcio extension length")
    return raw[off:].decode("utf-8", "strict")


def fulcio_extension(c: x509.Certificate, n: int) -> str | None:
    try:
        raw = c.extensions.get_extension_for_oid(x509.ObjectIdentifier(f"{OID}{n}")).value.value
    except x509.ExtensionNotFound:
        return None
    try:
        return raw.decode("utf-8", "strict") if n <= 6 else _der_utf8(raw)
    except UnicodeDecodeError:
        fail(Reason.MALFORMED, "Fulcio extension encoding")


def issuer_of(c: x509.Certificate) -> str:
    v1, v2 = fulcio_extension(c, 1), fulcio_extension(c, 8)
    if v1 is not None and v2 is not None and v1 != v2:
        fail(Reason.MALFORMED, "issuer extensions .1 and .8 disagree")
    got = v2 if v2 is not None else v1
    if not got:
        fail(Reason.IDENTITY, "certificate has no OIDC issuer extension")
    return got


def sans_of(c: x509.Certificate) -> list[tuple[str, str]]:
    try:
        san = c.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        fail(Reason.IDENTITY, "certificate has no SAN")
    out = []
    for n in san:
        if isinstance(n, x509.RFC822Name):
            out.append(("email", n.value))
        elif isinstance(n, x509.UniformResourceIdentifier):
            out.append(("uri", n.value))
        elif isinstance(n, x509.OtherName) and n.type_id.dotted_string == OID + "7":
            out.append(("username", _der_utf8(n.value)))
        elif isinstance(n, x509.DNSName):
            out.append(("dns", n.value))
        elif isinstance(n, x509.IPAddress):
            out.append(("ip", str(n.value)))
    return out


@dataclass(frozen=True)
class Identity:
    issuer: str | None = None
    issuer_regex: str | None = None
    subject: str | None = None
    subject_regex: str | None = None
    extensions: tuple[tuple[int, str], ...] = ()

    def __post_init__(self):
        if not (self.issuer or self.issuer_regex) or not (self.subject or self.subject_regex):
            raise ValueError("issuer and subject criteria are both required")

    def matches(self, c: x509.Certificate) -> bool:
        iss = issuer_of(c)
        if self.issuer and iss != self.issuer:
            return False
        if self.issuer_regex and not re.fullmatch(self.issuer_regex, iss):
            return False
        names = [v for _, v in sans_of(c)]
        if self.subject and self.subject not in names:
            return False
        if self.subject_regex and not any(re.fullmatch(self.subject_regex, n) for n in names):
            return False
        return all(fulcio_extension(c, n) == v for n, v in self.extensions)


# ---------------------------------------------------------------- transparency log
def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def merkle_root(leaf_hash: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162 2.1.3.2 walk: fn/sn bit positions decide the side of each sibling."""
    if not 0 <= index < size:
        fail(Reason.TLOG, "log index outside the tree")
    fn, sn, r = index, size - 1, leaf_hash
    for p in path:
        if len(p) != 32:
            fail(Reason.TLOG, "proof hash length")
        if sn == 0:
            fail(Reason.TLOG, "proof too long")
        if fn & 1 or fn == sn:
            r = _node(p, r)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            r = _node(r, p)
        fn >>= 1
        sn >>= 1
    if sn:
        fail(Reason.TLOG, "proof too short")
    return r


def key_hash(log: LogKey, name: str) -> bytes:
    if isinstance(log.key, ed25519.Ed25519PublicKey):
        raw = log.key.public_bytes_raw()
        return sha256(name.encode() + b"\n" + b"\x01" + raw)[:4]
    return sha256(spki(log.key))[:4]


_SIG_LINE = re.compile("\u2014 ([^ \\n+]+) ([A-Za-z0-9+/]+={0,2})\n")


def verify_checkpoint(text: str, log: LogKey, v2: bool, size: int, root_hash: bytes):
    if not isinstance(text, str) or len(text) > MAX_CHECKPOINT:
        fail(Reason.MALFORMED, "checkpoint")
    if text.count("\n\n") != 1:
        fail(Reason.TLOG, "checkpoint is not body, blank line, signatures")
    body, sigs = text.split("\n\n")
    body += "\n"
    lines = body.split("\n")[:-1]
    if len(lines) < 3 or not lines[0]:
        fail(Reason.TLOG, "checkpoint body is too short")
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
        fail(Reason.TLOG, "checkpoint tree size")
    try:
        got_root = base64.b64decode(lines[2], validate=True)
    except (ValueError, binascii.Error):
        fail(Reason.TLOG, "checkpoint root hash")
    origin = lines[0]
    if v2:
        if origin != log.host:
            fail(Reason.TLOG, "checkpoint origin is not the log's host")
        name = origin
    else:
        m = re.fullmatch(r"(\S+) - [0-9]+", origin)
        if not m:
            fail(Reason.TLOG, "not a Rekor v1 checkpoint origin")
        name = m.group(1)
    rest, found = sigs, []
    while rest:
        m = _SIG_LINE.match(rest)
        if not m:
            fail(Reason.TLOG, "malformed signature line")
        found.append((m.group(1), m.group(2)))
        rest = rest[m.end() :]
        if len(found) > 100:
            fail(Reason.LIMIT, "checkpoint signatures")
    want = key_hash(log, name)
    for n, s in found:
        raw = b64(s, "checkpoint signature")
        if n == name and raw[:4] == want and log.check(raw[4:], body.encode()):
            break
    else:
        fail(Reason.TLOG, "checkpoint has no valid signature of this log")
    if int(lines[1]) != size or got_root != root_hash:
        fail(Reason.TLOG, "checkpoint does not match the inclusion proof")


def verify_set(body: bytes, log_index: int, when: int, log_id: bytes, sig: bytes, log: LogKey):
    canon = json.dumps(
        {"body": base64.b64encode(body).decode(), "integratedTime": when, "logID": log_id.hex(), "logIndex": log_index},
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    if not log.check(sig, canon):
        fail(Reason.TLOG, "signed entry timestamp does not verify")


@dataclass(frozen=True)
class Expected:
    """What the log entry has to be about."""

    signature: bytes
    material: bytes  # DER of certificate, or SPKI of key
    is_cert: bool
    key: object
    message: bytes | None = None  # signed bytes when known (message or PAE)
    digests: dict = field(default_factory=dict)  # alg -> digest of the signed bytes
    dsse_payload: bytes | None = None  # for dsse / intoto entries
    envelope: bytes | None = None  # raw envelope bytes (legacy .att only)
    same_key_cert: bytes | None = None  # certificate annotation of the configured key, if any


def _pem_matches(content: bytes, exp: Expected):
    try:
        text = content.decode("ascii", "strict")
    except UnicodeDecodeError:
        fail(Reason.TLOG_MISMATCH, "entry verifier is not PEM")
    m = re.fullmatch(r"\s*-----BEGIN ([A-Z0-9 ]+)-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END \1-----\s*", text)
    if not m:
        fail(Reason.TLOG_MISMATCH, "entry verifier is not one PEM block")
    der = base64.b64decode("".join(m.group(2).split()))
    if m.group(1) == "CERTIFICATE":
        if der != (exp.material if exp.is_cert else exp.same_key_cert):
            fail(Reason.TLOG_MISMATCH, "entry is for another certificate")
    elif m.group(1) == "PUBLIC KEY":
        if exp.is_cert or der != exp.material:
            fail(Reason.TLOG_MISMATCH, "entry is for another key")
    else:
        fail(Reason.TLOG_MISMATCH, "entry verifier type")


def _want_hash(h, value: bytes, what: str):
    h = obj(h, what)
    if h.get("algorithm") != "sha256" or h.get("value") != value.hex():
        fail(Reason.TLOG_MISMATCH, f"{what} differs")


def check_entry(body: bytes, kind_version: tuple[str, str] | None, exp: Expected) -> bool:
    """Compares the log entry with what is being verified. True for Rekor v2 entries."""
    e = obj(loads(body, 1 << 20), "log entry")
    kv = (e.get("kind"), e.get("apiVersion"))
    if kind_version is not None and kv != kind_version:
        fail(Reason.TLOG_MISMATCH, f"entry says {kv}, bundle says {kind_version}")
    spec = obj(e.get("spec"), "spec")
    if kv == ("hashedrekord", "0.0.1"):
        h = obj(obj(spec.get("data"), "data").get("hash"), "hash")
        alg = str(h.get("algorithm"))
        if exp.dsse_payload is not None:
            fail(Reason.TLOG_MISMATCH, "hashedrekord 0.0.1 for a DSSE envelope")
        if alg not in exp.digests or h.get("value") != exp.digests[alg].hex():
            fail(Reason.TLOG_MISMATCH, "entry digest differs from the signed content")
        s = obj(spec.get("signature"), "signature")
        if b64(s.get("content"), "entry signature") != exp.signature:
            fail(Reason.TLOG_MISMATCH, "entry signature differs")
        _pem_matches(b64(obj(s.get("publicKey"), "publicKey").get("content"), "publicKey"), exp)
        return False
    if kv == ("dsse", "0.0.1"):
        if exp.dsse_payload is None:
            fail(Reason.TLOG_MISMATCH, "dsse entry for a message signature")
        _want_hash(spec.get("payloadHash"), sha256(exp.dsse_payload), "payload hash")
        if exp.envelope is not None:
            _want_hash(spec.get("envelopeHash"), sha256(exp.envelope), "envelope hash")
        sigs = arr(spec.get("signatures"), "signatures", 16)
        if len(sigs) != 1 or b64(obj(sigs[0], "sig").get("signature"), "sig") != exp.signature:
            fail(Reason.TLOG_MISMATCH, "entry signature differs")
        _pem_matches(b64(sigs[0].get("verifier"), "verifier"), exp)
        return False
    if kv in (("intoto", "0.0.2"), ("intoto", "0.0.1")):
        if exp.dsse_payload is None:
            fail(Reason.TLOG_MISMATCH, "intoto entry for a message signature")
        content = obj(spec.get("content"), "content")
        if exp.envelope is not None:
            _want_hash(content.get("hash"), sha256(exp.envelope), "envelope hash")
        if "payloadHash" in content or kv[1] == "0.0.2":
            _want_hash(content.get("payloadHash"), sha256(exp.dsse_payload), "payload hash")
        if kv[1] == "0.0.1":
            if exp.envelope is None:
                fail(Reason.UNSUPPORTED, "intoto 0.0.1 outside a .att layer")
            _pem_matches(b64(spec.get("publicKey"), "publicKey"), exp)
            return False
        sigs = arr(obj(content.get("envelope"), "envelope").get("signatures"), "signatures", 16)
        if len(sigs) != 1:
            fail(Reason.TLOG_MISMATCH, "entry signature count")
        inner = b64(obj(sigs[0], "sig").get("sig"), "sig")  # base64 of base64
        try:
            if base64.b64decode(inner, validate=True) != exp.signature:
                fail(Reason.TLOG_MISMATCH, "entry signature differs")
        except (ValueError, binascii.Error):
            fail(Reason.TLOG_MISMATCH, "entry signature encoding")
        _pem_matches(b64(sigs[0].get("publicKey"), "publicKey"), exp)
        return False
    if kv == ("hashedrekord", "0.0.2"):
        hr = obj(spec.get("hashedRekordV002"), "hashedRekordV002")
        data, sig = obj(hr.get("data"), "data"), obj(hr.get("signature"), "signature")
        alg = hash_name(data.get("algorithm"))
        if alg is None or alg not in exp.digests or b64(data.get("digest"), "digest") != exp.digests[alg]:
            fail(Reason.TLOG_MISMATCH, "entry digest differs from the signed content")
        if b64(sig.get("content"), "content") != exp.signature:
            fail(Reason.TLOG_MISMATCH, "entry signature differs")
        ver = obj(sig.get("verifier"), "verifier")
        field_ = "x509Certificate" if exp.is_cert else "publicKey"
        other = "publicKey" if exp.is_cert else "x509Certificate"
        if other in ver or b64(obj(ver.get(field_), field_).get("rawBytes"), field_) != exp.material:
            fail(Reason.TLOG_MISMATCH, "entry is for another certificate or key")
        if ver.get("keyDetails") != key_details(exp.key):
            fail(Reason.TLOG_MISMATCH, "entry keyDetails differ")
        return True
    fail(Reason.UNSUPPORTED, f"log entry type {kv}")


def key_details(key) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {
            "secp256r1": "PKIX_ECDSA_P256_SHA_256",
            "secp384r1": "PKIX_ECDSA_P384_SHA_384",
            "secp521r1": "PKIX_ECDSA_P521_SHA_512",
        }.get(key.curve.name, "?")
    if isinstance(key, rsa.RSAPublicKey):
        return f"PKIX_RSA_PKCS1V15_{key.key_size}_SHA256"
    return "PKIX_ED25519_PH"


# ---------------------------------------------------------------- timestamps
def verify_timestamp(der: bytes, message: bytes, root: TrustRoot) -> datetime | None:
    try:
        tsr = decode_timestamp_response(der)
    except ValueError:
        fail(Reason.MALFORMED, "RFC 3161 response")
    for a in root.tsas:
        chain = list(a.chain)
        b = VerifierBuilder().add_root_certificate(chain[-1])
        first = chain[0]
        try:
            is_ca = first.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if len(chain) > 1 and not is_ca:
            b, mids = b.tsa_certificate(first), chain[1:-1]
        else:
            mids = chain[:-1]
        for c in mids:
            b = b.add_intermediate_certificate(c)
        try:
            b.build().verify_message(tsr, message)
        except (TsaError, ValueError):
            continue
        t = tsr.tst_info.gen_time
        if a.window.has(t):
            return t
    return None


# ---------------------------------------------------------------- shared core
@dataclass(frozen=True)
class Policy:
    identities: tuple[Identity, ...] = ()
    key: object | None = None
    rsa_schemes: tuple[str, ...] = ("pkcs1",)
    require_tlog: bool = True
    require_sct: bool = True
    require_timestamp: bool = False  # demand an RFC 3161 time

    def __post_init__(self):
        if bool(self.identities) == (self.key is not None):
            raise ValueError("exactly one of key / identities")


@dataclass(frozen=True)
class TlogEntry:
    body: bytes
    log_index: int
    log_id: bytes
    integrated: int
    kind_version: tuple[str, str] | None
    promise: bytes | None = None
    proof: tuple | None = None  # (index, size, root, hashes, checkpoint)


@dataclass(frozen=True)
class Verified:
    times: tuple[datetime, ...]
    issuer: str | None
    subjects: tuple[str, ...]
    tlog: tuple[str, ...]


def verify_material(
    policy: Policy,
    root: TrustRoot,
    cert: x509.Certificate | None,
    entries: list[TlogEntry],
    timestamps: list[bytes],
    ts_messages: list[bytes],
    exp: Expected,
) -> Verified:
    """Everything except the signature itself and what the payload says."""
    if policy.key is not None and cert is not None:
        fail(Reason.UNSUPPORTED, "certificate given where a key is required")
    if policy.key is None and cert is None:
        fail(Reason.UNSUPPORTED, "no certificate, but identities are required")

    if any(len(x) > MAX_RAW for x in (exp.signature, *timestamps)):
        fail(Reason.LIMIT, "signature or timestamp token")

    # --- transparency log
    times: list[datetime] = []
    used: list[tuple[LogKey, TlogEntry, bool]] = []
    seen = set()
    for e in entries:
        if (e.log_id, e.body) in seen:  # not by logIndex: that field is not always signed
            fail(Reason.MALFORMED, "duplicate log entry")
        seen.add((e.log_id, e.body))
        log = next((k for k in root.tlogs if k.log_id == e.log_id), None)
        if log is None:
            continue  # a log we do not know proves nothing
        v2 = check_entry(e.body, e.kind_version, exp)
        if v2 and (e.promise is not None or e.proof is None):
            fail(Reason.TLOG, "Rekor v2 entry needs a proof and cannot carry a SET")
        if v2 and e.log_index != e.proof[0]:
            fail(Reason.TLOG, "Rekor v2 logIndex differs from the proof's")
        if e.promise is None and e.proof is None:
            fail(Reason.TLOG, "entry has neither promise nor proof")
        if e.promise is not None:
            verify_set(e.body, e.log_index, e.integrated, e.log_id, e.promise, log)
        if e.proof is not None:
            idx, size, rh, path, cp = e.proof
            if merkle_root(sha256(b"\x00" + e.body), idx, size, path) != rh:
                fail(Reason.TLOG, "inclusion proof does not lead to the root hash")
            verify_checkpoint(cp, log, v2, size, rh)
        if e.promise is not None:
            try:
                t = datetime.fromtimestamp(e.integrated, timezone.utc)
            except (ValueError, OverflowError, OSError):
                fail(Reason.MALFORMED, "integratedTime")
            if not log.window.has(t):
                fail(Reason.TIME, "integrated time outside the log key's validity")
            times.append(t)
        used.append((log, e, v2))
    if policy.require_tlog and not used:
        fail(Reason.TLOG, "no entry of a trusted transparency log")

    # --- signed timestamps
    tsa = []
    if len(set(timestamps)) != len(timestamps):
        fail(Reason.MALFORMED, "duplicate timestamp")
    for der in timestamps:
        for msg in ts_messages:
            t = verify_timestamp(der, msg, root)
            if t is not None:
                tsa.append(t)
                break
    if policy.require_timestamp and not tsa:
        fail(Reason.TIME, "no verified RFC 3161 timestamp")
    times += tsa
    for log, e, v2 in used:
        if e.promise is None and any(not log.window.has(t) for t in times):
            fail(Reason.TIME, "signing time outside the log key's validity")

    names = tuple(f"{k.url}#{e.log_index}" for k, e, _ in used)
    if cert is None:
        return Verified(tuple(times), None, (), names)

    # --- certificate, at every established time
    if not times:
        fail(Reason.TIME, "no trusted time for the certificate")
    check_leaf_profile(cert)
    chain = []
    for t in times:
        if not cert.not_valid_before_utc <= t <= cert.not_valid_after_utc:
            fail(Reason.TIME, "signing time outside the certificate's validity")
        chain = build_chain(cert, root, t)
    if policy.require_sct:
        verify_sct(chain, root)
    if not any(i.matches(cert) for i in policy.identities):
        fail(Reason.IDENTITY, f"issuer {issuer_of(cert)!r}, names {sans_of(cert)!r}")
    return Verified(tuple(times), issuer_of(cert), tuple(v for _, v in sans_of(cert)), names)


def digests_of(data: bytes) -> dict:
    return {"sha256": sha256(data), "sha384": hashlib.sha384(data).digest(), "sha512": hashlib.sha512(data).digest()}


def pae(ptype: str, payload: bytes) -> bytes:
    t = ptype.encode()
    return b"DSSEv1 %d %s %d %s" % (len(t), t, len(payload), payload)


# ---------------------------------------------------------------- statements
def parse_statement(payload: bytes) -> dict:
    st = obj(loads(payload, MAX_PAYLOAD), "statement")
    if st.get("_type") not in STATEMENT_TYPES:
        fail(Reason.UNSUPPORTED, f"statement type {st.get('_type')!r}")
    if not isinstance(st.get("predicateType"), str) or not st["predicateType"]:
        fail(Reason.MALFORMED, "predicateType")
    subs = arr(st.get("subject"), "subject", MAX_SUBJECTS)
    if not subs:
        fail(Reason.MALFORMED, "no subject")
    for s in subs:
        d = obj(obj(s, "subject").get("digest"), "digest")
        if len(d) > MAX_DIGESTS:
            fail(Reason.LIMIT, "digests")
        if any(not isinstance(v, str) for v in d.values()):
            fail(Reason.MALFORMED, "digest value")
    return st


def match_subject(st: dict, digest: str, annotations: dict | None = None) -> dict:
    """digest is 'sha256:<hex>'. The algorithm name is compared too."""
    alg, _, hexd = digest.partition(":")
    for s in st["subject"]:
        if s["digest"].get(alg) == hexd:
            have = s.get("annotations") or {}
            if annotations and any(have.get(k) != v for k, v in annotations.items()):
                fail(Reason.CLAIM, "annotation missing or different")
            return s
    fail(Reason.SUBJECT, f"{digest} is not a subject of the statement")


# ---------------------------------------------------------------- (b) sigstore bundles
def parse_bundle(raw: bytes) -> dict:
    b = obj(loads(raw, MAX_BUNDLE), "bundle")
    media = b.get("mediaType")
    ver = BUNDLE_TYPES.get(media) if isinstance(media, str) else None
    if ver is None:
        fail(Reason.UNSUPPORTED, f"bundle mediaType {str(media)[:80]!r}")
    vm = obj(b.get("verificationMaterial"), "verificationMaterial")
    kinds = [k for k in ("certificate", "x509CertificateChain", "publicKey") if vm.get(k) is not None]
    if len(kinds) != 1:
        fail(Reason.MALFORMED, "exactly one of certificate, chain, publicKey expected")
    if ver >= (0, 3) and kinds[0] == "x509CertificateChain":
        fail(Reason.MALFORMED, "v0.3 bundle with a certificate chain")
    content = [k for k in ("messageSignature", "dsseEnvelope") if b.get(k) is not None]
    if len(content) != 1:
        fail(Reason.MALFORMED, "exactly one of messageSignature, dsseEnvelope expected")
    cert = None
    if kinds[0] == "certificate":
        cert = load_cert(b64(obj(vm["certificate"], "certificate").get("rawBytes"), "certificate"))
    elif kinds[0] == "x509CertificateChain":
        certs = [
            load_cert(b64(obj(c, "cert").get("rawBytes"), "cert"))
            for c in arr(obj(vm["x509CertificateChain"], "chain").get("certificates"), "chain", MAX_CERTS)
        ]
        if not certs:
            fail(Reason.MALFORMED, "empty certificate chain")
        for c in certs[1:]:
            if c.issuer == c.subject:
                fail(Reason.MALFORMED, "bundle carries a root certificate")
        cert = certs[0]  # the rest is never used
    entries = []
    for t in arr(vm.get("tlogEntries"), "tlogEntries", MAX_TLOG):
        t = obj(t, "tlogEntry")
        kv = obj(t.get("kindVersion"), "kindVersion")
        pr = obj(t["inclusionPromise"], "promise") if t.get("inclusionPromise") is not None else None
        ip = obj(t["inclusionProof"], "proof") if t.get("inclusionProof") is not None else None
        proof = None
        if ip is not None:
            cp = obj(ip["checkpoint"], "checkpoint").get("envelope") if ip.get("checkpoint") is not None else None
            if cp is not None and not isinstance(cp, str):
                fail(Reason.MALFORMED, "checkpoint")
            if not cp and ver != (0, 1):
                fail(Reason.MALFORMED, "inclusion proof without checkpoint")
            if cp:
                proof = (
                    i64(ip.get("logIndex", 0), "proof.logIndex"),
                    i64(ip.get("treeSize"), "treeSize"),
                    b64(ip.get("rootHash"), "rootHash"),
                    [b64(h, "hash") for h in arr(ip.get("hashes"), "hashes", 64)],
                    cp,
                )
        promise = b64(pr.get("signedEntryTimestamp"), "SET") if pr is not None else None
        if ver == (0, 1) and promise is None:
            fail(Reason.MALFORMED, "v0.1 bundle without inclusion promise")
        if ver > (0, 1) and proof is None:
            fail(Reason.MALFORMED, "inclusion proof missing")
        entries.append(
            TlogEntry(
                b64(t.get("canonicalizedBody"), "canonicalizedBody"),
                i64(t.get("logIndex", 0), "logIndex"),
                b64(obj(t.get("logId"), "logId").get("keyId"), "keyId"),
                i64(t.get("integratedTime", 0) or 0, "integratedTime"),
                (kv.get("kind"), kv.get("version")),
                promise,
                proof,
            )
        )
    tvd = vm["timestampVerificationData"] if vm.get("timestampVerificationData") is not None else {}
    ts = [
        b64(obj(x, "ts").get("signedTimestamp"), "ts")
        for x in arr(obj(tvd, "tvd").get("rfc3161Timestamps"), "timestamps", MAX_TS)
    ]
    return {"version": ver, "cert": cert, "entries": entries, "timestamps": ts, "raw": b}


@dataclass(frozen=True)
class BundleResult:
    verified: Verified
    statement: dict | None


def verify_bundle(
    raw: bytes,
    policy: Policy,
    root: TrustRoot,
    *,
    artifact: bytes | None = None,
    digest: str | None = None,
    allow_message=False,
) -> BundleResult:
    """digest 'sha256:..' of the image manifest; for a message signature artifact or digest."""
    p = parse_bundle(raw)
    b, cert = p["raw"], p["cert"]
    key = policy.key if policy.key is not None else (cert.public_key() if cert else None)
    if key is None:
        fail(Reason.UNSUPPORTED, "bundle without certificate, and no key configured")
    material = cert.public_bytes(serialization.Encoding.DER) if cert else spki(key)
    if b.get("dsseEnvelope") is not None:
        env = obj(b["dsseEnvelope"], "envelope")
        if env.get("payloadType") != INTOTO:
            fail(Reason.UNSUPPORTED, f"payloadType {env.get('payloadType')!r}")
        payload = b64(env.get("payload"), "payload")
        sigs = arr(env.get("signatures"), "signatures", 16)
        if len(sigs) != 1:
            fail(Reason.MALFORMED, "exactly one DSSE signature expected")
        sig = b64(obj(sigs[0], "signature").get("sig"), "sig")
        signed = pae(INTOTO, payload)
        exp = Expected(sig, material, cert is not None, key, signed, digests_of(signed), payload)
        v = verify_material(policy, root, cert, p["entries"], p["timestamps"], [sig], exp)
        verify_message(key, sig, signed, policy.rsa_schemes)
        st = parse_statement(payload)
        if artifact is not None:
            digest = "sha256:" + sha256(artifact).hex()
        match_subject(st, digest)
        return BundleResult(v, st)
    if not allow_message:
        fail(Reason.UNSUPPORTED, "message signature cannot be about an image manifest")
    ms = obj(b["messageSignature"], "messageSignature")
    sig = b64(ms.get("signature"), "signature")
    digs = digests_of(artifact) if artifact is not None else {}
    if digest is not None:
        alg, _, hexd = digest.partition(":")
        digs.setdefault(alg, bytes.fromhex(hexd))
    if ms.get("messageDigest") is not None:
        md = obj(ms["messageDigest"], "messageDigest")
        alg = hash_name(md.get("algorithm"))
        if alg not in digs or b64(md.get("digest"), "digest") != digs[alg]:
            fail(Reason.SUBJECT, "messageDigest is not that of the artifact")
    exp = Expected(sig, material, cert is not None, key, artifact, digs)
    v = verify_material(policy, root, cert, p["entries"], p["timestamps"], [sig], exp)
    if artifact is not None:
        verify_message(key, sig, artifact, policy.rsa_schemes)
    else:
        alg, _, hexd = digest.partition(":")
        verify_digest(key, sig, alg, bytes.fromhex(hexd))
    return BundleResult(v, None)


# ---------------------------------------------------------------- (a)/(c) legacy layers
A_SIG = "dev.cosignproject.cosign/signature"
A_CERT = "dev.sigstore.cosign/certificate"
A_CHAIN = "dev.sigstore.cosign/chain"
A_BUNDLE = "dev.sigstore.cosign/bundle"
A_TS = "dev.sigstore.cosign/rfc3161timestamp"


def pem_certs(text: str, what: str) -> list[x509.Certificate]:
    if len(text) > 128 << 10:
        fail(Reason.LIMIT, what)
    try:
        certs = x509.load_pem_x509_certificates(text.encode("ascii", "strict"))
    except (ValueError, UnicodeError):
        fail(Reason.MALFORMED, what)
    if len(certs) > MAX_CERTS:
        fail(Reason.LIMIT, what)
    return certs


def legacy_parts(ann: dict) -> tuple[x509.Certificate | None, list[TlogEntry], list[bytes]]:
    for k, v in ann.items():
        if not isinstance(v, str):
            fail(Reason.MALFORMED, f"annotation {k}")
    cert = pem_certs(ann[A_CERT], A_CERT)[0] if ann.get(A_CERT) else None
    entries = []
    if ann.get(A_BUNDLE):
        rb = obj(loads(ann[A_BUNDLE], 1 << 20), "rekor bundle")
        pl = obj(rb.get("Payload"), "Payload")
        lid = pl.get("logID")
        if not isinstance(lid, str) or not re.fullmatch(r"[0-9a-f]{64}", lid):
            fail(Reason.MALFORMED, "logID")
        for k in ("integratedTime", "logIndex"):
            if isinstance(pl.get(k), bool) or not isinstance(pl.get(k), int):
                fail(Reason.MALFORMED, k)
        entries.append(
            TlogEntry(
                b64(pl.get("body"), "body"),
                i64(pl["logIndex"], "logIndex"),
                bytes.fromhex(lid),
                i64(pl["integratedTime"], "integratedTime"),
                None,
                b64(rb.get("SignedEntryTimestamp"), "SET"),
            )
        )
    ts = []
    if ann.get(A_TS):
        t = obj(loads(ann[A_TS], 1 << 20), "timestamp annotation")
        ts.append(b64(t.get("SignedRFC3161Timestamp"), "timestamp"))
    return cert, entries, ts


def annotated_cert(cert: x509.Certificate | None, policy: Policy):
    """(certificate to trust, certificate a log entry may name) of a legacy layer.

    With a configured key the annotation carries no trust. cosign logs the certificate instead of
    the key when one was attached while signing, so the entry may name it if it is of the same key.
    """
    if policy.key is None or cert is None:
        return cert, None
    if spki(cert.public_key()) != spki(policy.key):
        fail(Reason.SIGNATURE, "certificate annotation is of another key")
    return None, cert.public_bytes(serialization.Encoding.DER)


def verify_legacy_signature(
    payload: bytes, ann: dict, image_digest: str, policy: Policy, root: TrustRoot, annotations: dict | None = None
) -> tuple[Verified, dict]:
    if len(payload) > 1 << 20:
        fail(Reason.LIMIT, "simple signing payload")
    cert, entries, ts = legacy_parts(ann)
    cert, same = annotated_cert(cert, policy)
    sig = b64(ann.get(A_SIG), A_SIG)
    key = policy.key if policy.key is not None else (cert.public_key() if cert else None)
    if key is None:
        fail(Reason.UNSUPPORTED, "layer has no certificate, and no key configured")
    material = cert.public_bytes(serialization.Encoding.DER) if cert else spki(key)
    exp = Expected(sig, material, cert is not None, key, payload, digests_of(payload), same_key_cert=same)
    v = verify_material(policy, root, cert, entries, ts, [sig], exp)
    verify_message(key, sig, payload, policy.rsa_schemes)
    doc = obj(loads(payload, 1 << 20), "payload")
    crit = obj(doc.get("critical"), "critical")
    if crit.get("type") != SIMPLE_TYPE:
        fail(Reason.CLAIM, f"critical.type {crit.get('type')!r}")
    got = obj(crit.get("image"), "critical.image").get("docker-manifest-digest")
    if got != image_digest:
        fail(Reason.SUBJECT, f"payload is about {got!r}")
    if annotations:
        opt = doc.get("optional") or {}
        if any(opt.get(k) != val for k, val in annotations.items()):
            fail(Reason.CLAIM, "annotation missing or different")
    return v, doc


def verify_legacy_attestation(
    layer: bytes, ann: dict, image_digest: str, policy: Policy, root: TrustRoot
) -> tuple[Verified, dict]:
    env = obj(loads(layer, MAX_PAYLOAD), "DSSE envelope")
    if env.get("payloadType") != INTOTO:
        fail(Reason.UNSUPPORTED, f"payloadType {env.get('payloadType')!r}")
    payload = b64(env.get("payload"), "payload")
    sigs = arr(env.get("signatures"), "signatures", 16)
    if len(sigs) != 1:
        fail(Reason.MALFORMED, "exactly one DSSE signature expected")
    sig = b64(obj(sigs[0], "signature").get("sig"), "sig")
    cert, entries, ts = legacy_parts(ann)
    cert, same = annotated_cert(cert, policy)
    key = policy.key if policy.key is not None else (cert.public_key() if cert else None)
    if key is None:
        fail(Reason.UNSUPPORTED, "layer has no certificate, and no key configured")
    material = cert.public_bytes(serialization.Encoding.DER) if cert else spki(key)
    signed = pae(INTOTO, payload)
    exp = Expected(sig, material, cert is not None, key, signed, digests_of(signed), payload, layer, same)
    v = verify_material(policy, root, cert, entries, ts, [layer, sig], exp)
    verify_message(key, sig, signed, policy.rsa_schemes)
    st = parse_statement(payload)
    match_subject(st, image_digest)
    return v, st
