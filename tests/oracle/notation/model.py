"""Shared types, constants and the error taxonomy of the PoC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509

JWS, COSE = "application/jose+json", "application/cose"
PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
SIG_ARTIFACT_TYPE = "application/vnd.cncf.notary.signature"
X509, SA = "notary.x509", "notary.x509.signingAuthority"
P = "io.cncf.notary."
H_SCHEME, H_TIME, H_AUTH, H_EXP = P + "signingScheme", P + "signingTime", P + "authenticSigningTime", P + "expiry"
H_PLUGIN, H_PLUGIN_MIN = P + "verificationPlugin", P + "verificationPluginMinVersion"
H_TST, H_AGENT = P + "timestampSignature", P + "signingAgent"
AWS_PLUGIN = "com.amazonaws.signer.notation.plugin"
AWS_JOB, AWS_PROFILE = "com.amazonaws.signer.signingJob", "com.amazonaws.signer.signingProfileVersion"
AWS_ALIAS = "com.amazonaws.signer.signingProfileAlias"


class NotationError(Exception):
    code = "error"

    def __init__(self, msg: str, check: str = ""):
        super().__init__(msg)
        self.check = check


class MalformedEnvelope(NotationError):  # integrity
    code = "envelope_malformed"


class UnsupportedEnvelope(NotationError):  # integrity
    code = "envelope_unsupported"


class SignatureInvalid(NotationError):  # integrity
    code = "signature_invalid"


class CertChainInvalid(NotationError):  # integrity
    code = "cert_chain_invalid"


class NotTrusted(NotationError):  # authenticity
    code = "not_trusted"


class IdentityMismatch(NotationError):  # authenticity
    code = "identity_mismatch"


class Expired(NotationError):  # expiry
    code = "signature_expired"


class TimestampInvalid(NotationError):  # authenticTimestamp
    code = "timestamp_invalid"


class Revoked(NotationError):  # revocation
    code = "revoked"


class RevocationUnknown(NotationError):  # revocation
    code = "revocation_unknown"


class CriticalAttribute(NotationError):  # always enforced
    code = "critical_attribute_unprocessed"


class PluginRequired(NotationError):  # always enforced
    code = "verification_plugin_unavailable"


class SubjectMismatch(NotationError):  # always enforced
    code = "subject_mismatch"


class PolicyError(NotationError):
    code = "policy_invalid"


@dataclass
class Envelope:
    media_type: str
    payload: bytes
    content_type: str
    alg: str
    scheme: str
    signing_time: datetime  # signingTime or authenticSigningTime, by scheme
    expiry: datetime | None
    extended: dict[Any, Any]  # every protected header that is not a standard one
    crit: list[Any]
    chain: list[x509.Certificate]
    signature: bytes
    timestamp_token: bytes | None
    signing_agent: str | None
    target: dict[str, Any] = field(default_factory=dict)
