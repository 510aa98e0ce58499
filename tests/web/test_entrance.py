"""What an entrance does for any reviewer behind it: bounds, refusals, the record, and the name it counts under."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.admission import checker
from tests.web.serving import review
from webhook.admission import review as reviews
from webhook.admission.review import ObjectError, Review, UnexaminedError
from webhook.admission.watch import Watch
from webhook.audit.record import Entry
from webhook.audit.sinks import Metrics
from webhook.audit.trail import Trail
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.web.app import Admission
from webhook.web.entrance import LARGE_BODIES, Entrance, Life

PATH = "/validate-something"
Decide = Callable[[Watch, Review, float | None], tuple[Entry | None, bytes]]


class Lines:
    """A sink in memory."""

    name = "lines"

    def __init__(self) -> None:
        self.written = b""

    def write(self, lines: bytes) -> None:
        self.written += lines


@dataclass
class Reviewer:
    """Reads reviews of anything, and answers as `answer` does."""

    answer: Decide
    asked: list[float | None] = field(default_factory=list)

    def parse(self, body: bytes) -> Review:
        return reviews.read(body)

    async def decide(self, watch: Watch, request: Review, timeout: float | None) -> tuple[Entry | None, bytes]:
        self.asked.append(timeout)
        return self.answer(watch, request, timeout)


@dataclass
class Desk:
    client: httpx.AsyncClient
    metrics: Metrics
    reviewer: Reviewer
    trail: Trail
    lines: Lines

    async def ask(self, document: dict[str, Any], query: str = "?timeout=5s") -> httpx.Response:
        return await self.client.post(f"{PATH}{query}", content=json.dumps(document).encode())

    async def records(self) -> list[dict[str, Any]]:
        await self.trail.close(grace=1)
        return [json.loads(line) for line in self.lines.written.splitlines()]


@asynccontextmanager
async def desk(
    answer: Decide, *, fails_open: bool = False, body_max_bytes: int = 100_000, large: int = LARGE_BODIES
) -> AsyncIterator[Desk]:
    metrics, lines = Metrics(hosts={}, version="0"), Lines()
    reviewer, trail = Reviewer(answer), Trail((lines,), dropped=metrics.dropped)
    entrance = Entrance(
        webhook="policies",
        reviewer=reviewer,
        trail=trail,
        metrics=metrics,
        life=Life(problems=dict, notes=dict),
        large=asyncio.Semaphore(large),
        body_max_bytes=body_max_bytes,
        fails_open=lambda: fails_open,
    )
    transport = httpx.ASGITransport(Admission({PATH: entrance}))
    json_type = {"content-type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="https://test", headers=json_type) as client:
        yield Desk(client, metrics, reviewer, trail, lines)


def admit(watch: Watch, asked: Review, timeout: float | None) -> tuple[Entry, bytes]:
    del timeout
    entry = Entry(watch.at, watch.seconds(), asked.request, "allow", 200)
    return entry, reviews.respond_skip(asked.request, "a test")


def keep_nothing(watch: Watch, asked: Review, timeout: float | None) -> tuple[None, bytes]:
    return None, admit(watch, asked, timeout)[1]


def refuse_object(watch: Watch, asked: Review, timeout: float | None) -> tuple[Entry, bytes]:
    raise ObjectError(MalformedError(Code.MALFORMED, "no policy"), request=asked.request, status=400)


def give_up(watch: Watch, asked: Review, timeout: float | None) -> tuple[Entry, bytes]:
    raise UnexaminedError(InconclusiveError(Code.OVERLOADED, "busy"), request=asked.request, status=503)


def break_down(watch: Watch, asked: Review, timeout: float | None) -> tuple[Entry, bytes]:
    raise RuntimeError("a secret detail")


async def test_a_review_is_kept_and_counted_under_the_name_of_its_entrance() -> None:
    document = review("nginx")
    async with desk(admit) as at:
        response = await at.ask(document)
        assert checker.check(response.content, uid=document["request"]["uid"], status=response.status_code).allowed
        labels = b'{decision="allow",operation="CREATE",webhook="policies"} 1.0'
        assert b"countersign_admission_requests_total" + labels in at.metrics.expose()
        assert [(line["webhook"], line["uid"]) for line in await at.records()] == [
            ("policies", document["request"]["uid"])
        ]


async def test_a_reviewer_may_keep_nothing() -> None:
    document = review("nginx")
    async with desk(keep_nothing) as at:
        response = await at.ask(document)
        assert checker.check(response.content, uid=document["request"]["uid"]).allowed
        assert await at.records() == []


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("?timeout=5s", 5.0), ("?timeout=500ms", 0.5), ("?timeout=1m", 60.0), ("", None), ("?timeout=0s", None),
     ("?timeout=-1s", None), ("?timeout=abc", None), ("?timeout=9999999s", None)],
)  # fmt: skip
async def test_the_time_that_the_api_server_waits_is_handed_on(query: str, seconds: float | None) -> None:
    async with desk(admit) as at:
        await at.ask(review("nginx"), query)
        assert at.reviewer.asked == [seconds]


@pytest.mark.parametrize("fails_open", [False, True])
async def test_an_object_that_cannot_be_judged_is_denied_either_way(fails_open: bool) -> None:
    document = review("nginx")
    async with desk(refuse_object, fails_open=fails_open) as at:
        response = await at.ask(document)
        answer = checker.check(response.content, uid=document["request"]["uid"], status=response.status_code)
        assert (answer.allowed, answer.code, answer.message) == (False, 400, "malformed: no policy")
        assert [line["decision"] for line in await at.records()] == ["deny"]


@pytest.mark.parametrize("fails_open", [False, True])
async def test_what_was_not_examined_is_an_error_where_errors_deny_and_a_denial_where_they_admit(
    fails_open: bool,
) -> None:
    document = review("nginx")
    async with desk(give_up, fails_open=fails_open) as at:
        response = await at.ask(document)
        if fails_open:
            answer = checker.check(response.content, uid=document["request"]["uid"], status=response.status_code)
            assert (answer.allowed, answer.code, answer.retry_after) == (False, 503, 1)
        else:
            assert (response.status_code, response.json()["error"]) == (503, "overloaded")
            assert (response.headers["retry-after"], response.headers["connection"]) == ("1", "close")
        assert [(line["decision"], line["code"]) for line in await at.records()] == [("error", "overloaded")]


async def test_a_reviewer_that_breaks_is_an_error_without_details(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with desk(break_down) as at:
            response = await at.ask(review("nginx"))
    assert (response.status_code, response.json()["error"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert "a secret detail" in caplog.text


@pytest.mark.parametrize("fails_open", [False, True])
@pytest.mark.parametrize("large", [False, True], ids=["on the way", "waiting among the large"])
async def test_a_body_that_is_not_there_in_time_admits_nothing(fails_open: bool, large: bool) -> None:
    """Whoever holds the places of large bodies holds up those of the API server, which admits on errors of HTTP."""
    document = review("nginx", options={"filler": "x" * 300_000})
    body = json.dumps(document, separators=(",", ":")).encode()

    async def arriving() -> AsyncIterator[bytes]:
        yield body[: 299_000 if large else 1_000]
        if not large:
            await asyncio.Event().wait()
        yield body[299_000:]

    async with desk(admit, fails_open=fails_open, body_max_bytes=1 << 20, large=0) as at:
        response = await at.client.post(f"{PATH}?timeout=500ms", content=arriving())
    if fails_open:
        answer = checker.check(response.content, uid=document["request"]["uid"], status=response.status_code)
        assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, 503, "overloaded")
    else:
        assert (response.status_code, response.json()["error"]) == (408, "timeout")
    assert at.reviewer.asked == []


@pytest.mark.parametrize("filler", [50_000, 200_000], ids=["within", "beyond"])
async def test_a_body_is_bounded(filler: int) -> None:
    async with desk(admit) as at:
        response = await at.ask(review("nginx", options={"filler": "x" * filler}))
        assert response.status_code == (200 if filler < 100_000 else 413)


async def test_other_paths_and_methods_are_told_so() -> None:
    async with desk(admit) as at:
        assert (await at.client.get(PATH)).status_code == 405
        assert (await at.client.post("/validate", content=b"{}")).status_code == 404
