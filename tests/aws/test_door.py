"""Calls through the door: off the event loop, a few at a time, and none to who does not answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from webhook import breaker
from webhook.aws import door
from webhook.aws.calls import AWSError, Call, Client, Identity, Kind
from webhook.aws.door import AWS


class Caller:
    """Answers as `behave` says, and knows its threads."""

    def __init__(self, behave: Callable[[Call], Mapping[str, object]]) -> None:
        self.behave, self.calls, self.closed = behave, list[Call](), False
        self.threads: set[str] = set()

    def call(self, call: Call) -> Mapping[str, object]:
        self.threads.add(threading.current_thread().name)
        self.calls.append(call)
        return self.behave(call)

    def identity(self, region: str) -> Identity:
        return Identity("arn:aws:sts::123456789012:assumed-role/x/y", "env")

    def partition_of(self, region: str) -> str:
        return "aws"

    def home(self) -> str:
        return ""

    def endpoint_of(self, client: Client) -> str:
        return f"https://{client.service}.example.com"

    def close(self) -> None:
        self.closed = True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """Calls wait here until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, call: Call) -> Mapping[str, object]:
        assert self.opened.wait(20)
        return {}


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.opened.set()


def echo(call: Call) -> Mapping[str, object]:
    return {"operation": call.operation}


def failing(kind: Kind) -> Callable[[Call], Mapping[str, object]]:
    def fail(call: Call) -> Mapping[str, object]:
        raise AWSError(kind, call.action, call.client.region)

    return fail


async def kind_of(aws: AWS, region: str = "us-west-2") -> Kind:
    with pytest.raises(AWSError) as caught:
        await aws.call("kms", "get_public_key", region, {})
    return caught.value.kind


async def test_the_sdk_is_loaded_once_in_a_thread_and_at_the_first_call() -> None:
    loaded: list[str] = []
    caller = Caller(echo)

    def load() -> Caller:
        loaded.append(threading.current_thread().name)
        return caller

    aws = AWS(load)
    assert not loaded
    answers = await asyncio.gather(*(aws.call("kms", "get_public_key", "us-west-2", {"n": n}) for n in range(20)))

    assert answers == [{"operation": "get_public_key"}] * 20
    assert len(loaded) == 1
    assert {name.partition("_")[0] for name in [*loaded, *caller.threads]} == {"aws"}
    assert caller.calls[0].client == Client("kms", "us-west-2")
    aws.close()
    assert caller.closed


async def test_one_who_blocks_does_not_block_the_loop_and_who_gives_up_goes_on(gate: Gate) -> None:
    caller = Caller(gate)
    aws = AWS(lambda: caller)
    impatient = asyncio.create_task(aws.call("kms", "get_public_key", "us-west-2", {}))
    while not caller.calls:
        await asyncio.sleep(0.01)
    impatient.cancel()  # its thread is still there
    with pytest.raises(asyncio.CancelledError):
        await impatient

    caller.behave = echo
    assert await aws.call("kms", "get_public_key", "us-west-2", {}) == {"operation": "get_public_key"}
    aws.close()


async def test_no_more_calls_are_under_way_than_may_be(gate: Gate) -> None:
    caller = Caller(gate)
    aws = AWS(lambda: caller)
    waiting = [
        asyncio.create_task(aws.call("kms", "get_public_key", "us-west-2", {})) for _ in range(door.IN_FLIGHT_MAX)
    ]
    await asyncio.sleep(0)

    assert await kind_of(aws) is Kind.OVERLOADED
    gate.opened.set()
    assert await asyncio.gather(*waiting) == [{}] * door.IN_FLIGHT_MAX
    assert len(caller.threads) <= door.THREADS
    assert await aws.call("kms", "get_public_key", "us-west-2", {}) == {}
    aws.close()


async def test_those_who_gave_up_before_their_call_began_leave_room(gate: Gate) -> None:
    caller = Caller(gate)
    aws = AWS(lambda: caller)
    for _ in range(3 * door.IN_FLIGHT_MAX):
        task = asyncio.create_task(aws.call("kms", "get_public_key", "us-west-2", {}))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    gate.opened.set()
    assert await aws.call("kms", "get_public_key", "us-west-2", {}) == {}
    assert len(caller.calls) <= door.THREADS + 1
    aws.close()


