"""What is allowed in policies but probably not meant: findings, each with a stable code and the line where it stands.

Findings never change a decision, and are said only where they are certain: what a pattern covers is told from its
parsed parts, and where two globs might or might not meet, only their literal ends are compared. What is found about
signers and demands is `lint_demands`', about Notary Project signatures `lint_notary`'s; mistakes, which keep a policy
from loading, are for `document`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import product

from webhook.oci.reference import Pattern
from webhook.policy import lint_demands, lint_notary, registries
from webhook.policy.finding import Finding, FindingCode, found
from webhook.policy.model import Mode, Namespaces, PolicySet, Tags, TrustPolicy

__all__ = ["Finding", "FindingCode", "covers", "lint"]

ENDING_SOON = timedelta(hours=72)


def lint(
    policies: PolicySet, *, now: datetime, pinning: bool = False, only: Collection[str] | None = None
) -> tuple[Finding, ...]:
    """All findings in `policies`, or in those named by `only`, in the order of files and lines. `pinning` says that
    tags are pinned where they apply, so that those may be allowed."""
    findings: list[Finding] = []
    looked_at = _looked_at(policies, only)
    denied = lint_demands.denied(policies.policies)
    for policy in looked_at:
        findings += _namespaces(policy)
        findings += _exempt(policy)
        findings += _patterns(policy)
        findings += _rules(policy, policies.baseline)
        findings += lint_demands.lint(policy, denied)
        findings += lint_notary.lint(policy, now=now)
        findings += _exceptions(policy, now)
        findings += _modes(policy, pinning=pinning)
    findings += _different_exemptions(looked_at, policies)
    return tuple(sorted(findings))


def comparisons(policies: PolicySet, *, only: Collection[str]) -> int:
    """How many pairs of patterns and of namespaces `lint` holds against each other, at most: some microseconds each."""
    looked_at = _looked_at(policies, only)
    enforcing = [policy for policy in looked_at if policy.enforces]
    alone = (sum(1 for _ in _all_patterns(policy)) ** 2 + _breadth(policy) ** 2 for policy in looked_at)
    exempt = sum(len(policy.exempt) for policy in enforcing)
    others = sum(len(policy.exempt) + len(policies.baseline) for policy in policies.policies)
    places = sum(map(_breadth, enforcing)) * sum(map(_breadth, policies.policies))
    return sum(alone) + exempt * others + places


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether `wide` matches every repository that `narrow` matches."""
    return _covers_host(wide, narrow) and _covers_path(wide, narrow)


def _looked_at(policies: PolicySet, only: Collection[str] | None) -> list[TrustPolicy]:
    return [policy for policy in policies.policies if only is None or policy.name in only]


def _breadth(policy: TrustPolicy) -> int:
    return len(policy.namespaces.include) + len(policy.namespaces.exclude) + len(policy.enforce_in)


def _covers_host(wide: Pattern, narrow: Pattern) -> bool:
    if wide.host is None or narrow.host is None:
        return wide.host is None
    if not wide.labels:
        return wide.host == narrow.host
    name, _, port = narrow.host.partition(":")
    labels = name.split(".")
    same_length = len(labels) == len(wide.labels)
    return port == wide.port and same_length and all(w in ("*", n) for w, n in zip(wide.labels, labels, strict=True))


def _covers_path(wide: Pattern, narrow: Pattern) -> bool:
    shortest = max(narrow.shortest, 1)
    if shortest < wide.shortest:
        return False
    if not wide.open_ended and (narrow.open_ended or len(narrow.segments) > len(wide.segments)):
        return False
    return all(
        index < shortest if segment == "*" else narrow.segments[index : index + 1] == (segment,)
        for index, segment in enumerate(wide.segments)
    )


def _covered(pattern: Pattern, by: Iterable[Pattern]) -> bool:
    return any(covers(wide, pattern) for wide in by)


def _namespaces(policy: TrustPolicy) -> Iterator[Finding]:
    include, exclude = policy.namespaces.include, policy.namespaces.exclude
    for index, name in enumerate(exclude):
        if not any(fnmatchcase(name, glob) for glob in include):
            message = f"{name} is not included in the first place, so that excluding it changes nothing"
            yield found(policy, f"spec.namespaces.exclude[{index}]", FindingCode.NAMESPACE_CONTRADICTION, message)
    for index, name in enumerate(include):
        if name in exclude:
            message = f"{name} is excluded too, and exclude wins: the policy is not for it"
            yield found(policy, f"spec.namespaces.include[{index}]", FindingCode.NAMESPACE_CONTRADICTION, message)
    for index, name in enumerate(policy.enforce_in):
        if name not in policy.namespaces:
            message = f"{name} is not one of the policy's namespaces, so nothing is enforced there"
            yield found(policy, f"spec.enforceIn[{index}]", FindingCode.ENFORCE_IN_OUTSIDE, message)


def _exempt(policy: TrustPolicy) -> Iterator[Finding]:
    for path, pattern in _exempt_paths(policy):
        if registries.is_shared(pattern):
            message = f"anybody may push to {pattern.host}, and what they push is admitted"
            yield found(policy, path, FindingCode.UNSAFE_EXEMPTION, message)
        if registries.is_pull_through(pattern):
            message = f"{pattern.text} looks like a pull-through cache: exempting it exempts the registry behind it"
            yield found(policy, path, FindingCode.PULL_THROUGH_EXEMPTION, message)


