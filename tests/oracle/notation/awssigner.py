"""What the AWS Signer Notation plugin does at verification, natively."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Protocol

from cryptography import x509

from tests.oracle.notation.model import *

PLATFORM = "Notation-OCI-SHA384-ECDSA"
_ARN = re.compile(
    r"arn:(?P<partition>[^:]*):(?P<service>[^:]*):(?P<region>[^:]*):(?P<account>[^:]*):(?P<resource>.*)\Z", re.S
)


_PROFILE_VERSION = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov|aws-eusc|aws-iso[a-z-]*):signer:([a-z]{2,}(?:-[a-z0-9]+)+):\d{12}:"
    r"/signing-profiles/[A-Za-z0-9_]{2,64}/[A-Za-z0-9]{10}",
    re.ASCII,
)
_JOB = re.compile(r"arn:([a-z-]+):signer:([a-z]{2,}(?:-[a-z0-9]+)+):\d{12}:/signing-jobs/[0-9a-f-]{36}", re.ASCII)


class RevocationClient(Protocol):
    def get_revocation_status(self, **kw) -> dict: ...


def profile_arn(s: str) -> re.Match | None:
    m = _ARN.match(s)
    return m if m and m["service"] == "signer" and m["resource"].startswith("/signing-profiles/") else None


def identity_matches(signature_profile_version_arn: str, identity: str) -> bool:
    m = profile_arn(identity)
    if not m:
        return False
    n = len(m["resource"].split("/"))
    sig = signature_profile_version_arn
    if n == 3:  # profile ARN: every version of it
        head, sep, _ = sig.rpartition("/")
        return bool(sep) and head.casefold() == identity.casefold()
    if n == 4:  # profile version ARN
        return sig.casefold() == identity.casefold()
    return False


def certificate_hashes(chain: list[x509.Certificate]) -> list[str]:
    h = [hashlib.sha384(c.tbs_certificate_bytes).hexdigest() for c in chain]
    return [h[i] + h[min(i + 1, len(h) - 1)] for i in range(len(h))]


def region_of(env: Envelope) -> str:
    return _ARN.match(env.extended[AWS_PROFILE])["region"]


def required(env: Envelope) -> tuple[str, str]:
    if env.scheme != SA:
        raise PluginRequired("AWS Signer signatures use notary.x509.signingAuthority")
    out = []
    for n in (AWS_PROFILE, AWS_JOB):
        v = env.extended.get(n)
        if not isinstance(v, str) or not v or n not in env.crit:
            raise CriticalAttribute(f"{n} missing, not a string or not critical")
        out.append(v)
    p, j = _PROFILE_VERSION.fullmatch(out[0]), _JOB.fullmatch(out[1])
    if not p or not j or p[1] != j[1]:
        raise CriticalAttribute("ill-formed profile version or job ARN, or different partitions")
    return out[0], out[1]


def precheck(env: Envelope, trusted: list[str]) -> None:
    """Enforced at every level: the plugin answers these with VALIDATION_ERROR."""
    if env.media_type != JWS:
        raise UnsupportedEnvelope("AWS Signer makes JWS envelopes only")
    if "*" in trusted:
        raise PolicyError("AWS Signer signatures do not allow the wildcard identity")
    required(env)


def check_identity(env: Envelope, trusted: list[str]) -> None:
    prof, _ = required(env)
    if not any(identity_matches(prof, t) for t in trusted):
        raise IdentityMismatch("signing profile matches no trusted identity", "authenticity")


def check_revocation(env: Envelope, client: RevocationClient) -> None:
    prof, job = required(env)
    try:
        out = client.get_revocation_status(
            signatureTimestamp=env.signing_time,
            platformId=PLATFORM,
            profileVersionArn=prof,
            jobArn=job,
            certificateHashes=certificate_hashes(env.chain),
        )
    except Exception as e:
        raise RevocationUnknown(f"GetRevocationStatus failed: {e}", "revocation") from e
    ents = out.get("revokedEntities") or []
    if ents:
        raise Revoked("revoked: " + ", ".join(e if e.startswith("arn") else "certificate" for e in ents), "revocation")
