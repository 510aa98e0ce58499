"""The SDK behind the door: whose credentials it finds, what becomes of them, and how each failure is sorted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.doubles import aws
from tests.doubles.aws import Request, Response, Server
from webhook import settings
from webhook.aws import sdk as sdk_module
from webhook.aws.calls import AWSError, Call, Client, Identity, Kind
from webhook.aws.sdk import SDK

KEY = Call(Client("kms"), "get_public_key", {"KeyId": "alias/x"})
TOKEN = Call(Client("ecr", "eu-central-1"), "get_authorization_token")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws.moto() as url:
        yield url


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sdk(clock: Clock) -> Iterator[SDK]:
    made = SDK(settings.AWS(attempts=1), clock=clock)
    yield made
    made.close()


def enter(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """The environment of the SDK is `variables`, and nothing else of AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def failure(sdk: SDK, call: Call = KEY) -> AWSError:
    with pytest.raises(AWSError) as caught:
        sdk.call(call)
    return caught.value


def test_a_call_is_answered_and_a_client_is_made_once(sdk: SDK, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, aws.variables(moto))
    answers = [sdk.call(TOKEN) for _ in range(2)]

    assert all("authorizationData" in answer and "ResponseMetadata" not in answer for answer in answers)
    assert sdk._client(TOKEN.client, "x") is sdk._client(TOKEN.client, "x")
    assert len(sdk._clients) == 1


def test_static_credentials_have_an_identity(sdk: SDK, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, aws.variables(moto))
    found = sdk.identity()
    assert found == Identity(f"arn:aws:sts::{aws.ACCOUNT}:user/moto", "env")


