"""The demo as a sequence of scenes: what happens, what is typed, what comes back, and whether it should have.

The stage is real but for the cluster: the server over HTTPS, a registry, signatures made on the spot, and an API
server's part that posts AdmissionReviews. Scenes are values, in the order in which they are played; how they look on a
terminal is for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from webhook.demo import stage
from webhook.demo.apiserver import Answer
from webhook.demo.images import Case
from webhook.demo.stage import Stage
from webhook.errors import Code

EDIT_SECONDS = 5.0  # the longest wait for an edited policy to be in force


@dataclass(frozen=True, slots=True)
class Scene:
    """`said` are the lines of the answer; `expected` is what should become of the pod, `as_expected` whether it did."""

    title: str
    story: str
    image: str
    typed: str
    said: tuple[str, ...]
    seconds: float
    expected: str
    as_expected: bool


async def play(on: Stage) -> AsyncIterator[Scene]:
    """The scenes, each played when it is asked for."""
    for case in on.cases:
        answer = await on.create_pod(case)
        right = answer.allowed is case.admitted and (case.code is None or case.code in answer.message)
        yield _scene(case, answer, title=case.name, story=case.story, expected=_expected(case.admitted), right=right)
    yield await _soften(on)


async def _soften(on: Stage) -> Scene:
    """The unsigned image again, once the policy only warns: the server notices the edited file by itself."""
    case = next(case for case in on.cases if case.code is Code.NO_SIGNATURE)
    with on.policy_edited(mode="warn"):
        answer = await _when_allowed(on, case)
    return _scene(
        case,
        answer,
        title=f"{case.name} in warn mode",
        story="the same image, after the policy file was edited to say mode: warn",
        expected="created, with a warning",
        right=answer.allowed and bool(answer.warnings),
    )


async def _when_allowed(on: Stage, case: Case) -> Answer:
    loop = asyncio.get_running_loop()
    until = loop.time() + EDIT_SECONDS
    answer = await on.create_pod(case)
    while not answer.allowed and loop.time() < until:
        await asyncio.sleep(stage.RELOAD_SECONDS)
        answer = await on.create_pod(case)
    return answer


def _expected(admitted: bool) -> str:
    return "created" if admitted else "denied"


def _scene(case: Case, answer: Answer, *, title: str, story: str, expected: str, right: bool) -> Scene:
    return Scene(
        title=title,
        story=story,
        image=case.reference,
        typed=f"kubectl apply -f {case.name}.yaml",
        said=answer.as_kubectl(case.name, file=f"{case.name}.yaml"),
        seconds=answer.seconds,
        expected=expected,
        as_expected=right,
    )
