"""The server's verifier for a command: joined, with what its policies name at hand, and closed when it is done.

What the server fetches in the background, keys in AWS KMS among it, is fetched here before anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from webhook.evidence.collect import Collector
from webhook.evidence.model import Signer
from webhook.oci.registry import Observer
from webhook.outside import Observers, join
from webhook.policy.model import PolicySet
from webhook.searching import Judge
from webhook.settings import Settings
from webhook.trust.at_hand import Trust
from webhook.trust.keys import KeySource
from webhook.trust.kms import KMSKey
from webhook.trust.sources import TrustSource
from webhook.verification import Verifier

NOTHING = Trust()


@asynccontextmanager
async def prepare(
    configured: Settings,
    policies: PolicySet,
    *,
    stored: Trust = NOTHING,
    observe: Observer | None = None,
    judge: Judge | None = None,
) -> AsyncIterator[Verifier]:
    """The server's verifier, without the server; `stored` is what objects of a cluster hold. Raises: OperatorError."""
    signers = [signer for policy in policies.policies for signer in policy.signers]
    outside = join(configured, Observers(registry=observe))
    collector = Collector(registry=outside.registry, limits=configured.evidence, observe=_ignore)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(outside.close)
        opened.push_async_callback(collector.close)
        trust = stored | await _at_hand(signers, outside.keys, configured)
        verifier = Verifier(
            registry=outside.registry,
            collector=collector,
            policy=configured.policy,
            observe=_ignore,
            trust=lambda: trust,
            judge=judge,
            revocation=outside.asking.standing,
            crosscheck=configured.verification.crosscheck,
        )
        opened.push_async_callback(verifier.close)
        yield verifier


async def _at_hand(signers: Iterable[Signer], keys: KeySource, configured: Settings) -> Trust:
    """The roots and keys that `signers` name, each asked for once, and why the others could not be had."""
    roots = TrustSource(configured.trust, configured.network, observe=_ignore_refresh)
    roots.use(signer.trust_root for signer in signers if signer.trust_root)
    await roots.refresh(0.0)  # only what is not at hand: TUF repositories of an operator's own
    await asyncio.to_thread(keys.use, [signer.material for signer in signers if isinstance(signer.material, KMSKey)])
    return roots.current | keys.current


def _ignore(stage: str, seconds: float) -> None:
    """Stages are measured by the server only."""


def _ignore_refresh(root: str, result: str) -> None:
    """What became of it stands in the outcome."""
