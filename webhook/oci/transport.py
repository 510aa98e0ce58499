"""One question to a registry, carried through: credentials, tokens and redirects.

Promises: a credential never leaves the authority it was made for, not by redirect either; every hop passes the check of
`hosts` and the guard of `network`. How one request is sent and repeated is left to `sending`, what an answer means to
`registry`. spec: RFC 9110 15.4; OCI distribution 1.1.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from yarl import URL

from webhook import settings
from webhook.cache import Cache, Loaded
from webhook.errors import Code, InconclusiveError, RejectedError, quote
from webhook.network import Answer, Network, Request, Target
from webhook.oci import authn, ecr
from webhook.oci.authn import Credential, CredentialSource, PrivateCredentials
from webhook.oci.challenge import Challenge
from webhook.oci.complaint import said
from webhook.oci.courtesy import CourtesyObserver, Shunned, Whom
from webhook.oci.hosts import Hosts, is_at
from webhook.oci.reference import Repository
from webhook.oci.sending import Observer, RequestKind, Sender

CHALLENGE_LIFETIME = 3600.0  # seconds; a changed one costs a round trip
CHALLENGES_MAX = 1024
TOKENS_MAX = 10_000  # one per repository and credential
MAX_TURNS = 4  # of credentials for one question: those of one source, of the next, that one's renewed, the pod's

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_FORM = "application/x-www-form-urlencoded"
_URL = re.compile(r"[\x21-\x7e]+")  # RFC 3986 2; what else stood in a request line would end it


class Redirects(StrEnum):
    """Where an answer may send us."""

    SAME_ORIGIN = "same origin"
    ANYWHERE = "anywhere"  # without the registry's credentials


@dataclass(frozen=True, slots=True)
class Question:
    """`path` stands below `/v2/<repository>/`, unless it begins with a slash; percent-encoded."""

    kind: RequestKind
    repository: Repository
    path: str
    max_bytes: int
    method: str = "GET"
    accept: str | None = None
    redirects: Redirects = Redirects.SAME_ORIGIN


class Transport:
    """Not safe for use by more than one event loop."""

    def __init__(
        self,
        *,
        limits: settings.Registry,
        network: Network,
        credentials: tuple[CredentialSource, ...],
        observe: Observer | None,
        told: CourtesyObserver = lambda event, authority: None,
    ) -> None:
        self.hosts = Hosts(limits.hosts, network, allowed=limits.allowed)
        self._limits = limits
        self._sender = Sender(limits=limits, network=network, observe=observe, told=told)
        self._credentials = credentials
        self._private: PrivateCredentials | None = None
        self._challenges: Cache[str, Challenge] = Cache(max_entries=CHALLENGES_MAX)
        # By registry too: no other one, which may name the same realm, is shown a token that was not made for it.
        self._tokens: Cache[tuple[str, authn.TokenPlan], str] = Cache(max_entries=TOKENS_MAX)

    async def ask(self, question: Question) -> Answer:
        """The last answer: a success, or a status that neither credentials nor patience changed; never 401, 403 or 429.

        Raises: RejectedError (`host_refused`, `registry_violation`), InconclusiveError.
        """
        refused: tuple[Credential, ...] = ()
        credentials = await self._collect(question.repository, refused)
        for _ in range(MAX_TURNS):
            try:
                return await self._attempt(question, credentials)
            except InconclusiveError as error:
                if error.code is not Code.ACCESS_DENIED:
                    raise
                denial = error
            refused += credentials
            credentials = await self._others(question.repository, refused)
            if not credentials:
                break
        raise self._explained(denial, question.repository)

    def with_credentials(self, private: PrivateCredentials) -> Transport:
        """The same connections, tokens and limits for one who may use `private` too, where all else has nothing."""
        view = copy.copy(self)
        view._private = private
        return view

    def shunned(self) -> tuple[Shunned, ...]:
        """Who does not answer, and is not asked now."""
        return self._sender.shunned()

    async def prepare(self, repository: Repository) -> None:
        """Whether there are credentials for `repository` was asked of whoever has them."""
        with suppress(InconclusiveError):
            await self._collect(repository, ())

    async def close(self) -> None:
        """Connections are closed, tokens under way given up."""
        await self._tokens.close()
        await self._sender.close()

    async def _attempt(self, question: Question, credentials: tuple[Credential, ...]) -> Answer:
        """Raises: InconclusiveError, `access_denied` where these credentials do not suffice."""
        answer = await self._converse(question, credentials)
        if answer.status in (401, 403):
            raise _denied(question.repository, answer, bool(credentials))
        # Some registries say 404 of what they hide: nothing is absent while a credential may be missing.
        if answer.status == 404 and self._private is not None and self._private.unread(question.repository):
            raise InconclusiveError(
                Code.ACCESS_DENIED,
                f"{quote(str(question.repository))}: answered 404{said(answer)}, which may be said of what is hidden",
            )
        return answer

    async def _converse(self, question: Question, credentials: tuple[Credential, ...]) -> Answer:
        target, registry = self.hosts.find(question.repository)
        known = self._challenges.get(target.origin) or registry.challenge
        dialogue = authn.converse(registry, question.repository, credentials, known)
        answer, learned = await self._drive(dialogue, question, target)
        if learned is not None:
            self._challenges.put(target.origin, learned, CHALLENGE_LIFETIME)
        return answer

    async def _collect(self, repository: Repository, refused: tuple[Credential, ...]) -> tuple[Credential, ...]:
        """What the first source has that has something: the next one need not be asked for what may not be needed.

        Raises: InconclusiveError, where one failed and no other has anything.
        """
        failure: InconclusiveError | None = None
        for source in self._sources():
            try:
                if found := await source.credentials(repository, refused=refused):
                    return found
            except InconclusiveError as error:
                failure = failure or error
        if failure is not None:
            raise self._explained(failure, repository)
        return ()

    def _sources(self) -> tuple[CredentialSource, ...]:
        return self._credentials if self._private is None else (*self._credentials, self._private)

    async def _others(self, repository: Repository, refused: tuple[Credential, ...]) -> tuple[Credential, ...]:
        """What may be tried where `refused` did not suffice; that no more can be had changes nothing of the refusal."""
        try:
            return await self._collect(repository, refused) if refused else ()
        except InconclusiveError:
            return ()

    def _explained(self, denial: InconclusiveError, repository: Repository) -> InconclusiveError:
        lacking = self._private.lacking(repository) if self._private is not None else ""
        return InconclusiveError(denial.code, f"{denial.detail}; {lacking}") if lacking else denial

    async def _drive(
        self, dialogue: authn.Dialogue, question: Question, target: Target
    ) -> tuple[Answer, Challenge | None]:
        """The dialogue's last answer, and what it learned."""
        answer: Answer | None = None
        try:
            step = next(dialogue)
            while True:
                if isinstance(step, authn.AskResource):
                    answer = await self._follow(question, target, step.credential, step.authorization)
                    step = dialogue.send(authn.Reply(answer.status, answer.challenges))
                    continue
                try:
                    token = await self._token(step, target)
                except InconclusiveError as error:
                    step = dialogue.throw(error)
                else:
                    step = dialogue.send(token)
        except StopIteration as end:
            assert answer is not None
            return answer, end.value

    async def _token(self, step: authn.AskToken, registry: Target) -> str:
        key = (registry.origin, step.plan)
        if step.stale is not None:
            self._tokens.discard(key, step.stale)
        return await self._tokens.get_or_load(key, lambda: self._fetch_token(step.plan, registry))

    async def _fetch_token(self, plan: authn.TokenPlan, registry: Target) -> Loaded[str]:
        dialogue = authn.fetch_token(plan)
        try:
            step = next(dialogue)
            while True:
                answer = await self._token_answer(step, registry, plan.credential, plan.scope)
                step = dialogue.send((answer.status, answer.body))
        except StopIteration as end:
            token: authn.Token = end.value
            return Loaded(token.value, token.lifetime)

    async def _token_answer(
        self, step: authn.TokenRequest, registry: Target, credential: Credential, scope: str
    ) -> Answer:
        url = URL(step.url, encoded=True)
        target = self.hosts.hop(url, sender=registry)
        headers = {"Accept": "application/json"}
        if step.authorization is not None:
            headers["Authorization"] = step.authorization
        if step.form is not None:
            headers["Content-Type"] = _FORM
        request = Request(
            method="GET" if step.form is None else "POST",
            target=target,
            url=url,
            headers=headers,
            max_bytes=self._limits.token_max_bytes,
            error_max_bytes=self._limits.error_max_bytes,
            form=step.form,
        )
        whom = Whom(target.origin, registry.origin, credential, scope)
        answer = await self._sender.send(RequestKind.TOKEN, whom, request)
        if answer.cut and answer.status == 200:
            raise InconclusiveError(
                Code.ACCESS_DENIED,
                f"the token service {quote(target.authority)} sent more than {self._limits.token_max_bytes} bytes",
            )
        return answer

    async def _follow(
        self, question: Question, target: Target, credential: Credential, authorization: str | None
    ) -> Answer:
        """The answer after redirects, or the redirect that is not to be followed."""
        headers = {"Accept": question.accept} if question.accept is not None else {}
        with_credential = headers | {"Authorization": authorization} if authorization is not None else headers
        base = target.origin if question.path.startswith("/") else f"{target.origin}/v2/{question.repository.path}/"
        url, hop = URL(base + question.path, encoded=True), target
        for _ in range(self._limits.redirects_max + 1):
            at_home = hop.origin == target.origin
            request = self._request(question, hop, url, with_credential if at_home else headers)
            sent_as = credential if at_home else authn.ANONYMOUS
            whom = Whom(hop.origin, target.origin, sent_as, question.repository.path)
            answer = await self._sender.send(question.kind, whom, request)
            if answer.status not in _REDIRECTS:
                return answer if at_home else _from_elsewhere(answer, hop)
            url = _location(answer, url)
            if question.redirects is Redirects.SAME_ORIGIN and not is_at(url, target):
                return answer
            hop = self.hosts.hop(url, sender=hop)
        raise RejectedError(
            Code.REGISTRY_VIOLATION, f"{quote(target.authority)} redirects more than {self._limits.redirects_max} times"
        )

    def _request(self, question: Question, target: Target, url: URL, headers: Mapping[str, str]) -> Request:
        return Request(
            method=question.method,
            target=target,
            url=url,
            headers=headers,
            max_bytes=question.max_bytes,
            error_max_bytes=self._limits.error_max_bytes,
        )


def _location(answer: Answer, url: URL) -> URL:
    text = answer.headers.get("Location", "")
    try:
        found = url.join(URL(text, encoded=True)) if _URL.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None or not found.raw_host:
        raise RejectedError(Code.REGISTRY_VIOLATION, f"{quote(url.authority)} redirects without naming a place")
    return found


def _from_elsewhere(answer: Answer, hop: Target) -> Answer:
    """An answer of storage behind the registry: it is no party to the dialogue of credentials."""
    if answer.status in (401, 403):
        raise InconclusiveError(
            Code.ACCESS_DENIED, f"{quote(hop.authority)}, to which the registry redirects, answered {answer.status}"
        )
    return answer


def _denied(repository: Repository, answer: Answer, had_credentials: bool) -> InconclusiveError:
    hint = (
        "the credentials given do not suffice, or there is no such repository"
        if had_credentials
        else "no credentials were given for it, or there is no such repository"
    )
    needed = ecr.needed_for(repository.compared_host, repository.segments)
    return InconclusiveError(
        Code.ACCESS_DENIED,
        f"{quote(str(repository))}: answered {answer.status}{said(answer)}: {hint}{f'; {needed}' if needed else ''}",
    )
