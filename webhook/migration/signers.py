"""Whom the statements of a Notation document trust, as signers and trust stores of one policy, each written once.

Subjects under a store become certificates, ARNs of AWS Signer signing profiles. What could never match, or belongs to
a plug-in that nobody runs here, is left out and noted. Statements that trust the same in the same way share a signer;
a profile is one signer whatever several statements say of it, so the strictest of them holds.

spec: Notary Project, trust store and trust policy specification; aws-signer-notation-plugin 1.0.350.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.errors import MalformedError, OperatorError, quote
from webhook.migration.draft import Item, Names, Value
from webhook.migration.notation import Statement, StoreName
from webhook.trust import path
from webhook.trust.notary import stores
from webhook.trust.notary.levels import Action, Check, Level, VerifyTimestamp, actions_of
from webhook.trust.notary.profile import ProfileARN
from webhook.trust.notary.stores import BUILT_IN, StoreKind, TrustStore

NOBODY = "no-statement-applies"
# A rule needs a signer, and where nothing is trusted it must be one that cannot be: no account has this number
_NOBODYS_ARN = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/no_statement_applies"
_NOBODYS_COMMENT = "Nobody: there is no such account. Of an image that no statement is about, no signature counts."
_GIVEN_NONE = "No trust stores were given: the root certificates of AWS Signer that are built in count."
_REVOCATION = {Action.ENFORCE: "enforce", Action.LOG: "warn", Action.SKIP: "off"}
_STRICTNESS = (Action.SKIP, Action.LOG, Action.ENFORCE)


@dataclass(frozen=True, slots=True)
class _Store:
    name: str
    parts: tuple[StoreName, ...]  # of Notation


@dataclass(slots=True)
class _Profile:
    name: str
    arn: ProfileARN
    store: str | None  # in the policy; `None` for the built-in one of the ARN's partition
    asked: list[Mapping[Check, Action]] = field(default_factory=list)  # of each statement that trusts it


class Signers:
    """`held` are the trust stores of the document; `None` where they were not given."""

    def __init__(self, held: Mapping[StoreName, TrustStore] | None) -> None:
        self._held = held
        self._names, self._store_names = Names(), Names()
        self._names.new(NOBODY)
        for name in BUILT_IN.values():
            self._store_names.new(name)  # a store of that name would take the built-in one's place
        self._stores: dict[tuple[StoreKind, frozenset[bytes]], _Store] = {}  # by what is in them
        self._rules: dict[str, str] = {}  # what a rule about certificates says, and its name
        self._profiles: dict[str, _Profile] = {}
        self._nobody = False
        self.certificates: list[Item] = []
        self.notes: list[str] = []

    def of(self, statement: Statement) -> tuple[str, ...]:
        """The names of those whom `statement` trusts; none where nothing could satisfy it. Raises: OperatorError."""
        if statement.level is Level.SKIP:
            return ()
        return (*self._certified(statement), *self._profiled(statement))

    def nobody(self) -> str:
        """The name of a signer that nobody is."""
        self._nobody = True
        return NOBODY

    def profiles(self) -> Iterator[Item]:
        """All profiles, as they stand after the last statement."""
        for profile in self._profiles.values():
            revocation = max((asked[Check.REVOCATION] for asked in profile.asked), key=_STRICTNESS.index)
            fields: dict[str, Value] = {"name": profile.name, "arn": str(profile.arn)}
            if revocation is not Action.ENFORCE:
                fields["revocation"] = _REVOCATION[revocation]
            if profile.store is not None:
                fields["trustStore"] = profile.store
            yield Item(fields, tuple(_stricter(profile.asked, revocation)))
        if self._nobody:
            yield Item({"name": NOBODY, "arn": _NOBODYS_ARN}, (_NOBODYS_COMMENT,))

    def trust_stores(self) -> Iterator[Item]:
        """The trust stores that some signer needs."""
        for (kind, _), store in self._stores.items():
            held = dict.fromkeys(der for one in store.parts for der in self._read(one).certificates)
            found = list(map(x509.load_der_x509_certificate, held))  # as they were once already, for their store
            pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in found)
            comments = (f"{' and '.join(map(str, store.parts))} of Notation:", *map(_describe, found))
            yield Item({"name": store.name, "type": str(kind), "certificates": pem.decode()}, comments)

    # --- certificates

    def _certified(self, statement: Statement) -> Iterator[str]:
        if not (statement.identities.anybody or statement.identities.subjects):
            return
        for kind in (StoreKind.CA, StoreKind.SIGNING_AUTHORITY):
            trusted = _of_kind(statement, kind)
            useful = tuple(store for store in trusted if not self._is_of_aws(store))
            if useful:
                yield self._rule(statement, kind, useful)
            if len(useful) < len(trusted):
                self._leave(statement, "the root of AWS Signer", "vouches for every customer: name signing profiles")

    def _rule(self, statement: Statement, kind: StoreKind, trusted: tuple[StoreName, ...]) -> str:
        fields: dict[str, Value] = {"trustStore": self._store(trusted)}
        if statement.identities.anybody:
            fields["unsafeAnySubject"] = True
        else:
            fields["subjects"] = [text for text, _ in statement.identities.subjects]
        fields |= _level(statement)
        clocks = _of_kind(statement, StoreKind.TSA)
        if clocks and kind is StoreKind.CA:  # specification, signing authority: no countersignature is looked at
            fields["timestamp"] = {"trustStore": self._store(clocks), **_verify(statement)}
        said = json.dumps(fields, sort_keys=True)
        if said not in self._rules:
            self._rules[said] = self._names.new(statement.name)
            self.certificates.append(Item({"name": self._rules[said], **fields}, tuple(_limits(statement))))
        return self._rules[said]

    # --- profiles of AWS Signer

    def _profiled(self, statement: Statement) -> Iterator[str]:
        trusted = _of_kind(statement, StoreKind.SIGNING_AUTHORITY)
        for text in statement.identities.plugins:
            try:
                arn = ProfileARN.parse(text)
            except MalformedError as error:
                whose = "matches nothing" if text.startswith("arn:") else "is for a plug-in that is not run here"
                self._leave(statement, quote(text, max_chars=100), f"{whose}: {error.detail}")
                continue
            if not trusted:
                self._leave(statement, str(arn), "matches nothing without a trust store of the type signingAuthority")
            elif not self._can_hold(arn, trusted):
                self._leave(statement, str(arn), "matches nothing under the root of another partition of AWS")
            else:
                yield self._profile(statement, arn, self._store_of(arn, trusted))

    def _profile(self, statement: Statement, arn: ProfileARN, store: str | None) -> str:
        # AWS Signer plug-in: ARNs are the same whatever their case
        known = self._profiles.get(str(arn).lower())
        if known is None:
            known = self._profiles[str(arn).lower()] = _Profile(self._names.new(arn.name), arn, store)
        if known.store != store:
            raise OperatorError(
                f"{arn} is trusted under different trust stores in several statements, and a profile is one signer: "
                "the same stores expected"
            )
        known.asked.append(dict(actions_of(statement.level, statement.override)))
        return known.name

    def _can_hold(self, arn: ProfileARN, trusted: Sequence[StoreName]) -> bool:
        """Whether a signature of the ARN's partition may have its root in one of these."""
        others = _aws_roots() - set(_root_of(arn))
        return self._held is None or any(set(self._read(store).certificates) - others for store in trusted)

    def _store_of(self, arn: ProfileARN, trusted: Sequence[StoreName]) -> str | None:
        built_in = _root_of(arn)
        if self._held is None:
            if not built_in:
                raise OperatorError(f"--trust-store: required, no root of AWS Signer is built in for {arn.partition}")
            self._note(_GIVEN_NONE)
            return None
        held = {der for store in trusted for der in self._read(store).certificates}
        if built_in and held.issuperset(built_in):
            return None
        return self._store(tuple(store for store in trusted if not self._is_of_aws(store)))

    # --- trust stores

    def _store(self, wanted: tuple[StoreName, ...]) -> str:
        """The name in the policy of one store with all that is in `wanted`, which are of one type."""
        key = (wanted[0].kind, frozenset(der for store in wanted for der in self._read(store).certificates))
        if key not in self._stores:
            self._stores[key] = _Store(self._store_names.new("-".join(store.name for store in wanted)), wanted)
        return self._stores[key].name

    def _read(self, name: StoreName) -> TrustStore:
        if self._held is None:
            raise OperatorError(f"--trust-store: required, since the document trusts the certificates of {name}")
        return self._held[name]

    def _is_of_aws(self, name: StoreName) -> bool:
        return _aws_roots().issuperset(self._read(name).certificates)

    # --- what is left out

    def _leave(self, statement: Statement, what: str, why: str) -> None:
        self._note(f"Left out of statement {quote(statement.name)}: {what} {why}.")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _of_kind(statement: Statement, kind: StoreKind) -> tuple[StoreName, ...]:
    return tuple(store for store in statement.stores if store.kind is kind)


