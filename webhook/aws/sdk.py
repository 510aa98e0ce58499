"""The AWS SDK, and the only module that imports it: a `Call` turned into its answer, or into an `AWSError`.

Whose credentials are used, where they come from and when they are renewed is botocore's own chain: environment,
IRSA, shared files, Pod Identity, instance profile. One session serves all (it is not safe for use by two threads, so
clients are made under a lock; they are), and one client each service, region and choice of hosts. An answer in JSON
is read strictly before the SDK reads it, since a page of a captive proxy would pass for an empty answer.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import orjson
from botocore import exceptions, loaders
from botocore.config import Config
from botocore.parsers import ResponseParserError

from webhook import settings, untrusted, version
from webhook.aws.calls import AWSError, Call, Client, Identity, Kind
from webhook.errors import MalformedError, quote

CLIENTS_MAX = 32  # a client is a megabyte, and who creates pods may name regions
ANSWER_MAX_BYTES = 1 << 20
PAUSE = 5.0  # seconds for which a source of credentials that failed is not asked again: it may take as long to fail

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.MetadataRetrievalError,
    exceptions.NoAuthTokenError,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
    exceptions.LoginError,
    exceptions.UnknownCredentialError,
    exceptions.ProfileNotFound,
    exceptions.ConfigNotFound,
    exceptions.ConfigParseError,
    exceptions.InvalidConfigError,
)
_UNREACHABLE = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError)
_UNREADABLE = (ResponseParserError, MalformedError, AttributeError, KeyError, TypeError, ValueError)

# What services call one thing: some of these are of all, some of SNS, ECR, KMS or Signer
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN_IDENTITY = _EXPIRED | frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidToken",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AuthFailure",
        "RequestTimeTooSkewed",
        "NotAuthorized",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})
_THROTTLED = frozenset(
    {"RequestLimitExceeded", "TooManyRequestsException", "LimitExceededException", "SlowDown", "RequestThrottled"}
)


class SDK:
    """botocore under our limits. `clock` is monotonic, in seconds. Every method raises AWSError."""

    def __init__(self, configured: settings.AWS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._configured, self._clock = configured, clock
        self._lock = threading.Lock()
        self._session: boto3.session.Session | None = None
        self._clients: dict[Client, Any] = {}  # in the order of use
        self._failed_at, self._failure = float("-inf"), ""  # of the source of credentials

    def call(self, call: Call) -> Mapping[str, object]:
        """What AWS answers; where the credentials have ended meanwhile, a new session asks once more."""
        with self._translated(call.action), self._lock:
            session = self._opened()
        try:
            return self._make(call)
        except AWSError as error:
            if error.code not in _EXPIRED:
                raise
        self._end(session)
        return self._make(call)

    def identity(self, region: str = "") -> Identity:
        """As whom calls are made, which needs no permission; asked in `region` where there is none of its own."""
        with self._translated("AWS", region), self._lock:
            region = self._own_region() or region
        call = Call(Client("sts", region), "get_caller_identity")
        answer = self.call(call)
        with self._translated(call.action), self._lock:
            credentials = self._opened().get_credentials()
        return Identity(str(answer.get("Arn", "")), credentials.method if credentials is not None else "")

    def home(self) -> str:
        """The SDK's own region; empty where it has none."""
        with self._translated("AWS"), self._lock:
            return self._own_region()

    def partition_of(self, region: str) -> str:
        """The partition of `region`; that of the SDK's own where it is empty, empty where it has none."""
        with self._translated("AWS", region), self._lock:
            region = region or self._own_region()
            return str(self._opened().get_partition_for_region(region)) if region else ""

    def endpoint_of(self, client: Client) -> str:
        """The URL that is dialled for `client`."""
        with self._translated(client.service, client.region):
            return str(self._client(client, client.service).meta.endpoint_url)

    def close(self) -> None:
        """Connections that are idle are closed."""
        with self._lock:
            self._forget(0)

    def _make(self, call: Call) -> Mapping[str, object]:
        if self._clock() < self._failed_at + PAUSE:
            raise AWSError(Kind.NO_CREDENTIALS, call.action, call.client.region, code=self._failure)
        with self._translated(call.action, call.client.region):
            client = self._client(call.client, call.action)
        operation = getattr(client, call.operation)
        with self._translated(call.action, call.client.region):
            answer = operation(**call.parameters)
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    def _client(self, wanted: Client, action: str) -> Any:
        with self._lock:
            client = self._clients.pop(wanted, None) or self._open(wanted, action)
            self._forget(CLIENTS_MAX - 1)
            self._clients[wanted] = client
            return client

    def _open(self, wanted: Client, action: str) -> Any:
        session = self._opened()
        region = wanted.region or self._own_region()
        if not region:
            raise AWSError(Kind.INVALID, action, note="no region: set AWS_REGION, or name an ARN, which has one")
        session.get_partition_for_region(region)  # raises for a region that is none
        self._check_credentials(session, action, region)
        options = Config(
            connect_timeout=self._configured.connect_timeout,
            read_timeout=self._configured.read_timeout,
            retries={"mode": "standard", "total_max_attempts": self._configured.attempts},
            use_fips_endpoint=wanted.fips,
            use_dualstack_endpoint=wanted.dualstack,
            user_agent_extra=f"countersign/{version.installed()}",
        )
        endpoint = _url(wanted.endpoint) if wanted.endpoint else None
        client = session.client(wanted.service, region_name=region, endpoint_url=endpoint, config=options)
        client.meta.events.register("before-parse", _check_json)
        return client

    def _check_credentials(self, session: Any, action: str, region: str) -> None:
        """There are some, since a client keeps for good what it was made with."""
        try:
            if session.get_credentials() is None:
                raise exceptions.NoCredentialsError
        except ValueError as error:  # a variable that says where they are makes no sense
            raise self._without_credentials(action, region, type(error).__name__) from error

    def _opened(self) -> Any:
        if self._session is None:
            session = botocore.session.Session()
            session.register_component("data_loader", loaders.Loader(file_loader=_Models()))
            self._session = boto3.session.Session(botocore_session=session)
        return self._session

    def _own_region(self) -> str:
        # botocore reads the second only; EKS sets both
        return os.environ.get("AWS_REGION") or self._opened().region_name or ""

    def _end(self, session: boto3.session.Session) -> None:
        with self._lock:
            if self._session is session:
                self._session = None
                self._forget(0)

    def _forget(self, most: int) -> None:
        while len(self._clients) > most:
            self._clients.pop(next(iter(self._clients))).close()

    @contextlib.contextmanager
    def _translated(self, action: str, region: str = "") -> Iterator[None]:
        try:
            yield
        except exceptions.ClientError as error:
            raise self._answered(error, action, region) from error
        except _NO_CREDENTIALS as error:
            raise self._without_credentials(action, region, type(error).__name__) from error
        except _UNREACHABLE as error:
            raise AWSError(Kind.UNREACHABLE, action, region, code=type(error).__name__) from error
        except exceptions.BotoCoreError as error:
            raise AWSError(Kind.INVALID, action, region, code=type(error).__name__, message=str(error)) from error
        except OSError as error:  # of a file: what goes wrong on the wire is one of the SDK's own
            note = quote(f"{error.filename}: {error.strerror}")[1:-1]
            raise self._without_credentials(action, region, type(error).__name__, note) from error
        except _UNREADABLE as error:
            raise AWSError(Kind.FAULT, action, region, note="the answer is not one of this service's") from error

    def _answered(self, error: exceptions.ClientError, action: str, region: str) -> AWSError:
        said = error.response.get("Error", {})
        code, message = str(said.get("Code", "")), str(said.get("Message", ""))
        if error.operation_name != action.partition(":")[2]:  # another call came first: the role was not to be had
            return self._without_credentials(action, region, code, note=f"{error.operation_name} failed")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return AWSError(_kind(code, status), action, region, code=code, message=message)

    def _without_credentials(self, action: str, region: str, code: str, note: str = "") -> AWSError:
        self._failed_at, self._failure = self._clock(), code
        return AWSError(Kind.NO_CREDENTIALS, action, region, code=code, note=note)


