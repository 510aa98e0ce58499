"""A file of TrustPolicy documents, YAML, to the values of `model`, or every mistake in it with its path and line.

`parse` is the only way in. `markup` reads the text, `schema` its fields one by one; `roots`, `stores`, `signers` and
`rules` read what they are named after, and here stands what else several fields say together, and the making of the
policies. A field that a later version judges is refused, never ignored: a policy that loads is enforced to the letter.
What is allowed but unwise is for `lint` to say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from webhook.errors import quote
from webhook.evidence.model import Signer
from webhook.policy import notary, registries, roots, rules, signers, stores
from webhook.policy.model import Deny, Mode, Namespaces, PolicyException, Rule, Tags, TrustPolicy
from webhook.policy.syntax import markup, models, schema
from webhook.policy.syntax.fields import found
from webhook.policy.syntax.mistakes import Mistake, Mistakes, Path, PolicyErrors, show_path
from webhook.policy.syntax.sheet import SIGNERS, Sheet
from webhook.trust.notary.stores import TrustStore
from webhook.trust.root import RootSource

__all__ = ["LONGEST_EXCEPTION", "Mistake", "PolicyErrors", "parse"]

LONGEST_EXCEPTION = timedelta(days=30)
REVISION_CHARS = 12


def parse(data: bytes, *, origin: str, now: datetime, max_bytes: int = markup.MAX_BYTES) -> tuple[TrustPolicy, ...]:
    """The policies in `data`, at least one, with names of their own; `origin` names the file in what is said of it.

    Raises: PolicyErrors, with all mistakes.
    """
    mistakes = Mistakes(origin)
    values = markup.read(data, mistakes, max_bytes=max_bytes)
    if not values:
        mistakes.raise_any()
        mistakes.add((), f"no {schema.KIND} found: the file is empty", mark=(1, 1))
    sheets = [Sheet(number, value, mistakes, now) for number, value in values.items()]
    demands = [_read(sheet) for sheet in sheets]
    _check_policy_names(sheets, mistakes)
    mistakes.raise_any()
    lines = _lines(mistakes)
    return tuple(
        _policy(sheet, demand, origin, lines[sheet.path()]) for sheet, demand in zip(sheets, demands, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Demands:
    """Whole where the document has no mistake."""

    trust_roots: tuple[RootSource, ...] = ()
    trust_stores: tuple[TrustStore, ...] = ()
    signers: tuple[Signer, ...] = ()
    rules: tuple[Rule, ...] = ()


def _read(sheet: Sheet) -> _Demands:
    """What one document demands; every mistake of it is reported."""
    kind = sheet.value.get("kind") if isinstance(sheet.value, dict) else None
    if isinstance(kind, str) and kind != schema.KIND:
        sheet.mistakes.add(sheet.path("kind"), f"a {schema.KIND} expected, found {found(kind)}")
        return _Demands()
    for steps, message in schema.problems(sheet.value):
        path = sheet.path(*steps)
        if not sheet.mistakes.at(path):
            sheet.mistakes.add(path, message)
    _check_contents(sheet)
    known_roots, known_stores = roots.read(sheet), stores.read(sheet)
    own = signers.read(sheet, known_roots, known_stores)
    _check_exempt(sheet)
    demands = _Demands(known_roots.own, known_stores.own, own, rules.read(sheet, own))
    _check_deny(sheet)
    _check_exceptions(sheet)
    _check_enforce_in(sheet)
    return demands


def _check_contents(sheet: Sheet) -> None:
    spec = sheet.value.get("spec") if isinstance(sheet.value, dict) else None
    telling = (*SIGNERS, "exemptRegistries", "unsafeExemptRegistries", "deny")
    if isinstance(spec, dict) and not any(field in spec for field in telling):
        sheet.mistakes.add(sheet.path("spec"), f"says nothing: {', '.join(SIGNERS)}, exemptRegistries or deny expected")


def _check_exempt(sheet: Sheet) -> None:
    for field in ("exemptRegistries", "unsafeExemptRegistries"):
        for path, pattern in sheet.patterns(field):
            problem = registries.exempt_problem(pattern)
            if registries.is_shared(pattern):
                safe = field == "exemptRegistries"
                problem = f"{problem}, or list it under unsafeExemptRegistries" if safe else ""
            rules.check_pattern(sheet, path, pattern, problem)


def _check_deny(sheet: Sheet) -> None:
    for path, entry in sheet.entries("deny", models.Deny):
        given = (entry.digest, entry.image, entry.key_fingerprint, entry.certificate_fingerprint, entry.log_index)
        if (count := sum(value is not None for value in given)) != 1:
            message = "exactly one of digest, image, keyFingerprint, certificateFingerprint and logIndex expected"
            sheet.mistakes.add(path, f"{message}, found {count or 'none'}")
        if entry.image is not None:
            rules.check_pattern(sheet, (*path, "image"), entry.image)
        if entry.digest is not None and entry.digest.algorithm != "sha256":
            message = "sha256 expected, by which an image is known: the same bytes would run under that digest"
            sheet.mistakes.add((*path, "digest"), message)


def _check_exceptions(sheet: Sheet) -> None:
    for path, entry in sheet.entries("exceptions", models.DigestException):
        if entry.until - sheet.now > LONGEST_EXCEPTION:
            latest = sheet.now + LONGEST_EXCEPTION
            message = f"at most {LONGEST_EXCEPTION.days} days ahead, {latest:%Y-%m-%dT%H:%M:%SZ}, expected"
            sheet.mistakes.add((*path, "until"), f"{message}, found {entry.until:%Y-%m-%dT%H:%M:%SZ}")


def _check_enforce_in(sheet: Sheet) -> None:
    if sheet.spec("enforceIn") is not None and sheet.spec("mode") == Mode.ENFORCE:
        message = "means nothing in mode enforce, which enforces everywhere: leave it out"
        sheet.mistakes.add(sheet.path("spec", "enforceIn"), message)


def _check_policy_names(sheets: Sequence[Sheet], mistakes: Mistakes) -> None:
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


def _lines(mistakes: Mistakes) -> Mapping[Path, Mapping[str, int]]:
    """Where each path stands, by document."""
    lines: dict[Path, dict[str, int]] = {}
    for path, (line, _) in mistakes.marks.items():
        lines.setdefault(path[:1], {})[show_path(path)] = line
    return lines


def _policy(sheet: Sheet, demands: _Demands, origin: str, lines: Mapping[str, int]) -> TrustPolicy:
    """The values of a document without mistakes."""
    document = models.Document.model_validate(sheet.value)
    spec, fingerprint = document.spec, _fingerprint(sheet.value)
    return TrustPolicy(
        name=document.metadata.name,
        revision=fingerprint[:REVISION_CHARS],
        fingerprint=fingerprint,
        origin=f"{origin}:{sheet.line(sheet.path())}",
        mode=Mode(spec.mode),
        namespaces=Namespaces(tuple(spec.namespaces.include), tuple(spec.namespaces.exclude)),
        signers=demands.signers,
        exempt=(*spec.exempt_registries, *spec.unsafe_exempt_registries),
        rules=demands.rules,
        default=rules.default(sheet, demands.signers),
        deny=tuple(_deny(entry) for entry in spec.deny),
        exceptions=tuple(
            PolicyException(entry.digest, tuple(entry.namespaces), entry.until, entry.reason)
            for entry in spec.exceptions
        ),
        enforce_in=tuple(spec.enforce_in),
        help=spec.help,
        tags=Tags(spec.tags),
        tampered=Mode.ENFORCE if spec.tampered == "deny" else Mode.WARN,
        trust_roots=demands.trust_roots,
        trust_stores=demands.trust_stores,
        idle_overrides=notary.idle_overrides(sheet),
        lines=lines,
    )


def _deny(entry: models.Deny) -> Deny:
    return Deny(
        reason=entry.reason,
        digest=entry.digest,
        image=entry.image,
        key_fingerprint=entry.key_fingerprint,
        certificate_fingerprint=entry.certificate_fingerprint,
        log_index=entry.log_index,
    )


def _fingerprint(value: markup.Value) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
