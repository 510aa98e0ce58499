"""What takes seconds to begin is begun before a review waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from webhook.aws.calls import AWSError
from webhook.evidence.model import SignerKind
from webhook.outside import Outside
from webhook.policy.model import PolicySet
from webhook.readiness import Source
from webhook.workers import Workers


@dataclass(frozen=True, slots=True)
class Warming:
    """Once a policy needs a worker, or AWS Signer, it is made ready before the first evidence is found."""

    source: Source
    workers: Workers
    outside: Outside
    interval: float  # seconds between two looks

    async def run(self) -> None:
        todo = [(_needs_worker, self._warm_workers), (_needs_signer, self._warm_aws)]
        while True:
            for needs, warm in tuple(todo):
                if needs(self.source.current):
                    todo.remove((needs, warm))
                    await warm()
            if not todo:
                await asyncio.Event().wait()  # all is warm, for as long as this is not cancelled
            await asyncio.sleep(self.interval)

    async def _warm_workers(self) -> None:
        self.workers.warm()

    async def _warm_aws(self) -> None:
        with contextlib.suppress(AWSError):  # which is for whoever asks in earnest
            await self.outside.aws.partition_of("")


def _needs_worker(policies: PolicySet) -> bool:
    return any(
        any(signer.kind is not SignerKind.KEY for signer in policy.signers)
        or any(rule.attestations for rule in policy.rules)
        for policy in policies.policies
    )


def _needs_signer(policies: PolicySet) -> bool:
    return any(signer.kind is SignerKind.PROFILE for policy in policies.policies for signer in policy.signers)
