"""Whom nobody asks: for how long, who else is spared by it and who is not, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from yarl import URL

from webhook.breaker import FAILURES, LONGEST_PAUSE
from webhook.errors import Code, InconclusiveError
from webhook.network import Answer, UnreachableError
from webhook.oci import courtesy
from webhook.oci.authn import ANONYMOUS, Credential
from webhook.oci.courtesy import KEPT_MAX, Courtesy, Event, Whom

HOST = "https://registry.example.com"
US = Whom(HOST, HOST, ANONYMOUS, "team/app")
OTHER_REPOSITORY = replace(US, about="team/other")
OTHER_CREDENTIAL = replace(US, credential=Credential(username="me", password="s3cr3t"))
OTHER_HOST = replace(US, origin="https://storage.example.com")
SENT_BY_ANOTHER = replace(US, registry="https://evil.example.com")
OTHERS = {
    "repository": OTHER_REPOSITORY,
    "credential": OTHER_CREDENTIAL,
    "host": OTHER_HOST,
    "registry": SENT_BY_ANOTHER,
}

REFUSED = UnreachableError("'registry.example.com': connection refused", transient=True)
TIMED_OUT = UnreachableError("'registry.example.com': timed out after 5 s without data", transient=False)
NOT_HTTP = UnreachableError("'registry.example.com': the answer is not HTTP", transient=False, answered=True)


def answered(status: int, retry_after: str = "") -> Answer:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return Answer(status, URL(HOST), headers, (), (), b"", cut=False)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self) -> None:
        self.clock, self.told = Clock(), list[tuple[Event, str]]()
        self.courtesy = Courtesy(told=lambda *what: self.told.append(what), clock=self.clock)

    def ask(self, learned: Answer | UnreachableError | None, whom: Whom = US, *, times: int = 1) -> None:
        for _ in range(times):
            assert self.courtesy.wait(whom, 0.0) == 0.0
            self.courtesy.begin(whom)
            self.courtesy.note(whom, learned)

    def refusal(self, whom: Whom = US, patience: float = 2.0) -> InconclusiveError:
        with pytest.raises(InconclusiveError) as caught:
            self.courtesy.wait(whom, patience)
        return caught.value

    def is_asked(self, whom: Whom) -> bool:
        try:
            return self.courtesy.wait(whom, 0.0) == 0.0
        except InconclusiveError:
            return False


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("learned", "others"),
    [
        pytest.param(REFUSED, {"credential", "host", "registry"}, id="refused"),
        pytest.param(TIMED_OUT, {"credential", "host", "registry"}, id="timed out"),
        pytest.param(answered(500), {"credential", "host", "registry", "repository"}, id="500"),
        pytest.param(answered(502), {"credential", "host", "registry", "repository"}, id="502"),
        pytest.param(answered(503), {"credential", "host", "registry", "repository"}, id="503"),
        pytest.param(answered(504), {"credential", "host", "registry", "repository"}, id="504"),
    ],
)
def test_who_fails_again_and_again_is_not_asked_and_others_are(
    learned: Answer | UnreachableError, others: set[str], world: World
) -> None:
    world.ask(learned, times=FAILURES)
    assert world.refusal().code is Code.REGISTRY_UNAVAILABLE
    assert {name for name, whom in OTHERS.items() if world.is_asked(whom)} == others


@pytest.mark.parametrize(
    "learned",
    [
        *(
            pytest.param(answered(status), id=str(status))
            for status in (200, 307, 400, 401, 403, 404, 408, 418, 429, 501)
        ),
        pytest.param(NOT_HTTP, id="another protocol"),
        pytest.param(None, id="whoever asked gave up"),
    ],
)
@pytest.mark.parametrize("before", [REFUSED, answered(503)], ids=["silent", "failing"])
def test_who_is_there_is_asked_on(
    learned: Answer | UnreachableError | None, before: Answer | UnreachableError, world: World
) -> None:
    world.ask(before, times=FAILURES - 1)
    world.ask(learned, times=3 * FAILURES)
    world.ask(before)
    assert world.is_asked(US) is (learned is not None), "an answer begins anew, and nothing does not"


def test_a_refusal_says_why_since_when_and_for_how_long(world: World) -> None:
    world.ask(REFUSED)
    world.clock.now += 12.0
    world.ask(REFUSED, times=FAILURES - 1)
    assert world.refusal().detail == (
        "'registry.example.com' has not answered for 12 s (5 times in a row, at last: connection refused)"
        " and is not asked again for 2 s"
    )


def test_a_refusal_of_one_repository_says_so(world: World) -> None:
    world.ask(answered(503), times=FAILURES)
    assert world.refusal().detail == (
        "'registry.example.com' has failed for this for 0 s (5 times in a row, at last: answered 503)"
        " and is not asked for it again for 2 s"
    )


def test_one_goes_to_see_and_an_answer_ends_it(world: World) -> None:
    world.ask(REFUSED, times=FAILURES)
    world.clock.now += courtesy.FIRST_PAUSE
    assert world.courtesy.wait(US, 0.0) == 0.0
    world.courtesy.begin(US)
    assert not world.is_asked(US)
    assert not world.is_asked(OTHER_REPOSITORY)
    world.courtesy.note(US, answered(404))
    assert world.is_asked(US)
    assert world.told[0] == (Event.OPENED, "registry.example.com")
    assert world.told[-1] == (Event.CLOSED, "registry.example.com")


def test_looks_in_vain_are_rarer_and_rarer(world: World) -> None:
    world.ask(REFUSED, times=FAILURES)
    for pause in (2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE):
        world.clock.now += pause - 0.1
        assert not world.is_asked(US)
        world.clock.now += 0.1
        world.ask(REFUSED)


def test_who_went_to_see_and_gave_up_lets_the_next_go(world: World) -> None:
    world.ask(REFUSED, times=FAILURES)
    world.clock.now += courtesy.FIRST_PAUSE
    world.ask(None, times=3)
    world.ask(answered(200))


def test_a_host_that_falls_silent_while_one_repository_failed_lets_neither_be_forgotten(world: World) -> None:
    world.ask(answered(503), times=FAILURES)
    world.clock.now += courtesy.FIRST_PAUSE
    world.ask(REFUSED)  # which went to see about the repository, and did not learn of it
    world.ask(answered(503))
    assert not world.is_asked(US)
    assert world.is_asked(OTHER_REPOSITORY)


@pytest.mark.parametrize(
    ("status", "code", "others"),
    [
        pytest.param(429, Code.RATE_LIMITED, {"credential", "host", "registry"}, id="429"),
        pytest.param(503, Code.REGISTRY_UNAVAILABLE, {"credential", "host", "registry", "repository"}, id="503"),
    ],
)
def test_who_asked_to_be_left_alone_is(status: int, code: Code, others: set[str], world: World) -> None:
    world.courtesy.limit(US, status, 3600.0)
    error = world.refusal()
    assert error.code is code
    assert error.detail == f"'registry.example.com' asked to be left alone ({status}) and is not asked again for 60 s"
    assert {name for name, whom in OTHERS.items() if world.is_asked(whom)} == others
    world.clock.now += courtesy.LIMIT_LONGEST
    assert world.is_asked(US)
    assert world.told[0] == (Event.LIMITED, "registry.example.com")


@pytest.mark.parametrize(("seconds", "patience", "waits"), [(1.5, 2.0, True), (2.0, 2.0, True), (2.1, 2.0, False)])
def test_a_short_limit_is_waited_for(seconds: float, patience: float, waits: bool, world: World) -> None:
    world.courtesy.limit(US, 429, seconds)
    if waits:
        assert world.courtesy.wait(US, patience) == pytest.approx(seconds)
    else:
        assert world.refusal(patience=patience).code is Code.RATE_LIMITED


def test_as_many_as_may_be_are_remembered(world: World) -> None:
    for number in range(KEPT_MAX + 10):
        world.ask(REFUSED, replace(US, origin=f"https://host-{number}.example.com"), times=FAILURES)
    assert len(world.courtesy.shunned()) == KEPT_MAX


def test_notes_are_a_line_for_each_without_secrets_and_twenty_at_most(world: World) -> None:
    world.ask(REFUSED, times=FAILURES)
    world.ask(REFUSED, OTHER_CREDENTIAL, times=FAILURES)
    world.ask(answered(502), OTHER_HOST, times=FAILURES)
    found = courtesy.notes(world.courtesy.shunned())
    assert list(found) == ["registry 'registry.example.com'", "registry 'storage.example.com' 'team/app'"]
    assert "connection refused" in found["registry 'registry.example.com'"]
    assert "s3cr3t" not in str(found)
    for number in range(100):
        world.ask(REFUSED, replace(US, origin=f"https://host-{number}.example.com"), times=FAILURES)
    assert len(courtesy.notes(world.courtesy.shunned())) == courtesy.NOTES_MAX
    world.clock.now += courtesy.FIRST_PAUSE
    assert not courtesy.notes(world.courtesy.shunned())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("9" * 1000, 999_999_999.0),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("١٢", None),
        ("Sat, 99 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_the_time_that_is_asked_for(text: str, seconds: float | None) -> None:
    assert courtesy.retry_after(answered(429, text)) == seconds
