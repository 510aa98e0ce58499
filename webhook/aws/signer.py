"""Whether AWS Signer has revoked what a signature was made with: its job, its profile, a certificate of its chain.

One call for each signature and not for each review: answers are kept for a bounded time, and whoever asks while one is
under way waits for that. Where AWS Signer does not answer, that nothing was revoked stands for a while longer, and says
so; a refusal, an answer that cannot be read, and whatever is known to be revoked end that at once. No answer is never a
good one by itself, and is not kept. Which signatures are asked about, and what becomes of one that was revoked, is not
decided here. spec: AWS Signer data plane, GetRevocationStatus.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from webhook import settings, untrusted
from webhook.aws.calls import TRANSIENT, AWSError, Kind
from webhook.aws.door import AWS
from webhook.cache import Cache, Loaded
from webhook.errors import Code, MalformedError, quote
from webhook.trust.notary.inquiry import SignerInquiry, Standing, Status

REVOKED_LIFETIME = 24 * 3600.0  # it cannot be taken back
MAX_ANSWERS = 4096  # of 2 KiB each
MAX_ENTITIES = 100
MIN_ENTITY_CHARS = (
    20  # of an ARN; hashes are longer. Where a text stands for the list, the SDK makes one of its letters
)
MAX_SHOWN = 3
TIME_LIMIT = 10.0  # seconds for one call and its wait for a thread; a review ends sooner
PATIENCE = 1.0  # seconds for which it is waited for where an earlier answer may stand in
RETRY = 10.0  # seconds for which one stands in before AWS Signer is asked again

_GOOD = Status(Standing.GOOD)


@dataclass(frozen=True, slots=True)
class _Good:
    """That nothing was revoked was said `at` this time, by the clock, and `since` then, monotonic."""

    at: datetime
    since: float


class SignerRevocation:
    """Answers of AWS Signer. One for each event loop. `monotonic` is in seconds; `clock` is only told to people."""

    def __init__(
        self,
        aws: AWS,
        configured: settings.AWS,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._aws, self._configured, self._clock, self._monotonic = aws, configured, clock, monotonic
        self._answers: Cache[SignerInquiry, Status] = Cache(max_entries=MAX_ANSWERS, clock=monotonic)
        self._good: Cache[SignerInquiry, _Good] = Cache(max_entries=MAX_ANSWERS, clock=monotonic)
        self._revoked: Cache[str, float] = Cache(max_entries=MAX_ANSWERS, clock=monotonic)  # when it was learned first

    async def status(self, inquiry: SignerInquiry) -> Status:
        """What AWS Signer says of `inquiry`, now or within the time for which it is kept; never raises."""
        good = self._last_good(inquiry)
        if (kept := self._answers.get(inquiry)) is not None:
            return kept
        asked = self._answers.get_or_load(inquiry, lambda: self._load(inquiry))
        if good is None:
            return await asked
        try:
            async with asyncio.timeout(PATIENCE):
                return await asked
        except TimeoutError:
            late = self._unanswered(inquiry, f"no answer within {PATIENCE:g} s")
            self._answers.put(inquiry, late.value, late.lifetime)
            return late.value

    async def close(self) -> None:
        """Nobody is waited for any more."""
        await self._answers.close()

    async def _load(self, inquiry: SignerInquiry) -> Loaded[Status]:
        try:
            async with asyncio.timeout(TIME_LIMIT):
                status = await self._ask(inquiry)
        except AWSError as error:
            if _is_outage(error):
                return self._unanswered(inquiry, error.detail)
            status = _unknown(error.detail)
        except MalformedError as error:
            status = _unknown(f"its answer cannot be read: {error.detail}")
        except TimeoutError:
            return self._unanswered(inquiry, f"no answer within {TIME_LIMIT:.0f} s")
        if status.standing is not Standing.GOOD:
            self._forget(inquiry)  # also for who did not wait for this answer, and will not for the next
        return Loaded(status, self._lifetime(status))

    def _unanswered(self, inquiry: SignerInquiry, problem: str) -> Loaded[Status]:
        """What was said before, as long as that may stand in."""
        good, unknown = self._last_good(inquiry), _unknown(problem)
        left = good.since + self._configured.signer_stale - self._monotonic() if good else 0.0
        if good is None or left <= 0:
            return Loaded(unknown, 0.0)
        stale = f"nothing was revoked at {good.at.isoformat(timespec='seconds')}; since then {unknown.detail}"
        return Loaded(Status(Standing.GOOD, stale=stale), min(RETRY, self._configured.signer_lifetime, left))

    def _last_good(self, inquiry: SignerInquiry) -> _Good | None:
        """The last answer that nothing was revoked; none once anything that `inquiry` names is known to be."""
        good = self._good.get(inquiry)
        if good is None or not len(self._revoked):
            return good
        learned = (self._revoked.get(name) for name in _named_by(inquiry))
        if all(at is None or at < good.since for at in learned):
            return good
        self._forget(inquiry)
        return None

    def _forget(self, inquiry: SignerInquiry) -> None:
        """No answer of before counts any more."""
        self._good.remove(inquiry)
        self._answers.remove(inquiry)

    async def _ask(self, inquiry: SignerInquiry) -> Status:
        region = self._configured.signer_region or inquiry.region
        if problem := await self._partition_problem(region, inquiry.partition):
            return _unknown(problem)
        answer = await self._aws.call("signer-data", "get_revocation_status", region, _parameters(inquiry))
        listed = answer.get("revokedEntities")
        entities = [] if listed is None else untrusted.as_array(listed, "revokedEntities", max_items=MAX_ENTITIES)
        named = [_entity(entity) for entity in entities]
        now = self._monotonic()
        if not named:
            lasting = max(self._configured.signer_lifetime, self._configured.signer_stale)
            self._good.put(inquiry, _Good(self._clock(), now), lasting)
            return _GOOD
        for name in {*named}.intersection(_named_by(inquiry)):
            if self._revoked.get(name) is None:  # what was asked since the first time is not asked again for each
                self._revoked.put(name, now, REVOKED_LIFETIME)
        return Status(Standing.REVOKED, _revoked(named))

    async def _partition_problem(self, region: str, partition: str) -> str:
        """Credentials are of one partition, and no other answers to them."""
        own = await self._aws.partition_of("")
        if own not in ("", partition):
            return f"a signature of another partition: it was made in {partition}, and this webhook runs in {own}"
        if await self._aws.partition_of(region) != partition:
            return f"a signature of another partition: {region} is not a region of {partition}"
        return ""

    def _lifetime(self, status: Status) -> float:
        match status.standing:
            case Standing.GOOD:
                return self._configured.signer_lifetime
            case Standing.REVOKED:
                return REVOKED_LIFETIME
        return 0.0


def _is_outage(error: AWSError) -> bool:
    """Whether nobody answered. Who is refused was answered; and what cannot be read may say that it was revoked."""
    if error.kind is Kind.FAULT:
        return bool(error.code)
    return error.kind in TRANSIENT or error.kind is Kind.OVERLOADED


def _named_by(inquiry: SignerInquiry) -> Iterator[str]:
    """All that an answer to `inquiry` may name as revoked."""
    yield inquiry.job_arn
    yield inquiry.profile_version_arn
    yield inquiry.profile_version_arn.rpartition("/")[0]
    for pair in inquiry.certificate_hashes:  # a certificate's and its issuer's, of SHA-384
        yield from (pair, pair[:96], pair[96:])


def _parameters(inquiry: SignerInquiry) -> dict[str, object]:
    return {
        "signatureTimestamp": inquiry.signed_at,
        "platformId": inquiry.platform,
        "profileVersionArn": inquiry.profile_version_arn,
        "jobArn": inquiry.job_arn,
        "certificateHashes": list(inquiry.certificate_hashes),
    }


def _entity(value: object) -> str:
    entity = untrusted.as_string(value, "revokedEntities")
    if len(entity) < MIN_ENTITY_CHARS:
        raise MalformedError(Code.MALFORMED, f"revokedEntities: ARNs and hashes expected, found {quote(entity)}")
    return entity


def _revoked(entities: list[str]) -> str:
    """What was revoked: jobs and profiles by name, certificates, which are named by a hash alone, as such."""
    arns = [quote(entity)[1:-1] for entity in entities if entity.startswith("arn:")]
    named = [f"{_what(arn)} {arn}" for arn in arns[:MAX_SHOWN]]
    if len(arns) < len(entities):
        named.append("a certificate of its chain")
    more = f" and {len(arns) - MAX_SHOWN} more" if len(arns) > MAX_SHOWN else ""
    return f"AWS Signer has revoked {', '.join(named)}{more}"


def _what(arn: str) -> str:
    if ":/signing-jobs/" in arn:
        return "the signing job"
    return "the profile version" if arn.count("/") > 2 else "the profile"


def _unknown(problem: str) -> Status:
    return Status(Standing.UNKNOWN, f"AWS Signer did not say whether it was revoked: {problem}")
