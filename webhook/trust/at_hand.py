"""What is at hand of all that policies name, while one review is judged: trust roots, keys and certificates.

One value that never changes: a review takes it once, and whoever has material at hand makes it, each for its own
places. What is missing is missing for a reason that can be told, and denies as an outage does. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from webhook.errors import Code, InconclusiveError
from webhook.trust.kms import KMSKey
from webhook.trust.material import PublicKey
from webhook.trust.notary.stores import StoredCertificates, TrustStore
from webhook.trust.root import RootSource, TrustRoot
from webhook.trust.stored import StoredKey, StoredRoot

KeyPlace = KMSKey | StoredKey


@dataclass(frozen=True, slots=True)
class Trust:
    """What is at hand now, and why the rest is not: trust roots by the `key` of their source, all else by its place.

    `stale_keys` says of keys at hand since when nobody vouches for them any more, and why. `fingerprint` is a SHA-256
    of all that is at hand: whatever was verified under another one is to be verified again.
    """

    roots: Mapping[str, TrustRoot] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[KeyPlace, PublicKey] = field(default_factory=dict)
    key_problems: Mapping[KeyPlace, str] = field(default_factory=dict)
    stale_keys: Mapping[KeyPlace, str] = field(default_factory=dict)
    stores: Mapping[StoredCertificates, tuple[bytes, ...]] = field(default_factory=dict)
    store_problems: Mapping[StoredCertificates, str] = field(default_factory=dict)
    fingerprint: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for part in sorted(self._parts()):
            digest.update(hashlib.sha256(part.encode()).digest())
        object.__setattr__(self, "fingerprint", digest.digest())

    def _parts(self) -> Iterator[str]:
        yield from (f"root {key} {root.fingerprint}" for key, root in self.roots.items())
        yield from (f"key {place!r} {key.fingerprint} {key.schemes}" for place, key in self.keys.items())
        for store, certificates in self.stores.items():
            yield f"store {store!r} {[hashlib.sha256(der).hexdigest() for der in certificates]}"

    def root_of(self, source: RootSource) -> TrustRoot:
        """Raises: InconclusiveError, `trust_unavailable`."""
        if source.inline is not None:
            return source.inline
        root = self.roots.get(source.key)
        if root is None:
            problem = self.problems.get(source.key) or _unread(source.place, "it was not loaded yet")
            raise InconclusiveError(Code.TRUST_UNAVAILABLE, f"the trust root {source.name} is not at hand: {problem}")
        return root

    def key_of(self, place: KeyPlace) -> PublicKey:
        """Raises: InconclusiveError, `trust_unavailable`."""
        key = self.keys.get(place)
        if key is None:
            problem = self.key_problems.get(place) or _unread(place, "it was not fetched yet")
            raise InconclusiveError(Code.TRUST_UNAVAILABLE, f"the key {place} is not at hand: {problem}")
        return key

    def store_of(self, named: TrustStore) -> TrustStore:
        """The store that a policy calls so, with its certificates. Raises: InconclusiveError, `trust_unavailable`."""
        if named.place is None:
            return named
        certificates = self.stores.get(named.place)
        if certificates is None:
            problem = self.store_problems.get(named.place) or _unread(named.place, "")
            raise InconclusiveError(Code.TRUST_UNAVAILABLE, f"the trust store {named.name} is not at hand: {problem}")
        return replace(named, certificates=certificates)

    def __or__(self, other: Trust) -> Trust:
        """What is at hand here or there; each place is for one of them."""
        return Trust(
            roots={**self.roots, **other.roots},
            problems={**self.problems, **other.problems},
            keys={**self.keys, **other.keys},
            key_problems={**self.key_problems, **other.key_problems},
            stale_keys={**self.stale_keys, **other.stale_keys},
            stores={**self.stores, **other.stores},
            store_problems={**self.store_problems, **other.store_problems},
        )


def _unread(place: KeyPlace | StoredRoot | StoredCertificates | None, otherwise: str) -> str:
    """Why something is not at hand of which nobody says more."""
    if isinstance(place, StoredKey | StoredRoot | StoredCertificates):
        return f"it is in {place.entry.holder}, which only a server in its cluster reads"
    return otherwise
