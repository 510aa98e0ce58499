"""One piece of evidence held against all that is asked of it: its signatures verified, its statements weighed.

This is all the work on evidence that takes more than a moment, as one function of values that can be sent to another
process and back; `workers` does that. What comes back is small, however large the evidence was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import ModuleType

from webhook.cosign import legacy
from webhook.cosign import verifier as cosign
from webhook.errors import Code, RejectedError
from webhook.evidence import model
from webhook.evidence.model import Evidence, Form, Outcome, Signer, Wants
from webhook.evidence.unsettled import Unsettled
from webhook.notation import verifier as notation
from webhook.oci.reference import Digest, Reference
from webhook.policy import attestations
from webhook.policy.decision import Weighed
from webhook.policy.model import AttestationDemand
from webhook.settings import OFF_LOOP_BYTES, Crosscheck
from webhook.trust.at_hand import KeyPlace, Trust
from webhook.trust.identity import Identity
from webhook.trust.material import PublicKey

QUICK = 10  # keys of the usual kinds that are tried in a millisecond
_SLOW = {"ECDSA P-384": 12, "ECDSA P-521": 10}
CROSSCHECK = "crosscheck"  # the fact that says what came of it
AGREED, NOT_JUDGED = "agreed", "not_judged"


@dataclass(frozen=True, slots=True)
class Question:
    """What each piece of evidence for one image is asked; `image` is what conditions see of it."""

    signers: tuple[Signer, ...]
    demands: tuple[AttestationDemand, ...]
    wants: Wants
    trust: Trust
    image: Mapping[str, str]
    now: datetime
    crosscheck: Crosscheck = Crosscheck.OFF


@dataclass(frozen=True, slots=True)
class Judgement:
    outcomes: tuple[Outcome, ...] = ()
    weighed: tuple[Weighed, ...] = ()
    unsettled: tuple[Unsettled, ...] = ()

    def of(self, evidence: Evidence) -> Judgement:
        """The same, said of `evidence`, which is what was judged or what is kept of that."""
        return Judgement(
            tuple(replace(outcome, evidence=evidence) for outcome in self.outcomes),
            tuple(replace(one, outcome=replace(one.outcome, evidence=evidence)) for one in self.weighed),
            tuple(replace(one, outcome=replace(one.outcome, evidence=evidence)) for one in self.unsettled),
        )


def judge(evidence: Evidence, question: Question) -> Judgement:
    """What `evidence` proves for each signer, and how its statement stands against each demand.

    Never raises, unless the second implementation is wanted and cannot be loaded.
    """
    if evidence.form is Form.NOTATION:
        return _judge_notation(evidence, question)
    signers = [signer for signer in question.signers if not signer.kind.is_notation]
    outcomes: Sequence[Outcome] = cosign.verify(
        evidence, signers, predicates=question.wants.predicates, trust=question.trust, now=question.now
    )
    if question.crosscheck is not Crosscheck.OFF:
        outcomes = [_crosschecked(outcome, question) for outcome in outcomes]
    weighed = attestations.weigh(outcomes, question.demands, image=question.image, now=question.now)
    return Judgement(tuple(map(_without_statement, outcomes)), tuple(weighed))


def is_costly(evidence: Evidence, question: Question) -> bool:
    """Judging it takes more than a millisecond: certificates, logs, timestamps, conditions, many keys, sheer size."""
    if evidence.form is Form.NOTATION:
        return True
    signature = evidence.form is Form.LEGACY  # against which no condition is held, and whose annotations tell the rest
    if len(evidence.payload) > OFF_LOOP_BYTES or (question.demands and not signature):
        return True
    certified = not signature or bool(evidence.annotations.get(legacy.CERTIFICATE))
    return sum(_effort(signer, question.trust, certified=certified) for signer in question.signers) > QUICK


def described(wanted: Reference, digest: Digest) -> Mapping[str, str]:
    """The image as conditions see it."""
    return {
        "reference": wanted.text,
        "registry": wanted.repository.host,
        "repository": wanted.repository.path,
        "tag": wanted.tag or "",
        "digest": str(digest),
    }


def _judge_notation(evidence: Evidence, question: Question) -> Judgement:
    signers = [signer for signer in question.signers if signer.kind.is_notation]
    found = notation.verify(evidence, signers, trust=question.trust, now=question.now)
    return Judgement(
        outcomes=tuple(one for one in found if isinstance(one, Outcome)),
        unsettled=tuple(one for one in found if isinstance(one, Unsettled)),
    )


def _effort(signer: Signer, trust: Trust, *, certified: bool) -> int:
    """How many tries of a key of the usual kinds, P-256, RSA and Ed25519, take as long."""
    material = signer.material
    if isinstance(material, KeyPlace):
        material = trust.keys.get(material, material)
    match material:
        case PublicKey():
            return _SLOW.get(material.algorithm, 1)
        case Identity():
            return QUICK + 1 if certified else 0
    return 0


def _without_statement(outcome: Outcome) -> Outcome:
    """What was weighed needs to be held no longer, and may be large."""
    proof = outcome.proof
    if proof is None or proof.attestation is None:
        return outcome
    return replace(outcome, proof=replace(proof, attestation=replace(proof.attestation, statement={})))


def _crosschecked(outcome: Outcome, question: Question) -> Outcome:
    """`outcome`, and what the second implementation says of it where we accepted a certificate."""
    evidence, signer = outcome.evidence, outcome.signer
    if outcome.proof is None or outcome.proof.claims is None or evidence is None or signer is None:
        return outcome
    source = signer.trust_root
    if source is None:
        return outcome
    second, root = second_implementation(), question.trust.root_of(source)
    # It demands a log entry and a timestamp of a certificate log, whatever is demanded under this root
    judged = outcome.proof.logged and source.require_sct
    disagreement: str | None = second.disagreement(evidence, root) if judged else None
    if disagreement and question.crosscheck is Crosscheck.ENFORCE:
        refused = RejectedError(Code.CROSSCHECK_DISAGREEMENT, disagreement)
        return model.failed(refused, signer=signer, evidence=evidence, place=evidence.place)
    said = NOT_JUDGED if disagreement is None else disagreement or AGREED
    return replace(outcome, facts={**outcome.facts, CROSSCHECK: said})


def second_implementation() -> ModuleType:
    """Loaded, once it is wanted. Raises: ImportError."""
    from webhook.cosign import crosscheck  # 54 MiB, which nobody pays for while it is off

    return crosscheck