def test_irsa_is_found_by_the_sdk(sdk: SDK, moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """IAM roles for service accounts: a projected token is exchanged at STS for the role's credentials."""
    token = tmp_path / "token"
    token.write_text("header.claims.signature")
    role = f"arn:aws:iam::{aws.ACCOUNT}:role/countersign"
    endpoints = {name: value for name, value in aws.variables(moto).items() if name.startswith("AWS_ENDPOINT_URL")}
    enter(
        monkeypatch,
        {
            **aws.without_credentials(),
            **endpoints,
            "AWS_ROLE_ARN": role,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_ROLE_SESSION_NAME": "webhook",
        },
    )

    found = sdk.identity()

    assert found.source == "assume-role-with-web-identity"
    assert found.arn.startswith(f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/countersign/")


def test_a_role_that_cannot_be_assumed_is_no_missing_permission(
    sdk: SDK, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """STS denies the role itself: telling that kms:GetPublicKey is missing would send its owner the wrong way."""
    token = tmp_path / "token"
    token.write_text("header.claims.signature")
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
    with Server(lambda request: Response(403, body)) as sts:
        role = {"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
        enter(monkeypatch, {**aws.without_credentials(), **role, "AWS_ENDPOINT_URL_STS": sts.url})
        error = failure(sdk)

    assert (error.kind, error.code) == (Kind.NO_CREDENTIALS, "AccessDenied")
    assert "AssumeRoleWithWebIdentity failed" in error.detail


class PodIdentity(Server):
    """The agent of EKS Pod Identity, which hands out credentials to who shows the token."""

    def __init__(self, token: str) -> None:
        super().__init__(self._credentials)
        self.token, self.down, self.lifetime = token, False, timedelta(hours=1)

    def _credentials(self, request: Request) -> Response:
        if self.down:
            return Response(500, b"down")
        if request.target != "/v1/credentials" or request.headers.get("Authorization") != self.token:
            return Response(401, b"who are you")
        found = {
            "AccessKeyId": "ASIATESTTESTTESTTEST",
            "SecretAccessKey": "x",
            "Token": "session",
            "Expiration": (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return Response(body=json.dumps(found).encode())

    def variables(self, token_file: Path, moto: str) -> dict[str, str]:
        endpoints = {name: value for name, value in aws.variables(moto).items() if name.startswith("AWS_ENDPOINT_URL")}
        return {
            **aws.without_credentials(),
            **endpoints,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file),
        }


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    found = tmp_path / "eks-pod-identity-token"
    found.write_text("service-account-token")
    return found


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[PodIdentity]:
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)  # a second between its attempts
    with PodIdentity("service-account-token") as running:
        yield running


def test_pod_identity_is_found_by_the_sdk(
    sdk: SDK, moto: str, agent: PodIdentity, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, agent.variables(token_file, moto))

    assert sdk.identity().source == "container-role"
    assert "authorizationData" in sdk.call(TOKEN)
    assert len(agent.requests) == 1


def test_credentials_that_are_not_there_yet_are_found_when_they_come(
    sdk: SDK, clock: Clock, moto: str, agent: PodIdentity, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, agent.variables(token_file, moto))
    agent.down = True

    assert failure(sdk, TOKEN).kind is Kind.NO_CREDENTIALS
    asked = len(agent.requests)
    assert failure(sdk, TOKEN).kind is Kind.NO_CREDENTIALS
    assert len(agent.requests) == asked  # who failed is left alone for a while

    agent.down = False
    clock.now += sdk_module.PAUSE
    assert "authorizationData" in sdk.call(TOKEN)


def test_credentials_that_vanish_are_no_answer_until_they_are_back(
    sdk: SDK, clock: Clock, moto: str, agent: PodIdentity, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, agent.variables(token_file, moto))
    agent.lifetime = timedelta(seconds=30)  # to be renewed at the next call already
    sdk.call(TOKEN)
    agent.down = True

    error = failure(sdk, TOKEN)
    assert error.kind is Kind.NO_CREDENTIALS
    assert "session" not in error.detail

    agent.down, agent.token = False, "rotated"
    token_file.write_text("rotated")
    clock.now += sdk_module.PAUSE
    assert "authorizationData" in sdk.call(TOKEN)


def test_without_any_credentials_nothing_is_asked_and_later_ones_are_used(
    sdk: SDK, clock: Clock, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, aws.without_credentials())
    assert failure(sdk).kind is Kind.NO_CREDENTIALS

    enter(monkeypatch, aws.variables(moto))
    clock.now += sdk_module.PAUSE
    assert "authorizationData" in sdk.call(TOKEN)


def test_a_session_that_has_ended_is_replaced_once(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = aws.refusal(400, "ExpiredTokenException", "The security token included in the request is expired")

    def answer(request: Request) -> Response:
        return ended if "AKIAOLD" in request.headers["Authorization"] else Response(body=b'{"KeyId": "new"}')

    with Server(answer) as server:
        enter(monkeypatch, aws.variables(server.url) | {"AWS_ACCESS_KEY_ID": "AKIAOLD"})
        error = failure(sdk)
        assert (error.kind, error.code, len(server.requests)) == (Kind.NO_CREDENTIALS, "ExpiredTokenException", 2)

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANEW")
        assert sdk.call(KEY) == {"KeyId": "new"}
        assert len(server.requests) == 4  # the old session once more, then a new one


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (aws.refusal(400, "AccessDeniedException"), Kind.DENIED),
        (aws.refusal(403, "AccessDenied"), Kind.DENIED),
        (aws.refusal(400, "UnrecognizedClientException"), Kind.NO_CREDENTIALS),
        (aws.refusal(403, "InvalidSignatureException", "The Canonical String: x-amz-security-token:s3cret"),
         Kind.NO_CREDENTIALS),
        (aws.refusal(400, "ThrottlingException"), Kind.THROTTLED),
        (aws.refusal(429, "TooManyRequestsException"), Kind.THROTTLED),
        (aws.refusal(400, "ValidationException", "1 validation error"), Kind.INVALID),
        (aws.refusal(500, "InternalServiceErrorException"), Kind.FAULT),
        (aws.refusal(503, "ServiceUnavailable"), Kind.FAULT),
        (Response(502, b"<html>bad gateway</html>"), Kind.FAULT),
        (Response(404, b"not here"), Kind.FAULT),
        (Response(200, b""), Kind.FAULT),
        (Response(200, b"<html>"), Kind.FAULT),
        (Response(200, b"[]"), Kind.FAULT),
        (Response(200, b'{"KeyId": "a", "KeyId": "b"}'), Kind.FAULT),
        (Response(200, b"{" + b" " * (1 << 20) + b"}"), Kind.FAULT),
        (Response(200, b'{"PublicKey": 1}'), Kind.FAULT),
    ],
)  # fmt: skip
def test_each_failure_is_sorted_by_what_to_do(
    sdk: SDK, monkeypatch: pytest.MonkeyPatch, response: Response, kind: Kind
) -> None:
    with Server(lambda request: response) as server:
        enter(monkeypatch, aws.variables(server.url))
        error = failure(sdk)

    assert error.kind is kind
    assert error.action == "kms:GetPublicKey"
    assert "s3cret" not in error.detail
    assert error.detail.isprintable()


def test_foreign_words_are_quoted_and_cut(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    response = aws.refusal(400, "Validation\\u001bException" + "x" * 500, "line\\nfeed " + "y" * 5000)
    with Server(lambda request: response) as server:
        enter(monkeypatch, aws.variables(server.url))
        error = failure(sdk)

    assert error.detail.isprintable()
    assert len(error.detail) < 500


def test_a_throttled_call_is_made_again_by_the_sdk_within_its_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [aws.refusal(429, "TooManyRequestsException"), Response(body=b'{"KeyId": "k"}')]
    with Server(lambda request: answers.pop(0)) as server:
        enter(monkeypatch, aws.variables(server.url))
        made = SDK(settings.AWS())
        assert made.call(KEY) == {"KeyId": "k"}
        made.close()
        assert len(server.requests) == settings.AWS().attempts


def test_who_hangs_is_given_up(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    made = SDK(settings.AWS(attempts=1, read_timeout=0.2))
    with Server(lambda request: Response()) as server:
        server.hanging = True
        enter(monkeypatch, aws.variables(server.url))
        error = failure(made)
    made.close()

    assert (error.kind, error.code) == (Kind.UNREACHABLE, "ReadTimeoutError")


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-west-2", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
        ("", "aws"),
    ],
)
def test_a_region_has_a_partition(sdk: SDK, monkeypatch: pytest.MonkeyPatch, region: str, partition: str) -> None:
    enter(monkeypatch, aws.variables())
    assert sdk.partition_of(region) == partition


def test_without_a_region_of_its_own_there_is_no_partition(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, {name: value for name, value in aws.variables().items() if name != "AWS_REGION"})
    assert sdk.partition_of("") == ""
    assert "set AWS_REGION" in failure(sdk).detail


@pytest.mark.parametrize("region", ["evil.example", "nowhere", "us-west-2.evil.example", "us_west_2", "x" * 100])
def test_what_is_no_region_is_never_dialled(sdk: SDK, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    enter(monkeypatch, aws.variables())
    with pytest.raises(AWSError) as caught:
        sdk.partition_of(region)
    assert caught.value.kind is Kind.INVALID
    assert failure(sdk, Call(Client("kms", region), "get_public_key", {"KeyId": "k"})).kind is Kind.INVALID


def test_a_profile_that_is_not_there_is_said(sdk: SDK, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, aws.variables() | {"AWS_PROFILE": "nobody"})
    error = failure(sdk)
    assert (error.kind, error.code) == (Kind.NO_CREDENTIALS, "ProfileNotFound")


def test_the_number_of_clients_is_bounded(sdk: SDK, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, aws.variables(moto))
    monkeypatch.setattr(sdk_module, "CLIENTS_MAX", 2)
    for region in ("us-east-1", "us-east-2", "us-west-2", "us-east-1"):
        sdk.call(Call(Client("ecr", region), "get_authorization_token"))
    assert [client.region for client in sdk._clients] == ["us-west-2", "us-east-1"]


@pytest.mark.parametrize(
    ("client", "host"),
    [
        (Client("signer-data", "us-west-2"), "data-signer.us-west-2.amazonaws.com"),
        (Client("signer-data", "us-west-2", fips=True), "data-signer-fips.us-west-2.amazonaws.com"),
        (Client("signer-data", "us-west-2", dualstack=True), "data-signer.us-west-2.api.aws"),
        (Client("signer-data", "cn-north-1"), "data-signer.cn-north-1.amazonaws.com.cn"),
        (Client("signer-data", "us-gov-west-1"), "data-signer.us-gov-west-1.amazonaws.com"),
        (Client("signer-data", "eusc-de-east-1"), "data-signer.eusc-de-east-1.amazonaws.eu"),
        (Client("ecr", "us-west-2"), "api.ecr.us-west-2.amazonaws.com"),
        (Client("kms", "us-west-2", fips=True), "kms-fips.us-west-2.amazonaws.com"),
    ],
)
def test_hosts_are_the_sdks(sdk: SDK, monkeypatch: pytest.MonkeyPatch, client: Client, host: str) -> None:
    """aws-signer.md 3.3, table of host names."""
    enter(monkeypatch, aws.variables())
    opened = sdk._client(client, "x")
    assert opened.meta.endpoint_url == f"https://{host}"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("localhost:4566", "http://localhost:4566"),
        ("127.0.0.1:4566", "http://127.0.0.1:4566"),
        ("[::1]:4566", "http://[::1]:4566"),
        ("localhost.example.com", "https://localhost.example.com"),
        ("kms.example.com:8443", "https://kms.example.com:8443"),
        ("127.0.0.2", "https://127.0.0.2"),
    ],
)
def test_plain_http_is_for_loopback_only(sdk: SDK, monkeypatch: pytest.MonkeyPatch, endpoint: str, url: str) -> None:
    enter(monkeypatch, aws.variables())
    assert sdk._client(Client("kms", "us-west-2", endpoint), "x").meta.endpoint_url == url
