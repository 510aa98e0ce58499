"""The end of an exception is told once, while there is time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tests.audit.test_record import AT, DIGEST, POLICY
from webhook.audit.ending import NOTICE, Endings
from webhook.audit.record import Record
from webhook.policy.model import PolicyException, PolicySet

UNTIL = AT + timedelta(days=10)


class Desk:
    def __init__(self) -> None:
        self.told: list[Record] = []
        self.until(UNTIL)
        self.endings = Endings(policies=lambda: self._set, put=self.told.append, namespace="countersign")

    def until(self, *ends: datetime) -> None:
        exceptions = tuple(PolicyException(DIGEST, ("shop",), end, "waiting for the vendor") for end in ends)
        policy = replace(POLICY, exceptions=exceptions, origin="configmap/production: a.yaml:1")
        self._set = PolicySet((policy,), "rev", "here")

    def look(self, *before_the_end: timedelta) -> int:
        for before in before_the_end:
            self.endings.look(UNTIL - before)
        return len(self.told)


MINUTE = timedelta(minutes=1)


def test_an_exception_is_told_once_three_days_before_it_ends() -> None:
    desk = Desk()
    assert desk.look(NOTICE + MINUTE) == 0
    assert desk.look(NOTICE, NOTICE - MINUTE, MINUTE) == 1
    assert desk.look(timedelta(0), -MINUTE) == 1
    assert desk.told[0]["configmap"] == "production"
    assert desk.told[0]["event"] == "exception"


def test_one_that_was_prolonged_is_told_again() -> None:
    desk = Desk()
    desk.look(NOTICE)
    desk.until(UNTIL + timedelta(days=5))
    assert desk.look(NOTICE) == 1
    assert desk.look(NOTICE - timedelta(days=5)) == 2


def test_each_exception_is_told() -> None:
    desk = Desk()
    desk.until(UNTIL, UNTIL + MINUTE, UNTIL + timedelta(days=5))
    assert desk.look(NOTICE - MINUTE) == 2
    assert [record["label"] for record in desk.told] == ["exceptions[0]", "exceptions[1]"]
