"""Whether AWS Signer has revoked what a signature was made with: its job, its profile, a certificate of its chain.

One call for each signature and not for each review: answers are kept for a bounded time, and whoever asks while one is
under way waits for that. No answer is never a good one, and is not kept. Which signatures are asked about, and what
becomes of one that was revoked, is not decided here. spec: AWS Signer data plane, GetRevocationStatus.
"""

from __future__ import annotations

import asyncio

from webhook import settings, untrusted
from webhook.aws.calls import AWSError
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

_GOOD = Status(Standing.GOOD)


class SignerRevocation:
    """Answers of AWS Signer. One for each event loop."""

    def __init__(self, aws: AWS, configured: settings.AWS) -> None:
        self._aws, self._configured = aws, configured
        self._answers: Cache[SignerInquiry, Status] = Cache(max_entries=MAX_ANSWERS)

    async def status(self, inquiry: SignerInquiry) -> Status:
        """What AWS Signer says of `inquiry`, now or within the time for which it is kept; never raises."""
        return await self._answers.get_or_load(inquiry, lambda: self._load(inquiry))

    async def close(self) -> None:
        """Nobody is waited for any more."""
        await self._answers.close()

    async def _load(self, inquiry: SignerInquiry) -> Loaded[Status]:
        try:
            async with asyncio.timeout(TIME_LIMIT):
                status = await self._ask(inquiry)
        except AWSError as error:
            status = _unknown(error.detail)
        except MalformedError as error:
            status = _unknown(f"its answer cannot be read: {error.detail}")
        except TimeoutError:
            status = _unknown(f"no answer within {TIME_LIMIT:.0f} s")
        return Loaded(status, self._lifetime(status))

    async def _ask(self, inquiry: SignerInquiry) -> Status:
        region = self._configured.signer_region or inquiry.region
        if problem := await self._partition_problem(region, inquiry.partition):
            return _unknown(problem)
        answer = await self._aws.call("signer-data", "get_revocation_status", region, _parameters(inquiry))
        listed = answer.get("revokedEntities")
        entities = [] if listed is None else untrusted.as_array(listed, "revokedEntities", max_items=MAX_ENTITIES)
        named = [_entity(entity) for entity in entities]
        return Status(Standing.REVOKED, _revoked(named)) if named else _GOOD

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
