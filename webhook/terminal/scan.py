"""`scan`: what would be denied of all that runs, if the policies were enforced everywhere: the way to know before.

Each image is judged once for all namespaces that the same policies speak of, as the webhook would judge a new pod: its
tag is resolved now, its signatures are verified now. Policies count as enforcing, whatever their mode, and an image of
which none speaks as `--no-match` says. Nothing is changed in the cluster.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from webhook.errors import OperatorError
from webhook.kube import client
from webhook.policy import message
from webhook.policy.decision import ImageDecision, Result
from webhook.policy.model import Mode, PolicySet
from webhook.settings import NoMatch, Settings
from webhook.terminal import applied, facts, given, running, verifying
from webhook.terminal import configured as configuration
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Output, Paper
from webhook.terminal.running import Running, Use
from webhook.verification import Pending, Verifier

AT_ONCE = 8  # images, besides what the registry client allows of one host
OWNERS_SHOWN = 10  # of one image; all of them are in the document

Progress = Callable[[int, int], None]  # images judged, and of how many

_SHOWN = {Result.DENIED: ("denied", BAD), Result.ERROR: ("could not be examined", UNSURE)}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked on the command line."""

    policies: tuple[Path, ...]
    policies_in: str  # a namespace, instead of `policies`; empty: none
    namespaces: tuple[str, ...]
    kubeconfig: Path | None
    context: str | None
    no_match: NoMatch
    timeout: float  # seconds for one image
    insecure: tuple[str, ...]
    private: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """One image with one decision, and all `uses` for which it holds."""

    decision: ImageDecision
    uses: tuple[Use, ...]


def run(wanted: Wanted, configured: Settings, *, output: Output, paper: Paper, errors: TextIO) -> int:
    """All that runs was judged and is told: exit code 1 if something would be denied, 2 if only not examined.

    How far it is stands on `errors`, where that is a terminal. Raises: OperatorError.
    """
    if bool(wanted.policies) == bool(wanted.policies_in):
        which = "--policy FILE, or --policies-in NAMESPACE where they are applied"
        raise OperatorError(f"{which}, one of both expected: what should what runs be held against?")
    policies = given.policies(wanted.policies, configured.policy) if wanted.policies else None
    configured = replace(configured, policy=replace(configured.policy, no_match=wanted.no_match))
    with _progress(errors) as progress:
        found, judged = asyncio.run(_scan(wanted, policies, configured, progress))
    if output is Output.JSON:
        paper.document(_document(found, judged))
    else:
        _write(found, judged, paper)
    results = {one.decision.result for one in judged}
    if Result.DENIED in results:
        return 1
    return 2 if Result.ERROR in results or found.unreadable else 0


@contextmanager
def _progress(errors: TextIO) -> Iterator[Progress]:
    console = Console(file=errors)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking at what runs", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description="verifying images")

        yield show


def _enforcing(policies: PolicySet) -> PolicySet:
    changed = (replace(policy, mode=Mode.ENFORCE, enforce_in=()) for policy in policies.policies)
    return replace(policies, policies=tuple(changed))


async def _scan(
    wanted: Wanted, policies: PolicySet | None, configured: Settings, progress: Progress
) -> tuple[Running, list[Judged]]:
    kube = await client.by_kubeconfig_or_in_cluster(wanted.kubeconfig, context=wanted.context)
    try:
        stored = verifying.NOTHING
        if policies is None:
            policies, stored = await applied.load(kube, wanted.policies_in, configured.policy)
        found = await running.look(kube, namespaces=wanted.namespaces)
    finally:
        await kube.close()
    # Strangers wrote these references: none of them makes this machine's own ports be dialled
    configured = configuration.with_hosts(configured, asked=(), insecure=wanted.insecure, private=wanted.private)
    policies = _enforcing(policies)
    questions = _questions(found, policies)
    async with verifying.prepare(configured, policies, stored=stored) as verifier:
        now = datetime.now(UTC)
        work = [_judge(verifier, text, uses, policies, now, wanted.timeout) for text, uses in questions]
        return found, sorted(await _all(work, progress), key=_severity)


def _questions(found: Running, policies: PolicySet) -> list[tuple[str, tuple[Use, ...]]]:
    """Each image with the uses that have one answer: in namespaces of which the same policies speak."""
    grouped: dict[tuple[str, object], list[Use]] = {}
    for text, uses in found.uses.items():
        for use in sorted(uses):
            grouped.setdefault((text, _regime(use.namespace, policies)), []).append(use)
    return [(text, tuple(uses)) for (text, _), uses in grouped.items()]