@pytest.mark.parametrize("kind", [Kind.UNREACHABLE, Kind.THROTTLED, Kind.FAULT])
async def test_who_fails_again_and_again_is_left_alone(kind: Kind) -> None:
    clock, caller = Clock(), Caller(failing(kind))
    aws = AWS(lambda: caller, clock=clock)
    for _ in range(breaker.FAILURES):
        assert await kind_of(aws) is kind

    with pytest.raises(AWSError, match=r"kms:GetPublicKey in us-west-2: .* none is made for 30 s") as caught:
        await aws.call("kms", "get_public_key", "us-west-2", {})
    assert caught.value.kind is Kind.UNREACHABLE
    assert await kind_of(aws, "us-east-1") is kind  # another region is somebody else
    assert len(caller.calls) == breaker.FAILURES + 1

    clock.now += door.PAUSE
    assert await kind_of(aws) is kind  # one goes to see
    assert len(caller.calls) == breaker.FAILURES + 2
    await kind_of(aws)
    assert len(caller.calls) == breaker.FAILURES + 2

    clock.now += door.PAUSE
    caller.behave = echo
    for _ in range(3):
        await aws.call("kms", "get_public_key", "us-west-2", {})
    aws.close()


@pytest.mark.parametrize("kind", [Kind.DENIED, Kind.INVALID, Kind.NO_CREDENTIALS])
async def test_who_answers_is_asked_on(kind: Kind) -> None:
    caller = Caller(failing(kind))
    aws = AWS(lambda: caller)
    for _ in range(2 * breaker.FAILURES):
        assert await kind_of(aws) is kind
    assert len(caller.calls) == 2 * breaker.FAILURES
    aws.close()


async def test_an_answer_in_between_begins_anew() -> None:
    caller = Caller(failing(Kind.FAULT))
    aws = AWS(lambda: caller)
    for _ in range(3):
        for _ in range(breaker.FAILURES - 1):
            assert await kind_of(aws) is Kind.FAULT
        caller.behave = echo
        await aws.call("kms", "get_public_key", "us-west-2", {})
        caller.behave = failing(Kind.FAULT)
    aws.close()


async def test_callers_with_a_thread_of_their_own_may_wait_in_it() -> None:
    caller = Caller(echo)
    aws = AWS(lambda: caller)
    call = Call(Client("sns"), "publish")
    assert await asyncio.to_thread(aws.call_blocking, call) == {"operation": "publish"}
    assert (await aws.identity()).source == "env"
    assert await aws.partition_of("") == "aws"
    aws.close()


async def test_after_its_end_nothing_is_asked() -> None:
    aws = AWS(lambda: Caller(echo))
    aws.close()
    assert await kind_of(aws) is Kind.OVERLOADED


@pytest.mark.parametrize(
    ("client", "operation", "action"),
    [
        ("kms", "get_public_key", "kms:GetPublicKey"),
        ("signer-data", "get_revocation_status", "signer:GetRevocationStatus"),
        ("ecr", "get_authorization_token", "ecr:GetAuthorizationToken"),
        ("ecr-public", "get_authorization_token", "ecr-public:GetAuthorizationToken"),
        ("sns", "publish", "sns:Publish"),
        ("sts", "get_caller_identity", "sts:GetCallerIdentity"),
    ],
)
def test_a_denied_call_names_the_permission(client: str, operation: str, action: str) -> None:
    error = AWSError(Kind.DENIED, Call(Client(client), operation).action, "us-west-2", code="AccessDeniedException")
    assert error.detail == f"{action} in us-west-2: denied: the permission {action} is missing (AccessDeniedException)"


@pytest.mark.parametrize("module", ["webhook.runtime", "webhook.aws.door", "webhook.aws.kms", "webhook.aws.signer"])
def test_who_asks_for_nothing_of_aws_does_not_load_its_sdk(module: str) -> None:
    script = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('boto3', 'botocore')))"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
