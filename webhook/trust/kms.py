"""Public keys in AWS KMS, as policies name them: `awskms://[ENDPOINT]/KEY`.

What such a text names, and nothing of what stands there: `keys` keeps the keys that KMS has for each. A text is taken
in its one spelling, so that two that differ name different things.

spec: cosign, key references; AWS KMS, GetPublicKey, KeyId.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NoReturn

from webhook.errors import Code, MalformedError, quote
from webhook.trust.material import Hash, Padding, PublicKey

SCHEME = "awskms://"
MAX_URI_CHARS = 2048  # of KeyId, by AWS KMS' own model

_ID = r"(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32})"
_ALIAS = r"alias/[A-Za-z0-9:/_-]{1,250}"
_REGION = r"[a-z]{2,}(?:-[a-z0-9]+)+"
_PLAIN = re.compile(rf"{_ID}|{_ALIAS}")
_ARN = re.compile(
    rf"arn:(?P<partition>aws|aws-us-gov|aws-cn):kms:(?P<region>{_REGION}):(?P<account>[0-9]{{12}})"
    rf":(?:key/{_ID}|{_ALIAS})"
)
_ENDPOINT = re.compile(r"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(?::[0-9]{1,5})?")
_EXPECTED = "a key id, alias/NAME, or the ARN of either expected"
_OTHERS = ("gcpkms://", "azurekms://", "hashivault://", "openbao://", "k8s://", "gitlab://", "pkcs11:", "env://")


@dataclass(frozen=True, slots=True)
class KMSKey:
    """`key_id` is what KMS is asked for: a key id, a key's ARN, `alias/…`, an alias' ARN.

    `region` and `account` are those of an ARN, otherwise empty; `endpoint` is `host[:port]`, empty for AWS's own.
    """

    uri: str  # as the policy has it
    key_id: str
    partition: str = ""
    region: str = ""
    account: str = ""
    endpoint: str = ""
    hash: Hash | None = None
    padding: Padding | None = None

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class Fetched:
    """What KMS has under a name now. `arn` is the key's own, which tells whether an alias was pointed elsewhere."""

    key: PublicKey
    arn: str


def parse(
    uri: str,
    *,
    endpoints: Collection[str] | None = None,
    hash: Hash | None = None,  # noqa: A002
    padding: Padding | None = None,
) -> KMSKey:
    """The key that `uri` names.

    `endpoints` are those that may be named in it; `None` where that is not known, and left to whoever asks them.

    Raises: MalformedError, `malformed`; `unsupported` for a key service that is not AWS's.
    """
    if len(uri) > MAX_URI_CHARS:
        _refuse(f"{len(uri)} characters, at most {MAX_URI_CHARS} are read")
    if uri.startswith(_OTHERS):
        found, export = quote(uri, max_chars=60), "`cosign public-key --key URI`, and give it as publicKey"
        _refuse(f"only AWS KMS is asked for keys ({SCHEME}), found {found}: export it with {export}", Code.UNSUPPORTED)
    if not uri.startswith(SCHEME):
        _refuse(f"{SCHEME}/KEY expected, found {quote(uri, max_chars=60)}")
    endpoint, slash, key_id = uri.removeprefix(SCHEME).partition("/")
    if not slash or endpoint == "alias" or endpoint.startswith("arn:"):
        _refuse(f"three slashes expected where no endpoint is named, {SCHEME}/KEY, found {quote(uri, max_chars=60)}")
    arn = _ARN.fullmatch(key_id)
    if arn is None and not _PLAIN.fullmatch(key_id):
        _refuse(f"{_key_problem(key_id)}, found {quote(key_id, max_chars=100)}")
    _check_endpoint(endpoint, endpoints)
    place = KMSKey(uri, key_id, endpoint=endpoint, hash=hash, padding=padding)
    if arn is None:
        return place
    return replace(place, partition=arn["partition"], region=arn["region"], account=arn["account"])


def _key_problem(key_id: str) -> str:
    if "*" in key_id:
        return "one key expected, and no wildcard"
    if key_id.startswith("arn:") and ":kms:" not in key_id:
        return "the ARN of a KMS key or alias expected"
    if key_id.startswith("arn:"):
        return "arn:PARTITION:kms:REGION:ACCOUNT:key/ID or …:alias/NAME expected (partition aws, aws-us-gov or aws-cn)"
    return _EXPECTED


def _check_endpoint(endpoint: str, endpoints: Collection[str] | None) -> None:
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        _refuse(f"the endpoint {quote(endpoint, max_chars=60)} is no `host[:port]` in lower case")
    if endpoint and endpoints is not None and endpoint not in endpoints:
        _refuse(f"the endpoint {quote(endpoint, max_chars=60)} is not one that the operator lists (KMS endpoints)")


def _refuse(problem: str, code: Code = Code.MALFORMED) -> NoReturn:
    raise MalformedError(code, problem)
