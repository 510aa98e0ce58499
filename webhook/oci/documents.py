"""What registries served, kept so that it need not be fetched again: for this process, and for all replicas.

What is fetched by its digest is the same for ever, and is kept in memory: for whoever may read the repository by the
same credentials. Listings, which are what may change, come from memory never; where replicas share a store they may
come from there, for a short time, and whoever wants to be certain looks `afresh`. Nothing of a pod's own credentials is
shared. What comes out of the store is checked like what a registry sends. spec: oci-registry.md 8
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from webhook import settings
from webhook.cache import Cache, Loaded
from webhook.oci.authn import Credential
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest, Repository

ENTRIES_MAX = 20_000
CONTENT_LIFETIME = 24 * 3600.0  # seconds; it never changes, and this only bounds what nobody asks for any more
FOUND_LIFETIME = 300.0  # of a listing, shared
NOTHING_LIFETIME = 2.0  # of the news that there is none, shared: for replicas that begin at the same moment
OWN_LISTINGS_MAX = 256
OWN_SECONDS = 2.0  # for which a listing that this process asked for itself is as good as a fresh one

Lent = tuple[Credential, ...]
PARTS = 3
_FOUND, _NOTHING, _UNSUPPORTED = b"found", b"nothing", b"unsupported"


class Shared(Protocol):
    """What replicas share: never more than a shortcut."""

    async def get_or_load(self, key: str, load: Callable[[], Awaitable[Loaded[bytes]]]) -> Loaded[bytes]:
        """The bytes that some replica put there under `key`, or what `load` brings. Raises: what `load` raises."""


@dataclass(frozen=True, slots=True)
class Document:
    """A listing, or a page of one, as it was served: `body` is `None` where there is none, or, if it is not
    `supported`, no place for one. `next_path` leads to the next page. `is_empty` says that it lists nothing."""

    body: bytes | None
    media_type: str = ""
    next_path: str = ""
    supported: bool = True
    is_empty: bool = False

    def pack(self) -> bytes:
        """As bytes, for a store."""
        if self.body is None:
            return _NOTHING if self.supported else _UNSUPPORTED
        head = (text.encode(errors="surrogateescape") for text in (self.media_type, self.next_path))
        return b"\n".join((_FOUND, *head, self.body))


def unpack(data: bytes) -> Document | None:
    """The document in `data`; `None` where it is none."""
    if data in (_NOTHING, _UNSUPPORTED):
        return Document(None, supported=data == _NOTHING)
    kind, *rest = data.split(b"\n", 3)
    if kind != _FOUND or len(rest) != PARTS:
        return None
    media_type, next_path = (text.decode(errors="surrogateescape") for text in rest[:2])
    return Document(rest[2], media_type, next_path)


class Documents:
    """For one event loop. `shared` is of all replicas, where they have one."""

    def __init__(self, limits: settings.Cache, shared: Shared | None = None) -> None:
        self.shared = shared
        self._content: Cache[tuple[Repository, Lent, Digest, str], bytes] = Cache(
            max_entries=ENTRIES_MAX, max_bytes=limits.documents_max_bytes, size_of=len
        )
        self._own: Cache[tuple[Repository, str], Document] = Cache(
            max_entries=OWN_LISTINGS_MAX, max_bytes=limits.documents_max_bytes, size_of=_size_of
        )

    async def content(
        self,
        repository: Repository,
        lent: Lent,
        descriptor: Descriptor,
        load: Callable[[], Awaitable[bytes]],
        *,
        share: bool,
    ) -> bytes:
        """The bytes that `descriptor` speaks of, as `load` would bring them. Raises: what `load` raises."""
        key = (repository, lent, descriptor.digest, descriptor.media_type)
        body = self._content.get(key)
        if body is None or len(body) != descriptor.size:
            body = await (self._shared_content(repository, descriptor, load) if share and self.shared else load())
            self._content.put(key, body, CONTENT_LIFETIME)
        return body

    async def listing(
        self, repository: Repository, name: str, load: Callable[[], Awaitable[Document]], *, afresh: bool
    ) -> Document:
        """The listing of that name; what another replica saw a while ago only where it need not be `afresh`.

        Raises: what `load` raises.
        """
        key = (repository, name)
        if afresh:
            return self._own.get(key) or await load()
        assert self.shared is not None

        async def load_and_note() -> Loaded[bytes]:
            document = await load()
            self._own.put(key, document, OWN_SECONDS)
            nothing = document.body is None or document.is_empty
            return Loaded(document.pack(), NOTHING_LIFETIME if nothing else FOUND_LIFETIME)

        found = await self.shared.get_or_load(f"listing {repository} {name}", load_and_note)
        return unpack(found.value) or await load()

    async def _shared_content(
        self, repository: Repository, descriptor: Descriptor, load: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        assert self.shared is not None

        async def load_to_share() -> Loaded[bytes]:
            return Loaded(await load(), CONTENT_LIFETIME)

        name = f"content {repository} {descriptor.digest} {descriptor.media_type}"
        found = (await self.shared.get_or_load(name, load_to_share)).value
        if len(found) == descriptor.size and descriptor.digest.matches(found):
            return found
        return await load()


def _size_of(document: Document) -> int:
    return len(document.body or b"")
