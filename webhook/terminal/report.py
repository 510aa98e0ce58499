"""A verification in words: what was looked at, every signature and why it counts or not, the decision, the last line.

It reads from the outside in, as a test runner's output does: the last line alone says how it ended, and whoever wants
to know why reads upwards.
"""

from __future__ import annotations

from collections.abc import Iterable

from webhook.errors import Code
from webhook.evidence.model import Asked, Form, Outcome, Place, Verdict
from webhook.policy import message, reasons
from webhook.policy.decision import AttestationLine, PolicyDecision, Result, SignerLine
from webhook.policy.model import Mode
from webhook.terminal.findings import Ending, Run, Signature
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Paper, Part

PLACES = {
    Place.SIGNATURE_TAG: ".sig tag",
    Place.ATTESTATION_TAG: ".att tag",
    Place.REFERRERS: "referrers API",
    Place.FALLBACK_TAG: "fallback tag",
}
FORMS = {Form.LEGACY: "cosign signature", Form.DSSE: "cosign attestation", Form.BUNDLE: "Sigstore bundle"}
MARKS: dict[Verdict, Part] = {
    Verdict.VERIFIED: ("✓", GOOD),
    Verdict.ATTESTED: ("✓", GOOD),
    Verdict.REJECTED: ("✗", BAD),
    Verdict.INCONCLUSIVE: ("?", UNSURE),
}
RESULTS: dict[Result, tuple[Part, str]] = {
    Result.VERIFIED: (("✓", GOOD), "satisfied"),
    Result.EXEMPT: (("✓", GOOD), "exempt"),
    Result.EXCEPTION: (("✓", GOOD), "admitted by an exception"),
    Result.WARNED: (("!", UNSURE), "admitted unverified"),
    Result.DENIED: (("✗", BAD), "not satisfied"),
    Result.ERROR: (("?", UNSURE), "could not be decided"),
    Result.SILENT: (("-", DIM), "silent"),
}
COUNTS = "counts"
# What the command line can do about it; what the image's owner can do is in the documents.
HINTS = {
    Code.HOST_REFUSED: "name the host with --insecure-registry (plain HTTP, loopback) or --private-registry",
    Code.ACCESS_DENIED: "credentials are read from ~/.docker/config.json, or --docker-config",
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
    for number, signature in enumerate(run.signatures, start=1):
        _write_signature(number, signature, paper)
    for problem in run.problems:
        _write_problem(problem, paper)
    told = frozenset(problem.detail for problem in run.problems)
    for policy in decision.policies:
        _write_policy(policy, told, paper)
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
            paper.line((f"{name:<15}", DIM), _answer(answers.get(place)), indent=2)


def _answer(asked: Asked | None) -> str:
    if asked is None:
        return "not waited for: what was found before was enough"
    if asked.candidates:
        return f"{asked.candidates} found"
    return asked.answer


def _write_signature(number: int, signature: Signature, paper: Paper) -> None:
    evidence = signature.evidence
    paper.blank()
    paper.line((f"signature {number}", STRONG), f"  {FORMS[evidence.form]}, from the {PLACES[evidence.place]}")
    paper.line(("layer ", DIM), str(evidence.layer), indent=2)
    width = max(len(_signer(outcome)) for outcome in signature.outcomes)
    for outcome in signature.outcomes:
        code = f"{outcome.code}  " if outcome.code else ""
        paper.line(MARKS[outcome.verdict], f" {_signer(outcome):<{width}}  {code}{outcome.detail}", indent=2, hang=4)
        for told in _proof_lines(outcome):
            paper.line((told, DIM), indent=4, hang=2)


def _proof_lines(outcome: Outcome) -> Iterable[str]:
    """Who signed, when by whose clock, and where that is logged; of what proved nothing, what was wanted."""
    proof = outcome.proof
    if outcome.signer is not None and outcome.signer.fingerprint:
        yield f"key sha256:{outcome.signer.fingerprint}"
    if proof is None:
        return
    if proof.claims is not None:
        yield f"issuer {proof.claims.issuer}"
        yield from (f"{kind} {name}" for kind, name in proof.claims.subjects)
        yield from (f"{name} {value}" for name, value in sorted(proof.claims.extensions.items()))
    yield from (f"signed {time.at:%Y-%m-%d %H:%M:%SZ}, says {time.source}" for time in proof.times)
    for log, index in proof.logged:
        yield f"logged in {log}" + (f", entry {index}" if index is not None else "")
    yield from (f"annotation {name}={value}" for name, value in sorted(proof.annotations.items()))


def _signer(outcome: Outcome) -> str:
    return outcome.signer.name if outcome.signer else "every signer"


def _write_problem(problem: Outcome, paper: Paper) -> None:
    paper.blank()
    where = f"{PLACES[problem.place]}: " if problem.place else ""
    paper.line(MARKS[problem.verdict], f" {where}{problem.code}  {problem.detail}", hang=2)


def _write_policy(decision: PolicyDecision, told: frozenset[str], paper: Paper) -> None:
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
        paper.line(("wants ", DIM), f"{decision.wants}  ", (f"({decision.rule})", DIM), indent=2, hang=2)
    elif decision.detail:
        rule = f"{decision.rule}: " if decision.rule else ""
        paper.line(rule, f"{decision.code}  " if decision.code else "", decision.detail, indent=2, hang=2)
    if decision.result is Result.VERIFIED:
        paper.line(("counts ", DIM), ", ".join(decision.counted), indent=2, hang=2)
    else:
        _write_signers(reasons.signer_lines(decision), told, paper)
    for line in decision.attestations:
        _write_attestation(line, paper)
    if decision.loud:
        paper.line((decision.loud, UNSURE), indent=2, hang=2)
    if decision.refuses and decision.policy.help:
        paper.line(decision.policy.help, indent=2, hang=2)


def _write_signers(lines: tuple[SignerLine, ...], told: frozenset[str], paper: Paper) -> None:
    if all(line.detail in told for line in lines):
        return  # it is the image's, not a signer's, and stands above
    names = max(len(line.name) for line in lines)
    codes = max(len(line.code or COUNTS) for line in lines)
    for line in lines:
        style = BAD if line.code else GOOD
        paper.line(
            f"{line.name:<{names}}  ",
            (f"{line.code or COUNTS:<{codes}}", style),
            f"  {line.detail}",
            indent=2,
            hang=4,
        )


def _write_attestation(line: AttestationLine, paper: Paper) -> None:
    style = BAD if line.code else GOOD
    paper.line(f"{line.label}  ", (f"{line.code or 'met'}", style), f"  {line.detail}", indent=2, hang=4)
    for part, value in line.saw:
        paper.line((f"{part} was ", DIM), value, indent=6, hang=2)


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
