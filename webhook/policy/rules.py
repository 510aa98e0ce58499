"""The rules of a policy document, and what its fields say together: which demand could never be met, or means nothing.

`read` makes them, or adds what is wrong with them to the document's mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from webhook.errors import MalformedError, quote
from webhook.evidence.model import Signer
from webhook.oci.reference import Pattern
from webhook.policy import condition, counting, notary, registries, signers
from webhook.policy.condition import Condition
from webhook.policy.model import AttestationDemand, OnUnavailable, Pick, Rule
from webhook.policy.syntax import models
from webhook.policy.syntax.mistakes import Path, show_path
from webhook.policy.syntax.sheet import NOTATION_SIGNERS, SIGNERS, Sheet


def read(sheet: Sheet, found: Sequence[Signer]) -> tuple[Rule, ...]:
    """The document's rules; `found` are those of its signers that are right. Whole only where there is no mistake."""
    names = signers.names(sheet)
    if sheet.spec("rules") is not None and not any(sheet.spec(field) is not None for field in SIGNERS):
        sheet.mistakes.add(sheet.path("spec", "rules"), "rules need signers, and this policy has none")
        names = set()
    notation = {name for field in NOTATION_SIGNERS for _, name in sheet.names(field)}
    scope = _Scope(sheet, {signer.name: signer for signer in found}, names, names & notation)
    rules: list[Rule] = []
    elsewhere: list[str] = []
    for path, entry in sheet.entries("rules", models.Rule):
        for index, pattern in enumerate(entry.images):
            check_pattern(sheet, (*path, "images", index), pattern)
        if not all(pattern.has_literal_host for pattern in entry.images):
            elsewhere.append(show_path(path))
        _check_rule(scope, path, entry)
        rules.append(_rule(scope, path, entry))
    _check_on_unavailable(sheet, elsewhere)
    return tuple(rules)


def default(sheet: Sheet, found: tuple[Signer, ...]) -> Rule | None:
    """What decides where no rule's images match: any one of the signers; `None` without signers."""
    if not found:
        return None
    own = sheet.spec("onUnavailable") == OnUnavailable.KNOWN
    # `allow` is not for it: it has no images of its own, so no registry is named literally
    return Rule("signers", (), found, 1, OnUnavailable.KNOWN if own else OnUnavailable.DENY)


def check_pattern(sheet: Sheet, path: Path, pattern: Pattern, problem: str = "") -> None:
    """`problem`, or that `pattern` can never match, goes to the mistakes."""
    if not problem and not registries.can_match(pattern):
        problem = f"{quote(pattern.text, max_chars=80)} can never match"
        if pattern.host == registries.DOCKER_HUB:
            problem += ": repositories of Docker Hub have two segments, such as docker.io/library/nginx"
    if problem:
        sheet.mistakes.add(path, problem)


@dataclass(frozen=True, slots=True)
class _Scope:
    """`signers` are those that are right, by name; `names` are all, and none where there cannot be rules at all;
    `notation` are those of them who make Notary Project signatures."""

    sheet: Sheet
    signers: Mapping[str, Signer]
    names: set[str]
    notation: set[str]

    def add(self, path: Path, message: str) -> None:
        self.sheet.mistakes.add(path, message)

    def chosen(self, names: Sequence[str]) -> tuple[Signer, ...]:
        return tuple(self.signers[name] for name in names or self.signers if name in self.signers)


def _check_rule(scope: _Scope, path: Path, entry: models.Rule) -> None:
    _check_names(scope, path, entry.signers)
    if entry.require == "none":
        _check_no_signature(scope, path, entry)
    _check_number(scope, path, entry)
    _check_annotations(scope, path, entry)
    _check_unavailable(scope, path, entry)
    for index, attestation in enumerate(entry.attestations):
        where = (*path, "attestations", index)
        _check_names(scope, where, attestation.signers)
        _check_attesting(scope, where, attestation.signers)
        if attestation.time_field is not None and attestation.max_age is None:
            scope.add((*where, "timeField"), "means nothing without maxAge: it is the time that the age counts from")


def _check_number(scope: _Scope, path: Path, entry: models.Rule) -> None:
    available = len(set(entry.signers)) or len(scope.names)
    chosen = set(scope.chosen(entry.signers))
    distinct = len(dict.fromkeys(counting.sole_material(signer) or signer.name for signer in chosen))
    versions = len(chosen) - distinct  # that are no signers of their own
    needed = _needed(entry.require, available)
    if scope.names and needed > available - versions:
        of_one = ", since all versions of one profile are one signer" if versions else ""
        scope.add((*path, "require"), f"can never be met: {needed} of {available - versions} signers{of_one}")


