"""References, digests, and the patterns that policies match them with, as parsed parts and never as text.

specs: distribution/reference grammar; containerd CRI normalisation; see docs/references.md for the order of the rules.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Digest:
    """`algorithm:hex`, sha256 or sha512, lower-case hex of the right length."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def matches(self, data: bytes) -> bool:
        """Whether `data` has this digest."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Repository:
    """A host as written in the reference after normalisation (`docker.io`, `ghcr.io:443`), and a path below it."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One image as somebody wrote it, normalised: `tag` is `latest` where neither tag nor digest was given."""

    text: str
    repository: Repository
    tag: str | None
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A host and path segments. `text` is what the operator wrote."""

    text: str

    def matches(self, repository: Repository) -> bool:
        raise NotImplementedError


def parse(text: str) -> Reference:
    """The reference in `text`. Raises: MalformedError, `reference_invalid`."""
    raise NotImplementedError


def parse_digest(text: str) -> Digest:
    """The digest in `text`. Raises: MalformedError, `malformed`."""
    raise NotImplementedError


def parse_pattern(text: str) -> Pattern:
    """The pattern in `text`. Raises: MalformedError, `malformed`."""
    raise NotImplementedError


def matching_host(host: str) -> str:
    """The one form under which a registry's several names are compared. Never dialled."""
    raise NotImplementedError
