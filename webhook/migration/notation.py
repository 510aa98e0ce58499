"""Trust policy documents of Notation, version 1.0, read and validated: which repositories need whose signatures.

A document that `parse` returns is one that Notation would use, and some that it would use are refused: names in
another case than the format has them, which Go reads and others do not, and a way to admit every image there is. What
a statement becomes here is for `statements`. Files of the trust stores are `folder`'s.

spec: Notary Project, trust store and trust policy specification, trust policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from webhook import untrusted
from webhook.errors import quote
from webhook.migration.reading import at, parse_object, shown, wrong
from webhook.trust.notary import subject
from webhook.trust.notary.levels import Action, Check, Level, VerifyTimestamp
from webhook.trust.notary.stores import StoreKind
from webhook.trust.notary.subject import Subject

EVERYTHING = "*"
SUBJECT_PREFIX = "x509.subject"
# Documents that people write have a handful of each
MAX_STATEMENTS, MAX_SCOPES, MAX_IDENTITIES, MAX_STORES = 500, 1000, 100, 100

_DOCUMENT = frozenset({"version", "trustPolicies"})
_STATEMENT = frozenset({"name", "registryScopes", "signatureVerification", "trustStores", "trustedIdentities"})
_VERIFICATION = frozenset({"level", "override", "verifyTimestamp"})

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_COMPONENT = "[a-z0-9]++(?:(?:[._]|__|-++)[a-z0-9]++)*+"
_SCOPE = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?/{_COMPONENT}(?:/{_COMPONENT})*")
_STORE_NAME = re.compile("[A-Za-z0-9_.-]+")
MAX_SCOPE_CHARS, MAX_NAME_CHARS = 512, 200


@dataclass(frozen=True, slots=True)
class StoreName:
    """A named set of certificates, `ca:acme`."""

    kind: StoreKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Identities:
    """Who may have signed. `subjects` are with their text as it was written; `plugins` are identities that a plug-in
    reads, ARNs among them."""

    anybody: bool = False
    subjects: tuple[tuple[str, Subject], ...] = ()
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """`scopes` are repositories, exactly; none where the statement is for all that no other one names."""

    name: str
    scopes: tuple[str, ...]
    level: Level
    override: Mapping[Check, Action]
    verify_timestamp: VerifyTimestamp
    stores: tuple[StoreName, ...]
    identities: Identities


@dataclass(frozen=True, slots=True)
class Document:
    """`unknown` are the paths of members that the format does not have, and that Notation ignores."""

    statements: tuple[Statement, ...]
    unknown: tuple[str, ...]


def parse(data: bytes) -> Document:
    """The document in `data`. Raises: MalformedError, at the first mistake."""
    document = parse_object(data, "the document")
    unknown = list(_unknown(document, _DOCUMENT, ""))
    if document.get("version") != "1.0":
        raise wrong("version", f"'1.0' expected, found {shown(document.get('version'))}")
    listed = untrusted.as_array(document.get("trustPolicies"), "trustPolicies", max_items=MAX_STATEMENTS)
    if not listed:
        raise wrong("trustPolicies", "one statement at least expected, found none")
    statements = []
    for index, value in enumerate(listed):
        path = f"trustPolicies[{index}]"
        fields = untrusted.as_object(value, path)
        unknown += _unknown(fields, _STATEMENT, f"{path}.")
        unknown += _unknown(_verification(fields, path), _VERIFICATION, f"{path}.signatureVerification.")
        statements.append(_statement(fields, path))
    _check_unique(statements)
    return Document(tuple(statements), tuple(unknown))


def _unknown(fields: Mapping[str, object], known: frozenset[str], path: str) -> Iterator[str]:
    for name in fields.keys() - known:
        # Go matches names whatever their case: what it takes for a field must not be passed over here
        meant = next((one for one in known if one.lower() == name.lower()), None)
        if meant is not None:
            raise wrong(f"{path}{meant}", f"spelt so expected, found {quote(name, max_chars=80)}")
        yield f"{path}{quote(name, max_chars=80)[1:-1]}"


def _statement(fields: Mapping[str, object], path: str) -> Statement:
    name = untrusted.as_string(fields.get("name"), f"{path}.name")
    if not name or len(name) > MAX_NAME_CHARS:
        raise wrong(f"{path}.name", f"1 to {MAX_NAME_CHARS} characters expected, found {len(name)}")
    verification, where = _verification(fields, path), f"{path}.signatureVerification"
    level = Level(_word(verification.get("level"), tuple(Level), f"{where}.level"))
    statement = Statement(
        name=name,
        scopes=tuple(_scopes(fields, f"{path}.registryScopes")),
        level=level,
        override=_override(verification, f"{where}.override"),
        verify_timestamp=_verify_timestamp(verification, f"{where}.verifyTimestamp"),
        stores=tuple(_stores(fields, f"{path}.trustStores")),
        identities=_identities(fields, f"{path}.trustedIdentities"),
    )
    _check_level(statement, path)
    return statement


def _verification(fields: Mapping[str, object], path: str) -> Mapping[str, object]:
    return untrusted.as_object(fields.get("signatureVerification"), f"{path}.signatureVerification")


def _word(value: object, words: Sequence[str], path: str) -> str:
    if not isinstance(value, str) or value not in words:
        raise wrong(path, f"one of {', '.join(words)} expected, found {shown(value)}")
    return value


def _scopes(fields: Mapping[str, object], path: str) -> Iterator[str]:
    scopes = _texts(fields, "registryScopes", path, MAX_SCOPES)
    if not scopes:
        raise wrong(path, "one repository at least expected, or '*', found none")
    if scopes == [EVERYTHING]:
        return
    for index, scope in enumerate(scopes):
        if len(scope) > MAX_SCOPE_CHARS or not _SCOPE.fullmatch(scope):
            expected = "HOST[:PORT]/PATH without tag, digest and wildcard expected, or '*' alone"
            raise wrong(f"{path}[{index}]", f"{expected}, found {quote(scope, max_chars=100)}")
        yield scope


def _override(verification: Mapping[str, object], path: str) -> Mapping[Check, Action]:
    given = untrusted.as_object(verification.get("override") or {}, path)
    found = {}
    for name, value in given.items():
        # Trust policy, custom verification levels: integrity never, and only revocation can be skipped
        check = _word(name, [one for one in Check if one is not Check.INTEGRITY], path)
        actions = tuple(Action) if check == Check.REVOCATION else (Action.ENFORCE, Action.LOG)
        found[Check(check)] = Action(_word(value, actions, f"{path}.{check}"))
    return found


def _verify_timestamp(verification: Mapping[str, object], path: str) -> VerifyTimestamp:
    given = verification.get("verifyTimestamp") or VerifyTimestamp.ALWAYS
    return VerifyTimestamp(_word(given, tuple(VerifyTimestamp), path))


def _stores(fields: Mapping[str, object], path: str) -> Iterator[StoreName]:
    for index, text in enumerate(dict.fromkeys(_texts(fields, "trustStores", path, MAX_STORES))):
        kind, _, name = text.partition(":")
        # A name is that of a folder: `.` and `..` are others'
        if kind not in tuple(StoreKind) or not _STORE_NAME.fullmatch(name) or name in (".", ".."):
            expected = f"TYPE:NAME expected, of the type {', '.join(StoreKind)}"
            raise wrong(f"{path}[{index}]", f"{expected}, found {quote(text, max_chars=100)}")
        yield StoreName(StoreKind(kind), name)


def _identities(fields: Mapping[str, object], path: str) -> Identities:
    texts = _texts(fields, "trustedIdentities", path, MAX_IDENTITIES)
    if EVERYTHING in texts:
        if len(texts) > 1:
            raise wrong(path, "'*' alone expected, found others beside it")
        return Identities(anybody=True)
    subjects: list[tuple[str, Subject]] = []
    plugins: list[str] = []
    for index, text in enumerate(texts):
        prefix, _, value = text.partition(":")
        if not prefix or not value:
            raise wrong(f"{path}[{index}]", f"PREFIX:VALUE expected, or '*' alone, found {quote(text, max_chars=100)}")
        if prefix != SUBJECT_PREFIX:
            plugins.append(text)
            continue
        with at(f"{path}[{index}]"):
            subjects.append((value.strip(" "), subject.parse(value)))
    if overlapping := subject.overlap([one for _, one in subjects]):
        wide, narrow = (quote(str(one), max_chars=100) for one in overlapping)
        raise wrong(path, f"identities that do not overlap expected, and {wide} matches whatever {narrow} does")
    return Identities(subjects=tuple(subjects), plugins=tuple(dict.fromkeys(plugins)))


def _texts(fields: Mapping[str, object], name: str, path: str, max_items: int) -> list[str]:
    listed = untrusted.as_array(fields.get(name) or [], path, max_items=max_items)
    return [untrusted.as_string(value, f"{path}[{index}]") for index, value in enumerate(listed)]


def _check_level(statement: Statement, path: str) -> None:
    asked = {"trustStores": bool(statement.stores), "trustedIdentities": statement.identities != Identities()}
    if statement.level is not Level.SKIP:
        for name, given in asked.items():
            if not given:
                raise wrong(f"{path}.{name}", "one entry at least expected, found none")
        return
    for name, given in {**asked, "signatureVerification.override": bool(statement.override)}.items():
        if given:
            raise wrong(f"{path}.{name}", "nothing expected, as level skip looks at nothing")
    if not statement.scopes:
        # The specification forbids it, Notation's code lets it pass
        raise wrong(f"{path}.registryScopes", "repositories expected, as level skip for '*' would admit everything")


def _check_unique(statements: Sequence[Statement]) -> None:
    names: dict[str, int] = {}
    scopes: dict[str, int] = {}
    for index, statement in enumerate(statements):
        path = f"trustPolicies[{index}]"
        if statement.name in names:
            first = f"trustPolicies[{names[statement.name]}]"
            raise wrong(f"{path}.name", f"a name of its own expected, {quote(statement.name)} is that of {first}")
        names[statement.name] = index
        for scope in statement.scopes or (EVERYTHING,):
            if scope in scopes:
                first = f"trustPolicies[{scopes[scope]}]"
                raise wrong(f"{path}.registryScopes", f"each scope once expected, {quote(scope)} stands in {first} too")
            scopes[scope] = index
