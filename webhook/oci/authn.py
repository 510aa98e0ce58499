"""Credentials, and the dialogue in which a registry asks for them, as a generator that never sends a request.

Promises: a credential goes only to the registry it belongs to, or to a token service that is the registry itself or
that an operator named; nothing but pulling from this one repository is ever asked for; each dialogue ends after a fixed
number of steps. Which addresses a realm may lead to is checked by whoever sends the request. specs: RFC 9110 11;
distribution, token authentication and OAuth2.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, urlencode, urlsplit

from webhook import untrusted
from webhook.errors import Code, InconclusiveError, MalformedError, quote
from webhook.oci.challenge import Challenge, select
from webhook.oci.reference import Repository

DEFAULT_TOKEN_LIFETIME = 60.0  # seconds; distribution, token authentication: where `expires_in` is absent
MAX_TOKEN_LIFETIME = 3600.0  # a registry may say longer, but a key that was taken away should end
SHARE_OF_LIFE = 0.8  # a token is renewed before it ends, clocks being what they are
MAX_ASKS = 3  # as is known, as is asked, with a renewed token
CLIENT_ID = "countersign"

_URL = _BEARER_VALUE = re.compile(r"[\x21-\x7e]+")
_AS_RECEIVED = "surrogateescape"  # bytes of a header that are no UTF-8 go back as they came


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Either a user name and password, an identity token (OAuth2 refresh token) or a registry token (bearer)."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


ANONYMOUS = Credential()
Lent = tuple[Credential, ...]  # of a pod's own, for one registry; empty for who is shown what everybody is


class CredentialSource(Protocol):
    """Whence credentials come."""

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        """What may be tried for `repository`, the most specific first, none of it `refused`; empty for anonymous.

        Raises: InconclusiveError, where it cannot be known now.
        """


class PrivateCredentials(CredentialSource, Protocol):
    """Those of a pod under review: nobody else may use them, nor be told what was learned with them."""

    def lent(self, repository: Repository) -> Lent:
        """What was handed out for `repository` so far: two who were lent the same may be told the same."""

    def unread(self, repository: Repository) -> str:
        """Why something that may be for `repository` could not be read now; empty where all was, or nobody asked."""

    def lacking(self, repository: Repository) -> str:
        """The same, and what was named and of no use, for a person whom the registry refused."""


@dataclass(frozen=True, slots=True)
class Registry:
    """What the dialogue must know of the registry: who may be sent its credentials, and whether it is on plain http.

    `challenge` is how it wants to be asked, where that is known of it before anything was.
    """

    authority: str
    token_hosts: frozenset[tuple[str, int]]
    plain: bool
    challenge: Challenge | None = None


@dataclass(frozen=True, slots=True, repr=False)
class TokenPlan:
    """A token as it is asked for; two plans that are equal are answered by one token."""

    realm: str
    service: str
    scope: str
    credential: Credential


@dataclass(frozen=True, slots=True, repr=False)
class TokenRequest:
    """A GET, or a POST where there is a `form`."""

    url: str
    authorization: str | None
    form: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    value: str
    lifetime: float  # seconds for which it may be used


@dataclass(frozen=True, slots=True, repr=False)
class AskResource:
    """Send the request that all this is about with this header; answered by `Reply`."""

    credential: Credential
    authorization: str | None


@dataclass(frozen=True, slots=True, repr=False)
class AskToken:
    """Bring a token, not `stale`; answered by its value, or by throwing `access_denied`."""

    plan: TokenPlan
    stale: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a registry answered, as far as the dialogue reads it."""

    status: int
    challenges: tuple[str, ...]


Step = AskResource | AskToken
Dialogue = Generator[Step, Reply | str, Challenge | None]


def converse(
    registry: Registry, repository: Repository, credentials: tuple[Credential, ...], known: Challenge | None
) -> Dialogue:
    """Asks for the resource until it is granted or no credential is left; the last `Reply` is the outcome.

    `known` is how this registry wanted to be asked before, or None. Returns how it wants to be asked, where that was
    learned.

    Raises: InconclusiveError (`access_denied`): no token could be had; the errors of whoever drives it pass through.
    """
    learned = None
    tried = credentials or (ANONYMOUS,)
    for credential in tried:
        try:
            granted, met = yield from _try(registry, repository, credential, learned or known)
        except InconclusiveError as error:
            if credential is tried[-1] or error.code is not Code.ACCESS_DENIED:
                raise
            continue
        learned = met or learned
        if granted:
            return learned
    _explain_withheld(registry, credentials, learned or known)
    return learned


def _try(
    registry: Registry, repository: Repository, credential: Credential, challenge: Challenge | None
) -> Generator[Step, Reply | str, tuple[bool, Challenge | None]]:
    """Whether the resource was granted, or at least not denied; and the challenge that was met, if any."""
    learned, renewed = None, False
    plan = _plan(registry, repository, credential, challenge)
    authorization = yield from _authorize(credential, challenge, plan, None)
    for asked in range(1, MAX_ASKS + 1):
        reply = yield AskResource(credential, authorization)
        assert isinstance(reply, Reply)
        if reply.status != 401:
            return reply.status != 403, learned  # RFC 9110 15.5.4: 403 is no challenge
        learned = select(reply.challenges)
        if learned is None or renewed or asked == MAX_ASKS:
            break
        # The token sent may have ended, or grant less than was asked for (RFC 6750 3.1): it is renewed once.
        wanted = _plan(registry, repository, credential, learned)
        renewed = plan is not None and wanted == plan
        following = yield from _authorize(credential, learned, wanted, authorization if renewed else None)
        if following == authorization:
            break
        plan, authorization = wanted, following
    return False, learned


