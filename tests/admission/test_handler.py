"""One review: its deadline, its snapshot, each distinct image once, and its turn among others."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from webhook import settings
from webhook.admission.handler import Handler
from webhook.admission.places import Places
from webhook.admission.turns import time_for_review
from webhook.errors import Code, InconclusiveError
from webhook.kube.workload import Image, Request
from webhook.oci import reference
from webhook.oci.authn import PrivateCredentials
from webhook.policy.decision import ImageDecision, Paths, Result
from webhook.policy.model import PolicySet
from webhook.trust.at_hand import Trust
from webhook.verification import Pending, Verifier

LATE = InconclusiveError(Code.DEADLINE_EXCEEDED, "late")


class GatedVerifier(Verifier):
    """The verifier's seam: images that end in `:exempt` need no network, the others wait until the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[tuple[str, Paths, PolicySet, datetime]] = []
        self.running: Counter[str] = Counter()
        self.most = 0

    def begin(
        self,
        text: str,
        *,
        paths: Paths,
        namespace: str,
        policies: PolicySet,
        now: datetime,
        credentials: PrivateCredentials | None = None,
    ) -> ImageDecision | Pending:
        self.begun.append((text, paths, policies, now))
        parsed = reference.parse(text)
        if parsed.tag == "exempt":
            return ImageDecision(text, paths, None, Result.EXEMPT, None, "")
        return Pending(parsed, paths, namespace, policies, (), Trust(), now)

    def is_underway(self, pending: Pending) -> bool:
        return False

    async def finish(self, pending: Pending, *, deadline: float) -> ImageDecision:
        self.running[pending.namespace] += 1
        self.most = max(self.most, self.running.total())
        try:
            async with asyncio.timeout_at(deadline):
                await self.gate.wait()
        except TimeoutError:
            return ImageDecision(pending.reference.text, pending.paths, None, Result.ERROR, LATE.code, LATE.detail)
        finally:
            self.running[pending.namespace] -= 1
        return ImageDecision(pending.reference.text, pending.paths, None, Result.VERIFIED, None, "")

    def give_up(self, pending: Pending, error: InconclusiveError) -> ImageDecision:
        return ImageDecision(pending.reference.text, pending.paths, None, Result.ERROR, error.code, error.detail)


