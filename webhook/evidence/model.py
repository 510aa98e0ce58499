"""Evidence, the signers it is held against, what is demanded, and the outcome: the values between registry and policy.

Evidence is what we were handed and have not yet believed. An outcome says what became of one piece of it for one
signer; only one with a `Proof` counts for anything, as a signature where it is `verified`, as an attestation where it
is `attested`. All values are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from webhook.errors import Code, CountersignError, InconclusiveError, TamperedError
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest
from webhook.trust.identity import Claims, Identity
from webhook.trust.kms import KMSKey
from webhook.trust.material import PublicKey
from webhook.trust.notary.levels import CertificateRule
from webhook.trust.notary.profile import SigningProfile
from webhook.trust.root import RootSource
from webhook.trust.stored import StoredKey

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
BUNDLE_PREFIX = "application/vnd.dev.sigstore.bundle"
IN_TOTO = "application/vnd.in-toto+json"
NOTARY_SIGNATURE = "application/vnd.cncf.notary.signature"
JWS_ENVELOPE, COSE_ENVELOPE = "application/jose+json", "application/cose"
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"


class Form(StrEnum):
    """How a signature is wrapped; decided by media types, never by the place where it was found."""

    LEGACY = "legacy"  # simple signing payload, signature in the layer's annotations
    DSSE = "dsse"  # DSSE envelope as layer, certificate and log entry in its annotations
    BUNDLE = "bundle"  # Sigstore bundle
    NOTATION = "notation"  # Notary Project envelope, JWS or COSE as its media type says


class Place(StrEnum):
    """Where evidence for a digest is looked for in a repository."""

    SIGNATURE_TAG = "signature_tag"  # `sha256-<hex>.sig`, a manifest
    ATTESTATION_TAG = "attestation_tag"  # `sha256-<hex>.att`, a manifest
    REFERRERS = "referrers"  # the referrers API
    FALLBACK_TAG = "fallback_tag"  # `sha256-<hex>`, an index: OCI distribution 1.1, referrers tag schema


class Verdict(StrEnum):
    VERIFIED = "verified"  # examined and right: a signature of the image
    ATTESTED = "attested"  # examined and right: a statement about the image, which is no signature of it
    REJECTED = "rejected"  # examined and wrong
    INCONCLUSIVE = "inconclusive"  # could not be examined


class SignerKind(StrEnum):
    KEY = "key"
    KEYLESS = "keyless"
    PROFILE = "profile"  # of AWS Signer
    CERTIFICATE = "certificate"  # of the Notary Project

    @property
    def is_notation(self) -> bool:
        """Whether its signatures are Notary Project envelopes; all others are cosign's."""
        return self in (SignerKind.PROFILE, SignerKind.CERTIFICATE)


@dataclass(frozen=True, slots=True)
class Wants:
    """What is looked for: cosign signatures, attestations of these predicate types, Notary Project signatures."""

    signatures: bool = True
    predicates: frozenset[str] = frozenset()
    notation: bool = False


@dataclass(frozen=True, slots=True)
class Signer:
    """One way in which a policy accepts a signature.

    `trust_root` names the logs, clocks and authorities that are believed: a key needs none, an identity has one.
    """

    name: str
    kind: SignerKind
    material: PublicKey | KMSKey | StoredKey | Identity | SigningProfile | CertificateRule
    trust_root: RootSource | None = None
    require_log: bool = False  # of a key; for an identity its trust root says so

    def __hash__(self) -> int:
        return hash(self.name)  # signers are looked up many times in a review, and few share a name

    @property
    def fingerprint(self) -> str:
        """Of a key in the policy the lower-case hex SHA-256 of its SPKI; what else signs has none: empty."""
        return self.material.fingerprint if isinstance(self.material, PublicKey) else ""

    @property
    def identity(self) -> str:
        """What makes this signer distinct from another in records: the key, or the rule about who signs."""
        if self.fingerprint:
            return f"spki:{self.fingerprint}"
        prefix = "kms" if isinstance(self.material, KMSKey) else self.kind.value
        return f"{prefix}:{self.material}"

    @property
    def known_as(self) -> str:
        """The identity, and all by which another policy may judge the same one otherwise."""
        root = self.trust_root
        under = (root.key, str(root.require_log), str(root.require_sct), str(root.require_timestamp)) if root else ()
        return " ".join((self.identity, *self._judged_by(), *under, str(self.require_log)))

    def _judged_by(self) -> tuple[str, ...]:
        match self.material:
            case PublicKey():
                return self.material.schemes
            case KMSKey() | StoredKey():
                return str(self.material.hash), str(self.material.padding)
            case SigningProfile() | CertificateRule():
                return self.material.terms
        return ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One candidate as found, not believed yet: `payload` are the layer's bytes, and `layer` is their digest."""

    form: Form
    subject: Digest  # of the image it was found for
    place: Place
    manifest: Digest  # of the manifest that lists the layer
    layer: Digest
    media_type: str
    annotations: Mapping[str, str]  # of the layer
    payload: bytes = field(repr=False)
    described: Descriptor | None = None  # the subject as the referrer describes it, which nobody signed

    def emptied(self) -> Evidence:
        """What it was, without what it holds: outcomes live as long as their review, and it may hold megabytes."""
        return replace(self, annotations={}, payload=b"")


