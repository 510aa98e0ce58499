"""Exceptions of policies whose end is near: each is put on the trail once, three days before it ends.

When an exception ends, what ran until then is denied though nobody changed anything: so the owner of its policy hears
of it while there is time. Each replica says so once, and again where the exception was changed. The clock is the
wall's, as it is for the exceptions themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from webhook.audit.record import NAME_MAX_CHARS, Record, clean
from webhook.policy.model import PolicyException, PolicySet, TrustPolicy

NOTICE = timedelta(hours=72)  # design.md 2, exceptions
INTERVAL = 600.0  # seconds between two looks

Ending = tuple[str, PolicyException]  # name of the policy


class Endings:
    """`put` takes the records; `namespace` is the one of the policies' ConfigMaps."""

    def __init__(self, *, policies: Callable[[], PolicySet], put: Callable[[Record], None], namespace: str) -> None:
        self._policies, self._put, self._namespace = policies, put, namespace
        self._told: frozenset[Ending] = frozenset()

    async def watch(self) -> None:
        """Every exception is told in time, until this is cancelled."""
        while True:
            self.look(datetime.now(UTC))
            await asyncio.sleep(INTERVAL)

    def look(self, now: datetime) -> None:
        """What ends within `NOTICE` of `now` was told once."""
        ending = tuple(_ending(self._policies(), now))
        for policy, index in ending:
            if _key(policy, index) not in self._told:
                self._put(compose(policy, index, at=now, namespace=self._namespace))
        self._told = frozenset(_key(policy, index) for policy, index in ending)


def compose(policy: TrustPolicy, index: int, *, at: datetime, namespace: str) -> Record:
    """The record of one exception of `policy`, which ends soon after `at`."""
    exception = policy.exceptions[index]
    record = {
        "time": at.isoformat(timespec="milliseconds"),
        "event": "exception",
        "namespace": namespace,
        "policy": policy.name,
        "revision": policy.revision,
        "origin": clean(policy.origin),
        "label": f"exceptions[{index}]",
        "digest": str(exception.digest),
        "until": exception.until.isoformat(timespec="seconds"),
        "detail": clean(exception.reason),
    }
    # policy/parcel: `configmap/NAME: KEY:LINE`; a file has no ConfigMap to look at
    kind, _, rest = policy.origin.partition("/")
    return record | ({"configmap": clean(rest.partition(":")[0], NAME_MAX_CHARS)} if kind == "configmap" else {})


def _ending(policies: PolicySet, now: datetime) -> Iterator[tuple[TrustPolicy, int]]:
    for policy in policies.policies:
        for index, exception in enumerate(policy.exceptions):
            if now < exception.until <= now + NOTICE:
                yield policy, index


def _key(policy: TrustPolicy, index: int) -> Ending:
    return policy.name, policy.exceptions[index]