class Desk:
    """A handler with its surroundings."""

    def __init__(self, **limits: int) -> None:
        self.verifier = GatedVerifier()
        self.policies = PolicySet((), "rev1", "nowhere")
        self.now = datetime(2026, 11, 21, tzinfo=UTC)
        configured = replace(settings.Admission(), **limits)  # type: ignore[arg-type]
        self.handler = Handler(
            policies=lambda: self.policies,
            verifier=self.verifier,
            places=Places(places=configured.verifications, listed=frozenset({"r.example.com"})),
            limits=configured,
            clock=lambda: self.now,
        )

    def start(self, request: Request, *, seconds: float = 10.0) -> asyncio.Task[str]:
        async def review() -> str:
            decision = await self.handler.review(request, timeout=seconds)
            return f"{decision.status} {' '.join(image.result for image in decision.images)}"

        return asyncio.create_task(review())

    async def until_running(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.verifier.running.total() != count:
                await asyncio.sleep(0)


def request(*texts: str, namespace: str = "shop", unchanged: tuple[str, ...] = ()) -> Request:
    return Request(
        uid="u",
        operation="CREATE",
        namespace=namespace,
        group="",
        resource="pods",
        subresource="",
        kind="Pod",
        name="p",
        user="jane",
        dry_run=False,
        images=tuple(Image(f"spec.containers[{index}]", f"c{index}", text) for index, text in enumerate(texts)),
        unchanged=tuple(Image(f"spec.containers[{90 + index}]", "old", text) for index, text in enumerate(unchanged)),
    )


TIMES = {
    "long": (10.0, 30.0, 9.0),
    "short": (2.0, 30.0, 1.6),
    "setting-is-less": (10.0, 3.0, 2.4),
    "never-above-29": (30.0, 30.0, 28.0),
    "unsaid": (None, 10.0, 9.0),
    "unsaid-and-unbounded": (None, 99.0, 28.0),
    "very-short": (0.1, 10.0, 0.08),
}


@pytest.mark.parametrize(("asked", "configured", "expected"), TIMES.values(), ids=TIMES)
def test_time_is_left_for_the_answer(asked: float | None, configured: float, expected: float) -> None:
    assert time_for_review(asked, configured) == pytest.approx(expected)


async def test_each_distinct_image_is_begun_once_with_all_its_paths() -> None:
    desk = Desk()
    desk.verifier.gate.set()
    a, b = "r.example.com/a:1", "r.example.com/b:1"
    review = await desk.handler.review(request(a, b, a), timeout=10.0)
    assert [(text, paths) for text, paths, _, _ in desk.verifier.begun] == [
        (a, (("spec.containers[0]", "c0"), ("spec.containers[2]", "c2"))),
        (b, (("spec.containers[1]", "c1"),)),
    ]
    assert [image.reference for image in review.images] == [a, b]
    assert (review.allowed, review.revision) == (True, "rev1")
    assert {now for _, _, _, now in desk.verifier.begun} == {desk.now}


async def test_unchanged_images_are_settled_without_any_look() -> None:
    desk = Desk()
    review = await desk.handler.review(request(unchanged=("r.example.com/a:1", "not a reference")), timeout=10.0)
    assert review.allowed
    assert [image.result for image in review.images] == [Result.UNCHANGED, Result.UNCHANGED]
    assert not desk.verifier.begun


async def test_one_text_that_is_old_in_one_place_and_new_in_another_is_examined() -> None:
    desk = Desk()
    desk.verifier.gate.set()
    review = await desk.handler.review(request("r.example.com/a:1", unchanged=("r.example.com/a:1",)), timeout=10.0)
    assert [image.result for image in review.images] == [Result.UNCHANGED, Result.VERIFIED]


async def test_one_image_too_many_is_refused_without_a_look() -> None:
    desk = Desk(references_max=2)
    texts = [f"r.example.com/a:{tag}-exempt" for tag in range(3)]
    desk.verifier.gate.set()
    assert (await desk.handler.review(request(*texts[:2]), timeout=10.0)).allowed
    desk.verifier.begun.clear()
    review = await desk.handler.review(request(*texts), timeout=10.0)
    assert (review.status, review.images[0].code) == (400, Code.TOO_MANY_REFERENCES)
    assert not desk.verifier.begun


async def test_policies_that_change_meanwhile_change_nothing_of_a_review() -> None:
    desk = Desk()
    running = asyncio.create_task(desk.handler.review(request("r.example.com/a:1"), timeout=10.0))
    await desk.until_running(1)
    desk.policies = PolicySet((), "rev2", "nowhere")
    desk.verifier.gate.set()
    assert (await running).revision == "rev1"


async def test_images_run_in_parallel_as_far_as_a_namespace_may() -> None:
    desk = Desk(verifications=16)
    running = desk.start(request(*[f"r.example.com/a:{index}" for index in range(20)]))
    await desk.until_running(4)
    desk.verifier.gate.set()
    assert await running == "200" + " verified" * 20
    assert desk.verifier.most == 4


async def test_a_greedy_namespace_leaves_places_for_others() -> None:
    desk = Desk(verifications=8)
    greedy = [desk.start(request("r.example.com/a:1", namespace="greedy")) for _ in range(10)]
    await desk.until_running(2)
    modest = desk.start(request("r.example.com/a:1", namespace="modest"))
    await desk.until_running(3)
    assert desk.verifier.running == {"greedy": 2, "modest": 1}
    desk.verifier.gate.set()
    assert {await task for task in (*greedy, modest)} == {"200 verified"}


async def test_who_gets_no_place_in_time_is_told_of_overload_and_not_forgotten() -> None:
    desk = Desk(verifications=1)
    first = desk.start(request("r.example.com/a:1"))
    await desk.until_running(1)
    assert await desk.start(request("r.example.com/b:1"), seconds=0.05) == "503 error", "no registry was too slow"
    desk.verifier.gate.set()
    assert await first == "200 verified"
    assert await desk.start(request("r.example.com/b:1")) == "200 verified", "no place was lost"


async def test_the_queue_is_bounded_and_settled_images_need_none() -> None:
    desk = Desk(verifications=1, queue_max=2)
    running = [desk.start(request("r.example.com/a:1")) for _ in range(3)]
    await desk.until_running(1)
    with pytest.raises(InconclusiveError) as caught:
        await desk.handler.review(request("r.example.com/b:1"), timeout=10.0)
    assert caught.value.code is Code.OVERLOADED
    assert await desk.start(request("r.example.com/a:exempt")) == "200 exempt"
    desk.verifier.gate.set()
    assert [await task for task in running] == ["200 verified"] * 3
    assert await desk.start(request("r.example.com/b:1")) == "200 verified", "the queue is empty again"


async def test_a_namespace_that_fills_the_queue_keeps_nobody_else_out() -> None:
    desk = Desk(verifications=1, queue_max=4)
    greedy = [desk.start(request("r.example.com/a:1", namespace="greedy")) for _ in range(5)]
    await desk.until_running(1)
    modest = [desk.start(request("r.example.com/a:1", namespace="modest")) for _ in range(2)]
    await asyncio.sleep(0)
    for namespace in ("greedy", "modest"):
        with pytest.raises(InconclusiveError) as caught:
            await desk.handler.review(request("r.example.com/b:1", namespace=namespace), timeout=10.0)
        assert caught.value.code is Code.OVERLOADED, "it has its share"
    desk.verifier.gate.set()
    assert {await task for task in (*greedy, *modest)} == {"200 verified"}


async def test_a_cancelled_review_gives_its_places_back() -> None:
    desk = Desk(verifications=4)
    running = desk.start(request(*[f"r.example.com/a:{index}" for index in range(8)]))
    waiting = desk.start(request("r.example.com/b:1"))
    await desk.until_running(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    desk.verifier.gate.set()
    assert await waiting == "200 verified"
    assert await desk.start(request("r.example.com/b:1")) == "200 verified"
