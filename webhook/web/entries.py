"""The entries of the webhook configurations: who answers on which path, and what becomes of it when nobody can.

One handler judges pods and early feedback alike, and one set of places bounds all verification. An error of HTTP
becomes a denial at the entry for policies, and at the one that enforces where it fails open. spec: kubernetes.md 3, 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from webhook.admission.handler import Handler
from webhook.admission.pinning import Demand, Pinning
from webhook.admission.places import Places
from webhook.admission.pods import Pods
from webhook.admission.workloads import Workloads
from webhook.audit.sinks import Metrics
from webhook.audit.trail import Trail
from webhook.kube import extractors as built_in
from webhook.kube.extractors import Extractors
from webhook.kube.workload import Request
from webhook.oci import reference
from webhook.oci.authn import PrivateCredentials
from webhook.policy.model import PolicySet
from webhook.settings import Settings
from webhook.verification import Verifier
from webhook.web.entrance import LARGE_BODIES, Entrance, Life, Reviewer

BUILT_IN = built_in.join(())


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster lends the entries; of a server without one, nothing.

    `pins` says whether the entry that pins is installed, `fails_open` whether the one that enforces does; `None` is
    not known. `policies` reads policies as they are applied.
    """

    lend: Callable[[Request], PrivateCredentials | None] = lambda request: None
    extractors: Callable[[], Extractors] = lambda: BUILT_IN
    pins: Callable[[], bool | None] = lambda: None
    fails_open: Callable[[], bool | None] = lambda: None
    policies: Reviewer[Any] | None = None


NO_CLUSTER = Cluster()


@dataclass(frozen=True, slots=True)
class _Entry:
    webhook: str
    reviewer: Reviewer[Any]
    fails_open: Callable[[], bool] = lambda: False


def entrances(
    configured: Settings,
    *,
    caller: str,
    policies: Callable[[], PolicySet],
    verifier: Verifier,
    trail: Trail,
    metrics: Metrics,
    life: Life,
    cluster: Cluster = NO_CLUSTER,
) -> Mapping[str, Entrance[Any]]:
    """Every entrance, by its path. `caller` is what records say of how callers are known."""
    large = asyncio.Semaphore(LARGE_BODIES)
    return {
        path: Entrance(
            webhook=entry.webhook,
            reviewer=entry.reviewer,
            trail=trail,
            metrics=metrics,
            life=life,
            large=large,
            body_max_bytes=configured.admission.body_max_bytes,
            fails_open=entry.fails_open,
            caller=caller,
        )
        for path, entry in _entries(configured, policies, verifier, cluster).items()
    }


def _entries(
    configured: Settings, policies: Callable[[], PolicySet], verifier: Verifier, cluster: Cluster
) -> Mapping[str, _Entry]:
    limits = configured.admission
    places = Places(places=limits.verifications, listed=_hosts(configured))
    demand = Demand(verifier=verifier, configured=configured.pin, installed=cluster.pins)
    handler = Handler(
        policies=policies,
        verifier=verifier,
        places=places,
        limits=limits,
        refuse=demand.refuse,
        lend=cluster.lend,
    )
    pinning = Pinning(
        policies=policies, verifier=verifier, demand=demand, places=places, limits=limits, lend=cluster.lend
    )
    workloads = Workloads(
        handler=handler,
        extractors=cluster.extractors,
        early=limits.workloads,
        references_max=limits.references_max,
    )

    def fails_open() -> bool:
        live = cluster.fails_open()
        return limits.fails_open if live is None else live

    entries = {
        "/validate": _Entry("pods", Pods(handler=handler, references_max=limits.references_max), fails_open),
        "/validate-workloads": _Entry("workloads", workloads),
        "/mutate": _Entry("pin", pinning),
    }
    if cluster.policies:
        # Its failure policy is Ignore, for whoever repairs an installation that is down: an error of HTTP would let
        # pass what only writers may write
        entries["/validate-policy"] = _Entry("policies", cluster.policies, lambda: True)
    return entries


def _hosts(configured: Settings) -> frozenset[str]:
    return frozenset(reference.matching_host(entry.host) for entry in configured.registry.hosts)
