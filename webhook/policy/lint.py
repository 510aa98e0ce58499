"""What is allowed in policies but probably not meant: findings, each with a stable code and the line where it stands.

Findings never change a decision, and are said only where they are certain: what a pattern covers is told from its
parsed parts, and where two globs might or might not meet, only their literal ends are compared. Mistakes, which keep a
policy from loading, are for `document`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import permutations

from webhook.oci.reference import Pattern
from webhook.policy import registries
from webhook.policy.model import Mode, Namespaces, PolicySet, Tags, TrustPolicy

ENDING_SOON = timedelta(hours=72)


class FindingCode(StrEnum):
    DIFFERENT_EXEMPTIONS = "different_exemptions"
    UNREACHABLE_RULE = "unreachable_rule"
    UNUSED_SIGNER = "unused_signer"
    DENIED_SIGNER = "denied_signer"
    EXPIRED_EXCEPTION = "expired_exception"
    ENDING_EXCEPTION = "ending_exception"
    NAMESPACE_CONTRADICTION = "namespace_contradiction"
    ENFORCE_IN_OUTSIDE = "enforce_in_outside"
    TAGS_ALLOWED = "tags_allowed"
    UNSAFE_EXEMPTION = "unsafe_exemption"
    PULL_THROUGH_EXEMPTION = "pull_through_exemption"
    OFFICIAL_IMAGE = "official_image"
    TAMPERED_UNUSED = "tampered_unused"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`line` is 0 where it is not known; `origin` is the policy's file."""

    origin: str
    policy: str
    line: int
    path: str
    code: FindingCode
    message: str


