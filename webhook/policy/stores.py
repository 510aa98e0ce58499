"""The trust stores of a policy document: each parsed when the policy loads, or what is wrong with it.

Of one in an object of the cluster only its place is known here. The stores of AWS Signer are there without being
listed, and a document may put its own in their place, for itself alone. A store is of one type, and whoever names one
says which types will do: certificates that vouch for signers never vouch for a clock.

spec: Notary Project, trust store and trust policy specification, trust store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice

from webhook.errors import MalformedError, quote
from webhook.policy import places
from webhook.policy.syntax import models
from webhook.policy.syntax.mistakes import Path
from webhook.policy.syntax.sheet import Sheet
from webhook.trust.notary import stores
from webhook.trust.notary.stores import StoredCertificates, StoreKind, TrustStore


@dataclass(frozen=True, slots=True)
class Stores:
    """`names` are all that the document lists and the built-in ones; `stores` those of them that are right."""

    names: frozenset[str]
    stores: Mapping[str, TrustStore]
    own: tuple[TrustStore, ...]  # those that the document lists, in its order

    def named(self, sheet: Sheet, path: Path, name: str, kinds: Collection[StoreKind]) -> TrustStore | None:
        """The store that stands at `path` by its name, of one of `kinds`; `None` where it is not right."""
        if name not in self.names:
            known = ", ".join(sorted(self.names))[:200]
            sheet.mistakes.add(path, f"no trust store is named {name}; there are {known}")
        store = self.stores.get(name)
        if store is not None and store.kind not in kinds:
            sheet.mistakes.add(path, f"a trust store of the type {' or '.join(kinds)} expected, {name} is {store.kind}")
            return None
        return store


def read(sheet: Sheet) -> Stores:
    """The trust stores of the document; what is wrong goes to its mistakes."""
    names = _names(sheet)
    own: dict[str, TrustStore] = {}
    for path, entry in islice(sheet.entries("trustStores", models.TrustStore), models.MAX_TRUST_STORES):
        store = _store(sheet, path, entry)
        if store is not None:
            own.setdefault(store.name, store)
    built_in = {name: store for name, store in _built_in().items() if name not in names}
    return Stores(frozenset({*names, *built_in}), {**built_in, **own}, tuple(own.values()))


def is_of_aws(store: TrustStore) -> bool:
    """Whether it is known to hold roots of AWS Signer and nothing else, or has their place."""
    roots = {certificate for one in _built_in().values() for certificate in one.certificates}
    return store.name in _built_in() or (store.place is None and roots.issuperset(store.certificates))


def _names(sheet: Sheet) -> Collection[str]:
    first: dict[str, Path] = {}
    for path, name in sheet.names("trustStores"):
        if name in first:
            shown, line = quote(name, max_chars=80), sheet.line(first[name])
            sheet.mistakes.add(path, f"a second trust store named {shown}, first in line {line}")
        first.setdefault(name, path)
    return first.keys()


def _store(sheet: Sheet, path: Path, entry: models.TrustStore) -> TrustStore | None:
    kind = StoreKind(entry.type)
    replaced = stores.built_in(entry.name)
    if replaced is not None and kind is not replaced.kind:
        message = f"{replaced.kind} expected, as of the built-in store whose place it takes, found {kind}"
        sheet.mistakes.add((*path, "type"), message)
        return None
    given = {"certificates": entry.certificates, "secret": entry.secret, "configMap": entry.config_map}
    named = [field for field, value in given.items() if value is not None]
    if len(named) > 1:
        message = f"exactly one of certificates, secret and configMap expected, found {' and '.join(named)}"
        sheet.mistakes.add(path, message)
        return None
    if (place := places.entry_of(secret=entry.secret, config_map=entry.config_map)) is not None:
        return TrustStore(entry.name, kind, (), StoredCertificates(place, kind))
    if entry.certificates is None:
        message = "required, and missing: one or more certificates in PEM; or secret or configMap, where they are"
        sheet.mistakes.add((*path, "certificates"), message)
        return None
    try:
        return stores.parse(entry.name, kind, entry.certificates)
    except MalformedError as error:
        sheet.mistakes.add((*path, "certificates"), error.detail)
        return None


def _built_in() -> Mapping[str, TrustStore]:
    found = (stores.built_in(name) for name in stores.BUILT_IN.values())
    return {store.name: store for store in found if store is not None}
