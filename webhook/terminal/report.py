"""A verification in words: what was looked at, every signature and why it counts or not, the decision, the last line.

It reads from the outside in, as a test runner's output does: the last line alone says how it ended, and whoever wants
to know why reads upwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from webhook.errors import Code
from webhook.evidence.model import Asked, Outcome, Place, Signer
from webhook.policy import message, reasons
from webhook.policy.decision import PolicyDecision, Result
from webhook.policy.model import Mode
from webhook.terminal import signature
from webhook.terminal.findings import Ending, Run, Signature
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Paper, Part
from webhook.terminal.signature import MARKS, PLACES

RESULTS: dict[Result, tuple[Part, str]] = {
    Result.VERIFIED: (("✓", GOOD), "satisfied"),
    Result.EXEMPT: (("✓", GOOD), "exempt"),
    Result.EXCEPTION: (("✓", GOOD), "admitted by an exception"),
    Result.WARNED: (("!", UNSURE), "admitted unverified"),
    Result.DENIED: (("✗", BAD), "not satisfied"),
    Result.ERROR: (("?", UNSURE), "could not be decided"),
    Result.SILENT: (("-", DIM), "silent"),
}
# What the command line can do about it; what the image's owner can do is in the documents.
HINTS = {
    Code.HOST_REFUSED: "name the host with --insecure-registry (plain HTTP, loopback) or --private-registry",
    Code.ACCESS_DENIED: "credentials are read from ~/.docker/config.json, or --docker-config; those of Amazon ECR"
    " come from AWS, and countersign doctor says as whom",
}
ENDINGS = {
    Ending.ADMITTED: ("ADMITTED", f"{STRONG} {GOOD}"),
    Ending.DENIED: ("DENIED", f"{STRONG} {BAD}"),
    Ending.COULD_NOT_TELL: ("COULD NOT TELL", f"{STRONG} {UNSURE}"),
}


def write(run: Run, paper: Paper) -> None:
    """All of `run` is told, the verdict on the last line."""
    decision = run.decision
    paper.line((decision.reference, STRONG))
    paper.line(("digest ", DIM), str(decision.digest or "not resolved"), indent=2)
    paper.line(("namespace ", DIM), run.namespace, indent=2)
    if decision.asked:
        _write_places(run, paper)
    signature.write_all(run.signatures, decision.policies, paper)
    for problem in run.problems:
        _write_problem(problem, paper)
    told = frozenset(problem.detail for problem in run.problems)
    for policy in decision.policies:
        _write_policy(policy, run, told, paper)
    paper.blank()
    for warning in decision.warnings:
        paper.line(("Warning: ", UNSURE), warning, hang=2)
    _write_ending(run, paper)


def _write_places(run: Run, paper: Paper) -> None:
    paper.blank()
    paper.line(("looked for evidence in", STRONG))
    answers = {asked.place: asked for asked in run.decision.asked}
    for place, name in PLACES.items():
        if place in answers or place is not Place.ATTESTATION_TAG:  # which is asked where an attestation is wanted
            looked_at = sum(one.evidence.place is place for one in run.signatures)
            spared = answers[place].candidates - looked_at if place in answers else 0
            enough = f", {looked_at or 'none'} looked at: what was found was enough"
            end = enough if spared > 0 and run.ending is Ending.ADMITTED else ""
            answer = _answer(answers[place]) + end if place in answers else "not needed"
            paper.line((f"{name:<15}", DIM), answer, indent=2)


def _answer(asked: Asked) -> str:
    return f"{asked.candidates} found" if asked.candidates else asked.answer


def _write_problem(problem: Outcome, paper: Paper) -> None:
    paper.blank()
    where = f"{PLACES[problem.place]}: " if problem.place else ""
    paper.line(MARKS[problem.verdict], f" {where}{problem.code}  {problem.detail}", hang=2)


def _write_policy(decision: PolicyDecision, run: Run, told: frozenset[str], paper: Paper) -> None:
    mark, word = RESULTS[decision.result]
    mode = "" if decision.mode is Mode.ENFORCE else ", only warns"
    paper.blank()
    paper.line(
        (f'policy "{decision.policy.name}"', STRONG),
        (f" (rev {decision.policy.revision}{mode})  ", DIM),
        mark,
        f" {word}",
    )
    if decision.wants:
        rule = f"  ({decision.rule})" if decision.rule != "signers" else ""
        paper.line(("wants ", DIM), decision.wants, (rule, DIM), indent=2, hang=2)
    elif decision.detail:
        rule = f"{decision.rule}: " if decision.rule else ""
        paper.line(rule, f"{decision.code}  " if decision.code else "", decision.detail, indent=2, hang=2)
    if decision.result is Result.VERIFIED:
        paper.line(("counts ", DIM), ", ".join(decision.counted), indent=2, hang=2)
    _write_lines(_lines(decision, run, told), paper)
    if decision.loud:
        paper.line((decision.loud, UNSURE), indent=2, hang=2)
    if decision.refuses and decision.policy.help:
        paper.line(decision.policy.help, indent=2, hang=2)


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a signer or a demand for an attestation stands; `more` is told below."""

    name: str
    code: Code | None
    well: str  # instead of a code
    detail: str
    more: str = ""