def _exempt_paths(policy: TrustPolicy) -> Iterator[tuple[str, Pattern]]:
    """`exempt` holds two lists of the document, one after the other."""
    listed = sum(path.startswith("spec.exemptRegistries[") for path in policy.lines)
    for index, pattern in enumerate(policy.exempt):
        safe = index < listed or not policy.lines
        yield (
            f"spec.exemptRegistries[{index}]" if safe else f"spec.unsafeExemptRegistries[{index - listed}]",
            pattern,
        )


def _patterns(policy: TrustPolicy) -> Iterator[Finding]:
    for path, pattern in _all_patterns(policy):
        if name := registries.official_image(pattern):
            message = f"{pattern.text} is the user {name} of Docker Hub; the official image is docker.io/library/{name}"
            yield found(policy, path, FindingCode.OFFICIAL_IMAGE, message)


def _all_patterns(policy: TrustPolicy) -> Iterator[tuple[str, Pattern]]:
    yield from _exempt_paths(policy)
    for number, rule in enumerate(policy.rules):
        yield from ((f"spec.rules[{number}].images[{index}]", pattern) for index, pattern in enumerate(rule.images))
    for number, entry in enumerate(policy.deny):
        if entry.image is not None:
            yield f"spec.deny[{number}].image", entry.image


def _rules(policy: TrustPolicy, baseline: Sequence[Pattern]) -> Iterator[Finding]:
    earlier = [*policy.exempt, *baseline]
    for index, rule in enumerate(policy.rules):
        if all(_covered(pattern, earlier) for pattern in rule.images):
            message = "never decides: earlier rules or exempt registries cover all of its images"
            yield found(policy, f"spec.rules[{index}]", FindingCode.UNREACHABLE_RULE, message)
        earlier += rule.images


def _exceptions(policy: TrustPolicy, now: datetime) -> Iterator[Finding]:
    for index, exception in enumerate(policy.exceptions):
        path, moment = f"spec.exceptions[{index}].until", f"{exception.until:%Y-%m-%d %H:%M} UTC"
        if exception.until <= now:
            yield found(policy, path, FindingCode.EXPIRED_EXCEPTION, f"ended on {moment}: remove it, or renew it")
        elif exception.until - now <= ENDING_SOON:
            yield found(policy, path, FindingCode.ENDING_EXCEPTION, f"ends on {moment}: sign the image, or renew it")


def _modes(policy: TrustPolicy, *, pinning: bool) -> Iterator[Finding]:
    if policy.enforces and policy.tags is Tags.ALLOW and policy.signers and not pinning:
        path = "spec.tags" if "spec.tags" in policy.lines else "spec.mode"
        message = "with tags allowed, a node may pull another digest than the one judged; tags: deny, or pinning, helps"
        yield found(policy, path, FindingCode.TAGS_ALLOWED, message)
    if policy.mode is Mode.ENFORCE and policy.tampered is Mode.WARN:
        message = "tampered: warn is for mode warn; this policy enforces, and denies"
        yield found(policy, "spec.tampered", FindingCode.TAMPERED_UNUSED, message)


def _different_exemptions(looked_at: Sequence[TrustPolicy], policies: PolicySet) -> Iterator[Finding]:
    enforcing = [
        (policy, where, exempt)
        for policy in looked_at
        for where in _enforced_namespaces(policy)
        if (exempt := tuple(_exempt_paths(policy)))
    ]
    others = [
        (policy, where, (*policy.exempt, *policies.baseline))
        for policy in policies.policies
        for where in _enforced_namespaces(policy)
        if policy.signers
    ]
    for (policy, where, exempt), (other, elsewhere, also_exempt) in product(enforcing, others):
        if other is policy or not _may_meet(where, elsewhere):
            continue
        alone = [(path, pattern.text) for path, pattern in exempt if not _covered(pattern, also_exempt)]
        if alone:
            shown = ", ".join(text for _, text in alone[:3]) + (f" and {len(alone) - 3} more" if alone[3:] else "")
            message = (
                f"exempt here, but policy {other.name} demands signatures for them in the same namespaces: {shown}"
            )
            yield found(policy, alone[0][0], FindingCode.DIFFERENT_EXEMPTIONS, message)


def _enforced_namespaces(policy: TrustPolicy) -> Iterator[Namespaces]:
    if policy.mode is Mode.ENFORCE:
        yield policy.namespaces
    elif inside := tuple(name for name in policy.enforce_in if name in policy.namespaces):
        yield Namespaces(include=inside)


def _may_meet(one: Namespaces, other: Namespaces) -> bool:
    return any(_globs_meet(a, b, one, other) for a in one.include for b in other.include)


def _globs_meet(a: str, b: str, one: Namespaces, other: Namespaces) -> bool:
    if _literal_ends(a) is None:
        return a in one and fnmatchcase(a, b) and a in other
    ends, other_ends = _literal_ends(a), _literal_ends(b)
    if ends is None or other_ends is None:
        return _globs_meet(b, a, other, one)
    return all(x.startswith(y) or y.startswith(x) for x, y in zip(ends, other_ends, strict=True))


def _literal_ends(glob: str) -> tuple[str, str] | None:
    """What stands before the first wildcard, and after the last in reverse; `None` of a plain name."""
    places = [index for index, character in enumerate(glob) if character in "*?"]
    return (glob[: places[0]], glob[: places[-1] : -1]) if places else None
