"""What replicas lend each other through a store that none of them trusts: entries sealed with a key of their own.

A sealed entry says when it was made and for how long it is good, and is bound to its name; who lacks the key can
neither make one, nor change one, nor have it taken for another's, and whoever keeps an old one has it for as long as it
was good anyway; who asks for the last one instead says how old it may be. Names are sealed too, so that they tell
nobody which repositories are verified; contents are open to read. What an entry's bytes mean, and whether they are
right, is for whoever asked for them. specs: RFC 2104, RFC 6234.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import StrEnum

from webhook.cache import Loaded
from webhook.errors import OperatorError

SECRET_MIN_BYTES = 32  # as long as what it makes: RFC 2104 3
SECRET_MAX_BYTES = 4096
PAYLOAD_MAX_BYTES = 5 * 1024 * 1024  # above a manifest's and a bundle's; the documents beyond it are rare
SKEW = 60.0  # seconds by which the clocks of replicas may differ

_VERSION = 1
_HEADER = struct.Struct(">BQQ")  # version; made at, of the wall clock, and lifetime, in milliseconds
_SEAL_BYTES = hashlib.sha256().digest_size
SEALED_MAX_BYTES = _HEADER.size + PAYLOAD_MAX_BYTES + _SEAL_BYTES


class Refusal(StrEnum):
    """Why an entry counts as none."""

    OVERSIZED = "oversized"
    VERSION = "version"  # another release's, or no entry at all
    FORGED = "forged"  # made, changed or moved by who has not the key
    EXPIRED = "expired"
    EARLY = "early"  # made in the future: some clock is wrong


class RefusedError(Exception):
    """An entry counts as none."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Sealer:
    """Seals and opens entries with what `secret` derives. Raises: OperatorError, where it is too short to protect."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_MIN_BYTES:
            raise OperatorError(f"at least {SECRET_MIN_BYTES} bytes expected, found {len(secret)}")
        self._names = _hmac(secret, b"countersign shared cache 1: names")
        self._entries = _hmac(secret, b"countersign shared cache 1: entries")

    def name(self, key: str) -> str:
        """The name under which the entry of `key` is stored, which says nothing of `key`."""
        return f"countersign:v{_VERSION}:{self._digest(key).hex()}"

    def seal(self, key: str, loaded: Loaded[bytes], now: float) -> bytes:
        """The entry of `key`, good from `now`, in seconds of the wall clock, for the lifetime of `loaded`."""
        header = _HEADER.pack(_VERSION, int(now * 1000), int(loaded.lifetime * 1000))
        return b"".join((header, loaded.value, self._seal(key, header, loaded.value)))

    def open(self, key: str, entry: bytes, now: float) -> Loaded[bytes]:
        """What was sealed for `key`, and how many seconds it is good from `now` on. Raises: RefusedError."""
        payload, made_at, lifetime = self._opened(key, entry, now)
        left = lifetime - max(now - made_at, 0.0)
        if left <= 0:
            raise RefusedError(Refusal.EXPIRED)
        return Loaded(payload, left)

    def open_last(self, key: str, entry: bytes, now: float, *, max_age: float) -> tuple[bytes, float]:
        """What was sealed for `key` less than `max_age` seconds ago, good or not any more, and when.

        Raises: RefusedError.
        """
        payload, made_at, _ = self._opened(key, entry, now)
        if now - made_at >= max_age:
            raise RefusedError(Refusal.EXPIRED)
        return payload, made_at

    def _opened(self, key: str, entry: bytes, now: float) -> tuple[bytes, float, float]:
        """What was sealed for `key`, when, and its lifetime. Raises: RefusedError."""
        if len(entry) > SEALED_MAX_BYTES:
            raise RefusedError(Refusal.OVERSIZED)
        if len(entry) < _HEADER.size + _SEAL_BYTES or entry[0] != _VERSION:
            raise RefusedError(Refusal.VERSION)
        header, payload, seal = entry[: _HEADER.size], entry[_HEADER.size : -_SEAL_BYTES], entry[-_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(key, header, payload)):
            raise RefusedError(Refusal.FORGED)
        _, made_at, lifetime = _HEADER.unpack(header)
        if now - made_at / 1000 < -SKEW:
            raise RefusedError(Refusal.EARLY)
        return payload, made_at / 1000, lifetime / 1000

    def _digest(self, key: str) -> bytes:
        return _hmac(self._names, key.encode())

    def _seal(self, key: str, header: bytes, payload: bytes) -> bytes:
        # Of fixed lengths all but the last, so that no two triples are one text
        return hmac.new(self._entries, self._digest(key) + header + payload, hashlib.sha256).digest()


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
