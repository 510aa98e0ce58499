"""What was signed of a certificate, a revocation list or an OCSP response, changed, and signed again by its issuer.

All three are a sequence of what is signed, the algorithm and the signature; so one way to change them does for all.

spec: RFC 5280 4.1, 5.1; RFC 6960 4.2.1; X.690 8.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Signed:
    """The parts of one, DER; `rest` is what stands behind the signature."""

    tbs: bytes
    algorithm: bytes
    rest: bytes = b""

    def again(self, tbs: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
        """The whole, with `tbs` in it, signed with `key`, ECDSA and SHA-256."""
        signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
        return element(0x30, tbs + self.algorithm + element(3, b"\0" + signature) + self.rest)


def split(data: bytes) -> Signed:
    """The parts of `data`."""
    tbs, algorithm, _, *rest = elements(content(data))
    return Signed(tbs, algorithm, b"".join(rest))


def elements(data: bytes) -> list[bytes]:
    """The elements that stand in `data`, one behind the other."""
    found = []
    while data:
        begin, length = _head(data)
        found.append(data[: begin + length])
        data = data[begin + length :]
    return found


def content(data: bytes) -> bytes:
    begin, length = _head(data)
    return data[begin : begin + length]


def element(tag: int, inside: bytes) -> bytes:
    size = len(inside)
    length = bytes([size]) if size < 128 else size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag]) + (length if size < 128 else bytes([0x80 | len(length)]) + length) + inside


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """`data` with each of its bits changed in turn."""
    for position in range(len(data) * 8):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        yield position, bytes(changed)


def rewrites(data: bytes) -> Iterator[tuple[str, bytes]]:
    """`data`, one element, with each element in it left out, repeated, swapped with the next, and made empty."""
    if not data[0] & 0x20:  # X.690 8.1.2.5: primitive
        return
    parts = elements(content(data))
    for number, part in enumerate(parts):
        before, behind = parts[:number], parts[number + 1 :]
        others = {
            "left out": [*before, *behind],
            "twice": [*before, part, part, *behind],
            "empty": [*before, part[:1] + b"\0", *behind],
            "behind the next": [*before, *behind[:1], part, *behind[1:]],
        }
        for how, changed in others.items():
            yield f"{number} {how}", element(data[0], b"".join(changed))
        for how, changed_part in rewrites(part):
            yield f"{number}/{how}", element(data[0], b"".join([*before, changed_part, *behind]))


def _head(data: bytes) -> tuple[int, int]:
    """Where the content of the first element begins, and its length. X.690 8.1.3"""
    first = data[1]
    begin = 2 + (first & 0x7F if first & 0x80 else 0)
    return begin, int.from_bytes(data[2:begin]) if first & 0x80 else first
