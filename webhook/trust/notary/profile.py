"""Signing profiles of AWS Signer: their ARNs, and which signatures are theirs.

One grammar is for what a policy names and for what a signature says of itself; it has no wildcards, nothing is trimmed,
and no prefix matches. Two ARNs are compared without regard to ASCII case, as AWS's own plug-in does.

spec: AWS Signer API reference, profile version ARN; aws-signer-notation-plugin 1.0.350.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from webhook.errors import Code, MalformedError, quote
from webhook.trust.notary import stores
from webhook.trust.notary.levels import Action, Actions, Check, Level, actions_of
from webhook.trust.notary.stores import TrustStore

MAX_ARN_CHARS = 2048  # AWS Signer API reference, GetRevocationStatus

PARTITION = "aws|aws-cn|aws-us-gov|aws-eusc|aws-iso[a-z-]*"
REGION = "[a-z]{2,}(?:-[a-z0-9]+)+"
ACCOUNT = "[0-9]{12}"


@dataclass(frozen=True, slots=True)
class ProfileARN:
    """`arn:<partition>:signer:<region>:<account>:/signing-profiles/<name>[/<version>]`; `version` is empty where
    every version of the profile is meant."""

    partition: str
    region: str
    account: str
    name: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The ARN that `text` is; its region may be in any case, and is in lower case here.

        Raises: MalformedError: `malformed`, `limit_exceeded`.
        """
        if len(text) > MAX_ARN_CHARS:
            raise MalformedError(Code.LIMIT_EXCEEDED, f"{len(text)} characters, at most {MAX_ARN_CHARS} are read")
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn":
            raise _malformed(f"an ARN expected, {_FORM}, found {quote(text)}")
        _, partition, service, region, account, resource = parts
        region = region.lower() if region.isascii() else region
        for expected, part, what in (
            (PARTITION, partition, "a partition (aws, aws-us-gov, aws-cn, aws-eusc or aws-iso…) in lower case"),
            ("signer", service, "the service signer"),
            (REGION, region, "a region"),
            (ACCOUNT, account, "an account of 12 digits"),
        ):
            if not re.fullmatch(expected, part):
                raise _malformed(f"{what} expected, found {quote(part, max_chars=60)}")
        return cls(partition, region, account, *_read_resource(resource))

    @property
    def profile(self) -> ProfileARN:
        """The profile, of which this may be one version."""
        return replace(self, version="")

    def covers(self, signed: ProfileARN) -> bool:
        """Whether a signature under `signed`, which has a version, is one that this names."""
        return str(self).lower() == str(signed if self.version else signed.profile).lower()

    def __str__(self) -> str:
        version = f"/{self.version}" if self.version else ""
        return f"arn:{self.partition}:signer:{self.region}:{self.account}:{_PREFIX}{self.name}{version}"


@dataclass(frozen=True, slots=True)
class SigningProfile:
    """Signatures by AWS Signer under this profile. `store` is of the type `signingAuthority`."""

    arn: ProfileARN
    store: TrustStore
    revocation: Action = Action.ENFORCE  # `warn` of a policy is LOG, `off` is SKIP

    @property
    def stores(self) -> tuple[TrustStore, ...]:
        return (self.store,)

    def with_stores(self, find: Callable[[TrustStore], TrustStore]) -> Self:
        """The same profile, with what `find` finds in the place of its store."""
        return replace(self, store=find(self.store))

    @property
    def actions(self) -> Actions:
        """All but revocation is enforced: the profile's ARN is all that tells one customer of AWS from another."""
        return actions_of(Level.STRICT, {Check.REVOCATION: self.revocation})

    @property
    def terms(self) -> tuple[str, ...]:
        """All by which another signer may judge the same signature otherwise."""
        return (str(self.arn), f"{self.store} {self.store.fingerprint}", self.revocation.value)

    def __str__(self) -> str:
        return str(self.arn)


def default_store(partition: str) -> TrustStore | None:
    """The built-in store with the root of this partition; `None` where a policy has to name one of its own."""
    name = stores.BUILT_IN.get(partition)
    return None if name is None else stores.built_in(name)


def store_problem(arn: ProfileARN, store: TrustStore) -> str:
    """Why no signature under `arn` can have its root in `store`; empty where one can."""
    if store.kind is not stores.StoreKind.SIGNING_AUTHORITY:
        return (
            f"a trust store of the type {stores.StoreKind.SIGNING_AUTHORITY} expected, and {store.name} is {store.kind}"
        )
    if store.partition not in ("", arn.partition):
        return f"the store {store.name} is of the partition {store.partition}, and the profile of {arn.partition}"
    return ""


_PREFIX = "/signing-profiles/"
_FORM = f"arn:<partition>:signer:<region>:<account>:{_PREFIX}<name>[/<version>]"
_NAME, _VERSION = re.compile("[A-Za-z0-9_]{2,64}"), re.compile("[A-Za-z0-9]{10}")


def _read_resource(resource: str) -> tuple[str, ...]:
    """Name, and version where there is one. Raises: MalformedError."""
    if not resource.startswith(_PREFIX):
        raise _malformed(f"the resource {_PREFIX}<name> expected, found {quote(resource, max_chars=100)}")
    name, *versions = resource.removeprefix(_PREFIX).split("/")
    if "*" in resource or "?" in resource:
        raise _malformed(
            f"wildcards are not known, found {quote(resource)}; a profile without version means each version"
        )
    if not _NAME.fullmatch(name):
        raise _malformed(f"a profile name of 2 to 64 letters, digits and _ expected, found {quote(name)}")
    if versions == [""]:
        raise _malformed("nothing expected behind the profile name, found /; each version is meant without it")
    if len(versions) > 1 or not all(map(_VERSION.fullmatch, versions)):
        raise _malformed(f"a version of 10 letters and digits expected, found {quote('/'.join(versions))}")
    return (name, *versions)


def _malformed(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, f"signing profile: {problem}")