@dataclass(frozen=True, slots=True)
class SignedTime:
    """When something was signed at the latest, and the clock that says so: `rekor.sigstore.dev`, never the signer."""

    at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a signer says of the image: an in-toto statement, whole."""

    predicate_type: str
    statement: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a verified piece of evidence proves.

    `material` is who signed, in one form for all schemes, by which distinct signers are counted: `spki:<hex>`, the
    certificate's issuer and names, or `profile:<ARN without its version>`. `times` come from trusted clocks only.
    `claimed_at` is when the signer says that it was, and signed: it makes nothing younger. `annotations` are what was
    signed along. It is proved until `valid_until`, and not at that moment, whatever else may change.
    """

    material: str
    key_fingerprint: str  # SPKI SHA-256 of the key that signed
    certificate_fingerprint: str = ""  # SHA-256 of the DER
    certificate_twins: tuple[str, ...] = ()  # of the same certificate as others than its issuer can write it
    authority_keys: tuple[str, ...] = ()  # SPKI SHA-256 of the CAs above it, whichever certificate of theirs is shown
    claims: Claims | None = None
    times: tuple[SignedTime, ...] = ()
    claimed_at: datetime | None = None
    logged: tuple[tuple[str, int | None], ...] = ()  # URL of the log; index of the entry, where it can be believed
    annotations: Mapping[str, str] = field(default_factory=dict)
    attestation: Attestation | None = None
    valid_until: datetime | None = None

    @property
    def at(self) -> datetime | None:
        """The earliest trusted time: a later one can be had for an old signature by whoever asks a clock again."""
        return min((time.at for time in self.times), default=None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one piece of evidence for one signer.

    `signer` is `None` where it holds for every signer; `evidence` is `None` where there was nothing to examine: nothing
    found, or a place, manifest or layer that could not be had. `code` is `None`, and `proof` is there, exactly when the
    verdict is `verified` or `attested`. `facts` are for the record: form, candidate, manifest, place, fingerprint, ….
    """

    verdict: Verdict
    code: Code | None
    detail: str
    signer: Signer | None = None
    evidence: Evidence | None = None
    place: Place | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    tampered: bool = False  # it proves that somebody changed what was stored
    proof: Proof | None = None
    notes: tuple[str, ...] = ()  # checks that failed, and whose failure a policy wants only told


@dataclass(frozen=True, slots=True)
class Asked:
    """One place that was asked, and its answer in a word: how many candidates, none, not supported, an error's code."""

    place: Place
    candidates: int
    answer: str


def failed(error: CountersignError, *, signer: Signer | None = None, evidence: Evidence | None = None,
           place: Place | None = None) -> Outcome:  # fmt: skip
    """The outcome that `error` makes: inconclusive where nothing could be examined, rejected otherwise."""
    verdict = Verdict.INCONCLUSIVE if isinstance(error, InconclusiveError) else Verdict.REJECTED
    tampered = isinstance(error, TamperedError)
    return Outcome(verdict, error.code, error.detail, signer, evidence, place, tampered=tampered)
