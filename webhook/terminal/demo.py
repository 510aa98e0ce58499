"""`demo`: the show on the terminal, scene by scene, and then what to type for tries of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path

import uvloop

from webhook.demo import show, stage
from webhook.demo.show import Scene
from webhook.demo.stage import Stage
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Paper

RIGHT, WRONG = 0, 1


def run(*, once: bool, paper: Paper) -> int:
    """The show was played; unless `once`, it stayed up until it was interrupted."""
    code = RIGHT
    # Ctrl-C is how a demo that stays up is meant to end; everything has been closed when it arrives here.
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_perform(once=once, paper=paper))
    return code


async def _perform(*, once: bool, paper: Paper) -> int:
    async with stage.opened() as on:
        _introduce(on, paper)
        scenes = []
        async for scene in show.play(on):
            scenes.append(scene)
            _write_scene(len(scenes), scene, paper)
        wrong = [scene.title for scene in scenes if not scene.as_expected]
        _conclude(len(scenes), wrong, paper)
        if not once:
            _invite(on, paper)
            await asyncio.Event().wait()
        return WRONG if wrong else RIGHT


def _introduce(on: Stage, paper: Paper) -> None:
    paper.line(("Countersign", STRONG), " admits only images signed by whom your policy trusts.")
    paper.blank()
    paper.line(("registry ", DIM), f"http://{on.registry}, with {len(on.cases)} images made a moment ago", indent=2)
    paper.line(("policy   ", DIM), f"{on.policy_file}: one trusted key, release", indent=2)
    paper.line(("webhook  ", DIM), f"{on.webhook}, the real server, with a certificate it issued itself", indent=2)


def _write_scene(number: int, scene: Scene, paper: Paper) -> None:
    paper.blank()
    paper.line((f"{number}. {scene.title}: ", STRONG), scene.story, hang=3)
    paper.line((f"   {scene.image}", DIM))
    paper.line(("$ ", DIM), scene.typed, indent=3)
    for said in scene.said:
        paper.line(_coloured(said), indent=3, hang=4)
    mark = ("✓ ", GOOD) if scene.as_expected else ("✗ ", BAD)
    paper.line(mark, (f"expected: {scene.expected}; answered in {scene.seconds * 1000:.0f} ms", DIM), indent=3)


def _coloured(line: str) -> tuple[str, str]:
    if line.startswith("Warning: "):
        return line, UNSURE
    if line.startswith("Error "):
        return line, BAD
    return line, GOOD if line.endswith(" created") else ""


def _conclude(scenes: int, wrong: list[str], paper: Paper) -> None:
    paper.blank()
    if wrong:
        paper.line((f"NOT AS EXPECTED: {', '.join(wrong)}", f"{STRONG} {BAD}"))
    else:
        paper.line((f"{scenes} of {scenes} answers as expected", f"{STRONG} {GOOD}"))


def _invite(on: Stage, paper: Paper) -> None:
    signed, denied = on.cases[0], next(case for case in on.cases if not case.admitted)
    verify = f"{_program()} verify"
    paper.blank()
    paper.line(("Now you, ", STRONG), "in another terminal:")
    for comment, command in (
        ("why a signature counts", (f"{verify} {signed.reference}", f"--key {on.key_file}")),
        ("why an image is denied", (f"{verify} {denied.reference}", f"--policy {on.policy_file}")),
        ("ask the webhook as an API server does", on.curl(denied)),
        ("edit the policy: it is in force as soon as it is saved", (f"${{EDITOR:-vi}} {on.policy_file}",)),
        ("the audit trail: one line of JSON per review", (f"tail -f {on.audit_file}",)),
    ):
        paper.blank()
        paper.line((f"# {comment}", DIM), indent=2)
        paper.command(*command, indent=2)
    paper.blank()
    paper.line(("Ctrl-C ends the demo and removes all of it.", DIM))


def _program() -> str:
    """How this program is called here."""
    if shutil.which("countersign"):
        return "countersign"
    called = Path(sys.argv[0])
    return str(called) if called.name == "countersign" else f"{sys.executable} -m webhook.cli"
