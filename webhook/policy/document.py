"""A file of TrustPolicy documents, YAML, to the values of `model`, or every mistake in it with its path and line.

`parse` is the only way in. `markup` reads the text, `schema` its fields one by one; here stands what several fields say
together, and the making of the values. A field that a later version judges is refused, never ignored: a policy that
loads is enforced to the letter. What is allowed but unwise is for `lint` to say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter

from webhook.errors import MalformedError, quote
from webhook.evidence.model import Signer, SignerKind
from webhook.oci.reference import Pattern
from webhook.policy import registries
from webhook.policy.model import (
    Deny,
    Mode,
    Namespaces,
    OnUnavailable,
    PolicyException,
    Rule,
    Tags,
    TrustPolicy,
)
from webhook.policy.syntax import markup, schema
from webhook.policy.syntax.fields import ImagePattern, found
from webhook.policy.syntax.mistakes import Mistake, Mistakes, Path, PolicyErrors, show_path
from webhook.trust import material
from webhook.trust.material import Hash, Padding, PublicKey

__all__ = ["LONGEST_EXCEPTION", "Mistake", "PolicyErrors", "parse"]

LONGEST_EXCEPTION = timedelta(days=30)

_Entry = TypeVar("_Entry", bound=BaseModel)


def parse(data: bytes, *, origin: str, now: datetime, max_bytes: int = markup.MAX_BYTES) -> tuple[TrustPolicy, ...]:
    """The policies in `data`, at least one, with names of their own; `origin` names the file in what is said of it.

    Raises: PolicyErrors, with all mistakes.
    """
    mistakes = Mistakes(origin)
    values = markup.read(data, mistakes, max_bytes=max_bytes)
    if not values:
        mistakes.raise_any()
        mistakes.add((), f"no {schema.KIND} found: the file is empty", mark=(1, 1))
    sheets = [_Sheet(number, value, mistakes, now) for number, value in values.items()]
    for sheet in sheets:
        _check(sheet)
    _check_policy_names(sheets, mistakes)
    mistakes.raise_any()
    return tuple(_policy(sheet, origin) for sheet in sheets)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One document as it was written, and what of it is right so far."""

    number: int
    value: markup.Value
    mistakes: Mistakes
    now: datetime

    def path(self, *steps: str | int) -> Path:
        return (self.number, *steps)

    def spec(self, field: str) -> markup.Value:
        """`spec.<field>` as it was written; `None` where it was not."""
        spec = self.value.get("spec") if isinstance(self.value, dict) else None
        return spec.get(field) if isinstance(spec, dict) else None

    def items(self, field: str) -> Sequence[markup.Value]:
        """The entries of the list `spec.<field>` as they were written."""
        value = self.spec(field)
        return value if isinstance(value, list) else ()

    def entries(self, field: str, model: type[_Entry]) -> Iterator[tuple[Path, _Entry]]:
        """Those of the list's entries whose fields are right."""
        for index, value in enumerate(self.items(field)):
            path = self.path("spec", field, index)
            if not self.mistakes.at_or_below(path):
                yield path, model.model_validate(value)

    def patterns(self, field: str) -> Iterator[tuple[Path, Pattern]]:
        """Those of the list's patterns that are patterns."""
        for index, value in enumerate(self.items(field)):
            path = self.path("spec", field, index)
            if not self.mistakes.at_or_below(path):
                yield path, _PATTERN.validate_python(value)

    def names(self, field: str) -> Iterator[tuple[Path, str]]:
        """The names of a list's entries, whether or not the rest of them is right."""
        for index, value in enumerate(self.items(field)):
            name = value.get("name") if isinstance(value, dict) else None
            if isinstance(name, str):
                yield self.path("spec", field, index, "name"), name

    def line(self, path: Path) -> int:
        return self.mistakes.position(path)[0]


_PATTERN: TypeAdapter[Pattern] = TypeAdapter(ImagePattern)

# Lists of signers, those of later versions too: a rule that names one of these does not name an unknown signer
_SIGNERS = ("trustedKeys", "signerProfiles", "keyless", "certificates")


def _check(sheet: _Sheet) -> None:
    """Reports every mistake of one document."""
    kind = sheet.value.get("kind") if isinstance(sheet.value, dict) else None
    if isinstance(kind, str) and kind != schema.KIND:
        sheet.mistakes.add(sheet.path("kind"), f"a {schema.KIND} expected, found {found(kind)}")
        return
    for steps, message in schema.problems(sheet.value):
        path = sheet.path(*steps)
        if not sheet.mistakes.at(path):
            sheet.mistakes.add(path, message)
    _check_contents(sheet)
    _check_signers(sheet)
    _check_exempt(sheet)
    _check_rules(sheet)
    _check_deny(sheet)
    _check_exceptions(sheet)
    _check_enforce_in(sheet)


