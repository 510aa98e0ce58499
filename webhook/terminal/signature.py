"""One signature or attestation in words: where it was found, who signed when and who says so, and what it counts for.

What it proves is told as facts. Where it proves nothing, what it says of itself is told apart, and said not to be
verified. An attestation is told with what each demand's condition saw of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from webhook.errors import Code
from webhook.evidence.model import (
    COSE_ENVELOPE,
    SIGN_PREDICATE,
    Evidence,
    Form,
    Outcome,
    Place,
    Proof,
    SignedTime,
    Verdict,
)
from webhook.judging import CROSSCHECK
from webhook.policy.decision import PolicyDecision, Weighed
from webhook.terminal.claims import Hearsay
from webhook.terminal.findings import Signature
from webhook.terminal.notary import told_time
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Paper, Part
from webhook.trust.notary.levels import Check

PLACES = {
    Place.SIGNATURE_TAG: ".sig tag",
    Place.ATTESTATION_TAG: ".att tag",
    Place.REFERRERS: "referrers API",
    Place.FALLBACK_TAG: "fallback tag",
}
FORMS = {
    Form.LEGACY: "cosign signature",
    Form.DSSE: "cosign attestation",
    Form.BUNDLE: "Sigstore bundle",
    Form.NOTATION: "Notary Project signature",
}
MARKS: dict[Verdict, Part] = {
    Verdict.VERIFIED: ("✓", GOOD),
    Verdict.ATTESTED: ("✓", GOOD),
    Verdict.REJECTED: ("✗", BAD),
    Verdict.INCONCLUSIVE: ("?", UNSURE),
}
# What is written in an envelope of the Notary Project, by the name of the fact
TOLD_OF_ENVELOPE = {"scheme": "scheme", "profile_version": "profile", "job": "job"}
CHECKED: dict[str, Part] = {"ok": ("✓", GOOD), "skipped": ("-", DIM)}
# Of a certificate's extensions those by which people know a build again; where it has only the older ones, those.
TOLD = ("sourceRepositoryURI", "sourceRepositoryRef", "sourceRepositoryDigest", "buildTrigger", "runInvocationURI")
TOLD_BEFORE = ("githubWorkflowRepository", "githubWorkflowRef", "githubWorkflowSha", "githubWorkflowTrigger")

Fact = tuple[str, str]


def write_all(signatures: Sequence[Signature], policies: Sequence[PolicyDecision], paper: Paper) -> None:
    """All of `signatures` is told; `policies` are those that looked at them."""
    builds: dict[tuple[Fact, ...], str] = {}
    for signature in signatures:
        paper.blank()
        _write(signature, policies, builds, paper)


def _write(
    signature: Signature, policies: Sequence[PolicyDecision], builds: dict[tuple[Fact, ...], str], paper: Paper
) -> None:
    """`builds` are the extensions that were told already, and of what."""
    evidence = signature.evidence
    paper.line((signature.name, STRONG), f"  {_form(evidence)}, from the {PLACES[evidence.place]}")
    proved = _distinct(_proved(proof, builds, signature.name) for proof in signature.proofs)
    named = _distinct(_written_in(outcome.facts) for outcome in signature.outcomes if outcome.proof is not None)
    _write_facts([("layer", str(evidence.layer)), *named, *proved], 2, paper)
    if signature.hearsay is not None:
        paper.line(("says of itself, not verified:", UNSURE), indent=2)
        _write_facts(_said(signature.hearsay), 4, paper)
    names = _names(signature, policies)
    width = max(len(name) for name in names)
    idle = _is_of_idle_type(signature, policies)
    for outcome, name in zip(signature.outcomes, names, strict=True):
        if idle and outcome.code is Code.CLAIM_MISMATCH:
            said = f" {name:<{width}}  {outcome.code}  an attestation of a type that nothing demands"
            paper.line(("-", DIM), said, indent=2, hang=4)
            continue
        _write_outcome(outcome, f"{name:<{width}}", paper)
        _write_checks(outcome, paper)
        for weighed in signature.weighed:
            if outcome.verdict is Verdict.ATTESTED and weighed.outcome.signer == outcome.signer:
                _write_weighed(weighed, paper)


def _form(evidence: Evidence) -> str:
    if evidence.form is not Form.NOTATION:
        return FORMS[evidence.form]
    return f"{FORMS[evidence.form]} ({'COSE' if evidence.media_type == COSE_ENVELOPE else 'JWS'})"


def _is_of_idle_type(signature: Signature, policies: Iterable[PolicyDecision]) -> bool:
    """It is an attestation of a type that no rule of these policies demands: beside the point, and no trouble."""
    rules = (rule for decision in policies for rule in decision.policy.rules)
    demanded = {demand.predicate_type for rule in rules for demand in rule.attestations}
    said = signature.hearsay.predicate_type if signature.hearsay else ""
    return said not in {"", SIGN_PREDICATE, *demanded}


def _write_facts(facts: Iterable[Fact], indent: int, paper: Paper) -> None:
    for name, value in facts:
        paper.line((f"{name} ", DIM), value, indent=indent, hang=2)


def _distinct(told: Iterable[Iterable[Fact]]) -> list[Fact]:
    """Each once: under two trust roots the certificate is the same, and mostly the times are."""
    return list(dict.fromkeys(fact for facts in told for fact in facts))


def _proved(proof: Proof, builds: dict[tuple[Fact, ...], str], name: str) -> Iterator[Fact]:
    if proof.attestation is not None:
        yield "type", proof.attestation.predicate_type
    if proof.claims is None:
        yield "key", f"sha256:{proof.key_fingerprint}"
        if proof.certificate_fingerprint:
            yield "certificate", f"sha256:{proof.certificate_fingerprint}"
    else:
        yield from (("identity", name) for _, name in proof.claims.subjects)
        yield "issuer", proof.claims.issuer
        yield "certificate", f"sha256:{proof.certificate_fingerprint}"
        build = tuple(sorted(proof.claims.extensions.items()))
        first = builds.setdefault(build, name)
        if first == name:
            yield from _extensions(proof.claims.extensions)
        elif build:
            yield "extensions", f"as of {first}"
    yield from (
        ("signed", f"{told_time(time.at)}, by the clock of {time.source}") for time in _earliest_first(proof.times)
    )
    for log, index in proof.logged:
        yield "logged", log if index is None else f"{log}, entry {index}"
    yield from (("annotation", f"{name}={value}") for name, value in sorted(proof.annotations.items()))


def _written_in(facts: Mapping[str, str]) -> Iterator[Fact]:
    """What is written in an envelope of the Notary Project, all of it signed."""
    yield from ((shown, facts[name]) for name, shown in TOLD_OF_ENVELOPE.items() if name in facts)
    if "expires_at" in facts:
        yield "expires", facts["expires_at"].replace("T", " ")
    if "claimed_signed_at" in facts:
        yield "signed", f"{facts['claimed_signed_at'].replace('T', ' ')}, as the signer says"


def _extensions(extensions: Mapping[str, str]) -> Iterator[Fact]:
    told = [name for name in TOLD if name in extensions] or [name for name in TOLD_BEFORE if name in extensions]
    yield from ((name, extensions[name]) for name in told)
    if more := len(extensions) - len(told):
        yield "and", f"{more} more extension{'s' if more > 1 else ''} of the certificate: --output json"


def _earliest_first(times: Iterable[SignedTime]) -> list[SignedTime]:
    return sorted(times, key=lambda time: time.at)


def _said(hearsay: Hearsay) -> Iterator[Fact]:
    if hearsay.predicate_type not in ("", SIGN_PREDICATE):
        yield "type", hearsay.predicate_type
    yield from (("identity", name) for name in hearsay.subjects)
    if hearsay.issuer:
        yield "issuer", hearsay.issuer
    if hearsay.valid is not None:
        yield "certificate", f"valid from {told_time(hearsay.valid[0])} to {told_time(hearsay.valid[1])}"
    for index, at in hearsay.logged:
        yield "log entry", f"{index}" + (f", of {told_time(at)}" if at is not None else "")
    yield from (("timestamp", told_time(at)) for at in hearsay.stamped)
    if hearsay.notary is not None:
        yield from hearsay.notary.facts


def _names(signature: Signature, policies: Sequence[PolicyDecision]) -> list[str]:
    """Of each outcome the signer's name, and the policy's where that name stands there more than once."""
    often = Counter(_signer(outcome) for outcome in signature.outcomes)
    return [
        name if often[name] == 1 else f"{name} ({', '.join(p.policy.name for p in policies if outcome in p.outcomes)})"
        for outcome in signature.outcomes
        for name in (_signer(outcome),)
    ]


def _signer(outcome: Outcome) -> str:
    return outcome.signer.name if outcome.signer else "every signer"


def _write_outcome(outcome: Outcome, name: str, paper: Paper) -> None:
    said = f"{outcome.code}  {outcome.detail}" if outcome.code else _proof_of(outcome)
    paper.line(MARKS[outcome.verdict], f" {name}  {said}", indent=2, hang=4)


def _write_checks(outcome: Outcome, paper: Paper) -> None:
    """The five checks of the Notary Project as far as they were made, and what failed and is only to be told."""
    made = [(check, outcome.facts[check]) for check in Check if check in outcome.facts]
    width = max((len(check) for check, _ in made), default=0)
    refused = f"{outcome.code}: {outcome.detail}"  # which stands above already
    for check, said in made:
        shown = said if said != refused else str(outcome.code)
        mark = CHECKED.get(said, MARKS[outcome.verdict] if said == refused else ("!", UNSURE))
        paper.line(mark, f" {check:<{width}}  {shown}", indent=4, hang=4)
    told = {said for _, said in made}
    for note in outcome.notes:
        if note not in told:
            paper.line(("!", UNSURE), f" {note}", indent=4, hang=4)


def _proof_of(outcome: Outcome) -> str:
    if outcome.evidence is not None and outcome.evidence.form is Form.NOTATION:
        return f"{outcome.verdict}  {outcome.detail}"
    return f"{outcome.verdict}, cross-check {said}" if (said := outcome.facts.get(CROSSCHECK)) else outcome.verdict


def _write_weighed(weighed: Weighed, paper: Paper) -> None:
    mark: Part = ("✗", BAD) if weighed.code else ("✓", GOOD)
    demand, detail = weighed.demand, weighed.detail
    if weighed.code is None:
        detail = "as demanded"
    elif weighed.code is Code.CLAIM_MISMATCH and weighed.saw:
        detail = detail.partition(":")[0]  # what it saw follows, whole
    code = f"{weighed.code}  " if weighed.code else ""
    paper.line(mark, f" {demand.label}  {code}{detail}", indent=4, hang=4)
    if demand.condition is not None and weighed.code in (None, Code.CLAIM_MISMATCH, Code.CONDITION_ERROR):
        paper.line(("condition ", DIM), " ".join(demand.condition.text.split()), indent=6, hang=2)
    for part, value in weighed.saw:
        paper.line((f"{part} was ", DIM), value, indent=6, hang=2)
    if weighed.code is Code.TIME_INVALID and demand.time_field:
        clocks = f"the earliest of the clocks above and of {'.'.join(demand.time_field)}"
        paper.line(("counted from ", DIM), clocks, indent=6, hang=2)
