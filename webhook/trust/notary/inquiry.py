"""What only the outside can tell of a signature: whether it, or a certificate in its chain, was revoked.

The pure side hands out inquiries, whoever may use the network brings back standings, and the pure side decides what
they mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class SignerInquiry:
    """One call of GetRevocationStatus. `region` and `partition` are those of the profile version ARN."""

    partition: str
    region: str
    signed_at: datetime  # aware, UTC, whole seconds
    profile_version_arn: str
    job_arn: str
    certificate_hashes: tuple[str, ...] = field(repr=False)  # 192 hex digits each, leaf first
    platform: str = "Notation-OCI-SHA384-ECDSA"


@dataclass(frozen=True, slots=True)
class ChainInquiry:
    """OCSP and CRL of each certificate in a chain that has been verified; DER, leaf first, root last.

    `signed_at` is the authentic signing time, of the scheme notary.x509.signingAuthority only.
    """

    chain: tuple[bytes, ...] = field(repr=False)
    signed_at: datetime | None = None


Inquiry = SignerInquiry | ChainInquiry


class Standing(StrEnum):
    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # could not be found out


@dataclass(frozen=True, slots=True)
class Status:
    """`detail` says it to a person: what is revoked, or why it is not known; empty where all is good.

    `stale` says since when an answer stands in for one that could not be had now, and why; empty where it is fresh.
    """

    standing: Standing
    detail: str = ""
    stale: str = ""
