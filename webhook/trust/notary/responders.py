"""OCSP responders and the servers of revocation lists: asked in time, a bounded number of times, and remembered.

What to ask and what an answer is worth is `revocation`'s. Addresses stand in certificates, so whoever is dialled is a
public host unless an operator listed it, no redirect is followed, and nothing is read beyond its limit. Answers are
kept for as long as they hold, never the lists themselves; one certificate is looked up once, whoever asks. Answers are
read in threads: a list of 20 MiB holds up the event loop for some 40 ms there, and not for the 0.1 s that it takes.

spec: RFC 6960 A.1; RFC 5019 5; Notary Project, signature specification, revocation; RFC 6890, on what is dialled.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import quote as percent_encoded

from yarl import URL

from webhook import addresses, settings
from webhook.cache import Cache, Loaded
from webhook.errors import InconclusiveError, RejectedError, quote
from webhook.network import Answer, Network, Request, Target
from webhook.trust.notary import revocation
from webhook.trust.notary.inquiry import ChainInquiry, Status
from webhook.trust.notary.revocation import Dialogue, Finding, Kind, Question, Reply
from webhook.trust.notary.revoked import unusable

CERTIFICATES_MAX = 10_000  # of which findings are kept; each takes about a kilobyte
REQUESTS_MAX = 24  # about one chain; real ones need two to six
CONNECTIONS_PER_HOST = 8
SMALL_BYTES = settings.MIB  # of an answer, and nearly all are; these wait for nobody, least of all for one that stalls
LISTS_AT_ONCE = 2  # larger ones in memory; while it is put together, each takes up to twice `crl_max_bytes`
LOOK_UP_SECONDS = 20.0  # about one certificate in all, also after the review that asked for it has ended
GET_MAX_CHARS = 254  # RFC 5019 5: longer requests are sent by POST
ERROR_MAX_BYTES = 1024

_RESPONSE_TYPE = "application/ocsp-response"
_REDIRECTS = frozenset((301, 302, 303, 307, 308))

Observer = Callable[[str, str, float], None]  # kind, standing, seconds


class Responders:
    """Not safe for use by more than one event loop. `clock` tells the time, aware."""

    def __init__(
        self,
        limits: settings.Revocation,
        *,
        network: Network,
        observe: Observer,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._limits, self._network, self._observe, self._clock = limits, network, observe, clock
        self._client = network.open(connections_per_host=CONNECTIONS_PER_HOST)
        self._findings: Cache[tuple[bytes, bytes], Finding] = Cache(max_entries=CERTIFICATES_MAX)
        self._lists = asyncio.Semaphore(LISTS_AT_ONCE)

    async def standing(self, inquiry: ChainInquiry) -> Status:
        """Whether a certificate of the chain was revoked, as far as can be found out. It raises nothing."""
        allowed = iter(range(REQUESTS_MAX))
        pairs = itertools.pairwise(inquiry.chain)  # a root is trusted or not; nobody revokes it
        findings = await asyncio.gather(*(self._find(*pair, allowed) for pair in pairs))
        return revocation.weigh(finding.status(inquiry.signed_at) for finding in findings)

    async def close(self) -> None:
        """Nobody is asked any more."""
        await self._findings.close()
        await self._client.close()

    async def _find(self, certificate: bytes, issuer: bytes, allowed: Iterator[int]) -> Finding:
        key = (hashlib.sha256(certificate).digest(), hashlib.sha256(issuer).digest())
        return await self._findings.get_or_load(key, lambda: self._load(certificate, issuer, allowed))

    async def _load(self, certificate: bytes, issuer: bytes, allowed: Iterator[int]) -> Loaded[Finding]:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                finding = await self._converse(revocation.examine(certificate, issuer), allowed)
        except TimeoutError:
            finding = Finding("a certificate", problem=f"nobody answered within {LOOK_UP_SECONDS:g} s")
        if finding.kind is not None:
            self._observe(finding.kind, finding.status(None).standing, time.perf_counter() - started)
        return Loaded(finding, self._lifetime(finding))

    def _lifetime(self, finding: Finding) -> float:
        if finding.is_final:  # what was revoked stays so
            return self._limits.lifetime
        if finding.problem:
            return self._limits.unknown_lifetime
        if finding.until is None:
            return self._limits.lifetime
        return min(self._limits.lifetime, (finding.until - self._clock()).total_seconds())

    async def _converse(self, dialogue: Dialogue, allowed: Iterator[int]) -> Finding:
        step = await asyncio.to_thread(_advance, dialogue, None)
        while isinstance(step, Question):
            step = await self._ask(dialogue, step, allowed)
        return step

    async def _ask(self, dialogue: Dialogue, question: Question, allowed: Iterator[int]) -> Question | Finding:
        async with contextlib.AsyncExitStack() as held:
            try:
                if next(allowed, None) is None:
                    raise unusable(f"not asked: its chain takes over {REQUESTS_MAX} requests")
                body = await self._fetch(question, SMALL_BYTES)
                if body is None:
                    await held.enter_async_context(self._lists)
                    body = await self._fetch(question, self._limits.crl_max_bytes)
                assert body is not None
                answer: Reply | InconclusiveError = Reply(body, self._clock())
            except InconclusiveError as error:
                answer = error
            return await asyncio.to_thread(_advance, dialogue, answer)

    async def _fetch(self, question: Question, at_most: int) -> bytes | None:
        """What came; None where it is more than `at_most` bytes, and might not be too much."""
        ocsp = question.kind is Kind.OCSP
        seconds = self._limits.ocsp_timeout if ocsp else self._limits.crl_timeout
        limit = self._limits.ocsp_max_bytes if ocsp else self._limits.crl_max_bytes
        request = self._request(question, min(limit, at_most))
        try:
            async with asyncio.timeout(seconds):
                answer = await self._client.exchange(request)
        except TimeoutError:
            raise unusable(f"no whole answer within {seconds:g} s") from None
        except RejectedError as error:  # `host_refused`
            problem = "its address may not be dialled (a private or loopback one only of a host in"
            raise unusable(f"{problem} COUNTERSIGN_REVOCATION_HOSTS)") from error
        if answer.status == 200 and answer.cut and request.max_bytes < limit:
            return None
        return _body(answer, request, _RESPONSE_TYPE if ocsp else None)

    def _request(self, question: Question, max_bytes: int) -> Request:
        target, url = self._target(question.url)
        make = functools.partial(Request, target=target, max_bytes=max_bytes, error_max_bytes=ERROR_MAX_BYTES)
        if question.kind is Kind.CRL:
            return make(method="GET", url=url, headers={})
        encoded = base64.b64encode(question.request).decode("ascii")
        if len(encoded) > GET_MAX_CHARS or url.raw_query_string:
            headers = {"Content-Type": "application/ocsp-request"}
            return make(method="POST", url=url, headers=headers, form=question.request)
        # RFC 6960 A.1
        located = URL(f"{str(url).removesuffix('/')}/{percent_encoded(encoded, safe='')}", encoded=True)
        return make(method="GET", url=located, headers={})

    def _target(self, text: str) -> tuple[Target, URL]:
        try:
            url = URL(text, encoded=True)
            host, port = (url.raw_host or "").lower().removesuffix("."), url.port
        except ValueError:
            raise unusable("it is no URL") from None
        plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= addresses.MAX_URL_CHARS
        if not plain or not host or not port or url.raw_user is not None or url.raw_fragment:
            raise unusable("it is no http URL with a host, and without a user or fragment")
        authority = f"[{host}]" if ":" in host else host
        authority = authority if port == 80 else f"{authority}:{port}"
        listed = authority in self._limits.hosts
        if not listed:
            try:
                addresses.check_name(host)
            except RejectedError as error:
                problem = "it is no name of the public DNS, and COUNTERSIGN_REVOCATION_HOSTS does not list it"
                raise unusable(problem) from error
        proxy = self._network.proxy("http", host, port)
        return Target(f"http://{authority}", host, port, private=listed, loopback=listed, proxy=proxy), url


def _advance(dialogue: Dialogue, answer: Reply | InconclusiveError | None) -> Question | Finding:
    try:
        if isinstance(answer, InconclusiveError):
            return dialogue.throw(answer)
        return next(dialogue) if answer is None else dialogue.send(answer)
    except StopIteration as end:
        finding: Finding = end.value
        return finding


def _body(answer: Answer, request: Request, media_type: str | None) -> bytes:
    if answer.status in _REDIRECTS:
        place = quote(answer.headers.get("Location", ""), max_chars=80)
        raise unusable(f"it redirects to {place}, and redirects are not followed")
    if answer.status != 200:
        raise unusable(f"it answered {answer.status}")
    found = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type is not None and found != media_type:
        raise unusable(f"it answered {quote(found, max_chars=40)}, {media_type} expected")
    if answer.cut:
        raise unusable(f"it answered more than {request.max_bytes} bytes")
    return answer.body
