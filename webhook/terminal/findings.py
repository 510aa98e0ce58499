"""An image decision seen from its evidence: the places asked, each signature once, what every signer makes of it.

A decision is sorted by policy, since that is how it is made; a person asks what lies beside the image. Both the text
and the document of `verify` are written from these values, so that they cannot tell two stories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from webhook.errors import Code
from webhook.evidence.model import SIGN_PREDICATE, Evidence, Form, Outcome, Proof, Verdict
from webhook.judging import Judgement
from webhook.policy import reasons
from webhook.policy.decision import AttestationLine, ImageDecision, PolicyDecision, Result, SignerLine, Weighed
from webhook.terminal import claims
from webhook.terminal.claims import Hearsay


class Ending(StrEnum):
    """How a verification ends, and for whom: the exit code is the position."""

    ADMITTED = "admitted"
    DENIED = "denied"
    COULD_NOT_TELL = "could_not_tell"

    @property
    def exit_code(self) -> int:
        return tuple(Ending).index(self)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature or attestation that was found, and what became of it for each signer it was held against.

    `proofs` are what it proves, each once, and `weighed` is how an attestation stands against each demand for it.
    `hearsay` is what it says of itself, where it proves nothing.
    """

    number: int
    evidence: Evidence
    outcomes: tuple[Outcome, ...]
    proofs: tuple[Proof, ...]
    weighed: tuple[Weighed, ...]
    hearsay: Hearsay | None

    @property
    def name(self) -> str:
        """What people call it, and find it by: `attestation 2`."""
        return f"{'attestation' if self._is_attestation else 'signature'} {self.number}"

    @property
    def _is_attestation(self) -> bool:
        if self.evidence.form is not Form.BUNDLE:
            return self.evidence.form is Form.DSSE
        if self.proofs:
            return any(proof.attestation for proof in self.proofs)
        return self.hearsay is not None and self.hearsay.predicate_type not in ("", SIGN_PREDICATE)


@dataclass(frozen=True, slots=True)
class Run:
    """One verification from the outside: `decision`, how long it took, and how often a registry was asked.

    `judged` is what was found of evidence before any rule had a say, as far as it was kept: of a signature that no rule
    can use, the decision no longer says what it proves. `signatures` stand in the order in which they were found.
    """

    decision: ImageDecision
    namespace: str
    seconds: float
    requests: int
    judged: tuple[Judgement, ...] = ()
    signatures: tuple[Signature, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signatures", tuple(_signatures(self.decision, self.judged)))

    @property
    def ending(self) -> Ending:
        match self.decision.result:
            case Result.DENIED:
                return Ending.DENIED
            case Result.ERROR:
                return Ending.COULD_NOT_TELL
            case _:
                return Ending.ADMITTED

    @property
    def problems(self) -> tuple[Outcome, ...]:
        """What could not become a signature: a place, a manifest or a layer that could not be had, or was wrong."""
        return tuple(
            outcome
            for outcome in _distinct(self.decision)
            if outcome.evidence is None and outcome.signer is None and outcome.code is not Code.NO_SIGNATURE
        )

    def behind_signer(self, line: SignerLine, policy: PolicyDecision) -> tuple[Signature, ...]:
        """The signatures of which `line`, of that policy, only repeats what became of them."""
        return tuple(one for one in self.signatures if any(_says(line, o, policy) for o in one.outcomes))

    def behind_demand(self, line: AttestationLine, policy: PolicyDecision) -> tuple[Signature, ...]:
        """The attestations of which `line`, of that policy, only repeats how they were weighed, or why not."""
        demands = [d for rule in policy.policy.rules for d in rule.attestations if d.label == line.label]
        told = (line.code, line.detail, line.saw)
        return tuple(
            one
            for one in self.signatures
            if any(w.demand in demands and (w.code, w.detail, w.saw) == told for w in one.weighed)
            or any(_refuses(line, o) and o in policy.outcomes for o in one.outcomes)
        )


def _says(line: SignerLine, outcome: Outcome, policy: PolicyDecision) -> bool:
    if outcome.signer is None or outcome.verdict is Verdict.ATTESTED or outcome not in policy.outcomes:
        return False
    if outcome.code is not None and reasons.is_attestation(outcome):
        return False
    return (outcome.signer.name, outcome.code, outcome.detail) == (line.name, line.code, line.detail)


def _refuses(line: AttestationLine, outcome: Outcome) -> bool:
    if outcome.code is None or reasons.is_signature(outcome):
        return False
    return (outcome.code, outcome.detail) == (line.code, line.detail)


def _signatures(decision: ImageDecision, judged: Iterable[Judgement]) -> Iterator[Signature]:
    found: list[tuple[Evidence, list[Outcome]]] = []
    for outcome in _distinct(decision):
        if outcome.evidence is None:
            continue
        same = next((outcomes for evidence, outcomes in found if evidence == outcome.evidence), None)
        if same is None:
            found.append((outcome.evidence, [outcome]))
        else:
            same.append(outcome)
    for number, (evidence, outcomes) in enumerate(found, start=1):
        first = [one for judgement in judged for one in judgement.outcomes if one.evidence == evidence]
        weighed = [one for judgement in judged for one in judgement.weighed if one.outcome.evidence == evidence]
        proofs = _proofs((*first, *outcomes))
        hearsay = None if proofs else claims.heard(evidence)
        yield Signature(number, evidence, tuple(outcomes), proofs, tuple(weighed), hearsay)


def _proofs(outcomes: Iterable[Outcome]) -> tuple[Proof, ...]:
    distinct: list[Proof] = []
    for outcome in outcomes:
        if outcome.proof is not None and outcome.proof not in distinct:
            distinct.append(outcome.proof)
    return tuple(distinct)


def _distinct(decision: ImageDecision) -> list[Outcome]:
    """Each outcome once: several policies may have looked at the same one."""
    distinct: list[Outcome] = []
    for policy in decision.policies:
        distinct += [outcome for outcome in policy.outcomes if outcome not in distinct]
    return distinct