def _check_contents(sheet: _Sheet) -> None:
    spec = sheet.value.get("spec") if isinstance(sheet.value, dict) else None
    telling = (*_SIGNERS, "exemptRegistries", "unsafeExemptRegistries", "deny")
    if isinstance(spec, dict) and not any(field in spec for field in telling):
        sheet.mistakes.add(sheet.path("spec"), "says nothing: trustedKeys, exemptRegistries or deny expected")


def _check_signers(sheet: _Sheet) -> None:
    _check_keys(sheet)
    named: dict[str, Path] = {}
    for field in _SIGNERS:
        for path, name in sheet.names(field):
            if name in named:
                first = sheet.line(named[name])
                sheet.mistakes.add(path, f"a second signer named {quote(name, max_chars=80)}, first in line {first}")
            named.setdefault(name, path)


def _check_keys(sheet: _Sheet) -> None:
    seen: dict[str, tuple[str, Path]] = {}
    for path, entry in sheet.entries("trustedKeys", schema.TrustedKey):
        key = _check_key(sheet, path, entry)
        if key is None:
            continue
        if key.fingerprint in seen:
            name, first = seen[key.fingerprint]
            message = f"the same key as {name} in line {sheet.line(first)}: one key is one signer"
            sheet.mistakes.add((*path, "publicKey"), message)
        seen.setdefault(key.fingerprint, (entry.name, path))


def _check_key(sheet: _Sheet, path: Path, entry: schema.TrustedKey) -> PublicKey | None:
    if entry.public_key is None:
        sheet.mistakes.add((*path, "publicKey"), "required, and missing: one PEM block, -----BEGIN PUBLIC KEY-----")
        return None
    try:
        key = _public_key(entry)
    except MalformedError as error:
        sheet.mistakes.add((*path, "publicKey"), error.detail.removeprefix("public key: "))
        return None
    if entry.padding is not None and not key.algorithm.startswith("RSA "):
        sheet.mistakes.add((*path, "padding"), f"for RSA keys only, and this is {key.algorithm}")
    return key


def _public_key(entry: schema.TrustedKey) -> PublicKey:
    return material.parse_public_key(
        entry.public_key or "",
        hash=Hash(entry.hash) if entry.hash is not None else None,
        padding=Padding(entry.padding) if entry.padding is not None else Padding.PKCS1V15,
    )


def _check_exempt(sheet: _Sheet) -> None:
    for field in ("exemptRegistries", "unsafeExemptRegistries"):
        for path, pattern in sheet.patterns(field):
            problem = registries.exempt_problem(pattern)
            if registries.is_shared(pattern):
                safe = field == "exemptRegistries"
                problem = f"{problem}, or list it under unsafeExemptRegistries" if safe else ""
            _check_pattern(sheet, path, pattern, problem)


def _check_pattern(sheet: _Sheet, path: Path, pattern: Pattern, problem: str = "") -> None:
    if not problem and not registries.can_match(pattern):
        problem = f"{quote(pattern.text, max_chars=80)} can never match"
        if pattern.host == registries.DOCKER_HUB:
            problem += ": repositories of Docker Hub have two segments, such as docker.io/library/nginx"
    if problem:
        sheet.mistakes.add(path, problem)


def _check_rules(sheet: _Sheet) -> None:
    names = {name for field in _SIGNERS for _, name in sheet.names(field)}
    if sheet.spec("rules") is not None and not any(sheet.spec(field) is not None for field in _SIGNERS):
        sheet.mistakes.add(sheet.path("spec", "rules"), "rules need signers, and this policy has none")
        names = set()
    elsewhere: list[str] = []
    for path, rule in sheet.entries("rules", schema.Rule):
        for index, pattern in enumerate(rule.images):
            _check_pattern(sheet, (*path, "images", index), pattern)
        _check_rule_signers(sheet, path, rule, names)
        literal = all(pattern.has_literal_host for pattern in rule.images)
        if rule.on_unavailable == "allow" and not literal:
            sheet.mistakes.add((*path, "onUnavailable"), "allow is only for images of registries named literally")
        if not literal:
            elsewhere.append(show_path(path))
    _check_on_unavailable(sheet, elsewhere)


def _check_rule_signers(sheet: _Sheet, path: Path, rule: schema.Rule, names: set[str]) -> None:
    if not names:
        return  # said once, of all rules
    for index, name in enumerate(rule.signers):
        if name not in names:
            known = ", ".join(sorted(filter(str.isprintable, names))[:20])
            sheet.mistakes.add((*path, "signers", index), f"no signer is named {name}; there are {known[:200]}")
        elif name in rule.signers[:index]:
            sheet.mistakes.add((*path, "signers", index), f"{name} stands twice")
    available = len(set(rule.signers)) or len(names)
    if isinstance(rule.require, int) and rule.require > available:
        sheet.mistakes.add((*path, "require"), f"can never be met: {rule.require} of {available} signers")


def _check_on_unavailable(sheet: _Sheet, elsewhere: Sequence[str]) -> None:
    if sheet.spec("onUnavailable") != OnUnavailable.ALLOW:
        return
    path = sheet.path("spec", "onUnavailable")
    if not sheet.items("rules"):
        sheet.mistakes.add(path, "allow is only for rules whose images name their registries literally; there are none")
    elif elsewhere:
        shown = ", ".join(elsewhere[:5])
        sheet.mistakes.add(path, f"allow is only for rules whose images name their registries literally, not {shown}")


