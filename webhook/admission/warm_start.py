"""After a start in a cluster, the images of running pods are verified again, slowly and in the background.

So that a replica knows what its predecessor knew before somebody asks, and before a registry is next away. A digest is
never trusted because it runs: each goes the way of any review, with the policies of its namespace and the credentials
of its pod, and what is found is kept like any finding. Nothing is decided, told or denied by it, and a failure is
forgotten. Pods are listed once, page by page; one image at a time is looked at. Where the API server refuses the list,
there is no warm start.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime

from webhook.kube import pods
from webhook.kube.client import Kube, KubeError
from webhook.kube.pods import RunningImage
from webhook.kube.workload import Request
from webhook.oci.authn import PrivateCredentials
from webhook.policy.decision import REFUSED, Result
from webhook.policy.model import PolicySet
from webhook.verification import Pending, Verifier

PODS = "/api/v1/pods"
PAGE = 100  # pods: read in some milliseconds, in which no review is answered
IMAGES_MAX = 20_000  # distinct ones; of more, those on the first pages are looked at
IMAGE_SECONDS = 10.0  # for one image, as for a review
LOOK_PAUSE = 1.0  # between two looks whether all is loaded
OUTAGE_PAUSE = 30.0  # until an API server that was away is asked again

log = logging.getLogger(__name__)


class WarmStart:
    """`rate` is in images per second. `lend` has the credentials by which images are pulled; `ready` says that policies
    are loaded, `stopping` that this process is about to end. `observe` is told what became of each image."""

    def __init__(
        self,
        kube: Kube,
        *,
        rate: float,
        policies: Callable[[], PolicySet],
        verifier: Verifier,
        lend: Callable[[Request], PrivateCredentials | None],
        ready: Callable[[], bool],
        stopping: Callable[[], bool],
        observe: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube, self._pause = kube, 1 / rate
        self._policies, self._verifier, self._lend = policies, verifier, lend
        self._ready, self._stopping, self._observe, self._clock = ready, stopping, observe, clock
        self._total: int | None = None
        self._done = 0

    @property
    def note(self) -> str:
        """How far it has come, for a person."""
        if self._total is None:
            return "the pods that run were not listed yet"
        return f"{self._done} of {self._total} images of running pods were looked at again"

    async def run(self) -> None:
        """Every image that runs was looked at once; then nothing more happens until this is cancelled."""
        while not self._ready():  # noqa: ASYNC110 - made of many states, none of which tells
            await asyncio.sleep(LOOK_PAUSE)
        images = await self._list()
        random.shuffle(images)  # so that no namespace is always the last one, and replicas differ
        self._total, self._done = len(images), 0
        for image in images:
            if self._stopping():
                break
            await self._look(image)
            self._done += 1
        await asyncio.Event().wait()

    async def _list(self) -> list[RunningImage]:
        while True:
            try:
                return await self._read_pages()
            except KubeError as error:
                if not error.is_outage:
                    log.warning("images of running pods are not verified again: %s", error.detail)
                    return []
            await asyncio.sleep(OUTAGE_PAUSE)

    async def _read_pages(self) -> list[RunningImage]:
        """Raises: KubeError."""
        found: dict[RunningImage, None] = {}
        async for page, _ in self._kube.pages(PODS, {"limit": str(PAGE)}):
            for pod in page:
                found |= dict.fromkeys(pods.images_of(pod))
            if len(found) >= IMAGES_MAX:
                break
        return list(found)[:IMAGES_MAX]

    async def _look(self, image: RunningImage) -> None:
        started = asyncio.get_running_loop().time()
        begun = self._verifier.begin(
            image.text,
            paths=(),
            namespace=image.namespace,
            policies=self._policies().within(image.namespace),
            now=self._clock(),
            credentials=self._lend(_request(image)),
        )
        if not isinstance(begun, Pending):  # exempt, refused without a look, or known by now
            self._observe("skipped")
            await asyncio.sleep(0)
            return
        decision = await self._verifier.finish(begun, deadline=started + IMAGE_SECONDS)
        self._observe(str(decision.result) if decision.result in REFUSED else Result.VERIFIED.value)
        await asyncio.sleep(self._pause)


def _request(image: RunningImage) -> Request:
    """What `lend` needs of a request that nobody makes."""
    return Request(
        uid="",
        operation="",
        namespace=image.namespace,
        group="",
        resource="pods",
        subresource="",
        kind="Pod",
        name="",
        user="",
        dry_run=True,
        images=(),
        unchanged=(),
        pull_secrets=image.pull_secrets,
    )