def lint(policies: PolicySet, *, now: datetime) -> tuple[Finding, ...]:
    """All findings in `policies`, in the order of files and lines."""
    findings: list[Finding] = []
    for policy in policies.policies:
        findings += _namespaces(policy)
        findings += _exempt(policy)
        findings += _patterns(policy)
        findings += _rules(policy, policies.baseline)
        findings += _signers(policy, policies.policies)
        findings += _exceptions(policy, now)
        findings += _modes(policy)
    findings += _different_exemptions(policies)
    return tuple(sorted(findings))


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether `wide` matches every repository that `narrow` matches."""
    return _covers_host(wide, narrow) and _covers_path(wide, narrow)


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


def _is_everything(pattern: Pattern) -> bool:
    return pattern.host is None and not pattern.segments and pattern.shortest <= 1 and pattern.open_ended


def _finding(policy: TrustPolicy, path: str, code: FindingCode, message: str) -> Finding:
    origin, _, first_line = policy.origin.rpartition(":")
    line = policy.lines.get(path, int(first_line) if first_line.isdecimal() else 0)
    return Finding(origin or policy.origin, policy.name, line, path, code, message)


def _namespaces(policy: TrustPolicy) -> Iterator[Finding]:
    include, exclude = policy.namespaces.include, policy.namespaces.exclude
    for index, name in enumerate(exclude):
        if not any(fnmatchcase(name, glob) for glob in include):
            message = f"{name} is not included in the first place, so that excluding it changes nothing"
            yield _finding(policy, f"spec.namespaces.exclude[{index}]", FindingCode.NAMESPACE_CONTRADICTION, message)
    for index, name in enumerate(include):
        if name in exclude:
            message = f"{name} is excluded too, and exclude wins: the policy is not for it"
            yield _finding(policy, f"spec.namespaces.include[{index}]", FindingCode.NAMESPACE_CONTRADICTION, message)
    for index, name in enumerate(policy.enforce_in):
        if name not in policy.namespaces:
            message = f"{name} is not one of the policy's namespaces, so nothing is enforced there"
            yield _finding(policy, f"spec.enforceIn[{index}]", FindingCode.ENFORCE_IN_OUTSIDE, message)


def _exempt(policy: TrustPolicy) -> Iterator[Finding]:
    for path, pattern in _exempt_paths(policy):
        if registries.is_shared(pattern):
            message = f"anybody may push to {pattern.host}, and what they push is admitted"
            yield _finding(policy, path, FindingCode.UNSAFE_EXEMPTION, message)
        if registries.is_pull_through(pattern):
            message = f"{pattern.text} looks like a pull-through cache: exempting it exempts the registry behind it"
            yield _finding(policy, path, FindingCode.PULL_THROUGH_EXEMPTION, message)


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
            yield _finding(policy, path, FindingCode.OFFICIAL_IMAGE, message)


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
            yield _finding(policy, f"spec.rules[{index}]", FindingCode.UNREACHABLE_RULE, message)
        earlier += rule.images


def _signers(policy: TrustPolicy, policies: Sequence[TrustPolicy]) -> Iterator[Finding]:
    named = {signer.identity for rule in policy.rules for signer in rule.signers}
    default_decides = not any(_is_everything(pattern) for rule in policy.rules for pattern in rule.images)
    denied_by = {entry.key_fingerprint: other.name for other in policies for entry in other.deny}
    for index, signer in enumerate(policy.signers):
        path = f"spec.trustedKeys[{index}]"
        if signer.identity not in named and not default_decides:
            message = f"no rule names {signer.name}, and the rules cover every image: its signatures count for nothing"
            yield _finding(policy, path, FindingCode.UNUSED_SIGNER, message)
        if denier := denied_by.get(signer.material.fingerprint):
            message = f"policy {denier} denies this key: signatures of {signer.name} count for nothing"
            yield _finding(policy, path, FindingCode.DENIED_SIGNER, message)


def _exceptions(policy: TrustPolicy, now: datetime) -> Iterator[Finding]:
    for index, exception in enumerate(policy.exceptions):
        path, moment = f"spec.exceptions[{index}].until", f"{exception.until:%Y-%m-%d %H:%M} UTC"
        if exception.until <= now:
            yield _finding(policy, path, FindingCode.EXPIRED_EXCEPTION, f"ended on {moment}: remove it, or renew it")
        elif exception.until - now <= ENDING_SOON:
            yield _finding(policy, path, FindingCode.ENDING_EXCEPTION, f"ends on {moment}: sign the image, or renew it")


def _modes(policy: TrustPolicy) -> Iterator[Finding]:
    enforces = policy.mode is Mode.ENFORCE or bool(policy.enforce_in)
    if enforces and policy.tags is Tags.ALLOW and policy.signers:
        path = "spec.tags" if "spec.tags" in policy.lines else "spec.mode"
        message = "with tags allowed, a node may pull another digest than the one judged; tags: deny rules that out"
        yield _finding(policy, path, FindingCode.TAGS_ALLOWED, message)
    if policy.mode is Mode.ENFORCE and policy.tampered is Mode.WARN:
        message = "tampered: warn is for mode warn; this policy enforces, and denies"
        yield _finding(policy, "spec.tampered", FindingCode.TAMPERED_UNUSED, message)


def _different_exemptions(policies: PolicySet) -> Iterator[Finding]:
    enforcing = [(policy, where) for policy in policies.policies for where in _enforced_namespaces(policy)]
    for (policy, where), (other, elsewhere) in permutations(enforcing, 2):
        if not other.signers or not _may_meet(where, elsewhere):
            continue
        also_exempt = (*other.exempt, *policies.baseline)
        alone = [(path, pattern.text) for path, pattern in _exempt_paths(policy) if not _covered(pattern, also_exempt)]
        if alone:
            shown = ", ".join(text for _, text in alone[:3]) + (f" and {len(alone) - 3} more" if alone[3:] else "")
            message = (
                f"exempt here, but policy {other.name} demands signatures for them in the same namespaces: {shown}"
            )
            yield _finding(policy, alone[0][0], FindingCode.DIFFERENT_EXEMPTIONS, message)


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
