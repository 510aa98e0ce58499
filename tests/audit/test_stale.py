"""Admissions on what was known before: each is counted and recorded, and the log has a line a minute."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from tests.audit.test_record import request
from tests.audit.test_sinks import AT, value
from webhook.audit import record
from webhook.audit.record import Entry
from webhook.audit.sinks import Metrics
from webhook.audit.stale import LOG_SECONDS, StaleAdmissions
from webhook.policy.decision import ImageDecision, Result, ReviewDecision, Stale

SAID = "2026-11-21T12:00:00Z: registry_unavailable: connection refused"


def image(result: Result = Result.VERIFIED, *kinds: Stale) -> ImageDecision:
    return ImageDecision("shop/api:1", (), None, result, None, "", stale=dict.fromkeys(kinds, SAID))


def entry(*images: ImageDecision, stale: tuple[tuple[str, str], ...] = ()) -> Entry:
    return Entry(AT, 0.01, request(), "allow", 200, ReviewDecision(True, 200, images, "rev"), stale=stale)


def test_each_is_counted_by_its_kind_and_a_denial_is_none() -> None:
    metrics = Metrics(hosts={}, version="1")
    metrics.review(entry(image(Result.VERIFIED, Stale.PRESENCE, Stale.KEY), image()))
    metrics.review(entry(image(Result.DENIED, Stale.PRESENCE)))
    metrics.review(entry(stale=(("shop/api:1", SAID), ("shop/web:1", SAID))))
    counts = {kind: value(metrics, "stale_admissions_total", kind=kind) for kind in Stale}
    assert counts == {Stale.PRESENCE: 1, Stale.REVOCATION: None, Stale.KEY: 1, Stale.TAG: 2}


def test_each_is_in_its_record() -> None:
    found: Any = record.compose(entry(image(Result.VERIFIED, Stale.PRESENCE), image()))["images"]
    shown, fresh = found
    assert shown["stale"] == {"presence": SAID}
    assert "stale" not in fresh


def test_an_outage_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    now = 1000.0
    counter = Counter("stale", "", ("kind",), registry=CollectorRegistry())
    admissions = StaleAdmissions(counter, monotonic=lambda: now)
    for _ in range(1000):
        admissions.note(image(Result.VERIFIED, Stale.PRESENCE))
    admissions.note(image(Result.VERIFIED, Stale.KEY))
    now += LOG_SECONDS - 1
    admissions.note(image(Result.VERIFIED, Stale.PRESENCE))
    assert len(caplog.messages) == 2
    now += 1
    admissions.note(image(Result.VERIFIED, Stale.PRESENCE))
    first, of_keys, later = caplog.messages
    assert "(presence): 1 images, such as shop/api:1: " in first
    assert "(key): 1 images" in of_keys
    assert "(presence): 1001 images" in later
