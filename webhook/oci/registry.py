"""The only door to registries: resolve, manifest, blob, referrers, each bounded in bytes, count and time.

spec: OCI distribution 1.1; Docker registry token authentication.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from webhook import settings
from webhook.network import Network
from webhook.oci.authn import CredentialSource
from webhook.oci.manifest import Descriptor, Index, Manifest
from webhook.oci.reference import Digest, Repository


class RequestKind(StrEnum):
    """What a request asked for, as metrics count it."""

    RESOLVE = "resolve"
    MANIFEST = "manifest"
    BLOB = "blob"
    REFERRERS = "referrers"
    TOKEN = "token"  # noqa: S105 - the name of a kind


@dataclass(frozen=True, slots=True)
class Referrers:
    """What the referrers API lists; `supported` is false where the registry has no such API."""

    supported: bool
    manifests: tuple[Descriptor, ...] = ()
    truncated: bool = False  # the listing went on beyond the limits of pages or entries


Observer = Callable[[RequestKind, str, int, float], None]  # kind, host, status (0: no answer), seconds


class Registry:
    """Not safe for use by more than one event loop. `observe` is called after every request."""

    def __init__(
        self,
        *,
        limits: settings.Registry,
        network: Network,
        credentials: tuple[CredentialSource, ...] = (),
        observe: Observer | None = None,
    ) -> None:
        raise NotImplementedError

    async def resolve(self, repository: Repository, tag: str) -> Digest:
        """The digest behind `tag` now.

        Raises: RejectedError (`image_not_found`, `registry_violation`, `host_refused`), InconclusiveError.
        """
        raise NotImplementedError

    async def fetch_manifest(self, repository: Repository, name: Digest | str) -> Manifest | Index | None:
        """The document of that digest or tag, its digest checked; `None` where the registry has none (404).

        Raises: RejectedError, InconclusiveError, MalformedError (digest right, content wrong).
        """
        raise NotImplementedError

    async def fetch_blob(self, repository: Repository, descriptor: Descriptor, *, max_bytes: int) -> bytes:
        """The bytes that `descriptor` speaks of, size and digest checked; inlined data is used where it is right.

        Raises: RejectedError (`registry_violation`), MalformedError (`limit_exceeded`), InconclusiveError.
        """
        raise NotImplementedError

    async def fetch_referrers(self, repository: Repository, digest: Digest) -> Referrers:
        """What the referrers API lists for `digest`, over all pages up to the limits.

        Raises: RejectedError, InconclusiveError.
        """
        raise NotImplementedError

    def lacks_referrers(self, host: str) -> bool:
        """Whether this registry is known to have no referrers API; learned, bounded in time, only an order of asking."""
        raise NotImplementedError

    async def close(self) -> None:
        """Connections are closed."""
        raise NotImplementedError
