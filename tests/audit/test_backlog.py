"""Who is told how often: repetitions are a series, floods are bounded, and one namespace never silences another."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from tests.audit.test_event import OWNER, entry, image, told
from tests.audit.test_record import AT
from webhook.audit.backlog import (
    OBJECT_BURST,
    OBJECT_SECONDS,
    REMEMBERED_MAX,
    UPDATE_SECONDS,
    WAITING_MAX,
    WINDOW,
    Backlog,
    Bucket,
    Due,
)
from webhook.audit.event import Notice

(NOTICE,) = told(entry(image(), owner=OWNER))


def notice(*, what: str = "", about: str = "", namespace: str = "shop", at: datetime = AT) -> Notice:
    """One of the same kind, that is equal only to what has the same `what`, `about` and `namespace`."""
    regarding = {"kind": "ReplicaSet", "namespace": namespace, "name": f"api-{about}"}
    return replace(NOTICE, key=f"{namespace} {about} {what}", about=about, regarding=regarding, at=at)


@dataclass
class Desk:
    """A backlog with a clock of the test's, and what was lost."""

    now: list[float] = field(default_factory=lambda: [1000.0])
    lost: list[int] = field(default_factory=list)
    backlog: Backlog = field(init=False)

    def __post_init__(self) -> None:
        self.backlog = Backlog(dropped=self.lost.append, clock=lambda: self.now[0])

    def take(self, *notices: Notice) -> None:
        for one in notices:
            self.backlog.take(one, one.namespace)

    def tell(self, name: str = "event-1") -> Due:
        due = self.backlog.head()
        assert due is not None
        self.backlog.settle(due, name)
        return due

    def tell_all(self) -> list[Due]:
        found: list[Due] = []
        while (due := self.backlog.head()) is not None:
            self.backlog.settle(due, f"event-{len(found)}")
            found.append(due)
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_repetitions_change_the_event_that_is_there_once_a_minute(desk: Desk) -> None:
    desk.take(notice())
    assert (first := desk.tell()).count == 1
    assert not first.name
    for second in range(1, 120):
        desk.now[0] += 1
        desk.take(notice(at=AT + timedelta(seconds=second)))
        for due in desk.tell_all():
            assert (due.name, due.count, due.last) == ("event-1", second + 1, AT + timedelta(seconds=second))
            assert second == UPDATE_SECONDS, "not before"
            desk.backlog._series[due.key].name = "event-1"
    assert desk.backlog.next_wait() == 1
    assert desk.lost == []


def test_what_repeats_before_it_was_told_is_told_with_its_count(desk: Desk) -> None:
    desk.take(*[notice()] * 5)
    assert [(due.name, due.count) for due in desk.tell_all()] == [("", 5)]


def test_what_repeats_while_it_is_told_is_brought_up_to_date(desk: Desk) -> None:
    desk.take(notice())
    due = desk.backlog.head()
    assert due is not None
    desk.take(notice())
    desk.backlog.settle(due, "event-1")
    assert desk.backlog.head() is None
    desk.now[0] += UPDATE_SECONDS
    assert desk.tell().count == 2


def test_after_a_while_the_same_is_news(desk: Desk) -> None:
    desk.take(notice())
    desk.tell()
    desk.now[0] += WINDOW
    desk.take(notice())
    due = desk.tell()
    assert (due.name, due.count) == ("", 1)