def _authorize(
    credential: Credential, challenge: Challenge | None, plan: TokenPlan | None, stale: str | None
) -> Generator[Step, Reply | str, str | None]:
    if credential.registry_token:
        return f"Bearer {credential.registry_token}"
    if challenge is None:
        return None
    if plan is None:
        return basic(credential) if credential.username or credential.password else None
    token = yield AskToken(plan, stale.removeprefix("Bearer ") if stale is not None else None)
    assert isinstance(token, str)
    return f"Bearer {token}"


def _plan(
    registry: Registry, repository: Repository, credential: Credential, challenge: Challenge | None
) -> TokenPlan | None:
    """What token to ask for; None where no token is wanted."""
    if challenge is None or challenge.scheme != "bearer" or credential.registry_token:
        return None
    realm = _check_realm(registry, challenge.realm)
    return TokenPlan(
        realm=challenge.realm,
        service=challenge.service,
        scope=f"repository:{repository.path}:pull",  # whatever the challenge says: we are not talked into more
        credential=credential if _is_trusted(registry, realm) else ANONYMOUS,
    )


def _is_trusted(registry: Registry, realm: SplitResult) -> bool:
    return (realm.hostname, realm.port or (443 if realm.scheme == "https" else 80)) in registry.token_hosts


def _explain_withheld(registry: Registry, credentials: tuple[Credential, ...], challenge: Challenge | None) -> None:
    """Raises: InconclusiveError, where credentials did not suffice because they were not sent."""
    if not credentials or challenge is None or challenge.scheme != "bearer":
        return
    realm = _check_realm(registry, challenge.realm)
    if not _is_trusted(registry, realm):
        raise InconclusiveError(
            Code.ACCESS_DENIED,
            f"{quote(registry.authority)} wants its credentials sent to {quote(realm.netloc)}, which they were not"
            " (setting `tokenHosts` of that registry)",
        )


def _check_realm(registry: Registry, text: str) -> SplitResult:
    try:
        realm = urlsplit(text)
        port = realm.port
    except ValueError:
        realm, port = urlsplit(""), None
    allowed = ("https", "http") if registry.plain else ("https",)
    if realm.scheme in allowed and realm.hostname and port != 0 and "@" not in realm.netloc and _URL.fullmatch(text):
        return realm
    shown = quote(text.partition("?")[0].rpartition("@")[2], max_chars=100)
    raise InconclusiveError(
        Code.ACCESS_DENIED, f"{quote(registry.authority)} names a token service that is not asked: {shown}"
    )


def basic(credential: Credential) -> str:
    """The value of an Authorization header. RFC 7617 2"""
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def fetch_token(plan: TokenPlan) -> Generator[TokenRequest, tuple[int, bytes], Token]:
    """The token that `plan` asks for; yields requests, is sent status and body.

    Raises: InconclusiveError, `access_denied`.
    """
    credential = plan.credential
    if credential.identity_token:
        status, body = yield _post(plan)
        if status in (400, 401, 404, 405) and credential.password:
            status, body = yield _get(plan)
    else:
        status, body = yield _get(plan)
    if status != 200:
        raise InconclusiveError(
            Code.ACCESS_DENIED, f"the token service {_shown(plan.realm)} answered {status}{_whose(credential)}"
        )
    return _parse_token(body, plan)


def _get(plan: TokenPlan) -> TokenRequest:
    url = urlsplit(plan.realm)
    fields = [("service", plan.service)] if plan.service else []
    query = urlencode([*fields, ("scope", plan.scope)], errors=_AS_RECEIVED)
    credential = plan.credential
    known = credential.username or credential.password
    return TokenRequest(
        url=url._replace(query=f"{url.query}&{query}" if url.query else query, fragment="").geturl(),
        authorization=basic(credential) if known else None,
    )


def _post(plan: TokenPlan) -> TokenRequest:
    form = {
        "grant_type": "refresh_token",
        "service": plan.service,
        "client_id": CLIENT_ID,
        "scope": plan.scope,
        "refresh_token": plan.credential.identity_token,
    }
    return TokenRequest(
        url=plan.realm.partition("#")[0], authorization=None, form=urlencode(form, errors=_AS_RECEIVED).encode("ascii")
    )


def _parse_token(body: bytes, plan: TokenPlan) -> Token:
    what = f"the answer of the token service {_shown(plan.realm)}"
    try:
        fields = untrusted.as_object(untrusted.parse_json(body, max_bytes=len(body), what=what), what)
        value = untrusted.as_string(fields.get("token") or fields.get("access_token"), f"{what}: `token`")
    except MalformedError as error:
        raise InconclusiveError(Code.ACCESS_DENIED, error.detail) from error
    if not _BEARER_VALUE.fullmatch(value):
        raise InconclusiveError(Code.ACCESS_DENIED, f"{what}: the token holds what no header may")
    expires_in = fields.get("expires_in")
    seconds = expires_in if isinstance(expires_in, int | float) and expires_in > 0 else DEFAULT_TOKEN_LIFETIME
    return Token(value, min(seconds, MAX_TOKEN_LIFETIME) * SHARE_OF_LIFE)


def _shown(realm: str) -> str:
    return quote(urlsplit(realm).netloc)


def _whose(credential: Credential) -> str:
    return " to an anonymous request" if credential == ANONYMOUS else " to our credentials"
