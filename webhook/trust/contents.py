"""What stands at a place in a Secret or ConfigMap: the bytes of one entry, and the key, root or certificates they are.

An object is what the API server sent, and whoever may write it is no friend: it is bounded, and what is wrong with it
is said without showing any of it. A private key is recognised by its label and read no further. When an object is
read, and for how long that holds, is for `objects`.

spec: Kubernetes, Secret and ConfigMap of core/v1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from webhook import untrusted
from webhook.errors import Code, MalformedError
from webhook.trust import root
from webhook.trust.at_hand import Trust
from webhook.trust.material import Padding, PublicKey, parse_public_key
from webhook.trust.notary import stores
from webhook.trust.notary.stores import StoredCertificates
from webhook.trust.root import TrustRoot
from webhook.trust.stored import Entry, ObjectKind, StoredKey, StoredRoot

MAX_CHARS = 2 << 20  # the API server takes at most 1 MiB, which base64 makes a third longer

Place = StoredKey | StoredRoot | StoredCertificates
Material = PublicKey | TrustRoot | tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was made of one entry: `material`, or the `problem`. `content` is a digest of it, empty where it is none."""

    material: Material | None = None
    problem: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """One place as it stands. `at` is when what is at hand was read."""

    place: Place
    material: Material | None = None
    at: datetime | None = None
    problem: str = ""

    def describe(self, now: datetime) -> str:
        """All of it, for a person who asks at `now`."""
        if self.material is None or self.at is None:
            return f"not at hand; {self.problem}"
        said = f"{describe(self.material)}, read {max(int((now - self.at).total_seconds()), 0)} s ago"
        return f"{said}; {self.problem}" if self.problem else said


def describe(material: Material) -> str:
    """Which key, root or certificates these are, in a few words."""
    match material:
        case PublicKey():
            return f"{material.algorithm}, sha256:{material.fingerprint}"
        case TrustRoot():
            return f"trust root sha256:{material.fingerprint}"
    return f"{len(material)} certificate{'s' if len(material) > 1 else ''}"


def at_hand(states: Sequence[State]) -> Trust:
    """What of `states` is at hand, and why the rest is not."""
    missing = [state for state in states if state.material is None]
    return Trust(
        roots={
            str(state.place): state.material
            for state in states
            if isinstance(state.place, StoredRoot) and isinstance(state.material, TrustRoot)
        },
        problems={str(state.place): state.problem for state in missing if isinstance(state.place, StoredRoot)},
        keys={
            state.place: state.material
            for state in states
            if isinstance(state.place, StoredKey) and isinstance(state.material, PublicKey)
        },
        key_problems={state.place: state.problem for state in missing if isinstance(state.place, StoredKey)},
        stores={
            state.place: state.material
            for state in states
            if isinstance(state.place, StoredCertificates) and isinstance(state.material, tuple)
        },
        store_problems={state.place: state.problem for state in missing if isinstance(state.place, StoredCertificates)},
    )


def read(place: Place, found: Mapping[str, object] | None, before: Reading | None = None) -> Reading:
    """What stands at `place` in the object that was `found`, `None` where there is no such object.

    `before` is what was read there last: the same bytes are not parsed again.
    """
    content = ""
    try:
        data = extract(place.entry, found)
        content = hashlib.sha256(data).hexdigest()
        if before is not None and before.content == content:
            return before
        return Reading(parse(place, data), "", content)
    except MalformedError as error:
        return Reading(None, error.detail, content)


def extract(entry: Entry, found: Mapping[str, object] | None) -> bytes:
    """The bytes of `entry` in the object that was `found`. Raises: MalformedError."""
    holder = entry.holder
    if found is None:
        raise MalformedError(Code.MALFORMED, f"there is no {holder.kind} {holder.name}")
    data = found.get("data")
    text = data.get(entry.key) if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise MalformedError(Code.MALFORMED, f"{holder} has no key {entry.key}, or not as text")
    if len(text) > MAX_CHARS:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{_where(entry)}: more than {MAX_CHARS} characters")
    if holder.kind is ObjectKind.CONFIG_MAP:
        return text.encode("utf-8", "surrogatepass")
    try:
        return untrusted.decode_base64(text, "")
    except MalformedError:  # which shows what stands there
        raise MalformedError(Code.MALFORMED, f"{_where(entry)}: not base64, as in every Secret") from None


def parse(place: Place, data: bytes) -> Material:
    """The key, trust root or certificates that `data` is. Raises: MalformedError."""
    try:
        match place:
            case StoredKey():
                return _key(place, data)
            case StoredRoot():
                return root.parse(data)
            case StoredCertificates():
                return stores.parse_certificates(place.kind, _text(data))
    except MalformedError as error:
        said = error.detail.removeprefix("public key: ").removeprefix("trust root: ")
        raise MalformedError(error.code, f"{_where(place.entry)}: {said}") from error


def _key(place: StoredKey, data: bytes) -> PublicKey:
    key = parse_public_key(data, hash=place.hash, padding=place.padding or Padding.PKCS1V15)
    if place.padding is not None and not key.algorithm.startswith("RSA "):
        raise MalformedError(Code.UNSUPPORTED, f"the option padding is for RSA keys only, and this is {key.algorithm}")
    return key


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError(Code.MALFORMED, "text expected, found other bytes") from None


def _where(entry: Entry) -> str:
    return f"key {entry.key} of {entry.holder}"
