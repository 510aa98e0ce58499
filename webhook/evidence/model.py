"""Evidence, the signers it is held against, what is demanded, and the outcome: the values between registry and policy.

Evidence is what we were handed and have not yet believed. An outcome says what became of one piece of it for one
signer; only an outcome with the verdict `verified` counts for anything. All values are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from webhook.errors import Code, CountersignError, InconclusiveError, TamperedError
from webhook.oci.reference import Digest
from webhook.trust.material import PublicKey

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE_PREFIX = "application/vnd.dev.sigstore.bundle"
IN_TOTO = "application/vnd.in-toto+json"
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"


class Form(StrEnum):
    """How a signature is wrapped; decided by the layer's media type, never by the place where it was found."""

    LEGACY = "legacy"  # simple signing payload, signature in the layer's annotations
    BUNDLE = "bundle"  # Sigstore bundle


class Place(StrEnum):
    """Where evidence for a digest is looked for in a repository."""

    SIGNATURE_TAG = "signature_tag"  # `sha256-<hex>.sig`, a manifest
    REFERRERS = "referrers"  # the referrers API
    FALLBACK_TAG = "fallback_tag"  # `sha256-<hex>`, an index: OCI distribution 1.1, referrers tag schema


class Verdict(StrEnum):
    VERIFIED = "verified"  # examined and right
    REJECTED = "rejected"  # examined and wrong
    INCONCLUSIVE = "inconclusive"  # could not be examined


class SignerKind(StrEnum):
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Signer:
    """One way in which a policy accepts a signature. Two signers are distinct when their `identity` is."""

    name: str
    kind: SignerKind
    material: PublicKey

    @property
    def identity(self) -> str:
        """What makes this signer distinct from another: for keys the fingerprint."""
        return f"spki:{self.material.fingerprint}"

    @property
    def known_as(self) -> str:
        """The identity, and the schemes that were tried: another policy may take fewer of the same key."""
        return " ".join((self.identity, *self.material.schemes))


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one piece of evidence for one signer.

    `signer` is `None` where it holds for every signer; `evidence` is `None` where there was nothing to examine: nothing
    found, or a place, manifest or layer that could not be had. `code` is `None` exactly when the verdict is `verified`.
    `facts` are for the record: form, candidate, manifest, place, fingerprint, docker_reference.
    """

    verdict: Verdict
    code: Code | None
    detail: str
    signer: Signer | None = None
    evidence: Evidence | None = None
    place: Place | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    tampered: bool = False  # it proves that somebody changed what was stored


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
