"""What somebody tried on our way to AWS and to registries: to stop others, to learn a secret, to stay on."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.doubles import aws as doubles
from tests.doubles import ecr as hosts
from tests.doubles.aws import Response, Server
from tests.doubles.registry import HostileRegistry, client, listed, running
from tests.test_runtime import request as review_request
from tests.test_runtime import running as process_running
from tests.web.serving import review, serving, write_policy
from webhook import settings
from webhook.aws import door
from webhook.aws.calls import AWSError, Call, Client, Identity, Kind
from webhook.aws.door import AWS
from webhook.aws.ecr import ECRLogin
from webhook.aws.sdk import SDK
from webhook.aws.signer import SignerRevocation
from webhook.errors import Code, CountersignError, InconclusiveError
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository
from webhook.settings import Settings
from webhook.trust.notary.inquiry import SignerInquiry, Standing

HOME = "us-west-2"
MARKER = "s3cr3t-that-nobody-may-see"
ANSWERS: Mapping[str, Mapping[str, object]] = {
    "ecr": {
        "authorizationData": [
            {
                "authorizationToken": base64.b64encode(f"AWS:{MARKER}".encode()).decode(),
                "expiresAt": datetime.now(UTC) + timedelta(hours=12),
            }
        ]
    }
}
INQUIRY = SignerInquiry(
    partition="aws",
    region=HOME,
    signed_at=datetime(2026, 11, 2, tzinfo=UTC),
    profile_version_arn=f"arn:aws:signer:{HOME}:111122223333:/signing-profiles/ecr/AbCdEf1234",
    job_arn=f"arn:aws:signer:{HOME}:111122223333:/signing-jobs/4e1c",
    certificate_hashes=("0" * 192,),
)


class Cloud:
    """AWS of which the regions named `fake` never answer, until it is closed, and those named `none` are none."""

    def __init__(self) -> None:
        self.released, self.asked = threading.Event(), list[Client]()

    def call(self, call: Call) -> Mapping[str, object]:
        self.asked.append(call.client)
        if "none" in call.client.region:  # as the SDK knows without asking
            raise AWSError(Kind.INVALID, call.action, call.client.region, code="UnknownRegionError")
        if "fake" in call.client.region:
            self.released.wait(20)
            raise AWSError(Kind.UNREACHABLE, call.action, call.client.region)
        return ANSWERS.get(call.client.service, {})

    def identity(self, region: str = "") -> Identity:
        raise NotImplementedError

    def home(self) -> str:
        return HOME

    def partition_of(self, region: str) -> str:
        return "aws"

    def endpoint_of(self, client: Client) -> str:
        raise NotImplementedError

    def close(self) -> None:
        self.released.set()


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    found = Cloud()
    yield found
    found.released.set()


@pytest.fixture
async def aws(cloud: Cloud) -> AsyncIterator[AWS]:
    found = AWS(lambda: cloud)
    yield found
    found.close()


def registry_in(region: str) -> Repository:
    return Repository(f"111122223333.dkr.ecr.{region}.amazonaws.com", "team/app")


@asynccontextmanager
async def besieged(source: ECRLogin) -> AsyncIterator[list[asyncio.Task[object]]]:
    """Pods name more regions than there are threads and room to wait for all."""
    count = door.THREADS + 2 * door.IN_FLIGHT_MAX
    regions = [f"{'eu' if number % 2 else 'us'}-fake-{number // 2}" for number in range(count)]
    pods: list[asyncio.Task[object]] = [
        asyncio.create_task(source.credentials(registry_in(region))) for region in regions
    ]
    await asyncio.sleep(0.05)
    yield pods
    for pod in pods:
        pod.cancel()
    await asyncio.gather(*pods, return_exceptions=True)


# --- To stop others


async def test_regions_that_never_answer_stop_neither_keys_nor_revocation_nor_the_own_registry(
    cloud: Cloud, aws: AWS
) -> None:
    source, signer = ECRLogin(aws), SignerRevocation(aws, settings.AWS())
    async with besieged(source), asyncio.timeout(5):
        assert (await signer.status(INQUIRY)).standing is Standing.GOOD
        assert await source.credentials(registry_in(HOME)) == (Credential("AWS", MARKER),)
        for service in ("kms", "sns"):
            assert await aws.call(service, "get_public_key", "eu-central-1", {}) == {}
    cloud.released.set()
    await source.close()
    await signer.close()


async def test_a_region_that_answered_once_waits_behind_none_that_never_did(cloud: Cloud, aws: AWS) -> None:
    before, source = ECRLogin(aws), ECRLogin(aws)
    for number in range(door.KNOWN_MAX):  # which take no room of those that answered
        with pytest.raises(AWSError):
            await aws.call("ecr", "get_authorization_token", f"us-none-{number}", {})
    await before.credentials(registry_in("eu-central-1"))
    async with besieged(source) as pods, asyncio.timeout(5):
        assert await source.credentials(registry_in("eu-central-1")) == (Credential("AWS", MARKER),)
        with pytest.raises(InconclusiveError) as caught:  # and who comes new is told that it is our trouble
            await source.credentials(registry_in("eu-north-1"))
        assert caught.value.code is Code.OVERLOADED
        assert len([client for client in cloud.asked if "fake" in client.region]) == door.THREADS
        assert not any(pod.done() and pod.exception() is None for pod in pods)
    cloud.released.set()
    await before.close()
    await source.close()


async def test_hosts_whose_names_never_resolve_stop_nobody_else_s_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as one namespace may have under examination, and those it gave up before."""
    released, real = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *arguments: object) -> object:
        if host.endswith(".tarpit.example"):
            released.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1", *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    app = HostileRegistry()
    try:
        async with running(app) as address:
            name = f"localhost:{address.partition(':')[2]}"
            async with client(listed(name)) as (registry, _):
                slow = [Repository(f"x{number}.tarpit.example", "team/app") for number in range(48)]
                pods = [asyncio.create_task(registry.resolve(one, "v1")) for one in slow]
                await asyncio.sleep(0.1)
                async with asyncio.timeout(5):
                    with pytest.raises(CountersignError) as caught:
                        await registry.resolve(Repository(name, "team/app"), "v1")
                assert caught.value.code is Code.IMAGE_NOT_FOUND
                assert app.seen
                released.set()
                await asyncio.gather(*pods, return_exceptions=True)
    finally:
        released.set()


