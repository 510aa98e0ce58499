"""The checkup of what AWS is asked for: as whom, for which key, about which profile, and what that identity lacks.

Each call is the one that a review or a refresh makes, through the same door, and changes nothing. Whoever looks after a
webhook knows no signing job of each profile, so revocation is asked of one that was made up: who may ask is told that
nothing is revoked, or that there is no such job, and who may not is told that first.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit

from webhook.aws.calls import AWSError, Client
from webhook.aws.calls import Kind as Failure
from webhook.aws.door import AWS
from webhook.aws.kms import KMS
from webhook.errors import CountersignError
from webhook.settings import Settings
from webhook.terminal.checkup import dialling
from webhook.terminal.checkup.model import Check, Kind, Subject, not_tried, well, wrong
from webhook.trust.kms import KMSKey
from webhook.trust.notary.levels import Action
from webhook.trust.notary.profile import ProfileARN, SigningProfile

PORTS = {"https": 443, "http": 80}
MADE_UP_VERSION = "0000000000"  # of a profile of which a policy names no version
MADE_UP_JOB = "00000000-0000-0000-0000-000000000000"
MADE_UP_HASH = "0" * 192
PLATFORM = "Notation-OCI-SHA384-ECDSA"
SOURCES = {  # by botocore's own words
    "env": "environment variables",
    "assume-role": "a role that a profile in the AWS configuration names",
    "assume-role-with-web-identity": "a service account's token (IRSA)",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the AWS configuration file",
    "sso": "a login with IAM Identity Center",
    "container-role": "a container's credentials (EKS Pod Identity)",
    "iam-role": "the node's instance profile",
}
REMEDIES = {
    Failure.NO_CREDENTIALS: "in a cluster, give the service account a role: EKS Pod Identity, or IRSA (on Fargate and"
    " in China); elsewhere, log in and set AWS_PROFILE; see docs/aws.md",
    Failure.UNREACHABLE: "is there a way out, or a VPC endpoint for this service, and does a network policy allow it?",
}


class Cloud:
    """AWS, as far as it is looked at here."""

    def __init__(self, aws: AWS, configured: Settings) -> None:
        self._aws, self._configured = aws, configured
        self._kms = KMS(aws.call_blocking, configured.aws)

    async def check_identity(self, region: str) -> Subject:
        """As whom AWS is asked, and where that comes from; that it cannot be told does no harm to anything else.

        `region` is asked where the SDK has none of its own.
        """
        try:
            found = await self._aws.identity(region)
        except AWSError as error:
            untold = not_tried("identity", f"{error.detail}; nothing but doctor asks for it")
            lacking = error.kind is Failure.NO_CREDENTIALS
            return Subject(Kind.IDENTITY, "AWS", (_refused("credentials", error) if lacking else untold,))
        source = SOURCES.get(found.source, found.source or "nowhere that the SDK says")
        return Subject(Kind.IDENTITY, "AWS", (well("credentials", f"from {source}"), well("identity", found.arn)))

    async def check_key(self, key: KMSKey) -> Subject:
        """Whether the public key behind `key` can be had."""
        address = await self._check_address(Client("kms", key.region, key.endpoint))
        try:
            fetched = await asyncio.to_thread(self._kms.fetch, key)
            call = well("GetPublicKey", f"{fetched.key.algorithm}, sha256:{fetched.key.fingerprint}, {fetched.arn}")
        except CountersignError as error:
            call = _refused("GetPublicKey", error.__cause__, error.detail)
        return Subject(Kind.KEY, str(key), (*address, call))

    async def check_profile(self, profile: SigningProfile) -> Subject:
        """Whether AWS Signer says what of `profile` was revoked."""
        name = str(profile)
        if profile.revocation is Action.SKIP:
            unasked = not_tried("GetRevocationStatus", "the policy says `revocation: off`: nobody is asked")
            return Subject(Kind.PROFILE, name, (unasked,))
        region = self._configured.aws.signer_region or profile.arn.region
        address = await self._check_address(Client("signer-data", region))
        return Subject(Kind.PROFILE, name, (*address, await self._check_revocation(profile.arn, region)))

    async def _check_revocation(self, arn: ProfileARN, region: str) -> Check:
        owner = f"arn:{arn.partition}:signer:{arn.region}:{arn.account}:"
        parameters = {
            "signatureTimestamp": datetime.now(UTC).replace(microsecond=0),
            "platformId": PLATFORM,
            "profileVersionArn": str(arn) if arn.version else f"{arn}/{MADE_UP_VERSION}",
            "jobArn": f"{owner}/signing-jobs/{MADE_UP_JOB}",
            "certificateHashes": [MADE_UP_HASH, MADE_UP_HASH],
        }
        try:
            await self._aws.call("signer-data", "get_revocation_status", region, parameters)
        except AWSError as error:
            # It read what was asked, and so let us ask
            if error.code in ("ValidationException", "ResourceNotFoundException"):
                return well("GetRevocationStatus", f"answered in {region}, of a job that was made up: {error.code}")
            return _refused("GetRevocationStatus", error)
        return well("GetRevocationStatus", f"answered in {region}, of a job that was made up")

    async def _check_address(self, client: Client) -> tuple[Check, ...]:
        """Empty where no name is known, for want of a region or an identity: the call itself says so."""
        try:
            url = urlsplit(await self._aws.endpoint_of(client))
        except AWSError:
            return ()
        return (await dialling.check_host(url.hostname or "", url.port or PORTS[url.scheme]),)


def _refused(name: str, error: BaseException | None, detail: str = "") -> Check:
    """What came of a call that failed by `error`, in its words or those of `detail`."""
    if not isinstance(error, AWSError):
        return wrong(name, detail)
    action = error.action if error.kind is Failure.DENIED else ""
    return wrong(name, detail or error.detail, action=action, remedy=REMEDIES.get(error.kind, ""))
