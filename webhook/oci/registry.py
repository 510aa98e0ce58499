"""The only door to registries: resolve, manifest, blob, referrers, each bounded in bytes, count and time.

Promises: what is returned under a digest has that digest; a document that is not what was announced is an error of the
registry's (`registry_violation`), never data; an outage is never taken for an absence. How a question is carried
through is left to `transport`. spec: OCI distribution 1.1; Docker registry token authentication.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from webhook import settings
from webhook.errors import Code, InconclusiveError, RejectedError, quote
from webhook.network import Answer, Network
from webhook.oci import answers, links, manifest, received, reference
from webhook.oci.authn import CredentialSource, Lent, PrivateCredentials
from webhook.oci.complaint import codes
from webhook.oci.courtesy import CourtesyObserver, Shunned
from webhook.oci.documents import Document, Documents, Shared
from webhook.oci.learned import Learned
from webhook.oci.manifest import Descriptor, Index, Manifest
from webhook.oci.reference import Digest, Repository
from webhook.oci.sending import Observer, RequestKind
from webhook.oci.transport import Question, Redirects, Transport

__all__ = ["Lent", "Observer", "Referrers", "Registry", "RequestKind"]

_HIDDEN = frozenset((answers.UNKNOWN_REPOSITORY, "DENIED", "UNAUTHORIZED"))
_NO_HEAD = frozenset((400, 405, 501))
_NO_REFERRERS = frozenset((301, 302, 303, 307, 308, 400, 404, 405, 406, 410, 501))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True)
class Referrers:
    """What the referrers API lists; `supported` is false where the registry has no such API."""

    supported: bool
    manifests: tuple[Descriptor, ...] = ()
    truncated: bool = False  # the listing went on beyond the limits of pages or entries


class Registry:
    """Not safe for use by more than one event loop. `observe` is called after every request."""

    def __init__(
        self,
        *,
        limits: settings.Registry,
        network: Network,
        credentials: tuple[CredentialSource, ...] = (),
        observe: Observer | None = None,
        cache: settings.Cache = settings.NOTHING_KEPT,
        shared: Shared | None = None,
        told: CourtesyObserver = lambda event, authority: None,
    ) -> None:
        self._limits = limits
        self.manifest_max_bytes = limits.manifest_max_bytes
        self._transport = Transport(limits=limits, network=network, credentials=credentials, observe=observe, told=told)
        self._documents = Documents(cache, shared)
        self._afresh = False
        self._recalled: list[float] | None = None  # of a view that asks nobody, when each listing was seen
        self._learned = Learned()
        self._private: PrivateCredentials | None = None

    def with_credentials(self, private: PrivateCredentials) -> Registry:
        """A view for one who may use `private` too, where nobody else has credentials or theirs were refused.

        It shares connections, tokens by their credentials, and what is known of hosts. Closing it is this one's matter.
        """
        view = copy.copy(self)
        view._private, view._transport = private, self._transport.with_credentials(private)
        return view

    @property
    def is_shared(self) -> bool:
        """Whether listings may be what another replica saw a while ago."""
        return self._shares and not self._afresh and not self.asks_nobody

    def afresh(self) -> Registry:
        """A view that asks registries themselves for what may change."""
        view = copy.copy(self)
        view._afresh = True
        return view

    def remembered(self) -> Registry | None:
        """A view that asks no registry, and shows what replicas saw last of listings; of what nobody saw, that there is
        none. `None` where nothing is shared."""
        if not self._shares:
            return None
        view = copy.copy(self)
        view._recalled = []
        return view

    @property
    def asks_nobody(self) -> bool:
        """Whether this is such a view."""
        return self._recalled is not None

    @property
    def recalled_at(self) -> float | None:
        """When the oldest of what such a view has shown was seen, by the wall clock."""
        return min(self._recalled or (), default=None)

    async def prepare(self, repository: Repository) -> None:
        """What `lent` says of `repository` holds for what is asked next. Nothing was sent to the registry."""
        if self._private is not None:
            await self._transport.prepare(repository)

    def lent(self, repository: Repository) -> Lent:
        """The private credentials that are used for `repository`; empty for who is shown what everybody is."""
        return self._private.lent(repository) if self._private is not None else ()

    async def resolve(self, repository: Repository, tag: str) -> Digest:
        """The digest behind `tag` now.

        Raises: RejectedError (`image_not_found`, `registry_violation`, `host_refused`), MalformedError (no manifest),
        InconclusiveError (`not_cached` where another registry's image is not there yet).
        """
        host = reference.matching_host(repository.host)
        if not self._learned.lacks_head(host):
            answer = await self._ask_manifest(RequestKind.RESOLVE, repository, tag, method="HEAD")
            if answer.status == 200 and (found := answers.announced(answer, repository)) is not None:
                self._note_read(repository)
                self._note_imported(repository, found)
                return found
            if answer.status in _NO_HEAD:
                self._learned.note_no_head(host)
            elif answer.status != 200:
                raise answers.not_found(repository, tag, answer)
        answer = await self._ask_manifest(RequestKind.RESOLVE, repository, tag, method="GET")
        if answer.status != 200:
            raise answers.not_found(repository, tag, answer)
        found = self._digest_of(answer, repository, tag)
        if answers.announced(answer, repository) is None:  # nobody stands by these bytes: a page says 200 to anything
            await received.parse(answer.body, answers.media_type(answer), found, self._limits.manifest_max_entries)
        self._note_read(repository)
        self._note_imported(repository, found)
        return found

    async def import_upstream(self, repository: Repository, digest: Digest) -> None:
        """Where `repository` is a pull-through cache, it holds `digest`, and with it what upstream attached to it.

        Whoever resolved a tag there has done as much. Other repositories are not asked.

        Raises: InconclusiveError (`not_cached`), RejectedError.
        """
        if not answers.is_pull_through(repository) or self.asks_nobody:
            return
        if self._learned.has_imported(repository, self.lent(repository), digest):
            return
        answer = await self._ask_manifest(RequestKind.RESOLVE, repository, str(digest), method="HEAD")
        if answer.status == 404:
            raise answers.absent(repository, answer)
        if answer.status != 200:
            raise answers.odd(repository, answer)
        self._note_imported(repository, digest)

    async def fetch_manifest(self, repository: Repository, name: Digest | str) -> Manifest | Index | None:
        """The document of that digest or tag, its digest checked; `None` where the registry has none (404).

        Raises: RejectedError, InconclusiveError, MalformedError (digest right, content wrong).
        """
        document = await self._list(repository, f"manifests/{name}", lambda: self._ask_document(repository, name))
        if document.body is None:
            return None
        digest = name if isinstance(name, Digest) else Digest("sha256", hashlib.sha256(document.body).hexdigest())
        return await received.parse(document.body, document.media_type, digest, self._limits.manifest_max_entries)

    async def fetch_listed(self, repository: Repository, descriptor: Descriptor) -> Manifest | Index:
        """The document that `descriptor` lists, size, digest and media type checked; data inlined there saves asking.

        Raises: RejectedError, MalformedError (listed but missing, `limit_exceeded`, content wrong), InconclusiveError.
        """
        what = f"manifest {descriptor.digest} of {quote(str(repository))}"
        received.check_limit(what, descriptor, self._limits.manifest_max_bytes)
        body = await received.inlined(descriptor)
        if body is None:
            body = await self._content(repository, descriptor, lambda: self._ask_listed(what, repository, descriptor))
        return await received.parse(body, descriptor.media_type, descriptor.digest, self._limits.manifest_max_entries)

    async def fetch_blob(self, repository: Repository, descriptor: Descriptor, *, max_bytes: int) -> bytes:
        """The bytes that `descriptor` speaks of, size and digest checked; data inlined there saves asking.

        Raises: RejectedError (`registry_violation`), MalformedError (`limit_exceeded`), InconclusiveError.
        """
        what = f"blob {descriptor.digest} of {quote(str(repository))}"
        received.check_limit(what, descriptor, max_bytes)
        data = await received.inlined(descriptor)
        if data is not None:
            return data
        return await self._content(repository, descriptor, lambda: self._ask_blob(what, repository, descriptor))

    async def fetch_referrers(self, repository: Repository, digest: Digest) -> Referrers:
        """What the referrers API lists for `digest`, over all pages up to the limits.

        Raises: RejectedError, InconclusiveError, MalformedError (`limit_exceeded`).
        """
        path = f"referrers/{digest}"
        found: list[Descriptor] = []
        read = 0
        for page in range(self._limits.referrers_max_pages):
            document = await self._list(repository, path, functools.partial(self._ask_page, repository, path))
            if document.body is None:
                return _no_referrers(repository, page)
            found += await received.parse_page(_referrers_of(repository), document.body)
            read += len(document.body)
            if len(found) > self._limits.referrers_max:
                return Referrers(supported=True, manifests=tuple(found[: self._limits.referrers_max]), truncated=True)
            path = document.next_path
            if not path or read > self._limits.manifest_max_bytes:
                break
        return Referrers(supported=True, manifests=tuple(found), truncated=bool(path))

    def lacks_referrers(self, host: str) -> bool:
        """Whether this registry is known to have no referrers API; learned for an hour, only an order of asking."""
        return self._learned.lacks_referrers(host)

    def shunned(self) -> tuple[Shunned, ...]:
        """Who does not answer, and is not asked now."""
        return self._transport.shunned()

    def check(self) -> None:
        """Every registry, listed or not, can be dialled as the operator says. Raises: OperatorError."""
        self._transport.hosts.check()

    async def close(self) -> None:
        """Connections are closed."""
        await self._transport.close()

    async def _list(self, repository: Repository, name: str, load: Callable[[], Awaitable[Document]]) -> Document:
        """A listing, as `load` would bring it. Raises: what `load` raises."""
        if self.asks_nobody:
            return await self._recall(repository, name)
        if not self._shares:
            return await load()
        return await self._documents.listing(repository, name, load, afresh=self._afresh)

    async def _recall(self, repository: Repository, name: str) -> Document:
        assert self._recalled is not None
        found = await self._documents.last(repository, name)
        if found is None:
            return Document(None)
        self._recalled.append(found[1])
        return found[0]

    async def _content(
        self, repository: Repository, descriptor: Descriptor, load: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        if self.asks_nobody:
            load = functools.partial(_ask_nobody, repository)
        lent, share = functools.partial(self.lent, repository), self._private is None
        return await self._documents.content(repository, lent, descriptor, load, share=share)

    @property
    def _shares(self) -> bool:
        return self._documents.shared is not None and self._private is None

    async def _ask_document(self, repository: Repository, name: Digest | str) -> Document:
        """Without a body where the registry has none (404)."""
        answer = await self._ask_manifest(RequestKind.MANIFEST, repository, str(name), method="GET")
        if answer.status == 404:
            answers.check_exists(repository, answer)
            return Document(None)
        if answer.status != 200:
            raise answers.odd(repository, answer)
        self._note_read(repository)
        self._digest_of(answer, repository, name)
        return Document(answer.body, answers.media_type(answer))

    async def _ask_listed(self, what: str, repository: Repository, descriptor: Descriptor) -> bytes:
        name, size = str(descriptor.digest), descriptor.size
        answer = await self._ask_manifest(RequestKind.MANIFEST, repository, name, method="GET", max_bytes=size)
        body = await received.content(what, answer, repository, descriptor)
        self._note_read(repository)
        served = answers.media_type(answer)
        if served != descriptor.media_type:
            listed, shown = (quote(text, max_chars=100) for text in (descriptor.media_type, served))
            raise RejectedError(Code.REGISTRY_VIOLATION, f"{what}: listed as {listed}, served as {shown}")
        return body

    async def _ask_blob(self, what: str, repository: Repository, descriptor: Descriptor) -> bytes:
        question = Question(
            kind=RequestKind.BLOB,
            repository=repository,
            path=f"blobs/{descriptor.digest}",
            max_bytes=descriptor.size,
            redirects=Redirects.ANYWHERE,
        )
        return await received.content(what, await self._transport.ask(question), repository, descriptor)

    async def _ask_page(self, repository: Repository, path: str) -> Document:
        """Without a body where the registry has no such API."""
        answer = await self._ask_referrers(repository, path)
        if answer is None:
            return Document(None, supported=False)
        received.check_whole(_referrers_of(repository), answer, self._limits.manifest_max_bytes)
        is_empty = self.is_shared and not await received.parse_page(_referrers_of(repository), answer.body)
        next_path = links.next_page(answer, repository) or ""
        return Document(answer.body, answers.media_type(answer), next_path, is_empty=is_empty)

    async def _ask_manifest(
        self, kind: RequestKind, repository: Repository, name: str, *, method: str, max_bytes: int | None = None
    ) -> Answer:
        answer = await self._transport.ask(
            Question(
                kind=kind,
                repository=repository,
                path=f"manifests/{name}",
                max_bytes=self._limits.manifest_max_bytes if max_bytes is None else max_bytes,
                method=method,
                accept=manifest.ACCEPT,
            )
        )
        if answer.status in _REDIRECTS:
            place = quote(links.host(answer.headers.get("Location", "")))
            raise RejectedError(
                Code.HOST_REFUSED, f"{quote(str(repository))}: redirects a manifest to another host: {place}"
            )
        return answer

    def _digest_of(self, answer: Answer, repository: Repository, name: Digest | str) -> Digest:
        """The digest that the body has, which is the one asked for or announced."""
        what = f"manifest {quote(str(name))} of {quote(str(repository))}"
        received.check_whole(what, answer, self._limits.manifest_max_bytes)
        expected = name if isinstance(name, Digest) else answers.announced(answer, repository)
        return received.digest_of(what, answer, expected)

    async def _ask_referrers(self, repository: Repository, path: str) -> Answer | None:
        """A page of the listing; None where the registry has no such API. OCI distribution 1.1, listing referrers"""
        answer = await self._transport.ask(
            Question(
                kind=RequestKind.REFERRERS,
                repository=repository,
                path=path,
                max_bytes=self._limits.manifest_max_bytes,
                accept=manifest.OCI_INDEX,
            )
        )
        answers.check_exists(repository, answer)
        if answer.status == 200 and self._lists(repository, answer):
            return answer
        if answer.status == 200 or answer.status in _NO_REFERRERS:
            self._note_no_referrers(repository, answer)
            return None
        raise answers.odd(repository, answer)

    def _lists(self, repository: Repository, answer: Answer) -> bool:
        """Whether an answer of 200 lists anything. Raises: InconclusiveError, where this host is known to list."""
        served = answers.media_type(answer)
        if served == manifest.OCI_INDEX:
            self._learned.note_referrers(repository.host)
            return True
        if not self._learned.lists_referrers(repository.host):
            return False
        # Such as the page of something in between: a signed image would count as unsigned
        raise InconclusiveError(
            Code.REGISTRY_UNAVAILABLE,
            f"{_referrers_of(repository)}: answered {quote(served, max_chars=100)} where an index was listed before",
        )

    def _note_read(self, repository: Repository) -> None:
        self._learned.note_read(repository, self.lent(repository))

    def _note_imported(self, repository: Repository, digest: Digest) -> None:
        if answers.is_pull_through(repository):
            self._learned.note_imported(repository, self.lent(repository), digest)

    def _note_no_referrers(self, repository: Repository, answer: Answer) -> None:
        """Absence is learned where the repository exists, which others hide behind the same answer."""
        if not codes(answer) & _HIDDEN:
            self._learned.note_no_referrers(repository, self.lent(repository))


async def _ask_nobody(repository: Repository) -> bytes:
    raise InconclusiveError(Code.REGISTRY_UNAVAILABLE, f"{quote(str(repository))}: not asked")


def _referrers_of(repository: Repository) -> str:
    return f"the referrers that {quote(str(repository))} lists"


def _no_referrers(repository: Repository, page: int) -> Referrers:
    if page:
        raise RejectedError(Code.REGISTRY_VIOLATION, f"{quote(str(repository))}: a page of its referrers is missing")
    return Referrers(supported=False)