class _Models(loaders.JSONFileLoader):  # type: ignore[misc]
    """The SDK's own data, read three times as fast: reading a megabyte at once holds up every other thread."""

    def load_file(self, file_path: str) -> object:
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            path = Path(f"{file_path}{ending}")
            if path.is_file():
                with opened(path, "rb") as file:
                    return orjson.loads(file.read())
        return None


def _kind(code: str, status: int) -> Kind:
    if code in _UNKNOWN_IDENTITY:
        return Kind.NO_CREDENTIALS
    if code in _DENIED:
        return Kind.DENIED
    if code in _THROTTLED or "Throttl" in code or status == 429:
        return Kind.THROTTLED
    if code.isdecimal() or not 400 <= status < 500:  # without a word of AWS's own it was somebody else who spoke
        return Kind.FAULT
    return Kind.INVALID


def _url(endpoint: str) -> str:
    host = re.sub(r":[0-9]+$", "", endpoint)
    return f"{'http' if host in _LOOPBACK else 'https'}://{endpoint}"


def _check_json(operation_model: Any, response_dict: Mapping[str, Any], **_: object) -> None:
    """A success in JSON is one object, read strictly. Raises: MalformedError."""
    if response_dict["status_code"] < 300 and "json" in operation_model.service_model.resolved_protocol:
        body = response_dict["body"]
        untrusted.as_object(untrusted.parse_json(body, max_bytes=ANSWER_MAX_BYTES, what="answer"), "answer")
