"""Admissions that rest on answers of before, counted each, and told in the log now and then.

An outage of an hour may have thousands: each is in its own record, and the log has one line a minute for each kind.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

import prometheus_client

from webhook.audit import record
from webhook.policy.decision import REFUSED, ImageDecision, Stale

LOG_SECONDS = 60.0  # between two lines on one kind

log = logging.getLogger(__name__)


class StaleAdmissions:
    """`counter` has the label `kind`. `monotonic` is in seconds."""

    def __init__(self, counter: prometheus_client.Counter, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._counter, self._monotonic = counter, monotonic
        self._untold: Counter[Stale] = Counter()
        self._next: dict[Stale, float] = {}

    def note(self, image: ImageDecision) -> None:
        """What `image` rests on is counted, if it was admitted."""
        if image.result in REFUSED:
            return
        for kind, said in image.stale.items():
            self.note_one(kind, image.reference, said)

    def note_one(self, kind: Stale, reference: str, said: str) -> None:
        """An image rests on an answer of that kind; `said` is since when, and why."""
        self._counter.labels(kind.value).inc()
        self._untold[kind] += 1
        now = self._monotonic()
        if now < self._next.get(kind, now):
            return
        shown = record.clean(reference), record.clean(said)
        log.warning(
            "admitted on what was known before (%s): %d images, such as %s: %s", kind, self._untold[kind], *shown
        )
        self._untold[kind], self._next[kind] = 0, now + LOG_SECONDS
