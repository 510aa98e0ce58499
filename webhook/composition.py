"""The composition root: every part that serves, made from one `Settings` and joined; nothing is read or dialled yet.

What serves files and what serves a cluster differ in where policies, trust material and the authority of the serving
certificate come from: `Installation` has all that only a cluster has, and is imported for that alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import prometheus_client
from starlette.types import ASGIApp

from webhook import version
from webhook.audit.sinks import JsonLog, Metrics
from webhook.audit.sns import SNSSink
from webhook.audit.trail import Trail
from webhook.aws.calls import AWSError
from webhook.evidence.collect import Collector
from webhook.evidence.model import Evidence, Signer, SignerKind
from webhook.oci import courtesy
from webhook.outside import Observers, Outside, join
from webhook.policy.model import PolicySet
from webhook.policy.source import DirectorySource
from webhook.settings import Settings
from webhook.tls.certificate import ServingCertificate
from webhook.trust.at_hand import Trust
from webhook.trust.keys import KeySource
from webhook.trust.kms import KMSKey
from webhook.trust.root import PUBLIC_GOOD, RootSource
from webhook.trust.sources import TrustSource
from webhook.verification import Verifier
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


class Source(Protocol):
    """Where policies come from. `problems` say why reviews should not be sent here, `notes` what is amiss besides."""

    @property
    def current(self) -> PolicySet: ...

    @property
    def problems(self) -> Mapping[str, str]: ...

    @property
    def notes(self) -> Mapping[str, str]: ...


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


@dataclass(frozen=True, slots=True)
class _Material:
    """What policies name, and who has it."""

    roots: TrustSource
    keys: KeySource
    installed: Installation | None

    def parts(self) -> tuple[Trust, ...]:
        """What each source has at hand now: another value where anything of it changed."""
        objects = (self.installed.objects.current,) if self.installed else ()
        return (self.roots.current, self.keys.current, *objects)

    def look_for(self, policies: PolicySet) -> None:
        """What `policies` name was looked for, before they are in force."""
        signers = [signer for policy in policies.policies for signer in policy.signers]
        self.roots.use(_roots_of(signers))
        self.keys.use(signer.material for signer in signers if isinstance(signer.material, KMSKey))
        if self.installed:
            self.installed.look_for(signers)


class _AtHand:
    """All that is at hand, joined anew only where something changed: most reviews find what the last one found."""

    def __init__(self, material: _Material) -> None:
        self._material, self._joined = material, Trust()
        self._parts: tuple[Trust, ...] = ()

    def __call__(self) -> Trust:
        parts = self._material.parts()
        if len(parts) != len(self._parts) or any(new is not old for new, old in zip(parts, self._parts, strict=True)):
            self._parts, self._joined = parts, functools.reduce(operator.or_, parts)
        return self._joined


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
    material = _Material(roots, outside.keys, installed)
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
        problems=lambda: _problems(source, certificate, installed),
        notes=lambda: {**_notes(source, certificate, material), **_notes_outside(outside)},
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
    works.append(_Warming(source, workers, outside, configured.policy.reload_interval).run)
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


def _feed(configured: Settings, material: _Material, trail: Trail) -> _Fed:
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
    material: _Material,
    metrics: Metrics,
) -> Verifier:
    return Verifier(
        registry=outside.registry,
        collector=collector,
        policy=configured.policy,
        observe=metrics.stage,
        trust=_AtHand(material),
        judge=workers.judge if configured.verification.workers else None,
        revocation=outside.asking.standing,
        keep=Evidence.emptied,
        crosscheck=configured.verification.crosscheck,
        crosschecked=metrics.crosschecked,
        cache=configured.cache,
        found=metrics.found,
    )


@dataclass(frozen=True, slots=True)
class _Warming:
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


def _sns(configured: Settings, outside: Outside, metrics: Metrics) -> SNSSink | None:
    topic = configured.aws.sns_topic
    return SNSSink(topic=topic, aws=outside.aws, dropped=metrics.dropped) if topic else None


def _needs_worker(policies: PolicySet) -> bool:
    return any(
        any(signer.kind is not SignerKind.KEY for signer in policy.signers)
        or any(rule.attestations for rule in policy.rules)
        for policy in policies.policies
    )


def _needs_signer(policies: PolicySet) -> bool:
    return any(signer.kind is SignerKind.PROFILE for policy in policies.policies for signer in policy.signers)


def _roots_of(signers: Sequence[Signer]) -> Iterator[RootSource]:
    """The roots that are needed. A key for which no log is demanded makes do with the one that is shipped."""
    return (
        signer.trust_root
        for signer in signers
        if signer.trust_root is not None
        and (signer.kind is SignerKind.KEYLESS or signer.require_log or signer.trust_root != PUBLIC_GOOD)
    )


def _labels(configured: Settings) -> Mapping[str, str]:
    return {entry.endpoint or entry.host: entry.host for entry in configured.registry.hosts}


def _problems(source: Source, certificate: ServingCertificate, installed: Installation | None) -> Mapping[str, str]:
    """Why reviews should not be sent here now."""
    now = datetime.now(UTC)
    problems = dict(source.problems)
    if certificate.not_after <= now:
        problems["certificate"] = f"expired at {certificate.not_after.isoformat()}"
    return {**problems, **(installed.problems(now) if installed else {})}


def _notes_outside(outside: Outside) -> Mapping[str, str]:
    shared = {"shared-cache": outside.shared.state} if outside.shared else {}
    return {**shared, **courtesy.notes(outside.registry.shunned())}


def _notes(source: Source, certificate: ServingCertificate, material: _Material) -> Mapping[str, str]:
    policies = source.current
    notes = {
        "policies": str(len(policies.policies)),
        "policy-revision": policies.revision,
        "certificate-expires": certificate.not_after.isoformat(),
    }
    notes |= {f"policy-file {name}": problem for name, problem in policies.problems.items()}
    notes.update(source.notes)
    if certificate.problem:
        notes["certificate"] = certificate.problem
    now = datetime.now(UTC)
    notes |= {f"trust-root {state.source.key}": state.describe(now) for state in material.roots.states}
    notes |= {f"key {state.place}": state.describe(now) for state in material.keys.states}
    return {**notes, **(material.installed.notes(policies) if material.installed else {})}
