"""One piece of cosign evidence held against signers: the door to this package.

Whatever the evidence holds, the answer is one `Outcome` for each signer: a bad candidate can neither end a review nor
hide a good one, and `verified` and `attested` are made in one place, after every check has passed. What several signers
ask of one candidate is found out once. Pure: bytes and values in, values out.

The order: parse, without any trust; whether this signer may be meant at all, which is cheap; who vouches for the
signature, and when; the certificate at that time; the signature itself; and only then what it says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from webhook.cosign import attestation, bundle, certificate, legacy, material
from webhook.cosign.candidate import Candidate
from webhook.cosign.certificate import Leaf
from webhook.cosign.material import Vouched
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError, RejectedError, quote
from webhook.evidence import model
from webhook.evidence.model import SIGN_PREDICATE, Attestation, Evidence, Form, Outcome, Proof, Signer, Verdict
from webhook.evidence.once import Once
from webhook.trust.at_hand import Trust
from webhook.trust.identity import Claims, Identity
from webhook.trust.kms import KMSKey
from webhook.trust.material import PublicKey
from webhook.trust.root import RootSource, TrustRoot
from webhook.trust.stored import StoredKey

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """What a candidate says, once its signature was verified: `attestation` is `None` for a signature of the image."""

    annotations: dict[str, str] = field(default_factory=dict)
    docker_reference: str = ""
    attestation: Attestation | None = None


def verify(
    evidence: Evidence, signers: Sequence[Signer], *, predicates: frozenset[str], trust: Trust, now: datetime
) -> tuple[Outcome, ...]:
    """What `evidence` proves for each of `signers`, in their order; `predicates` are the attestations that are wanted.

    Never raises. `now` is part of the contract of every scheme, and no clock of this one: times come from logs.
    """
    del now
    examined = _Examined(evidence, predicates, trust)
    return tuple(examined.outcome(signer) for signer in signers)


def parse(evidence: Evidence) -> Candidate:
    """The candidate in `evidence`, of which nothing is believed. Raises: MalformedError."""
    match evidence.form:
        case Form.LEGACY:
            return legacy.parse_signature(evidence)
        case Form.DSSE:
            return legacy.parse_attestation(evidence)
        case Form.BUNDLE:
            return bundle.parse_image_signature(evidence.payload)
    raise MalformedError(Code.UNSUPPORTED, "a Notary Project envelope, which is not cosign's")


class _Examined:
    """One piece of evidence, and what was found out about it so far, errors too: none is asked for twice."""

    def __init__(self, evidence: Evidence, predicates: frozenset[str], trust: Trust) -> None:
        self._evidence, self._predicates, self._trust = evidence, predicates, trust
        self._once = Once()

    def outcome(self, signer: Signer) -> Outcome:
        evidence = self._evidence
        try:
            proof, said = self._prove(signer)
        except CountersignError as error:
            return model.failed(error, signer=signer, evidence=evidence, place=evidence.place)
        except Exception as error:  # noqa: BLE001  # one candidate that we cannot cope with must not hide the others
            _log.exception("unexpected error in layer %s of manifest %s", evidence.layer, evidence.manifest)
            crash = InconclusiveError(Code.INTERNAL_ERROR, f"unexpected {type(error).__name__} while verifying")
            return model.failed(crash, signer=signer, evidence=evidence, place=evidence.place)
        verdict = Verdict.VERIFIED if said.attestation is None else Verdict.ATTESTED
        detail = f"{_what(evidence, said)} by {_whom(signer, proof)}"
        return Outcome(
            verdict, None, detail, signer, evidence, evidence.place, _facts(evidence, proof, said), proof=proof
        )

    def _prove(self, signer: Signer) -> tuple[Proof, Said]:
        candidate = self._once("candidate", lambda: parse(self._evidence))
        match signer.material:
            case PublicKey() as key:
                return self._prove_key(candidate, key, signer)
            case KMSKey() | StoredKey() as place:
                return self._prove_key(candidate, self._trust.key_of(place), signer)
            case Identity() as identity:
                return self._prove_identity(candidate, identity, signer)
        raise MalformedError(Code.UNSUPPORTED, "a cosign signature, and this signer makes Notary Project signatures")

    def _prove_key(self, candidate: Candidate, key: PublicKey, signer: Signer) -> tuple[Proof, Said]:
        _verify_beside(candidate, self._evidence.form, key)
        # before any log entry: one of somebody else's signature is somebody else's, and no sign of an attack
        key.verify(candidate.signature, candidate.message)
        vouched = self._vouch_for_key(candidate, key, signer)
        said = self._once("said", lambda: self._say(candidate))
        return _proof(f"spki:{key.fingerprint}", key, vouched, said), said

    def _vouch_for_key(self, candidate: Candidate, key: PublicKey, signer: Signer) -> Vouched:
        """A key needs nobody to vouch for it, unless its policy says so; what does vouch for it must be right."""
        if signer.trust_root is None or not (signer.require_log or candidate.entries or candidate.timestamps):
            return Vouched((), ())
        root = self._trust.root_of(signer.trust_root)
        logged = candidate.logged_by(key)
        return material.verify(candidate, root, logged, require_log=signer.require_log, require_timestamp=False)

    def _prove_identity(self, candidate: Candidate, identity: Identity, signer: Signer) -> tuple[Proof, Said]:
        leaf, source = candidate.leaf, signer.trust_root
        if leaf is None or source is None:
            raise MalformedError(Code.UNSUPPORTED, "made with a key, and this signer is an identity")
        claims = self._once("claims", lambda: certificate.claims_of(leaf))
        if mismatch := identity.mismatch(claims):
            raise RejectedError(Code.IDENTITY_MISMATCH, mismatch)
        root = self._trust.root_of(source)
        vouched = self._once(_demands(source, root), lambda: _vouch(candidate, leaf, root, source))
        self._once("signature", lambda: leaf.key.verify(candidate.signature, candidate.message))
        said = self._once("said", lambda: self._say(candidate))
        proof = _proof(_person(claims), leaf.key, vouched, said, leaf=leaf, claims=claims)
        return proof, said

    def _say(self, candidate: Candidate) -> Said:
        """What `candidate` says, whose signature was verified. Raises: MalformedError, RejectedError."""
        subject = self._evidence.subject
        if candidate.payload is None:
            payload = legacy.verify_payload(candidate.message, subject)
            return Said(dict(payload.annotations), payload.docker_reference)
        statement = attestation.parse_statement(candidate.payload)
        named = attestation.verify_subject(statement, subject)
        kind = statement.predicate_type
        if kind == SIGN_PREDICATE and self._evidence.form is Form.BUNDLE:
            return Said(dict(named.annotations))
        if kind in self._predicates:
            return Said(attestation=Attestation(kind, statement.document))
        # An SBOM or a scan report by the same signer is no signature: CVE-2022-35929, CVE-2022-35930
        wanted = self._predicates or {SIGN_PREDICATE}
        raise RejectedError(
            Code.CLAIM_MISMATCH, f"predicateType: {' or '.join(sorted(wanted))} expected, found {quote(kind)}"
        )


def _verify_beside(candidate: Candidate, form: Form, key: PublicKey) -> None:
    """A certificate beside a signature made with a key gives no trust, but must be of that key, as for cosign."""
    if candidate.leaf is None:
        return
    if form is Form.BUNDLE:
        raise MalformedError(Code.UNSUPPORTED, "made with a certificate, and this signer is a key")
    if candidate.leaf.key.spki != key.spki:
        raise RejectedError(Code.SIGNATURE_INVALID, f"annotation {legacy.CERTIFICATE}: not a certificate of the {key}")


def _demands(source: RootSource, root: TrustRoot) -> tuple[object, ...]:
    """What makes two signers' questions about one candidate the same: never one root under another's demands."""
    return root.fingerprint, source.require_log, source.require_sct, source.require_timestamp


def _vouch(candidate: Candidate, leaf: Leaf, root: TrustRoot, source: RootSource) -> Vouched:
    vouched = material.verify(
        candidate,
        root,
        candidate.logged_by(None),
        require_log=source.require_log,
        require_timestamp=source.require_timestamp,
    )
    certificate.verify(leaf, root, [time.at for time in vouched.times], require_sct=source.require_sct)
    return vouched


def _proof(
    signed_by: str,
    key: PublicKey,
    vouched: Vouched,
    said: Said,
    *,
    leaf: Leaf | None = None,
    claims: Claims | None = None,
) -> Proof:
    return Proof(
        material=signed_by,
        key_fingerprint=key.fingerprint,
        certificate_fingerprint=leaf.fingerprint if leaf is not None else "",
        certificate_twins=certificate.twins(leaf) if leaf is not None else (),
        claims=claims,
        times=vouched.times,
        logged=vouched.logged,
        annotations=said.annotations,
        attestation=said.attestation,
    )


def _person(claims: Claims) -> str:
    """Issuer and names of a certificate in one text that no other certificate's equals by accident or design."""
    return f"identity:{json.dumps([claims.issuer, sorted(value for _, value in claims.subjects)])}"


def _what(evidence: Evidence, said: Said) -> str:
    return f"attestation {quote(said.attestation.predicate_type)}" if said.attestation else f"{evidence.form} signature"


def _whom(signer: Signer, proof: Proof) -> str:
    if proof.claims is None:
        return str(signer.material)
    return f"{quote(proof.claims.subjects[0][1])}, issuer {quote(proof.claims.issuer)}"


def _facts(evidence: Evidence, proof: Proof, said: Said) -> dict[str, str]:
    facts = {
        "form": evidence.form.value,
        "candidate": str(evidence.layer),
        "manifest": str(evidence.manifest),
        "place": evidence.place.value,
        "fingerprint": proof.key_fingerprint,
    }
    if said.docker_reference:
        facts["docker_reference"] = quote(said.docker_reference)
    return facts
