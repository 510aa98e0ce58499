"""What registries served, kept so that it need not be fetched again: for this process, and for all replicas.

What is fetched by its digest is the same for ever, and is kept in memory: for whoever may read the repository by the
same credentials. Listings, which are what may change, come from memory never; where replicas share a store they may
come from there, for a short time, and whoever wants to be certain looks `afresh`; the last one of each stays there for
when its registry does not answer. Nothing of a pod's own credentials is shared. What comes out of the store is checked
like what a registry sends. spec: oci-registry.md 8
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from webhook import settings
from webhook.cache import Cache, Loaded
from webhook.oci.authn import Lent
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest, Repository

ENTRIES_MAX = 20_000
CONTENT_LIFETIME = 24 * 3600.0  # seconds; it never changes, and this only bounds what nobody asks for any more
ENTRY_BYTES = 800  # besides what was fetched, as measured
FOUND_LIFETIME = 300.0  # of a listing, shared
NOTHING_LIFETIME = 2.0  # of the news that there is none, shared: for replicas that begin at the same moment
OWN_LISTINGS_MAX = 256
OWN_SECONDS = 2.0  # for which a listing that this process asked for itself is as good as a fresh one

_FOUND, _NOTHING, _UNSUPPORTED = b"found", b"nothing", b"unsupported"
_BYTES = "surrogateescape"  # whatever a registry put into a header


class Shared(Protocol):
    """What replicas share: never more than a shortcut."""

    async def get_or_load(self, key: str, load: Callable[[], Awaitable[Loaded[bytes]]]) -> Loaded[bytes]:
        """The bytes that some replica put there under `key`, or what `load` brings. Raises: what `load` raises."""

    async def renew(self, key: str, load: Callable[[], Awaitable[Loaded[bytes]]]) -> Loaded[bytes]:
        """What `load` brings, which is there from now on, whatever was there before. Raises: what `load` raises."""

    async def last(self, key: str, max_age: float) -> tuple[bytes, float] | None:
        """The bytes that some replica put there last under `key`, and when, by the wall clock."""


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
        head = (text.encode(errors=_BYTES) for text in (self.media_type, self.next_path))
        return b"\n".join((_FOUND, *head, self.body))


def unpack(data: bytes) -> Document | None:
    """The document in `data`; `None` where it is none."""
    if data in (_NOTHING, _UNSUPPORTED):
        return Document(None, supported=data == _NOTHING)
    match data.split(b"\n", 3):
        case [kind, media_type, next_path, body] if kind == _FOUND:
            return Document(body, media_type.decode(errors=_BYTES), next_path.decode(errors=_BYTES))
    return None


class Documents:
    """What one process keeps of them. For one event loop. `shared` is of all replicas, where they have one."""

    def __init__(self, limits: settings.Cache, shared: Shared | None = None) -> None:
        self.shared, self._stale = shared, limits.presence_stale
        self._lifetime = max(CONTENT_LIFETIME, limits.presence_stale)
        self._content: Cache[tuple[Repository, Lent, Digest, str], bytes] = Cache(
            max_entries=ENTRIES_MAX, max_bytes=limits.documents_max_bytes, size_of=_size_of_content
        )
        self._own: Cache[tuple[Repository, str], Document] = Cache(
            max_entries=OWN_LISTINGS_MAX, max_bytes=limits.documents_max_bytes, size_of=_size_of
        )

    async def content(
        self,
        repository: Repository,
        lent: Callable[[], Lent],
        descriptor: Descriptor,
        load: Callable[[], Awaitable[bytes]],
        *,
        share: bool,
    ) -> bytes:
        """The bytes that `descriptor` speaks of, as `load` would bring them. Raises: what `load` raises.

        `lent` are the private credentials that are used by now.
        """
        content = (descriptor.digest, descriptor.media_type)
        body = self._content.get((repository, lent(), *content))
        if body is None or len(body) != descriptor.size:
            found = await self._load_content(repository, descriptor, load, share=share)
            body = found.value
            self._content.put((repository, lent(), *content), body, found.lifetime)  # more may have been lent meanwhile
        return body

    async def listing(
        self, repository: Repository, name: str, load: Callable[[], Awaitable[Document]], *, afresh: bool
    ) -> Document:
        """The listing of that name; what another replica saw a while ago only where it need not be `afresh`.

        Raises: what `load` raises.
        """
        key = (repository, name)
        if afresh and (own := self._own.get(key)) is not None:
            return own
        assert self.shared is not None

        async def load_and_note() -> Loaded[bytes]:
            document = await load()
            self._own.put(key, document, OWN_SECONDS)
            if document.body is None or document.is_empty:
                return Loaded(document.pack(), NOTHING_LIFETIME)
            return Loaded(document.pack(), FOUND_LIFETIME, stale=self._stale)

        share = self.shared.renew if afresh else self.shared.get_or_load
        found = await share(_listing(repository, name), load_and_note)
        return unpack(found.value) or await load()

    async def last(self, repository: Repository, name: str) -> tuple[Document, float] | None:
        """The listing of that name as some replica saw it last, and when; `None` where nobody tells."""
        found = await self.shared.last(_listing(repository, name), self._stale) if self.shared is not None else None
        document = unpack(found[0]) if found is not None else None
        return (document, found[1]) if found is not None and document is not None else None

    async def _load_content(
        self, repository: Repository, descriptor: Descriptor, load: Callable[[], Awaitable[bytes]], *, share: bool
    ) -> Loaded[bytes]:
        """It is held for no longer than it is shared, so that somebody puts it there again."""

        async def load_to_share() -> Loaded[bytes]:
            return Loaded(await load(), self._lifetime)

        if not share or self.shared is None:
            return await load_to_share()
        name = f"content {repository} {descriptor.digest} {descriptor.media_type}"
        found = await self.shared.get_or_load(name, load_to_share)
        if len(found.value) == descriptor.size and descriptor.digest.matches(found.value):
            return found
        return await load_to_share()


def _listing(repository: Repository, name: str) -> str:
    return f"listing {repository} {name}"


def _size_of_content(body: bytes) -> int:
    return len(body) + ENTRY_BYTES


def _size_of(document: Document) -> int:
    return len(document.body or b"")