def _check_annotations(scope: _Scope, path: Path, entry: models.Rule) -> None:
    """Notary Project, signature specification, payload: nobody signs names with the prefix that it keeps for itself."""
    named = set(entry.signers) or scope.names
    for name in entry.annotations:
        if named and named <= scope.notation and name.startswith(notary.RESERVED_PREFIX):
            message = f"can never be met: names that begin with {notary.RESERVED_PREFIX} are no user's to sign"
            scope.add((*path, "annotations", name), message)


def _check_attesting(scope: _Scope, path: Path, names: Sequence[str]) -> None:
    only = "attestations are made with keys and identities, not as Notary Project signatures"
    for index, name in enumerate(names):
        if name in scope.notation:
            scope.add((*path, "signers", index), f"{only}, which is how {quote(name, max_chars=80)} signs")
    if not names and scope.names and scope.names == scope.notation:
        scope.add(path, f"can never be met: {only}, and this policy has no others")


def _check_names(scope: _Scope, path: Path, names: Sequence[str]) -> None:
    if not scope.names:
        return  # said once, of all rules
    for index, name in enumerate(names):
        if name not in scope.names:
            known = ", ".join(sorted(filter(str.isprintable, scope.names))[:20])
            scope.add((*path, "signers", index), f"no signer is named {name}; there are {known[:200]}")
        elif name in names[:index]:
            scope.add((*path, "signers", index), f"{name} stands twice")


def _check_no_signature(scope: _Scope, path: Path, entry: models.Rule) -> None:
    if not entry.attestations:
        message = "none is for rules with attestations: without any, nothing would be demanded"
        scope.add((*path, "require"), message)
    fields = {"signers": entry.signers, "annotations": entry.annotations, "maxAge": entry.max_age}
    for name, value in fields.items():
        if value:
            message = "is about signatures, and require: none demands none; say it of the attestations"
            scope.add((*path, name), message)


def _check_unavailable(scope: _Scope, path: Path, entry: models.Rule) -> None:
    literal = all(pattern.has_literal_host for pattern in entry.images)
    if entry.on_unavailable == "allow" and not literal:
        scope.add((*path, "onUnavailable"), "allow is only for images of registries named literally")
    fields = {"attestations": entry.attestations, "annotations": entry.annotations, "maxAge": entry.max_age}
    demanded = [name for name, value in fields.items() if value]
    if demanded and _unavailable(scope.sheet, entry) is OnUnavailable.KNOWN:
        message = f"known remembers signers only, not {' or '.join(demanded)}: write onUnavailable: deny here"
        scope.add((*path, "onUnavailable"), message)


def _check_on_unavailable(sheet: Sheet, elsewhere: Sequence[str]) -> None:
    if sheet.spec("onUnavailable") != OnUnavailable.ALLOW:
        return
    path = sheet.path("spec", "onUnavailable")
    if not sheet.items("rules"):
        sheet.mistakes.add(path, "allow is only for rules whose images name their registries literally; there are none")
    elif elsewhere:
        shown = ", ".join(elsewhere[:5])
        sheet.mistakes.add(path, f"allow is only for rules whose images name their registries literally, not {shown}")


def _unavailable(sheet: Sheet, entry: models.Rule) -> OnUnavailable:
    if entry.on_unavailable is not None:
        return OnUnavailable(entry.on_unavailable)
    inherited = sheet.spec("onUnavailable")
    return next((one for one in OnUnavailable if one == inherited), OnUnavailable.DENY)


def _rule(scope: _Scope, path: Path, entry: models.Rule) -> Rule:
    chosen = () if entry.require == "none" else scope.chosen(entry.signers)
    return Rule(
        label=show_path(path).removeprefix("spec."),
        images=tuple(entry.images),
        signers=chosen,
        needed=_needed(entry.require, len(chosen)),
        on_unavailable=_unavailable(scope.sheet, entry),
        annotations=tuple(sorted(entry.annotations.items())),
        max_age=entry.max_age,
        attestations=tuple(
            _demand(scope, (*path, "attestations", index), one) for index, one in enumerate(entry.attestations)
        ),
    )


def _needed(require: str | int, signers: int) -> int:
    match require:
        case "none":
            return 0
        case "any":
            return 1
        case "all":
            return signers
    return int(require)


def _demand(scope: _Scope, path: Path, entry: models.Attestation) -> AttestationDemand:
    by_age = Pick.NEWEST if entry.max_age is not None else Pick.ANY
    return AttestationDemand(
        label=show_path(path).removeprefix("spec."),
        predicate_type=entry.predicate_type,
        signers=tuple(signer for signer in scope.chosen(entry.signers) if not signer.kind.is_notation),
        condition=_condition(scope, path, entry.condition),
        pick=Pick(entry.pick) if entry.pick is not None else by_age,
        max_age=entry.max_age,
        time_field=entry.time_field or (),
    )


def _condition(scope: _Scope, path: Path, text: str | None) -> Condition | None:
    if text is None:
        return None
    try:
        return condition.parse(text)
    except MalformedError as error:
        scope.add((*path, "condition"), error.detail.removeprefix("condition: "))
        return None
