"""Logs in to Amazon ECR: what GetAuthorizationToken answers, as credentials of its registries.

Promises: a token is asked for, and handed out, only for a host that is ECR's to its last character, and is kept no
longer than AWS says. One token serves all registries of a region, of other accounts too, so AWS is asked once for each
region and kind of host: by the first review that needs it, and from half of the token's life on in the background,
where a failure leaves the old one in place. A token that a registry refused is replaced, though not in vain again and
again: whoever names repositories that we may not read must not use up what AWS lets us ask. No token stands in any
message. Who we are, and every timeout, is for `door`. spec: Amazon ECR API, GetAuthorizationToken.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from webhook import untrusted
from webhook.aws.calls import AWSError, Kind
from webhook.aws.door import AWS
from webhook.cache import Cache, Loaded
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.oci import ecr
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository

log = logging.getLogger(__name__)

PLACES_MAX = 256  # regions and kinds of hosts; who creates pods may name some that do not exist
LIFETIME_MAX = 12 * 3600.0  # seconds; Amazon ECR API, GetAuthorizationToken
YOUNG = 60.0  # seconds for which a token is not renewed though it was refused
RETRY_INTERVAL = 60.0  # seconds from a renewal that failed to the next
FAILURE_LIFETIME = 5.0  # seconds for which nobody asks again
MAX_TOKEN_CHARS = 16 * 1024  # real ones take 3 KiB
PUBLIC_REGION = "us-east-1"  # Amazon ECR Public, authentication: there alone

_CODES = {
    Kind.DENIED: Code.ACCESS_DENIED,
    Kind.NO_CREDENTIALS: Code.ACCESS_DENIED,
    Kind.INVALID: Code.ACCESS_DENIED,
    Kind.THROTTLED: Code.RATE_LIMITED,
    Kind.UNREACHABLE: Code.REGISTRY_UNAVAILABLE,
    Kind.FAULT: Code.REGISTRY_UNAVAILABLE,
    Kind.OVERLOADED: Code.OVERLOADED,
}
_HINTS = {
    Kind.NO_CREDENTIALS: "; give the webhook's service account a role (EKS Pod Identity or IRSA), or its node one"
    " (instance profile)",
    Kind.DENIED: " for the role that is used",
}


@dataclass(frozen=True, slots=True)
class Place:
    """What one token serves. Where `fips` or `dualstack` is None, the SDK's own variables choose how AWS is asked."""

    service: str
    partition: str
    region: str
    fips: bool | None = None
    dualstack: bool | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """Times are monotonic, in seconds."""

    credential: Credential
    obtained_at: float
    renew_at: float
    ends_at: float


