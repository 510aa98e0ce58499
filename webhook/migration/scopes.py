"""Which rule decides for which repository, so that scopes of Notation mean what they meant.

A scope is one repository, while a pattern of a policy covers what lies below it too. So before the rule of a
repository stands one that hands what lies below it to whoever decides for the rest, and the rule of a repository comes
before that of one above it. An exemption goes before every rule: what lies below an exempt repository is denied, and
where another scope lies there the exemption is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from webhook.errors import MalformedError, OperatorError, quote
from webhook.migration.notation import Document, Statement
from webhook.oci import reference
from webhook.oci.reference import Repository
from webhook.trust.notary.levels import Level

_Key = tuple[str, tuple[str, ...]]  # as patterns compare repositories


@dataclass(frozen=True, slots=True)
class Place:
    """One repository, and the statement that decides for it."""

    repository: Repository
    statement: Statement


@dataclass(frozen=True, slots=True)
class Tier:
    """Places of which none lies below another; rules of a tier come before those of the next."""

    places: tuple[Place, ...]

    @property
    def below(self) -> list[str]:
        """Patterns of what lies below them."""
        return [f"{place.repository}/**" for place in self.places]

    def of(self, statement: Statement) -> list[str]:
        """Patterns of those for which `statement` decides."""
        return [str(place.repository) for place in self.places if place.statement is statement]


@dataclass(frozen=True, slots=True)
class Layout:
    """`exempt` are the places of statements with the level skip; `crowded` are such that cannot be exempt, since other
    scopes lie below them. `unnamable` are scopes by which no pod can name an image."""

    tiers: tuple[Tier, ...]
    exempt: tuple[Place, ...]
    crowded: tuple[Place, ...]
    unnamable: tuple[str, ...]


def lay_out(document: Document) -> Layout:
    """Where each scope of `document` goes. Raises: OperatorError, where two of them name one repository."""
    places: dict[_Key, Place] = {}
    unnamable = []
    for statement in document.statements:
        for scope in statement.scopes:
            repository = _repository(scope)
            if repository is None:
                unnamable.append(scope)
                continue
            known = places.setdefault(_key(repository), Place(repository, statement))
            if known.statement is not statement:
                names = f"{quote(known.statement.name)} and {quote(statement.name)}"
                raise OperatorError(
                    f"{quote(scope)} is one repository under several names, and the statements {names} are about it: "
                    "one of them expected"
                )
    skipped = [place for place in places.values() if place.statement.level is Level.SKIP]
    above = _above(places)
    return Layout(
        tiers=_tiers([place for place in places.values() if place.statement.level is not Level.SKIP]),
        exempt=tuple(place for place in skipped if _key(place.repository) not in above),
        crowded=tuple(place for place in skipped if _key(place.repository) in above),
        unnamable=tuple(unnamable),
    )


def _repository(scope: str) -> Repository | None:
    """What a pod calls it: `docker.io/library/nginx` for `docker.io/nginx`; `None` where it can call nothing so."""
    try:
        repository = reference.parse(scope).repository
    except MalformedError:
        return None
    # A first segment that a node takes for no host is part of a path on Docker Hub
    return None if repository.path.endswith(scope) else repository


def _key(repository: Repository) -> _Key:
    return repository.compared_host, repository.segments


def _above(keys: Iterable[_Key]) -> Mapping[_Key, int]:
    """What lies above any of `keys`, and how many of them stand below each other there."""
    heights: dict[_Key, int] = {}
    for host, segments in sorted(keys, key=lambda key: -len(key[1])):
        height = heights.get((host, segments), 0) + 1
        for end in range(1, len(segments)):
            parent = (host, segments[:end])
            heights[parent] = max(heights.get(parent, 0), height)
    return heights


def _tiers(places: Sequence[Place]) -> tuple[Tier, ...]:
    above = _above(_key(place.repository) for place in places)
    heights = [above.get(_key(place.repository), 0) for place in places]
    return tuple(
        Tier(tuple(place for place, height in zip(places, heights, strict=True) if height == wanted))
        for wanted in sorted(set(heights))
    )
