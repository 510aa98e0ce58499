"""What passes through the door to AWS, whoever stands behind it: a call, and how it can fail.

An `AWSError` is sorted by how its caller must react, and says in one line what happened and what to do. AWS's own
words are foreign text: they are quoted and cut, and left out where they may hold a part of the request. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from webhook.errors import quote


@dataclass(frozen=True, slots=True)
class Client:
    """One service at one place. An empty `region` is the SDK's own; `endpoint` is `host[:port]`, empty for AWS's.

    `fips` and `dualstack` choose among AWS's hosts; `None` leaves that to the SDK's own variables.
    """

    service: str  # as the SDK calls it: `kms`, `signer-data`
    region: str = ""
    endpoint: str = ""
    fips: bool | None = None
    dualstack: bool | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """`operation` as the SDK's clients spell it: `get_public_key`."""

    client: Client
    operation: str
    parameters: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def action(self) -> str:
        """What IAM calls it: `kms:GetPublicKey`."""
        service = self.client.service
        return f"{_IAM_PREFIXES.get(service, service)}:{''.join(map(str.capitalize, self.operation.split('_')))}"


_IAM_PREFIXES = {"signer-data": "signer"}


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom calls are made. `source` is where the SDK has the credentials from, in its own word: `container-role`."""

    arn: str
    source: str


class Kind(StrEnum):
    """Why a call brought no answer."""

    DENIED = "denied"  # the identity is known, and lacks a permission
    NO_CREDENTIALS = "no credentials"  # there is no identity, or none that AWS knows
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    INVALID = "invalid"  # it will not do as it was asked; `code` says why
    FAULT = "fault"  # AWS's own, an answer that cannot be read among them
    OVERLOADED = "overloaded"  # it was not made: too many wait


TRANSIENT = frozenset({Kind.THROTTLED, Kind.UNREACHABLE, Kind.FAULT})  # of the service, and of all who ask it

_SAID = {
    Kind.DENIED: "denied: the permission {action} is missing",
    Kind.NO_CREDENTIALS: "no credentials that AWS accepts",
    Kind.THROTTLED: "too many requests",
    Kind.UNREACHABLE: "AWS does not answer",
    Kind.INVALID: "AWS refuses the request",
    Kind.FAULT: "AWS failed to answer",
    Kind.OVERLOADED: "too many calls to AWS wait already",
}
_MESSAGE_SHOWN = frozenset({Kind.INVALID, Kind.FAULT})  # others tell of accounts, or repeat what was signed


class AWSError(Exception):
    """A call that brought no answer; each caller says what that means to it.

    `action` is what IAM calls the operation. `code` is AWS's word or the SDK's, and `message` AWS's text, both foreign;
    `note` is ours. `detail` says it to a person, without what tells of accounts or repeats what was signed.
    """

    def __init__(
        self, kind: Kind, action: str, region: str = "", *, code: str = "", message: str = "", note: str = ""
    ) -> None:
        where = f"{action} in {region}" if region else action
        said = _SAID[kind].format(action=action)
        shown = f" ({quote(code, max_chars=80)[1:-1]})" if code else ""
        words = f": {quote(message)}" if message and kind in _MESSAGE_SHOWN else ""
        self.detail = f"{where}: {said}{shown}{words}" + (f"; {note}" if note else "")
        self.kind, self.action, self.region, self.code = kind, action, region, code
        super().__init__(self.detail)


class Caller(Protocol):
    """Makes calls, one in each thread that asks. Every method blocks, for a bounded time, and raises AWSError."""

    def call(self, call: Call) -> Mapping[str, object]: ...

    def identity(self, region: str) -> Identity: ...

    def home(self) -> str: ...  # the region where it is, empty where that is not known

    def partition_of(self, region: str) -> str: ...

    def endpoint_of(self, client: Client) -> str: ...

    def close(self) -> None: ...
