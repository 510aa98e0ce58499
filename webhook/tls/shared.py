"""One authority for all replicas, in a Secret, without a leader; each replica issues its own certificate from it.

Whichever replica looks first makes the authority where the Secret is empty, and takes the step that is due, each by one
conditional write (`rotation`); the others then read again. What the webhook configurations publish is put right
wherever it differs. A Secret that is gone, cannot be read or holds something else changes nothing: what is served stays
in force, nothing of it is overwritten, and `problem` says so.

spec: kubernetes.md 13, self.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from webhook.errors import MalformedError, OperatorError
from webhook.kube.client import Kube, KubeError, Object
from webhook.kube.registration import Registration, Seen
from webhook.kube.watching import Collection, Objects, Watching
from webhook.tls import rotation
from webhook.tls.authority import Authority
from webhook.tls.certificate import ServingCertificate
from webhook.tls.rotation import Held, Step

CHECK_EVERY = timedelta(hours=12)
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds; the longer one also where somebody else keeps writing caBundle
ATTEMPTS = 4
MISSING = " (the chart makes it, empty: run its 'helm upgrade' again)"
CONFLICT = 409
# Another replica was first: the Secret is of another version, a `test` of the patch failed, the configuration is gone
OVERTAKEN = (CONFLICT, 422, 404)

log = logging.getLogger(__name__)


class SharedAuthority:
    """Keeps the Secret called `name` and the published bundles, and tells `certificate` which authority to use."""

    def __init__(
        self,
        *,
        kube: Kube,
        name: str,
        registration: Registration,
        certificate: ServingCertificate,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube, self._registration, self._certificate, self._clock = kube, registration, certificate, clock
        collection = f"/api/v1/namespaces/{kube.namespace}/secrets"
        self._path = f"{collection}/{name}"
        self._watching = Watching(kube, Collection(collection, field_selector=f"metadata.name={name}"), self._note_news)
        self._news = asyncio.Event()
        self._held: Held | None = None
        self._used: Authority | None = None
        self._writes = 0
        self.problem = "the Secret of the authority was not read yet"  # empty while all is as it should be

    @property
    def is_at_hand(self) -> bool:
        """Whether what is served is of the shared authority, not of one that nobody trusts."""
        return self._used is not None

    @property
    def not_after(self) -> datetime | None:
        """When the authority that issues expires; `None` until there is one."""
        return self._used.not_after if self._used else None

    async def run(self) -> None:
        """Until cancelled, the Secret, the bundles and the certificate follow each other."""
        self._registration.tell(self._news.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watching.run())
            group.create_task(self._look_forever())

    async def look(self, now: datetime) -> bool:
        """What is due at `now` is done, as far as it can be; `problem` says what cannot.

        Returns whether anything was written.
        """
        problem, before = "", self._writes
        try:
            await self._look(now)
        except MalformedError as error:
            problem = f"{self._path}: {error.detail}; it is left as it is (empty it to have a new authority made)"
        except OperatorError as error:
            problem = f"{self._path}: {error}"
        except KubeError as error:
            problem = f"{error.detail}{MISSING if error.status == 404 else ''}"
        if problem and problem != self.problem:
            log.error("the authority of serving certificates: %s", problem)
        self.problem = problem
        return self._writes != before

    async def _look_forever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            self._news.clear()
            wrote = True
            try:
                wrote = await self.look(self._clock())
            except Exception:
                self.problem = f"{self._path}: could not be looked at, for a reason that the log has"
                log.exception("%s could not be looked at; what is served stays", self._path)
            pause = min(2 * pause, LONGEST_PAUSE) if wrote or self.problem else FIRST_PAUSE
            await asyncio.sleep(pause if wrote else FIRST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause if self.problem else self._seconds_until_due()):
                    await self._news.wait()

    def _seconds_until_due(self) -> float:
        due = self._held.due - self._clock() if self._held else CHECK_EVERY
        return max(min(due, CHECK_EVERY).total_seconds(), FIRST_PAUSE)

    async def _look(self, now: datetime) -> None:
        """Raises: KubeError, MalformedError, OperatorError."""
        for attempts_left in reversed(range(ATTEMPTS)):
            seen = self._registration.seen  # before the Secret is read, so that `publish` brings nothing old
            secret = await self._kube.get(self._path)
            held = rotation.parse(secret.get("data") or {})
            step = await self._due(held, now)
            try:
                if step is not None:
                    await self._write(secret, step)
                await self._publish(step.held if step else held, seen, now)
            except KubeError as error:
                if error.status not in OVERTAKEN or not attempts_left:
                    raise
                log.debug("another replica was first: %s", error.detail)
                await self._registration.look()
            else:
                return

    async def _due(self, held: Held | None, now: datetime) -> Step | None:
        if held is None:
            return rotation.first_step(now)
        is_due = held.following is not None and now >= held.due
        return rotation.next_step(held, now, is_published=is_due and await self._is_published(held))

    async def _is_published(self, held: Held) -> bool:
        """Whether every entry has all of `held`, read anew."""
        try:
            configurations = await self._registration.look()
        except KubeError as error:
            log.warning("the new authority does not issue yet: %s", error.detail)
            return False
        return all(entry.bundle == held.bundle for seen in configurations for entry in seen.entries or ())

    async def _write(self, secret: Object, step: Step) -> None:
        """Raises: KubeError, 409 where the Secret is not as it was read."""
        others = {name: item for name, item in (secret.get("data") or {}).items() if name not in rotation.ITEMS}
        await self._kube.replace(self._path, {**secret, "data": {**others, **rotation.to_data(step.held)}})
        self._writes += 1
        log.info("%s: %s", self._path, step.said)

    async def _publish(self, held: Held | None, seen: Sequence[Seen], now: datetime) -> None:
        """`held` is published, and then used. Where it cannot be published, what is trusted stays in use."""
        assert held is not None  # where nothing is held, the first step is due
        self._held = held
        try:
            self._writes += await self._registration.publish(held.bundle, since=seen)
        except KubeError:
            if self._used is None or held.signing.pem in (self._registration.bundle or b""):
                self._use(held.signing, now)
            raise
        self._use(held.signing, now)

    def _use(self, signing: Authority, now: datetime) -> None:
        if self._used is None or signing.pem != self._used.pem:
            self._certificate.use(signing, now)
            self._used = signing
            log.info("served is a certificate that expires %s", self._certificate.not_after.isoformat())

    async def _note_news(self, objects: Objects) -> None:
        self._news.set()