class ECRLogin:
    """A `CredentialSource` of ECR's registries alone; of public.ecr.aws only where `public`.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        aws: AWS,
        *,
        public: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._aws, self._public, self._clock, self._now = aws, public, clock, now
        self._logins: Cache[Place, Login] = Cache(max_entries=PLACES_MAX, clock=clock)
        self._failures: Cache[Place, tuple[Code, str]] = Cache(max_entries=PLACES_MAX, clock=clock)
        self._renewals: dict[Place, asyncio.Task[None]] = {}

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        """What ECR takes for `repository`, unless it is among the `refused`; empty for other registries.

        Raises: InconclusiveError.
        """
        place = self._place(repository.host)
        if place is None:
            return ()
        login = self._logins.get(place)
        if login is None:
            login = await self._logins.get_or_load(place, lambda: self._log_in(place))
        elif login.credential in refused:
            login = await self._renewed(place, login)
        elif login.renew_at <= self._clock():
            self._renew(place, login)
        return (login.credential,) if login.credential not in refused else ()

    async def close(self) -> None:
        """Tokens under way are given up."""
        renewals = list(self._renewals.values())
        for task in renewals:
            task.cancel()
        await asyncio.gather(*renewals, return_exceptions=True)
        await self._logins.close()

    def _place(self, host: str) -> Place | None:
        if found := ecr.parse_host(host):
            return Place("ecr", found.partition, found.region, found.fips or None, found.dual_stack or None)
        return Place("ecr-public", "aws", PUBLIC_REGION) if self._public and ecr.is_public(host) else None

    async def _renewed(self, place: Place, login: Login) -> Login:
        """Another than `login`, which was refused, if it is time for one and one can be had."""
        if self._clock() < login.obtained_at + YOUNG:
            return login
        await asyncio.shield(self._renew(place, login))
        return self._logins.get(place) or login

    def _renew(self, place: Place, login: Login) -> asyncio.Task[None]:
        task = self._renewals.get(place)
        if task is None:
            task = self._renewals[place] = asyncio.create_task(self._replace(place, login))
            task.add_done_callback(lambda _: self._renewals.pop(place))
        return task

    async def _replace(self, place: Place, login: Login) -> None:
        try:
            loaded = await self._log_in(place)
        except InconclusiveError as error:
            log.warning("%s; the token at hand is used on", error.detail)
            later = self._clock() + RETRY_INTERVAL
            loaded = Loaded(replace(login, renew_at=later), login.ends_at - self._clock())
        self._logins.put(place, loaded.value, loaded.lifetime)

    async def _log_in(self, place: Place) -> Loaded[Login]:
        if (failure := self._failures.get(place)) is not None:
            raise InconclusiveError(*failure)
        try:
            return await self._ask(place)
        except AWSError as error:
            raise self._failed(place, _CODES[error.kind], error.detail + _HINTS.get(error.kind, "")) from error
        except MalformedError as error:
            raise self._failed(place, Code.REGISTRY_UNAVAILABLE, error.detail) from error

    def _failed(self, place: Place, code: Code, why: str) -> InconclusiveError:
        failure = code, f"no login to ECR: {why}"
        self._failures.put(place, failure, FAILURE_LIFETIME)
        return InconclusiveError(*failure)

    async def _ask(self, place: Place) -> Loaded[Login]:
        """Raises: AWSError, MalformedError, InconclusiveError."""
        own = await self._aws.partition_of("")
        if own and own != place.partition:  # whose identity is worth nothing there
            raise InconclusiveError(
                Code.ACCESS_DENIED, f"no login to ECR: {place.region} is in {place.partition}, our identity in {own}"
            )
        answer = await self._aws.call(
            place.service, "get_authorization_token", place.region, {}, fips=place.fips, dualstack=place.dualstack
        )
        credential, expires_at = _parse(answer, f"{place.service}:GetAuthorizationToken in {place.region}")
        obtained_at = self._clock()
        # One that has ended already is used for what waits for it, and then no more.
        lifetime = max(0.0, min((expires_at - self._now()).total_seconds(), LIFETIME_MAX))
        login = Login(credential, obtained_at, obtained_at + lifetime / 2, obtained_at + lifetime)
        return Loaded(login, lifetime)


def _parse(answer: Mapping[str, object], what: str) -> tuple[Credential, datetime]:
    """The credential, and when it ends. Raises: MalformedError, which shows nothing of it."""
    found = answer.get("authorizationData")
    if isinstance(found, list):  # as private ECR answers, though there is one token for all registries
        found = found[0] if found else None
    data = untrusted.as_object(found, f"{what}: `authorizationData`")
    token, expires_at = data.get("authorizationToken"), data.get("expiresAt")
    if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARS:
        raise MalformedError(Code.MALFORMED, f"{what}: a token of at most {MAX_TOKEN_CHARS} characters expected")
    if not isinstance(expires_at, datetime) or expires_at.tzinfo is None:
        raise MalformedError(Code.MALFORMED, f"{what}: `expiresAt`: a time with its zone expected")
    return _decode(token, what), expires_at


def _decode(token: str, what: str) -> Credential:
    try:
        username, colon, password = untrusted.decode_base64(token, what).decode("utf-8").partition(":")
    except (MalformedError, UnicodeDecodeError):
        username = colon = password = ""
    if not (colon and username and password):
        raise MalformedError(Code.MALFORMED, f"{what}: base64 of a user name, a colon and a password expected")
    return Credential(username=username, password=password)