def _level(statement: Statement) -> Mapping[str, Value]:
    """The level, and those overrides that change something."""
    usual = dict(actions_of(statement.level))
    override: Mapping[str, Value] = {
        str(check): str(action) for check, action in statement.override.items() if usual[check] is not action
    }
    level: Mapping[str, Value] = {} if statement.level is Level.STRICT else {"level": str(statement.level)}
    return {**level, "override": override} if override else level


def _verify(statement: Statement) -> Mapping[str, Value]:
    always = statement.verify_timestamp is VerifyTimestamp.ALWAYS
    return {} if always else {"verify": str(statement.verify_timestamp)}


def _limits(statement: Statement) -> Iterator[str]:
    """Where a certificate whose signer is only recorded passes there, and not here."""
    actions = dict(actions_of(statement.level, statement.override))
    if actions[Check.AUTHENTICITY] is Action.LOG:
        yield "Whoever signed is admitted, and told; but signatures by AWS Signer count for signing profiles alone."
        if actions[Check.REVOCATION] is Action.ENFORCE:
            yield "Stricter: of a certificate that is not trusted nobody is asked, so that it is refused as unknown."


def _stricter(asked: Sequence[Mapping[Check, Action]], revocation: Action) -> Iterator[str]:
    """What some statement only records, or leaves, and the profile enforces."""
    given = {**dict.fromkeys(Check, Action.ENFORCE), Check.REVOCATION: revocation}
    weaker = [check for check in Check if any(actions[check] is not given[check] for actions in asked)]
    if weaker:
        yield (
            f"Stricter: the document only records, for some images, that {' or '.join(weaker)} failed. A profile has "
            "no such level."
        )


def _root_of(arn: ProfileARN) -> tuple[bytes, ...]:
    store = stores.built_in(BUILT_IN.get(arn.partition, ""))
    return store.certificates if store else ()


def _aws_roots() -> set[bytes]:
    built_in = (stores.built_in(name) for name in BUILT_IN.values())
    return {der for store in built_in if store for der in store.certificates}


def _describe(certificate: x509.Certificate) -> str:
    return f"{path.name_of(certificate)}, until {certificate.not_valid_after_utc:%Y-%m-%d}"
