"""Early feedback: what is told of a workload when its pods would be judged as they are now.

A pure change of a decision on pods into an answer on the object that makes them. Only what was examined and refused can
deny, and only where the operator wants that: what could not be examined, and an image that is not there yet, is a
warning in every mode, since the pods are judged later. specs: kubernetes.md 5, 6 and 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from webhook.errors import Code, CountersignError
from webhook.policy import decide, message
from webhook.policy.decision import ImageDecision, Result, ReviewDecision
from webhook.settings import Early


@dataclass(frozen=True, slots=True)
class Told:
    """`denial` holds the images for which the object is denied, `None` where it is allowed; `word` is the record's."""

    denial: ReviewDecision | None
    word: str
    warnings: tuple[str, ...]
    annotations: Mapping[str, str]


def soften(decision: ReviewDecision, early: Early) -> Told:
    """What is told of a workload whose pods would get `decision`."""
    annotations = message.audit_annotations(decision)
    if decision.allowed:
        return Told(None, annotations["decision"], message.warnings(decision), annotations)
    denying = [image for image in decision.images if early is Early.DENY and _may_deny(image)]
    warnings = message.early_warnings([image for image in decision.images if not (denying and _may_deny(image))])
    if denying:
        denial = decide.decide_review(denying, revision=decision.revision)
        return Told(denial, "deny", warnings, annotations | {"decision": "deny"})
    return Told(None, "warn", warnings, annotations | {"decision": "warn"})


def unread(error: CountersignError) -> Told:
    """What is told of a workload at whose images nobody looked."""
    warning = message.early_warning(f"its images were not looked at now ({error.code}: {error.detail})")
    return Told(None, "warn", (warning,), {"decision": "warn", "reason": error.code})


def _may_deny(image: ImageDecision) -> bool:
    # kubernetes.md 17: an image that is not found could appear before the pods do.
    return image.result is Result.DENIED and image.code is not Code.IMAGE_NOT_FOUND
