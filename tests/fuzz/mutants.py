"""Evidence changed at random: bytes and bits, members of JSON, what base64 wraps, annotations, parts of other evidence.

A mutant says how it was made, so that a finding can be read. Nothing here knows what is right.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.seeds import OTHER_IMAGE, Seed
from tests.private_sigstore import documents
from tests.private_sigstore.documents import DELETED, Path

ODD: tuple[object, ...] = (
    None, [], {}, 0, -1, 2**63, 2**70, 1.5, True, "", "x", "AAAA", "\u00e9", "0", "-1", [[]], {"a": []}, DELETED,
)  # fmt: skip
DEEP = 5_000  # levels of nesting: more than Python's stack takes
LONG = 100_000  # characters, or entries

Kind = Callable[[Seed, tuple[Seed, ...], Random], "Mutant"]  # one way to change one


@dataclass(frozen=True, slots=True)
class Mutant:
    """`how` it was made, for people. `may_pass` says whether it may be accepted, where that is known beforehand."""

    how: str
    payload: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(repr=False)
    subject: str
    may_pass: bool | None = None


def mutant_of(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """`seed`, changed in one thing, or in a few."""
    kind = random.choices(_KINDS, _WEIGHTS)[0]
    mutant = kind(seed, others, random)
    if random.random() < 0.1:  # two things at once
        changed = Seed(seed.name, seed.form, mutant.payload, mutant.annotations, seed.judge, mutant.subject)
        second = random.choices(_KINDS, _WEIGHTS)[0](changed, others, random)
        return Mutant(f"{mutant.how}; {second.how}", second.payload, second.annotations, second.subject)
    return mutant


def every_member(seed: Seed) -> Iterator[Mutant]:
    """`seed` with each value of each of its documents replaced by each odd one, those inside of base64 too."""
    for name, document in _documents(seed):
        for path in documents.paths(document):
            for odd in ODD if path else ODD[:-1]:
                yield _with(seed, name, documents.put(document, path, odd), f"{name}{list(path)} := {short(odd)}")


# --- one change


def change_bytes(seed: Seed, _others: tuple[Seed, ...], random: Random) -> Mutant:
    """Some text, taken as bytes, with a bit, a byte or a run of bytes changed."""
    name = random.choice(["payload", *seed.annotations])
    data = seed.payload if name == "payload" else seed.annotations[name].encode()
    changed, how = scramble(data, random)
    if name == "payload":
        return Mutant(f"payload: {how}", changed, seed.annotations, seed.subject)
    text = changed.decode("utf-8", "replace")
    return Mutant(f"{name}: {how}", seed.payload, {**seed.annotations, name: text}, seed.subject)


def change_member(seed: Seed, _others: tuple[Seed, ...], random: Random) -> Mutant:
    """A value of a document replaced by an odd one."""
    return _change_value(seed, random, lambda _: (odd := random.choice(ODD), short(odd)))


def change_inside(seed: Seed, _others: tuple[Seed, ...], random: Random) -> Mutant:
    """What is wrapped in base64, scrambled, or a member of the document that it is replaced by an odd value."""

    def change(value: object) -> tuple[object, str]:
        raw = _unwrap(value)
        if raw is None:
            return (text := str(value)[::-1]), short(text)
        inner = as_json(raw)
        if inner is not None and random.random() < 0.7:
            path = random.choice(list(documents.paths(inner)))
            odd = random.choice(ODD if path else ODD[:-1])
            raw, how = documents.as_bytes(documents.put(inner, path, odd)), f"inside{list(path)} := {short(odd)}"
        else:
            raw, how = scramble(raw, random)
        return base64.b64encode(raw).decode(), how

    return _change_value(seed, random, change, wrapped=True)


def _annotation(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """An annotation left out, emptied, added, swapped with another, or taken from other evidence."""
    annotations = dict(seed.annotations)
    if not annotations:
        return change_member(seed, others, random)
    name = random.choice(list(annotations))
    match random.randrange(5):
        case 0:
            del annotations[name]
            how = "left out"
        case 1:
            annotations[name] = ""
            how = "emptied"
        case 2:
            annotations["org.example.unknown"] = annotations[name]
            how = "copied to an unknown one"
        case 3:
            second = random.choice(list(annotations))
            annotations[name], annotations[second] = annotations[second], annotations[name]
            how = f"swapped with {second}"
        case _:
            other = random.choice(others)
            annotations[name] = other.annotations.get(name, "")
            how = f"taken from {other.name!r}"
    return Mutant(f"{name}: {how}", seed.payload, annotations, seed.subject)


def change_splice(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """A part of other evidence of the same form, in the place where this has such a part."""
    other = random.choice([one for one in others if one.form is seed.form])
    own, foreign = as_json(seed.payload), as_json(other.payload)
    shared = [] if own is None else [path for path in documents.paths(own) if path and _has(foreign, path)]
    if not shared or (seed.annotations and random.random() < 0.5):
        return Mutant(f"payload of {other.name!r}", other.payload, seed.annotations, seed.subject)
    path = random.choice(shared)
    spliced = documents.put(own, path, _value(documents.at(foreign, path)))
    return _with(seed, "payload", spliced, f"payload{list(path)} of {other.name!r}")


def change_grow(seed: Seed, _others: tuple[Seed, ...], random: Random) -> Mutant:
    """Something far too large, deep or many."""
    huge: tuple[tuple[Callable[[object], object], str], ...] = (
        (lambda value: [value] * 2, "twice"),
        (lambda value: [value] * 40, "forty times"),
        (lambda value: [*value, *value] if isinstance(value, list) else value, "its entries twice"),
        (lambda value: "A" * LONG, "a long text"),
        (lambda value: [0] * LONG, "many numbers"),
        (lambda value: {str(number): value for number in range(100)}, "a hundred members"),
        (lambda value: 10**4_000, "a long number"),
    )
    if random.random() < 0.15:
        deep = random.choice([b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"0" + b"}" * DEEP, b"[" * DEEP])
        return Mutant("nested deeply", deep, seed.annotations, seed.subject)
    change, how = random.choice(huge)
    return _change_value(seed, random, lambda value: (change(copy.deepcopy(value)), how))


def change_subject(seed: Seed, _others: tuple[Seed, ...], _random: Random) -> Mutant:
    """The same evidence beside another image."""
    return Mutant("beside another image", seed.payload, seed.annotations, OTHER_IMAGE)


_KINDS = (change_bytes, change_member, change_inside, _annotation, change_splice, change_grow, change_subject)
_WEIGHTS = (20, 25, 30, 10, 10, 4, 1)


# --- means


def scramble(data: bytes, random: Random) -> tuple[bytes, str]:
    if not data:
        return b"\x00", "a byte out of nothing"
    at = random.randrange(len(data))
    run = data[at : at + random.randint(1, 40)]
    match random.randrange(6):
        case 0 | 1:
            return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :], f"bit at {at}"
        case 2:
            return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :], f"byte at {at}"
        case 3:
            return data[:at] + data[at + len(run) :], f"{len(run)} bytes cut at {at}"
        case 4:
            return data[:at] + run + data[at:], f"{len(run)} bytes twice at {at}"
    return data[:at], f"cut off at {at}"


def _change_value(
    seed: Seed, random: Random, change: Callable[[object], tuple[object, str]], *, wrapped: bool = False
) -> Mutant:
    found = _documents(seed)
    if not found:
        return change_bytes(seed, (), random)
    name, document = random.choice(found)
    places = list(documents.paths(document))
    if wrapped:
        places = [path for path in places if _unwrap(documents.at(document, path)) is not None] or places
    path = random.choice(places)
    value, how = change(documents.at(document, path))
    if value is DELETED and not path:
        value = None
    return _with(seed, name, documents.put(document, path, _value(value)), f"{name}{list(path)}: {how}")


def _value(value: object) -> Callable[[object], object] | object:
    """`value`, as `documents.put` takes it."""
    return value if value is DELETED else lambda _: value


def _documents(seed: Seed) -> list[tuple[str, object]]:
    """The payload, and each annotation, that is a JSON object."""
    texts = {"payload": seed.payload, **{name: text.encode() for name, text in seed.annotations.items()}}
    parsed = ((name, as_json(data)) for name, data in texts.items())
    return [(name, document) for name, document in parsed if isinstance(document, dict)]


def _with(seed: Seed, name: str, document: object, how: str) -> Mutant:
    data = documents.as_bytes(document)
    if name == "payload":
        return Mutant(how, data, seed.annotations, seed.subject)
    return Mutant(how, seed.payload, {**seed.annotations, name: data.decode()}, seed.subject)


def as_json(data: bytes) -> object | None:
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value


def _unwrap(value: object) -> bytes | None:
    """What `value` wraps in base64, where it does."""
    if not isinstance(value, str) or len(value) < 8:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _has(document: object, path: Path) -> bool:
    try:
        documents.at(document, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def short(value: object) -> str:
    return repr(value)[:40]
