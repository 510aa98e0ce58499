"""Envelopes changed at random: what every document may suffer, and what is particular to JWS, and to COSE."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from random import Random

from tests.fuzz import mutants
from tests.fuzz.mutants import ODD, Mutant
from tests.fuzz.notary import items
from tests.fuzz.notary.seeds import NotarySeed
from tests.fuzz.seeds import Seed
from tests.private_sigstore import documents
from tests.private_sigstore.documents import DELETED

_INNER = ("protected", "payload", "signature")  # what is base64url
_STANDS_IN = "\0"  # for a name that stands twice, which no dict can have


def mutant_of(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """`seed`, changed in one thing, or in a few."""
    assert isinstance(seed, NotarySeed)
    mutant = _changed(seed, seed.payload, others, random)
    if random.random() < 0.1:  # two things at once
        second = _changed(seed, mutant.payload, others, random)
        return Mutant(f"{mutant.how}; {second.how}", second.payload, {}, mutant.subject)
    return mutant


def _changed(seed: NotarySeed, payload: bytes, others: tuple[Seed, ...], random: Random) -> Mutant:
    changed = Seed(seed.name, seed.form, payload, {}, seed.judge, seed.subject)
    same = tuple(one for one in others if isinstance(one, NotarySeed) and one.is_cose == seed.is_cose)
    kinds = _COSE if seed.is_cose else _JWS
    kind = random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
    return kind(changed, same, random)


# --- JWS


def _inside(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """A member of what is wrapped in base64url replaced by an odd value, or the whole scrambled."""
    document, name = mutants.as_json(seed.payload), random.choice(_INNER)
    raw = _unwrap(document, name)
    if raw is None:
        return mutants.change_bytes(seed, others, random)
    inner = mutants.as_json(raw)
    if inner is None or random.random() < 0.3:
        raw, how = mutants.scramble(raw, random)
    else:
        path, odd = random.choice(list(documents.paths(inner))), random.choice(ODD)
        raw = documents.as_bytes(documents.put(inner, path, odd if path or odd is not DELETED else None))
        how = f"{list(path)} := {mutants.short(odd)}"
    return _rewrapped(seed, document, name, raw, how)


def _name(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """A name in another spelling, or twice; the second may mean something else."""
    document, part = mutants.as_json(seed.payload), random.choice(("", *_INNER[:2]))
    raw = seed.payload if not part else _unwrap(document, part)
    inner = None if raw is None else mutants.as_json(raw)
    paths = [] if inner is None else [path for path in documents.paths(inner) if path and isinstance(path[-1], str)]
    if not paths:
        return mutants.change_bytes(seed, others, random)
    path = random.choice(paths)
    name = str(path[-1])
    written = random.choice(
        (name, name.upper(), name.title(), name.replace("s", "\u017f"), name.replace("k", "\u212a"))
    )
    value = random.choice((documents.at(inner, path), *ODD[:-1]))
    changed = documents.put(inner, path[:-1], lambda parent: _second(parent, name, value, random))
    data = documents.as_bytes(changed).replace(b'"\\u0000"', json.dumps(written).encode())
    how = f"{part}{list(path)} a second time, as {written!r} := {mutants.short(value)}"
    return _rewrapped(seed, document, part, data, how) if part else Mutant(how, data, {}, seed.subject)


def _second(parent: object, name: str, value: object, random: Random) -> dict[str, object]:
    assert isinstance(parent, dict)
    first = dict(parent)
    if random.random() < 0.3:  # instead of the first, not besides
        del first[name]
    return {**first, _STANDS_IN: value} if random.random() < 0.5 else {_STANDS_IN: value, **first}


def _rewrapped(seed: Seed, document: object, name: str, raw: bytes, how: str) -> Mutant:
    text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return Mutant(f"{name}: {how}", documents.as_bytes(documents.put(document, (name,), text)), {}, seed.subject)


def _unwrap(document: object, name: str) -> bytes | None:
    value = document.get(name) if isinstance(document, dict) else None
    try:
        return base64.urlsafe_b64decode(f"{value}==") if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


# --- COSE


def _item(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """An item written otherwise, or as another."""
    try:
        whole = items.parse(seed.payload)
    except (ValueError, RecursionError):
        return mutants.change_bytes(seed, others, random)
    path, how = random.choice(list(items.paths(whole))), random.choice(items.CHANGES)
    try:
        changed = items.change(whole, path, lambda item: how(item, random)).write()
    except (StopIteration, OverflowError):  # no head has room for it
        return mutants.change_bytes(seed, others, random)
    return Mutant(f"{how.__name__} {list(path)}", changed, {}, seed.subject)


def _part(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """An item of another envelope, in the place where this has such a one."""
    other = random.choice(others)
    try:
        own, foreign = items.parse(seed.payload), items.parse(other.payload)
    except (ValueError, RecursionError):
        return mutants.change_bytes(seed, others, random)
    path = random.choice([path for path in items.paths(own) if path in set(items.paths(foreign))])
    taken = foreign
    for step in path:
        taken = taken.inner[step]
    how = f"{list(path)} of {other.name!r}"
    return Mutant(how, items.change(own, path, lambda _: taken).write(), {}, seed.subject)


_JWS: Sequence[tuple[mutants.Kind, int]] = (
    (mutants.change_bytes, 15),
    (mutants.change_member, 15),
    (mutants.change_inside, 15),  # certificates and tokens
    (_inside, 30),
    (_name, 15),
    (mutants.change_splice, 10),
    (mutants.change_grow, 3),
    (mutants.change_subject, 1),
)
_COSE: Sequence[tuple[mutants.Kind, int]] = (
    (mutants.change_bytes, 35),
    (_item, 45),
    (_part, 15),
    (mutants.change_subject, 1),
)
