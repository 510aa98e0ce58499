"""The composition root: every part that serves, made from one `Settings` and joined; nothing is read or dialled yet.

What serves files and what serves a cluster differ in where policies, trust material and the authority of the serving
certificate come from: `Installation` has all that only a cluster has, and is imported for that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import prometheus_client
from starlette.types import ASGIApp

from webhook import readiness, version
from webhook.audit.sinks import JsonLog, Metrics
from webhook.audit.sns import SNSSink
from webhook.audit.trail import Trail
from webhook.evidence.collect import Collector
from webhook.evidence.model import Evidence
from webhook.materials import AtHand, Material
from webhook.outside import Observers, Outside, join
from webhook.policy.source import DirectorySource
from webhook.readiness import Source
from webhook.settings import Settings
from webhook.tls.certificate import ServingCertificate
from webhook.trust.sources import TrustSource
from webhook.verification import Verifier
from webhook.warming import Warming
from webhook.web import app as web
from webhook.web import entries
from webhook.web.callers import Callers
from webhook.web.entrance import Life
from webhook.workers import Workers

if TYPE_CHECKING:
    from webhook.installation import Installation
    from webhook.kube.client import Kube

STDOUT = 1

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that serves, joined and idle. `load` comes first; `works` are run for as long as it serves."""

    settings: Settings
    load: Callable[[], object]
    works: tuple[Work, ...]
    outside: Outside
    installation: Installation | None
    sns: SNSSink | None
    verifier: Verifier
    collector: Collector
    workers: Workers
    certificate: ServingCertificate
    trail: Trail
    lagged: Callable[[float], None]
    life: Life
    admission: ASGIApp
    operations: ASGIApp


@dataclass(frozen=True, slots=True)
class _Fed:
    """Where policies come from, and what goes with that: `load` comes first, `lent` is for the entries."""

    source: Source
    load: Callable[[], object]
    works: tuple[Work, ...]
    lent: entries.Cluster


def build(configured: Settings, *, kube: Kube | None = None, audit_descriptor: int = STDOUT) -> Parts:
    """The parts that `configured` describes, those of a cluster among them where `kube` is its API.

    Records go to `audit_descriptor`. Raises: OperatorError.
    """
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each
    metrics = Metrics(hosts=_labels(configured), version=version.installed())
    outside = join(
        configured,
        Observers(
            registry=metrics.registry_request,
            revocation=metrics.revocation,
            key=metrics.key_refresh,
            courtesy=metrics.courtesy,
            shared=metrics.shared_cache,
        ),
    )
    collector = Collector(registry=outside.registry, limits=configured.evidence, observe=metrics.stage)
    workers = Workers(configured.verification)
    certificate = ServingCertificate(configured.server, now=datetime.now(UTC))
    installed = _install(configured, kube, certificate, metrics) if kube is not None else None
    roots = TrustSource(configured.trust, configured.network, observe=metrics.trust_refresh)
    material = Material(roots, outside.keys, installed)
    sns = _sns(configured, outside, metrics)
    sinks = (JsonLog(audit_descriptor), sns, installed and installed.events)
    trail = Trail(tuple(sink for sink in sinks if sink), dropped=metrics.dropped)
    fed = _feed(configured, material, trail)
    source = fed.source
    metrics.watch(
        policies=lambda: source.current,
        certificate_expiry=lambda: certificate.not_after.timestamp(),
        trust=lambda: roots.states,
        keys=lambda: outside.keys.states,
        shunned=outside.registry.shunned,
    )
    life = Life(
        problems=lambda: readiness.problems(source, certificate, installed),
        notes=lambda: readiness.notes(source, certificate, material, outside),
    )
    callers = Callers(configured.server)
    verifier = _verifier(configured, outside, collector, workers, material, metrics)
    metrics.watch_memory(lambda: verifier.memory.bytes)
    entrances = entries.entrances(
        configured,
        caller=callers.word,
        policies=lambda: source.current,
        verifier=verifier,
        trail=trail,
        metrics=metrics,
        life=life,
        cluster=fed.lent,
    )
    works: list[Work] = [*fed.works, certificate.watch, roots.watch, outside.keys.watch]
    works += [sns.run] if sns else []
    if installed is not None:
        works += installed.warm_start(
            verifier,
            policies=lambda: source.current,
            ready=lambda: not life.problems(),
            stopping=lambda: life.draining,
        )
    works.append(Warming(source, workers, outside, configured.policy.reload_interval).run)
    return Parts(
        settings=configured,
        load=fed.load,
        works=tuple(works),
        outside=outside,
        installation=installed,
        sns=sns,
        verifier=verifier,
        collector=collector,
        workers=workers,
        certificate=certificate,
        trail=trail,
        lagged=metrics.lagged,
        life=life,
        admission=web.Admission(entrances, callers),
        operations=web.operations(life=life, metrics=metrics),
    )


def _install(configured: Settings, kube: Kube, certificate: ServingCertificate, metrics: Metrics) -> Installation:
    from webhook.installation import Installation

    return Installation(configured, kube, certificate=certificate, metrics=metrics)


def _feed(configured: Settings, material: Material, trail: Trail) -> _Fed:
    if material.installed is not None:
        joined = material.installed.join(before=material.look_for, put=trail.put)
        return _Fed(joined.policies, lambda: None, joined.works, joined.entries)
    folder = DirectorySource(configured.policy, before=material.look_for)
    return _Fed(folder, folder.load, (folder.watch,), entries.NO_CLUSTER)


def _verifier(
    configured: Settings,
    outside: Outside,
    collector: Collector,
    workers: Workers,
    material: Material,
    metrics: Metrics,
) -> Verifier:
    return Verifier(
        registry=outside.registry,
        collector=collector,
        policy=configured.policy,
        observe=metrics.stage,
        trust=AtHand(material),
        judge=workers.judge if configured.verification.workers else None,
        revocation=outside.asking.standing,
        keep=Evidence.emptied,
        crosscheck=configured.verification.crosscheck,
        crosschecked=metrics.crosschecked,
        cache=configured.cache,
        found=metrics.found,
    )


def _sns(configured: Settings, outside: Outside, metrics: Metrics) -> SNSSink | None:
    topic = configured.aws.sns_topic
    return SNSSink(topic=topic, aws=outside.aws, dropped=metrics.dropped) if topic else None


def _labels(configured: Settings) -> Mapping[str, str]:
    return {entry.endpoint or entry.host: entry.host for entry in configured.registry.hosts}