OTHERS = {
    "another-thing": notice(what="x"),
    "another-object": notice(about="x"),
    "another-namespace": notice(namespace="bank"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_differs_is_told(desk: Desk, other: Notice) -> None:
    desk.take(notice(), other)
    assert [due.count for due in desk.tell_all()] == [1, 1]


def test_the_same_is_told_in_each_place(desk: Desk) -> None:
    for namespace in ("shop", "countersign"):
        desk.backlog.take(notice(), namespace)
    assert [due.namespace for due in desk.tell_all()] == ["shop", "countersign"]


def test_an_object_has_a_budget_that_fills_slowly(desk: Desk) -> None:
    desk.take(*(notice(what=str(number)) for number in range(100)))
    assert len(desk.tell_all()) == OBJECT_BURST
    assert sum(desk.lost) == 100 - OBJECT_BURST
    desk.take(notice(about="other"))
    assert len(desk.tell_all()) == 1, "another object has its own"
    desk.now[0] += OBJECT_SECONDS - 1
    desk.take(notice(what="early"))
    assert desk.tell_all() == []
    desk.now[0] += 1
    desk.take(notice(what="late"))
    assert len(desk.tell_all()) == 1


def test_namespaces_are_served_in_turn(desk: Desk) -> None:
    desk.take(*(notice(about=str(number)) for number in range(100)), notice(namespace="bank"), notice(namespace="post"))
    assert [desk.tell().namespace for _ in range(4)] == ["shop", "bank", "post", "shop"]


def test_a_flood_in_one_namespace_silences_no_other(desk: Desk) -> None:
    desk.take(*(notice(about=str(number), namespace="flood") for number in range(10_000)))
    assert (len(desk.backlog), sum(desk.lost)) == (WAITING_MAX, 10_000 - WAITING_MAX)
    desk.take(notice(namespace="bank"), notice(namespace="post"))
    assert len(desk.backlog) == WAITING_MAX
    assert [desk.tell().namespace for _ in range(3)] == ["flood", "bank", "post"]
    assert sum(desk.lost) == 10_000 - WAITING_MAX + 2


def test_floods_from_everywhere_are_bounded(desk: Desk) -> None:
    tracemalloc.start()
    for number in range(20_000):
        desk.take(notice(about=str(number), namespace=f"ns-{number}"))
        if number % 4 == 0:
            desk.tell(f"event-{number}")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(desk.backlog) <= WAITING_MAX
    assert len(desk.backlog._series) <= REMEMBERED_MAX
    assert len(desk.backlog._budgets) <= REMEMBERED_MAX
    assert taken < 12 * 2**20
    assert len(desk.tell_all()) + sum(desk.lost) + 5_000 == 20_000


def test_what_is_lost_may_be_told_again(desk: Desk) -> None:
    desk.take(notice(), notice())
    due = desk.backlog.head()
    assert due is not None
    desk.backlog.lose(due)
    assert sum(desk.lost) == 2
    desk.take(notice())
    assert desk.tell().count == 1


def test_what_made_room_may_be_told_again_and_is_counted(desk: Desk) -> None:
    desk.take(*(notice(about=str(number)) for number in range(WAITING_MAX)))
    desk.take(notice(namespace="bank"))
    last = notice(about=str(WAITING_MAX - 1))
    assert sum(desk.lost) == 1
    desk.tell_all()
    desk.take(last)
    assert desk.tell().notice == last


def test_at_the_end_series_are_told_at_once_and_the_rest_is_counted(desk: Desk) -> None:
    desk.take(notice())
    desk.tell()
    desk.take(notice(), notice(), notice(about="other"))
    assert desk.tell().notice.regarding["name"] == "api-other"
    assert desk.backlog.head() is None
    due = desk.backlog.head(ending=True)
    assert due is not None
    assert (due.name, due.count) == ("event-1", 3)
    desk.take(notice(about="third"))
    desk.backlog.give_up()
    assert sum(desk.lost) == 3
    assert len(desk.backlog) == 0
    assert desk.backlog.next_wait() is None


def test_a_bucket_gives_its_burst_and_then_its_pace() -> None:
    bucket = Bucket(3, 10, 0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(4) == pytest.approx(6)
    assert [bucket.take(at) for at in (9.9, 10.1, 10.2, 1000, 1000, 1000, 1000)] == [
        False, True, False, True, True, True, False,
    ]  # fmt: skip
