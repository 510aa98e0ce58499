"""Trust material in Secrets and ConfigMaps, as policies name it: an object of the release namespace, and a key in it.

What such a name means, and nothing of what stands there: `contents` reads that, and `objects` has it at hand. A place
is what is read of an entry in one way, so that two that are equal are read once.

spec: Kubernetes, Secret and ConfigMap of core/v1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from webhook.trust.material import Hash, Padding


class ObjectKind(StrEnum):
    SECRET = "Secret"  # noqa: S105 - a word of Kubernetes
    CONFIG_MAP = "ConfigMap"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the release namespace: no policy can name one of another."""

    kind: ObjectKind
    name: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of an object's data."""

    holder: StoredObject
    key: str

    def __str__(self) -> str:
        return f"{self.holder.kind.lower()} {self.holder.name}/{self.key}"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A public key in PEM, and how it is used."""

    entry: Entry
    hash: Hash | None = None
    padding: Padding | None = None

    def __str__(self) -> str:
        return str(self.entry)


@dataclass(frozen=True, slots=True)
class StoredRoot:
    """A trusted_root.json."""

    entry: Entry

    def __str__(self) -> str:
        return str(self.entry)