def _lines(decision: PolicyDecision, run: Run, told: frozenset[str]) -> list[_Line]:
    """What stands above already is not told again: an attestation's or a signature's number will do."""
    lines = [] if decision.result is Result.VERIFIED else list(_signer_lines(decision, run, told))
    for line in decision.attestations:
        behind = run.behind_demand(line, decision)
        name = f"attestation {reasons.short_type(line.predicate_type)}"
        lines.append(_Line(name, line.code, "met", _listed(behind) or line.detail))
    return lines


def _signer_lines(decision: PolicyDecision, run: Run, told: frozenset[str]) -> Iterable[_Line]:
    lines = reasons.signer_lines(decision)
    if all(line.detail in told for line in lines):
        return  # it is the image's, not a signer's
    for line, signer in zip(lines, decision.signers, strict=True):
        missing = _material(signer) if line.code is Code.NO_SIGNATURE else ""
        behind = run.behind_signer(line, decision)
        yield _Line(line.name, line.code, "counts", _listed(behind) or line.detail, missing)


def _material(signer: Signer) -> str:
    return f"key sha256:{signer.fingerprint}" if signer.fingerprint else str(signer.material)


def _listed(behind: Iterable[Signature]) -> str:
    return ", ".join(signature.name for signature in behind)


def _write_lines(lines: Sequence[_Line], paper: Paper) -> None:
    names = max((len(line.name) for line in lines), default=0)
    codes = max((len(line.code or line.well) for line in lines), default=0)
    for line in lines:
        style = BAD if line.code else GOOD
        code = (f"{line.code or line.well:<{codes}}", style)
        paper.line(f"{line.name:<{names}}  ", code, f"  {line.detail}", indent=2, hang=4)
        if line.more:
            paper.line((line.more, DIM), indent=6, hang=2)


def _write_ending(run: Run, paper: Paper) -> None:
    decision = run.decision
    paper.line(f"{decision.code}: " if decision.code else "", decision.detail or decision.result, hang=2)
    for hint in _hints(run):
        paper.line((hint, DIM), hang=2)
    number = run.requests or "no"
    requests = f"{number} registry {'request' if run.requests == 1 else 'requests'}"
    paper.line(ENDINGS[run.ending], f" in {run.seconds:.2f} s, {requests}")


def _hints(run: Run) -> Iterable[str]:
    code = run.decision.code
    if code is None or run.ending is Ending.ADMITTED:
        return
    if code in HINTS:
        yield HINTS[code]
    yield f"{message.DOCUMENTATION}#{code}"
