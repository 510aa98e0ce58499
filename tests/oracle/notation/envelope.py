"""Parse a Notary Project envelope (JWS or COSE) and check its integrity."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.oracle.notation import ccbor
from tests.oracle.notation.certs import validate_chain
from tests.oracle.notation.model import *

MAX_ENVELOPE = 4 * 1024 * 1024
_HASH = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
COSE_ALGS = {-37: "PS256", -38: "PS384", -39: "PS512", -7: "ES256", -35: "ES384", -36: "ES512"}
_RSA = {2048: "PS256", 3072: "PS384", 4096: "PS512"}
_EC = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_STD = {"alg", "cty", "crit", H_EXP, H_TIME, H_SCHEME, H_AUTH}
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_B64U = re.compile(r"[A-Za-z0-9_-]*\Z")


def _nodup(pairs):
    d = {}
    for k, v in pairs:
        if k in d:
            raise MalformedEnvelope(f"duplicate JSON key {k!r}")
        d[k] = v
    return d


def load_json(raw: bytes | str) -> Any:
    def bad(_):
        raise MalformedEnvelope("non-finite number")

    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        return json.loads(text, object_pairs_hook=_nodup, parse_constant=bad)
    except (ValueError, RecursionError) as e:
        raise MalformedEnvelope(f"not valid JSON: {e}") from None


def b64u(s: Any, what: str) -> bytes:
    if not isinstance(s, str) or not _B64U.match(s) or len(s) % 4 == 1:
        raise MalformedEnvelope(f"{what} is not unpadded base64url")
    out = base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))
    if base64.urlsafe_b64encode(out).rstrip(b"=").decode() != s:
        raise MalformedEnvelope(f"{what} is not canonical base64url")
    return out


def b64std(s: Any, what: str) -> bytes:
    try:
        if not isinstance(s, str):
            raise ValueError
        return base64.b64decode(s, validate=True)
    except ValueError:
        raise MalformedEnvelope(f"{what} is not base64") from None


def rfc3339(s: Any, what: str) -> datetime:
    m = _RFC3339.match(s) if isinstance(s, str) else None
    if not m:
        raise MalformedEnvelope(f"{what} is not an RFC 3339 time")
    y, mo, d, h, mi, sec = (int(m[i]) for i in range(1, 7))
    try:
        off = timezone.utc
        if m[8] != "Z":
            sign = -1 if m[8][0] == "-" else 1
            off = timezone(sign * timedelta(hours=int(m[8][1:3]), minutes=int(m[8][4:6])))
        t = datetime(y, mo, d, h, mi, sec, int(((m[7] or ".0")[1:] + "000000")[:6]), tzinfo=off)
        return t.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise MalformedEnvelope(f"{what} is not a valid time") from None


def alg_for_cert(cert: x509.Certificate) -> str:
    try:
        k = cert.public_key()
    except Exception as e:
        raise CertChainInvalid(f"unsupported signing key: {e}") from None
    alg = None
    if isinstance(k, rsa.RSAPublicKey):
        alg = _RSA.get(k.key_size)
    elif isinstance(k, ec.EllipticCurvePublicKey):
        alg = _EC.get(k.curve.name)
    if not alg:
        raise CertChainInvalid("signing key type or size not allowed")
    return alg


def verify_raw(cert: x509.Certificate, alg: str, sig: bytes, tbs: bytes) -> None:
    k, h = cert.public_key(), _HASH[alg[2:]]()
    try:
        if alg.startswith("PS"):
            k.verify(sig, tbs, padding.PSS(padding.MGF1(h), padding.PSS.DIGEST_LENGTH), h)
        else:
            n = (k.curve.key_size + 7) // 8
            if len(sig) != 2 * n:
                raise InvalidSignature
            r, s = int.from_bytes(sig[:n], "big"), int.from_bytes(sig[n:], "big")
            k.verify(encode_dss_signature(r, s), tbs, ec.ECDSA(h))
    except (InvalidSignature, ValueError):
        raise SignatureInvalid("signature does not verify", "integrity") from None


def _certs(ders: list[bytes]) -> list[x509.Certificate]:
    if not ders:
        raise MalformedEnvelope("certificate chain missing")
    try:
        return [x509.load_der_x509_certificate(d) for d in ders]
    except Exception as e:  # InvalidVersion, UnsupportedGeneralNameType ... are not ValueErrors
        raise MalformedEnvelope(f"malformed certificate: {e}") from None


def _check_times_and_crit(scheme, present, crit, expiry, t_std, t_auth, known_crit_ok) -> datetime:
    """present: set of protected names; crit: list. Returns the signing time."""
    if scheme not in (X509, SA):
        raise MalformedEnvelope(f"unsupported signing scheme {scheme!r}")
    if (
        not isinstance(crit, list)
        or not crit
        or any(type(c) not in (int, str) for c in crit)
        or len(set(crit)) != len(crit)
    ):
        raise MalformedEnvelope('"crit" must be a non-empty list of unique names')
    need = {H_SCHEME}
    if expiry is not None:
        need.add(H_EXP)
    if scheme == SA:
        need.add(H_AUTH)
        if t_std is not None:
            raise MalformedEnvelope("signingTime not allowed for signingAuthority")
        if t_auth is None:
            raise MalformedEnvelope("authenticSigningTime missing")
    else:
        if t_auth is not None:
            raise MalformedEnvelope("authenticSigningTime not allowed for notary.x509")
        if t_std is None:
            raise MalformedEnvelope("signingTime missing")
    missing = need - set(crit)
    if missing:
        raise MalformedEnvelope(f"required headers not marked critical: {sorted(missing)}")
    for c in crit:
        if c not in present or not (c in need or known_crit_ok(c)):
            raise MalformedEnvelope(f"{c!r} is marked critical but not present")
    t = t_auth if scheme == SA else t_std
    if expiry is not None and expiry <= t:
        raise MalformedEnvelope("expiry is not after the signing time")
    return t


def parse_jws(raw: bytes) -> Envelope:
    env = load_json(raw)
    if not isinstance(env, dict) or set(env) != {"payload", "protected", "header", "signature"}:
        raise MalformedEnvelope("not a flattened JWS with exactly payload, protected, header, signature")
    hdr = env["header"]
    if not isinstance(hdr, dict) or not isinstance(hdr.get("x5c"), list):
        raise MalformedEnvelope("unprotected header or x5c missing")
    prot = load_json(b64u(env["protected"], "protected"))
    if not isinstance(prot, dict):
        raise MalformedEnvelope("protected header is not an object")
    for n in ("alg", "cty", H_SCHEME):
        if not isinstance(prot.get(n), str):
            raise MalformedEnvelope(f"{n} missing or not a string")
    if "b64" in prot:
        raise MalformedEnvelope("b64 header not supported")
    if set(prot) & set(hdr):
        raise MalformedEnvelope("header names must be disjoint")
    payload, sig = b64u(env["payload"], "payload"), b64u(env["signature"], "signature")
    if not payload or not sig:
        raise MalformedEnvelope("empty payload or signature")
    exp = rfc3339(prot[H_EXP], H_EXP) if H_EXP in prot else None
    t_std = rfc3339(prot[H_TIME], H_TIME) if H_TIME in prot else None
    t_auth = rfc3339(prot[H_AUTH], H_AUTH) if H_AUTH in prot else None
    crit = prot.get("crit")
    if isinstance(crit, list) and any(type(c) is not str for c in crit):
        raise MalformedEnvelope("crit must hold strings")
    t = _check_times_and_crit(prot[H_SCHEME], set(prot), crit, exp, t_std, t_auth, lambda c: c not in _STD)
    chain = _certs([b64std(c, "x5c") for c in hdr["x5c"]])
    alg = prot["alg"]
    if alg not in {*_RSA.values(), *_EC.values()}:
        raise MalformedEnvelope(f"algorithm {alg!r} not allowed")
    if alg != alg_for_cert(chain[0]):
        raise SignatureInvalid("alg does not match the signing certificate")
    verify_raw(chain[0], alg, sig, f"{env['protected']}.{env['payload']}".encode("ascii"))
    tst = b64std(hdr[H_TST], H_TST) if H_TST in hdr else None
    agent = hdr.get(H_AGENT)
    return Envelope(
        JWS,
        payload,
        prot["cty"],
        alg,
        prot[H_SCHEME],
        t,
        exp,
        {k: v for k, v in prot.items() if k not in _STD},
        crit,
        chain,
        sig,
        tst,
        agent if isinstance(agent, str) else None,
    )


def _cose_time(v: Any, what: str) -> datetime | None:
    if v is None:
        return None
    if not isinstance(v, ccbor.Tag) or v.number != 1 or type(v.value) not in (int, float):
        raise MalformedEnvelope(f"{what} must be a tag 1 epoch time")
    try:
        return datetime.fromtimestamp(v.value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise MalformedEnvelope(f"{what} out of range") from None


def parse_cose(raw: bytes) -> Envelope:
    if raw[:2] != b"\xd2\x84":
        raise MalformedEnvelope("not a COSE_Sign1_Tagged object")
    try:
        body = ccbor.loads(raw, frozenset({18})).value
        prot_raw, unprot, payload, sig = body
        if not isinstance(prot_raw, bytes) or not isinstance(unprot, dict):
            raise ccbor.CBORError("bad COSE_Sign1 layout")
        prot = ccbor.loads(prot_raw, frozenset({1}))
    except (ccbor.CBORError, ValueError, RecursionError) as e:
        raise MalformedEnvelope(f"bad CBOR: {e}") from None
    if not isinstance(prot, dict):
        raise MalformedEnvelope("protected header is not a map")
    if not isinstance(payload, bytes) or not payload or not isinstance(sig, bytes) or not sig:
        raise MalformedEnvelope("empty payload or signature")
    if not isinstance(prot.get(3), str) or not isinstance(prot.get(H_SCHEME), str):
        raise MalformedEnvelope("content type or signing scheme missing")
    alg = COSE_ALGS.get(prot.get(1)) if type(prot.get(1)) is int else None
    if not alg:
        raise MalformedEnvelope("alg missing or not allowed")
    exp, t_std, t_auth = (_cose_time(prot.get(n), n) for n in (H_EXP, H_TIME, H_AUTH))
    crit = prot.get(2)
    t = _check_times_and_crit(prot[H_SCHEME], set(prot), crit, exp, t_std, t_auth, lambda c: True)
    if {1, 2, 3} & set(unprot):
        raise MalformedEnvelope("alg, crit and content type belong in the protected header")
    x5 = unprot.get(33)
    if x5 is None:
        x5 = prot.get(33)
    elif 33 in prot:
        raise MalformedEnvelope("x5chain in both headers")
    if not isinstance(x5, list) or not all(isinstance(c, bytes) for c in x5):
        raise MalformedEnvelope("certificate chain missing")
    chain = _certs(x5)
    if alg != alg_for_cert(chain[0]):
        raise SignatureInvalid("alg does not match the signing certificate")
    verify_raw(chain[0], alg, sig, ccbor.dumps(["Signature1", prot_raw, b"", payload]))
    tst, agent = unprot.get(H_TST), unprot.get(H_AGENT)
    std = {1, 2, 3, 33, H_EXP, H_TIME, H_SCHEME, H_AUTH}
    return Envelope(
        COSE,
        payload,
        prot[3],
        alg,
        prot[H_SCHEME],
        t,
        exp,
        {k: v for k, v in prot.items() if k not in std},
        crit,
        chain,
        sig,
        tst if isinstance(tst, bytes) else None,
        agent if isinstance(agent, str) else None,
    )


def parse_and_check_integrity(raw: bytes, media_type: str) -> Envelope:
    if len(raw) > MAX_ENVELOPE:
        raise MalformedEnvelope("envelope too large")
    if media_type == JWS:
        env = parse_jws(raw)
    elif media_type == COSE:
        env = parse_cose(raw)
    else:
        raise UnsupportedEnvelope(f"media type {media_type!r}")
    validate_chain(env.chain, "codesigning")
    if env.content_type != PAYLOAD_TYPE:
        raise UnsupportedEnvelope(f"payload content type {env.content_type!r}")
    pl = load_json(env.payload)
    ta = pl.get("targetArtifact") if isinstance(pl, dict) else None
    if (
        not isinstance(ta, dict)
        or not isinstance(ta.get("mediaType"), str)
        or not isinstance(ta.get("digest"), str)
        or type(ta.get("size")) is not int
    ):
        raise MalformedEnvelope("payload has no usable targetArtifact")
    ann = ta.get("annotations") or {}
    if not isinstance(ann, dict) or not all(isinstance(v, str) for v in ann.values()):
        raise MalformedEnvelope("annotations must be strings")
    env.target = ta
    return env