def _regime(namespace: str, policies: PolicySet) -> object:
    """What of the policies holds in `namespace`; equal for namespaces in which an image has one decision."""
    excepted = any(policy.exceptions for policy in policies.policies)
    return namespace if excepted else frozenset(one.name for one in policies.policies if namespace in one.namespaces)


async def _judge(
    verifier: Verifier, text: str, uses: tuple[Use, ...], policies: PolicySet, now: datetime, seconds: float
) -> Judged:
    found = verifier.begin(text, paths=(), namespace=uses[0].namespace, policies=policies, now=now)
    if isinstance(found, Pending):
        found = await verifier.finish(found, deadline=asyncio.get_running_loop().time() + seconds)
    return Judged(found, uses)


async def _all(work: Sequence[Awaitable[Judged]], progress: Progress) -> list[Judged]:
    places = asyncio.Semaphore(AT_ONCE)
    done: list[Judged] = []

    async def one(judging: Awaitable[Judged]) -> None:
        async with places:
            done.append(await judging)
            progress(len(done), len(work))

    progress(0, len(work))
    async with asyncio.TaskGroup() as group:
        for judging in work:
            group.create_task(one(judging))
    return done


def _severity(judged: Judged) -> tuple[int, str]:
    order = (Result.DENIED, Result.ERROR)
    result = judged.decision.result
    return (order.index(result) if result in order else len(order)), judged.decision.reference


def _write(found: Running, judged: list[Judged], paper: Paper) -> None:
    for one in judged:
        if one.decision.result in _SHOWN:
            _write_image(one, paper)
    for problem in found.unreadable:
        paper.line(("not readable", UNSURE), f": {problem}")
    for warning in dict.fromkeys(text for one in judged for text in one.decision.warnings):
        paper.line(("note", DIM), f": {warning}", hang=2)
    counted = Counter(one.decision.result for one in judged)
    refused = {name: counted[result] for result, (name, _) in _SHOWN.items() if counted[result]}
    admitted = len(judged) - sum(refused.values())
    pods, templates = _count(found.pods, "pod"), _count(found.objects - found.pods, "template")
    where = f"{pods} and {templates} in {_count(len(found.namespaces), 'namespace')}"
    said = ", ".join(f"{count} {name}" for name, count in refused.items())
    images, well = (_count(len(judged), "image"), STRONG), (f"{admitted} admitted", GOOD if admitted else "")
    wrong = said, BAD if counted[Result.DENIED] else UNSURE
    paper.line(images, f" of {where}: ", well, ", " if said else "", wrong)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _write_image(judged: Judged, paper: Paper) -> None:
    name, style = _SHOWN[judged.decision.result]
    first, *rest = message.image_lines(judged.decision)
    paper.line((f"{name}: ", style), (first, STRONG), hang=2)
    for line in rest:
        paper.line(line.strip(), indent=2, hang=2)
    owners = Counter((use.namespace, use.owner) for use in judged.uses)
    for namespace, owner in sorted(owners)[:OWNERS_SHOWN]:
        paper.line(("in ", DIM), f"{namespace}: {owner}", indent=2)
    if len(owners) > OWNERS_SHOWN:
        paper.line((f"and {len(owners) - OWNERS_SHOWN} more", DIM), indent=2)
    paper.blank()


def _document(found: Running, judged: list[Judged]) -> dict[str, object]:
    return {
        "pods": found.pods,
        "templates": found.objects - found.pods,
        "namespaces": sorted(found.namespaces),
        "unreadable": found.unreadable,
        "summary": dict(Counter(str(one.decision.result) for one in judged)),
        "images": [_image(one) for one in judged],
    }


def _image(judged: Judged) -> dict[str, object]:
    decision = judged.decision
    return {
        "image": decision.reference,
        "digest": str(decision.digest) if decision.digest else None,
        "result": decision.result,
        "code": decision.code,
        "detail": decision.detail,
        "policies": [facts.policy(one) for one in decision.policies],
        "warnings": list(decision.warnings),
        "uses": [
            {"namespace": use.namespace, "owner": use.owner, "path": use.path, "container": use.container}
            for use in judged.uses
        ],
    }
