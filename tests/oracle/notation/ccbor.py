"""Tiny strict CBOR codec: just what a COSE_Sign1 Notary envelope needs.

Decoding refuses: indefinite lengths, duplicate map keys, floats other than finite ones,
tags that the caller did not allow, nesting deeper than MAX_DEPTH, trailing bytes,
map keys that are neither int nor text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 8


class CBORError(ValueError):
    pass


@dataclass(frozen=True)
class Tag:
    number: int
    value: Any


class _Reader:
    def __init__(self, data: bytes, allowed_tags: frozenset[int]):
        self.d, self.i, self.tags = data, 0, allowed_tags

    def take(self, n: int) -> bytes:
        if n > len(self.d) - self.i:
            raise CBORError("truncated")
        out = self.d[self.i : self.i + n]
        self.i += n
        return out

    def item(self, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise CBORError("nesting too deep")
        ib = self.take(1)[0]
        major, ai = ib >> 5, ib & 31
        if major == 7:
            if ai == 20:
                return False
            if ai == 21:
                return True
            if ai == 22:
                return None
            if ai in (25, 26, 27):
                fmt, n = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}[ai]
                v = struct.unpack(fmt, self.take(n))[0]
                if v != v or v in (float("inf"), float("-inf")):
                    raise CBORError("non-finite float")
                return v
            raise CBORError(f"simple value {ai} not allowed")
        if ai < 24:
            arg = ai
        elif ai <= 27:
            arg = int.from_bytes(self.take(1 << (ai - 24)), "big")
        else:
            raise CBORError("indefinite length or reserved additional info")
        if major == 0:
            return arg
        if major == 1:
            return -1 - arg
        if major == 2:
            return self.take(arg)
        if major == 3:
            try:
                return self.take(arg).decode("utf-8", "strict")
            except UnicodeDecodeError as e:
                raise CBORError("invalid UTF-8") from e
        if major == 4:
            if arg > len(self.d) - self.i:
                raise CBORError("array longer than input")
            return [self.item(depth + 1) for _ in range(arg)]
        if major == 5:
            if arg * 2 > len(self.d) - self.i:
                raise CBORError("map longer than input")
            out: dict[Any, Any] = {}
            for _ in range(arg):
                k = self.item(depth + 1)
                if type(k) not in (int, str):
                    raise CBORError("map key must be int or text")
                if k in out:
                    raise CBORError(f"duplicate map key {k!r}")
                out[k] = self.item(depth + 1)
            return out
        if arg not in self.tags:
            raise CBORError(f"tag {arg} not allowed here")
        return Tag(arg, self.item(depth + 1))


def loads(data: bytes, tags: frozenset[int] = frozenset()) -> Any:
    r = _Reader(bytes(data), tags)
    v = r.item()
    if r.i != len(r.d):
        raise CBORError("trailing bytes")
    return v


def _head(major: int, n: int) -> bytes:
    if n < 24:
        return bytes([major << 5 | n])
    for ai, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << (8 * size):
            return bytes([major << 5 | ai]) + n.to_bytes(size, "big")
    raise CBORError("integer too large")


def dumps(v: Any) -> bytes:
    if v is None:
        return b"\xf6"
    if v is True or v is False:
        return b"\xf5" if v else b"\xf4"
    if isinstance(v, int):
        return _head(0, v) if v >= 0 else _head(1, -1 - v)
    if isinstance(v, (bytes, bytearray)):
        return _head(2, len(v)) + bytes(v)
    if isinstance(v, str):
        b = v.encode()
        return _head(3, len(b)) + b
    if isinstance(v, (list, tuple)):
        return _head(4, len(v)) + b"".join(map(dumps, v))
    if isinstance(v, dict):  # core deterministic: sort by encoded key
        pairs = sorted((dumps(k), dumps(x)) for k, x in v.items())
        return _head(5, len(pairs)) + b"".join(k + x for k, x in pairs)
    if isinstance(v, Tag):
        return _head(6, v.number) + dumps(v.value)
    raise CBORError(f"cannot encode {type(v)}")