def _check_deny(sheet: _Sheet) -> None:
    for path, entry in sheet.entries("deny", schema.Deny):
        named = [value for value in (entry.digest, entry.image, entry.key_fingerprint) if value is not None]
        if len(named) != 1:
            message = f"exactly one of digest, image and keyFingerprint expected, found {len(named) or 'none'}"
            sheet.mistakes.add(path, message)
        if entry.image is not None:
            _check_pattern(sheet, (*path, "image"), entry.image)
        if entry.digest is not None and entry.digest.algorithm != "sha256":
            message = "sha256 expected, by which an image is known: the same bytes would run under that digest"
            sheet.mistakes.add((*path, "digest"), message)


def _check_exceptions(sheet: _Sheet) -> None:
    for path, entry in sheet.entries("exceptions", schema.DigestException):
        if entry.until - sheet.now > LONGEST_EXCEPTION:
            latest = sheet.now + LONGEST_EXCEPTION
            message = f"at most {LONGEST_EXCEPTION.days} days ahead, {latest:%Y-%m-%dT%H:%M:%SZ}, expected"
            sheet.mistakes.add((*path, "until"), f"{message}, found {entry.until:%Y-%m-%dT%H:%M:%SZ}")


def _check_enforce_in(sheet: _Sheet) -> None:
    if sheet.spec("enforceIn") is not None and sheet.spec("mode") == Mode.ENFORCE:
        message = "means nothing in mode enforce, which enforces everywhere: leave it out"
        sheet.mistakes.add(sheet.path("spec", "enforceIn"), message)


def _check_policy_names(sheets: Sequence[_Sheet], mistakes: Mistakes) -> None:
    first: dict[str, Path] = {}
    for sheet in sheets:
        metadata = sheet.value.get("metadata") if isinstance(sheet.value, dict) else None
        name = metadata.get("name") if isinstance(metadata, dict) else None
        path = sheet.path("metadata", "name")
        if not isinstance(name, str):
            continue
        if name in first:
            shown, line = quote(name, max_chars=80), sheet.line(first[name])
            mistakes.add(path, f"a second policy named {shown}, first in line {line}")
        first.setdefault(name, path)


def _policy(sheet: _Sheet, origin: str) -> TrustPolicy:
    """The values of a document without mistakes."""
    document = schema.Document.model_validate(sheet.value)
    spec = document.spec
    signers = tuple(Signer(entry.name, SignerKind.KEY, _public_key(entry)) for entry in spec.trusted_keys)
    return TrustPolicy(
        name=document.metadata.name,
        revision=_revision(sheet.value),
        origin=f"{origin}:{sheet.line(sheet.path())}",
        mode=Mode(spec.mode),
        namespaces=Namespaces(tuple(spec.namespaces.include), tuple(spec.namespaces.exclude)),
        signers=signers,
        exempt=(*spec.exempt_registries, *spec.unsafe_exempt_registries),
        rules=tuple(_rule(index, rule, spec, signers) for index, rule in enumerate(spec.rules)),
        default=_default(spec, signers),
        deny=tuple(Deny(entry.reason, entry.digest, entry.image, entry.key_fingerprint) for entry in spec.deny),
        exceptions=tuple(
            PolicyException(entry.digest, tuple(entry.namespaces), entry.until, entry.reason)
            for entry in spec.exceptions
        ),
        enforce_in=tuple(spec.enforce_in),
        help=spec.help,
        tags=Tags(spec.tags),
        tampered=Mode.ENFORCE if spec.tampered == "deny" else Mode.WARN,
        lines={show_path(path): mark[0] for path, mark in sheet.mistakes.marks.items() if path[:1] == sheet.path()},
    )


def _rule(index: int, rule: schema.Rule, spec: schema.Spec, signers: Sequence[Signer]) -> Rule:
    by_name = {signer.name: signer for signer in signers}
    chosen = tuple(by_name[name] for name in rule.signers) or tuple(signers)
    needed = {"any": 1, "all": len(chosen)}.get(str(rule.require)) or int(rule.require)
    return Rule(f"rules[{index}]", tuple(rule.images), chosen, needed, _unavailable(rule.on_unavailable, spec))


def _unavailable(own: str | None, spec: schema.Spec) -> OnUnavailable:
    return OnUnavailable(own if own is not None else spec.on_unavailable)


def _default(spec: schema.Spec, signers: tuple[Signer, ...]) -> Rule | None:
    if not signers:
        return None
    on_unavailable = OnUnavailable(spec.on_unavailable)
    if on_unavailable is OnUnavailable.ALLOW:
        on_unavailable = OnUnavailable.DENY  # it has no images of its own, so no registry is named literally
    return Rule("signers", (), signers, 1, on_unavailable)


def _revision(value: markup.Value) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:12]