async def test_a_review_that_is_given_up_takes_no_login_from_the_next(cloud: Cloud, aws: AWS) -> None:
    source = ECRLogin(aws)
    repository = registry_in("us-fake-1")
    first = asyncio.create_task(source.credentials(repository))
    second = asyncio.create_task(source.credentials(repository))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not second.done()

    cloud.call = lambda call: ANSWERS["ecr"]  # type: ignore[method-assign]
    cloud.released.set()
    with pytest.raises(InconclusiveError) as caught:
        await second
    assert caught.value.code is Code.REGISTRY_UNAVAILABLE
    assert len(cloud.asked) == 1
    await source.close()


# --- Credentials that are not what they seem

MISSING: Mapping[str, Mapping[str, str]] = {
    "the token file of IRSA": {
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/token",
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/x",
    },
    "the token file of Pod Identity": {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/nowhere/token",
    },
    "an agent that may not be asked": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/v1/credentials"},
    "half a key": {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST"},
}


@pytest.mark.parametrize("variables", MISSING.values(), ids=MISSING)
async def test_credentials_that_cannot_be_read_are_none(
    variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caller is told so, and no service is blamed for it."""
    with Server(lambda request: Response()) as server:
        around = {**doubles.without_credentials(), "AWS_ENDPOINT_URL": server.url, **variables}
        for name, value in around.items():
            monkeypatch.setenv(name, value)
        aws = AWS(lambda: SDK(settings.AWS(attempts=1)))
        source, signer = ECRLogin(aws), SignerRevocation(aws, settings.AWS())
        for region in (HOME, "eu-central-1"):
            with pytest.raises(AWSError) as caught:
                await aws.call("kms", "get_public_key", region, {"KeyId": "alias/x"})
            assert caught.value.kind is Kind.NO_CREDENTIALS
        with pytest.raises(InconclusiveError) as denied:
            await source.credentials(registry_in(HOME))
        assert denied.value.code is Code.ACCESS_DENIED
        status = await signer.status(INQUIRY)
        assert (status.standing, "no credentials" in status.detail) == (Standing.UNKNOWN, True)
        assert not server.requests
        await source.close()
        await signer.close()
        aws.close()


# --- To learn a secret


async def test_no_token_of_ecr_is_anywhere_but_in_the_registry_s_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In no answer, record, metric, probe or log, whatever the registry does with it."""
    caplog.set_level(logging.DEBUG, logger="webhook")
    token = base64.b64encode(f"AWS:{MARKER}".encode()).decode()
    data = {"authorizationData": [{"authorizationToken": token, "expiresAt": time.time() + 43200}]}
    with Server(lambda request: Response(body=json.dumps(data).encode())) as server:
        for name, value in doubles.variables(ecr=server.url).items():
            monkeypatch.setenv(name, value)
        app = HostileRegistry()
        said: list[str] = []
        async with running(app) as address:
            registry = replace(settings.Registry(), hosts=(hosts.entry(address),))
            configured = Settings(registry=registry, trust=settings.Trust(refresh_interval=None))
            async with serving(tmp_path, configured) as webhook:
                for number in range(3):
                    document = review(f"{hosts.HOST}/team/app:{number}")
                    said += [str(await webhook.ask(document)), json.dumps(await webhook.record(document))]
                said += [(await webhook.operations.get(path)).text for path in ("/metrics", "/readyz", "/livez")]
        sent = [request.headers.get("authorization", "") for request in app.seen]
        assert f"Basic {token}" in sent
    told = "\n".join([*said, caplog.text, (tmp_path / "audit.jsonl").read_text()])
    assert hosts.HOST in told
    assert MARKER not in told
    assert token not in told


# --- To keep us from ending


@pytest.mark.parametrize("seconds", [0.0, 2.5])
async def test_the_process_ends_though_aws_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    def write(folder: Path) -> None:
        keys = [{"name": f"key-{number}", "kms": f"awskms:///alias/key-{number}"} for number in range(12)]
        profile = {"name": "ecr", "arn": f"arn:aws:signer:{HOME}:111122223333:/signing-profiles/ecr"}
        write_policy(folder, spec={"mode": "enforce", "trustedKeys": keys, "signerProfiles": [profile]})

    monkeypatch.setattr("tests.test_runtime.write_policy", write)
    with Server(lambda request: Response()) as server:
        server.hanging = True
        for name, value in doubles.variables(kms=server.url, ecr=server.url, signer_data=server.url).items():
            monkeypatch.setenv(name, value)
        async with process_running(tmp_path) as webhook:
            _, writer = await webhook.connect()
            writer.write(review_request(f"{hosts.HOST}/team/app:1", timeout="3s"))
            await asyncio.sleep(seconds)
            webhook.process.terminate()
            async with asyncio.timeout(20):
                code, _, log = await webhook.ended()
            writer.close()
        assert code == 0
        assert "Traceback" not in log
        assert server.requests
