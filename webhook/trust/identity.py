"""Whom a certificate names, and the rules by which a policy says whom it means.

`Claims` are what a certificate authority wrote into a certificate about its holder; an `Identity` is a policy's rule.
An identity has a criterion for the issuer and one for the subject, each of its criteria can refuse alone, and one that
says too little is refused when it is made, unless its name says `unsafe`. Text is compared as it is, and upper case
counts; a pattern must match the whole of it; what cannot be seen never matches.

spec: fulcio, OID information; RE2 syntax; OpenID Connect Discovery 1.0 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Protocol

from webhook.errors import Code, MalformedError, quote
from webhook.trust import expression, openness
from webhook.trust.expression import Expression

# Fulcio, OID information: the last arc under 1.3.6.1.4.1.57264.1 of what a policy may name. The issuer (1 and 8) and
# the user name (7) are no extensions to a policy, but `issuer` and `subject`.
EXTENSIONS: Mapping[str, int] = MappingProxyType({
    "githubWorkflowTrigger": 2,
    "githubWorkflowSha": 3,
    "githubWorkflowName": 4,
    "githubWorkflowRepository": 5,
    "githubWorkflowRef": 6,
    "buildSignerURI": 9,
    "buildSignerDigest": 10,
    "runnerEnvironment": 11,
    "sourceRepositoryURI": 12,
    "sourceRepositoryDigest": 13,
    "sourceRepositoryRef": 14,
    "sourceRepositoryIdentifier": 15,
    "sourceRepositoryOwnerURI": 16,
    "sourceRepositoryOwnerIdentifier": 17,
    "buildConfigURI": 18,
    "buildConfigDigest": 19,
    "buildTrigger": 20,
    "runInvocationURI": 21,
    "sourceRepositoryVisibilityAtSigning": 22,
    "deploymentEnvironment": 23,
    "tokenSubject": 24,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claims:
    """`subjects` are kind (`email`, `uri`, `username`, `dns`, `ip`) and value of each name; `extensions` by their names
    in a policy: `sourceRepositoryURI`."""

    issuer: str
    subjects: tuple[tuple[str, str], ...]
    extensions: Mapping[str, str] = field(default_factory=dict)


class IdentityError(MalformedError):
    """An identity that says too little or nothing; `problems` are the fields, as a policy names them, and why."""

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        self.problems = problems
        super().__init__(Code.MALFORMED, "; ".join(f"{name}: {problem}" for name, problem in problems))


class _Criterion(Protocol):
    def matches(self, text: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Exactly:
    wanted: str

    def matches(self, text: str) -> bool:
        return text == self.wanted


@dataclass(frozen=True, slots=True)
class _URL:
    """An issuer by a pattern: without a query, a fragment or a user, behind which another host could hide."""

    pattern: Expression

    def matches(self, text: str) -> bool:
        return not _NO_ISSUER.intersection(text) and self.pattern.matches(text)


_NO_ISSUER = frozenset("?#@\\")  # OpenID Connect Discovery 1.0 3: an issuer has no query and no fragment


@dataclass(frozen=True, slots=True)
class Identity:
    """Exactly one of the three for the issuer, and one of the five for the subject, is set.

    `extensions` are names in `EXTENSIONS` and the exact text of each. Raises: IdentityError, where it is no rule.
    """

    issuer: str | None = None
    issuer_regex: str | None = None
    subject: str | None = None
    subject_glob: str | None = None
    subject_regex: str | None = None
    extensions: tuple[tuple[str, str], ...] = ()
    unsafe_issuer_regex: str | None = None
    unsafe_subject_glob: str | None = None
    unsafe_subject_regex: str | None = None
    _issuer: _Criterion = field(init=False, repr=False, compare=False)
    _subject: _Criterion = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reading = _Reading()
        issuer = reading.criterion("issuer", _issuers(self))
        subject = reading.criterion("subject", _subjects(self))
        extensions = reading.extensions(self.extensions)
        if reading.problems or issuer is None or subject is None:
            raise IdentityError(tuple(reading.problems))
        object.__setattr__(self, "_issuer", _URL(issuer) if isinstance(issuer, Expression) else issuer)
        object.__setattr__(self, "_subject", subject)
        object.__setattr__(self, "extensions", extensions)

    def mismatch(self, claims: Claims) -> str:
        """What of `claims` is not as wanted, for people; empty where all is."""
        if not self._issuer.matches(claims.issuer):
            return f"the issuer is {_shown(claims.issuer)}, wanted {_words(_issuers(self))}"
        if not any(self._subject.matches(value) for _, value in claims.subjects):
            return f"{_named(claims)}, wanted {_words(_subjects(self))}"
        for name, wanted in self.extensions:
            found = claims.extensions.get(name)
            if found != wanted:
                said = f"{name} is {_shown(found)}" if found is not None else f"the certificate has no {name}"
                return f"{said}, wanted {_shown(wanted)}"
        return ""

    def __str__(self) -> str:
        """All of the rule, in one line: two rules that differ never read the same."""
        given = {**_subjects(self), **_issuers(self), **dict(self.extensions)}
        return ", ".join(f"{name} {value!a}" for name, value in given.items() if value is not None)


def _issuers(identity: Identity) -> Mapping[str, str | None]:
    return {
        "issuer": identity.issuer,
        "issuerRegex": identity.issuer_regex,
        "unsafeIssuerRegex": identity.unsafe_issuer_regex,
    }


def _subjects(identity: Identity) -> Mapping[str, str | None]:
    return {
        "subject": identity.subject,
        "subjectGlob": identity.subject_glob,
        "subjectRegex": identity.subject_regex,
        "unsafeSubjectGlob": identity.unsafe_subject_glob,
        "unsafeSubjectRegex": identity.unsafe_subject_regex,
    }


class _Reading:
    """The criteria of an identity, and what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def criterion(self, kind: str, fields: Mapping[str, str | None]) -> _Criterion | None:
        given = [(name, value) for name, value in fields.items() if value is not None]
        if not given:
            other = "subject" if kind == "issuer" else "issuer"
            known = [name for name in fields if not name.startswith("unsafe")]
            one_of = f"{', '.join(known[:-1])} or {known[-1]}"
            self.problems.append((kind, f"required, and missing: {one_of}; without it the {other} says nothing"))
            return None
        for name, _ in given[1:]:
            self.problems.append((name, f"exactly one of {' and '.join(n for n, _ in given)} expected"))
        try:
            return _criterion(kind, *given[0])
        except MalformedError as error:
            self.problems.append((given[0][0], error.detail))
            return None

    def extensions(self, given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Sorted by name: the order in which they are written says nothing."""
        names = [name for name, _ in given]
        for name, value in given:
            path = f"extensions.{name}"
            if name not in EXTENSIONS:
                self.problems.append((path, _unknown_extension(name)))
            elif names.count(name) > 1:
                self.problems.append((path, "stands twice"))
            elif problem := _text_problem(value):
                self.problems.append((path, problem))
        return tuple(sorted(given))


def _criterion(kind: str, name: str, value: str) -> _Criterion:
    """Raises: MalformedError."""
    if name == kind:
        problem = _text_problem(value)
        if not problem and "*" in value:
            instead = "issuerRegex" if kind == "issuer" else "subjectGlob or subjectRegex"
            problem = f"the exact text expected, in which a * stands for itself; for a pattern use {instead}"
        if problem:
            raise MalformedError(Code.MALFORMED, problem)
        return _Exactly(value)
    pattern = expression.parse_glob(value) if name.endswith("Glob") else expression.parse(value)
    ask = openness.issuer_problem if kind == "issuer" else openness.subject_problem
    problem = "" if name.startswith("unsafe") else ask(pattern.automaton)
    if problem:
        unsafe = f"unsafe{name[0].upper()}{name[1:]}"
        raise MalformedError(Code.MALFORMED, f"{problem}; if that is meant, name it {unsafe}")
    return pattern


def _unknown_extension(name: str) -> str:
    close = get_close_matches(name[:MAX_NAME_CHARS], EXTENSIONS, n=1)
    return f"no extension of Fulcio's; {f'did you mean {close[0]}?' if close else f'known are {_KNOWN}'}"


MAX_NAME_CHARS = 63
_KNOWN = ", ".join(EXTENSIONS)


def _text_problem(value: str) -> str:
    if not value:
        return "text expected, found empty text"
    if not expression.is_plain(value) or value != value.strip():
        limit = f"at most {expression.MAX_TEXT_CHARS} printable characters without spaces around them"
        return f"{limit} expected, found {quote(value, max_chars=60)}"
    return ""


MAX_SHOWN_SUBJECTS = 3


def _named(claims: Claims) -> str:
    values = [value for _, value in claims.subjects]
    shown = ", ".join(_shown(value) for value in values[:MAX_SHOWN_SUBJECTS])
    more = f" and {len(values) - MAX_SHOWN_SUBJECTS} more" if len(values) > MAX_SHOWN_SUBJECTS else ""
    return f"the subject is {shown}{more}" if values else "the certificate names no subject"


def _words(fields: Mapping[str, str | None]) -> str:
    """`'https://…'`, or `subjectGlob 'https://…'`."""
    (name, value), *_ = [(name, value) for name, value in fields.items() if value is not None]
    return _shown(value) if name in ("issuer", "subject") else f"{name} {_shown(value)}"


def _shown(text: str) -> str:
    return quote(text, max_chars=160)
