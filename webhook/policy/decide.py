"""What all policies say, to a decision on the image and on the review. The strictest result wins.

Every enforcing policy that speaks must be satisfied; warn policies add warnings and never satisfy, and deny only by
their `deny[]` and on proof of tampering. Pure: neither clock nor network, and neither the order of outcomes nor that of
policies changes what is admitted. Other modules find the values and judgements of a decision here, in one place;
what to say about it is `message`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from webhook.errors import Code, CountersignError, InconclusiveError
from webhook.evidence.model import Asked
from webhook.oci.reference import Digest, Reference
from webhook.policy.decision import (
    REFUSED,
    ImageDecision,
    Paths,
    PolicyDecision,
    Result,
    ReviewDecision,
    Selection,
    SignerLine,
)
from webhook.policy.demand import decide_policy, is_met
from webhook.policy.model import Mode, PolicySet
from webhook.policy.reasons import signer_lines, worst_first
from webhook.settings import NoMatch

__all__ = [
    "ImageDecision",
    "PolicyDecision",
    "Result",
    "ReviewDecision",
    "Selection",
    "SignerLine",
    "decide_image",
    "decide_policy",
    "decide_review",
    "error_image",
    "image_status",
    "is_met",
    "signer_lines",
    "unchanged_image",
    "unparsable_image",
]

BAD_REQUEST = frozenset({Code.REFERENCE_INVALID, Code.TOO_MANY_REFERENCES})


def decide_image(
    *,
    reference: Reference,
    paths: Paths,
    digest: Digest | None,
    decisions: Sequence[PolicyDecision],
    policies: PolicySet,
    no_match: NoMatch,
    asked: tuple[Asked, ...] = (),
) -> ImageDecision:
    """The strictest of what all policies say; `no_match` where none that enforces says anything."""
    result, code, detail = _strictest(reference, decisions, policies, no_match)
    warnings = tuple(text for decision in decisions for text in _warnings(decision))
    if result is Result.WARNED and code is Code.NO_POLICY:
        warnings = (f"{detail}: COUNTERSIGN_NO_MATCH=deny would deny it", *warnings)
    return ImageDecision(reference.text, paths, digest, result, code, detail, tuple(decisions), asked, warnings)


def unparsable_image(reference: str, paths: Paths, error: CountersignError) -> ImageDecision:
    """An image whose reference is none: denied in every mode, since neither we nor the node can tell what it means."""
    return ImageDecision(reference, paths, None, Result.DENIED, error.code, error.detail)


def unchanged_image(reference: str, paths: Paths) -> ImageDecision:
    """An image that stood there before this change, and is not judged again."""
    return ImageDecision(reference, paths, None, Result.UNCHANGED, None, "unchanged by this request")


def error_image(reference: str, paths: Paths, error: CountersignError) -> ImageDecision:
    """An image that no policy came to speak of: could not be examined, or refused where `error` is conclusive."""
    result = Result.ERROR if isinstance(error, InconclusiveError) else Result.DENIED
    return ImageDecision(reference, paths, None, result, error.code, error.detail)


def decide_review(images: Sequence[ImageDecision], *, revision: str) -> ReviewDecision:
    """Allowed exactly when no image is refused. A retry must not hide a refusal: 403 before 400 before 503 and 504."""
    found = {image_status(image) for image in images}
    status = next((status for status in (403, 400, 503, 504) if status in found), 200)
    return ReviewDecision(status == 200, status, tuple(images), revision)


def image_status(image: ImageDecision) -> int:
    """The HTTP-like code that this image alone would give its review."""
    if image.result is Result.DENIED:
        return 400 if image.code in BAD_REQUEST else 403
    if image.result is Result.ERROR:
        return 504 if image.code is Code.DEADLINE_EXCEEDED else 503
    return 200


def _strictest(
    reference: Reference, decisions: Sequence[PolicyDecision], policies: PolicySet, no_match: NoMatch
) -> tuple[Result, Code | None, str]:
    if refusing := worst_first(decision for decision in decisions if decision.refuses):
        worst = refusing[0]
        return worst.result, worst.code, worst.detail
    baseline = any(pattern.matches(reference.repository) for pattern in policies.baseline) if policies.broken else False
    if policies.broken and not baseline:
        return Result.ERROR, Code.POLICY_UNAVAILABLE, _broken(policies)
    speaking = [d for d in decisions if d.mode is Mode.ENFORCE and d.result is not Result.SILENT]
    if not speaking and not baseline:
        return _unmatched(policies, no_match, decisions)
    warned = [d for d in decisions if d.result is Result.WARNED or d.result in REFUSED]
    if warned:
        worst = worst_first(warned)[0]
        return Result.WARNED, worst.code, worst.detail
    # Each of these admits; the one that most needs telling names the result.
    for result in (Result.EXCEPTION, Result.VERIFIED, Result.EXEMPT):
        if told := next((d for d in speaking if d.result is result), None):
            return result, None, told.detail
    return Result.EXEMPT, None, "exempt by the setting COUNTERSIGN_BASELINE_EXEMPT"


def _broken(policies: PolicySet) -> str:
    first = min(policies.broken)
    more = f" and {len(policies.broken) - 1} more" if len(policies.broken) > 1 else ""
    return (
        f"{first}{more} could not be used, and what it demands is unknown: {policies.problems.get(first, 'no detail')}"
    )


def _unmatched(
    policies: PolicySet, no_match: NoMatch, decisions: Sequence[PolicyDecision]
) -> tuple[Result, Code | None, str]:
    detail = "no enforcing policy speaks of this image in this namespace"
    if not policies.policies and not policies.silent:
        detail = f"no policy is loaded; policies are looked for in {policies.searched}"
    if no_match is NoMatch.DENY:
        return Result.DENIED, Code.NO_POLICY, detail
    if warned := worst_first(d for d in decisions if d.result is Result.WARNED or d.result in REFUSED):
        return Result.WARNED, warned[0].code, warned[0].detail
    if no_match is NoMatch.WARN:
        return Result.WARNED, Code.NO_POLICY, detail
    return Result.UNMATCHED, None, detail


def _warnings(decision: PolicyDecision) -> Iterable[str]:
    name = f'policy "{decision.policy.name}"'
    yield from (f"{name} counts it all the same: {note}" for note in decision.notes)
    if decision.loud:
        yield f"{name}: {decision.loud}"
    elif decision.result in REFUSED and not decision.refuses:
        yield f"{name} would deny it: {decision.code}"
