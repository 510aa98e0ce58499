"""What an installation in a cluster has besides what any server has, joined from one `Settings`.

Policies, extractors and trust material are objects of the release namespace there; the authority of the serving
certificate is shared by all replicas; what the live webhook configuration says is watched; people are told by Events.
All of it speaks through one `Kube`, as the service account whose rights the chart names. Whoever serves files only
never imports this, nor the Kubernetes client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from webhook import settings
from webhook.admission.policies import Policies
from webhook.admission.warm_start import WarmStart
from webhook.audit import change
from webhook.audit.ending import Endings
from webhook.audit.events import EventsSink
from webhook.audit.record import Record
from webhook.audit.sinks import Metrics
from webhook.evidence.model import Signer
from webhook.kube import client
from webhook.kube.client import Kube, KubeError
from webhook.kube.pull_secrets import PullSecretSource
from webhook.kube.registration import Registration
from webhook.kube.watching import Collection as Watched
from webhook.kube.watching import Watching
from webhook.kube.workload import Request
from webhook.oci.authn import PrivateCredentials
from webhook.policy import places
from webhook.policy.configmaps import ConfigMapSource, PolicyChange
from webhook.policy.extracting import ExtractorSource
from webhook.policy.kept import Store
from webhook.policy.model import PolicySet
from webhook.settings import EventsIn, PullSecrets, Settings
from webhook.tls import published
from webhook.tls.certificate import ServingCertificate
from webhook.tls.shared import SharedAuthority
from webhook.trust.objects import ObjectSource
from webhook.verification import Verifier
from webhook.web import entries

EXTRACTORS = "countersign.dev/extractors=true"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
WHOAMI_PAUSE = 10.0  # seconds between two questions who we are, while there is no answer

NAMED_MAX = 5

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


async def connect(cluster: settings.Cluster) -> Kube:
    """The API of the cluster in which we are, or of the one that a kubeconfig names. Raises: OperatorError."""
    if cluster.kubeconfig is not None:
        return await client.by_kubeconfig(cluster.kubeconfig, namespace=cluster.namespace)
    return client.in_cluster(namespace=cluster.namespace)


@dataclass(frozen=True, slots=True)
class Joined:
    """What an installation gives to the server that it is joined with; `works` run for as long as that serves."""

    policies: ConfigMapSource
    entries: entries.Cluster
    works: tuple[Work, ...]


class Installation:
    """Whatever of it needs no policies. All parts are idle until the works of what `join` gives are run."""

    def __init__(self, configured: Settings, kube: Kube, *, certificate: ServingCertificate, metrics: Metrics) -> None:
        cluster = configured.cluster
        self._kube, self._cluster, self._configured = kube, cluster, configured
        self._certificate = certificate
        self.objects = ObjectSource(kube, cluster)
        self.events = _events(cluster, kube, metrics)
        self._pull_secrets = PullSecretSource(kube, cluster) if cluster.pull_secrets is not PullSecrets.NONE else None
        self._extractors = ExtractorSource()
        self._watched_extractors = Watching(kube, _extractors(kube), self._extractors.changed)
        self._registration = _registration(configured, kube)
        self._authority = _authority(cluster, kube, self._registration, certificate)
        self._metrics = metrics
        self._warm_start: WarmStart | None = None
        self._user = ""  # who we are for the API server; empty while that is not known

    def join(self, *, before: Callable[[PolicySet], object], put: Callable[[Record], None]) -> Joined:
        """The policies of the release namespace, and all that goes with them.

        `before` is called with each new set before it is in force; `put` takes the records of what becomes of policies.
        """
        namespace = self._cluster.namespace

        def told(changed: PolicyChange) -> None:
            put(change.compose(changed, at=datetime.now(UTC), namespace=namespace))

        store = Store(self._kube, self._cluster.last_good) if self._cluster.last_good else None
        source = ConfigMapSource(self._configured.policy, kube=self._kube, store=store, before=before, told=told)
        endings = Endings(policies=lambda: source.current, put=put, namespace=namespace)
        self._metrics.watch_cluster(
            policies=lambda: source.current,
            unheard={
                "policies": lambda: source.seconds_unheard,
                "extractors": lambda: self._watched_extractors.seconds_unheard,
            },
            fails_open=self._fails_open,
            authority_expiry=self._authority_expiry,
        )
        return Joined(source, self._lent(source), (source.run, endings.watch, *self._works()))

    def warm_start(
        self,
        verifier: Verifier,
        *,
        policies: Callable[[], PolicySet],
        ready: Callable[[], bool],
        stopping: Callable[[], bool],
    ) -> tuple[Work, ...]:
        """What verifies the images of running pods again, unless that is turned off."""
        if not self._cluster.warm_start:
            return ()
        self._warm_start = WarmStart(
            self._kube,
            rate=self._cluster.warm_start,
            policies=policies,
            verifier=verifier,
            lend=self._lend,
            ready=ready,
            stopping=stopping,
            observe=self._metrics.warmed,
        )
        return (self._warm_start.run,)

    def look_for(self, signers: Iterable[Signer]) -> None:
        """What `signers` need of the cluster's objects was looked for; for a thread other than the loop's."""
        self.objects.use(places.named(signers))

    def _lent(self, source: ConfigMapSource) -> entries.Cluster:
        policies = Policies(
            in_force=lambda: source.in_force,
            trusted=self._trusted,
            own_user=lambda: self._user,
            fails_open=lambda: bool(self._fails_open()),
            cluster=self._cluster,
            policy=self._configured.policy,
            pinning=self._configured.pin.enabled,
        )
        registration = self._registration
        return entries.Cluster(
            lend=self._lend,
            extractors=lambda: self._extractors.current,
            pins=lambda: registration.pins if registration else None,
            fails_open=self._fails_open,
            policies=policies,
        )

    def _lend(self, request: Request) -> PrivateCredentials | None:
        return self._pull_secrets.lend(request) if self._pull_secrets else None

    def _works(self) -> tuple[Work, ...]:
        always = (self.objects, self._watched_extractors)
        running = (*always, self._registration, self._authority, self.events)
        return (*(part.run for part in running if part), self._ask_who_we_are)

    def problems(self, now: datetime) -> Mapping[str, str]:
        """Why the API server should not ask us now."""
        if self._authority and not self._authority.is_at_hand:
            return {"certificate": self._authority.problem}
        refusal = published.refusal(self._certificate.chain, self._bundle, now)
        return {"certificate": refusal} if refusal else {}

    def notes(self, policies: PolicySet) -> Mapping[str, str]:
        """What an operator should know besides, while `policies` are in force."""
        notes = {f"extractors {name}": problem for name, problem in self._extractors.problems.items()}
        if problem := self._watched_extractors.problem:
            notes["extractors-watch"] = problem
        if self._authority and self._authority.problem:
            notes["authority"] = self._authority.problem
        if self._registration:
            notes |= {f"registration {kind}": problem for kind, problem in self._registration.problems.items()}
        enforcing = [policy.name for policy in policies.policies if policy.enforces]
        if enforcing and self._fails_open():
            named = ", ".join(enforcing[:NAMED_MAX])
            notes["fails-open"] = f"failurePolicy is Ignore: what is denied by {named} is admitted while nobody answers"
        if self._warm_start:
            notes["warm-start"] = self._warm_start.note
        now = datetime.now(UTC)
        return notes | {f"trust-object {state.place}": state.describe(now) for state in self.objects.states}

    async def close(self, *, grace: float) -> None:
        """What waited was told, or is lost after `grace` seconds, and connections are closed."""
        if self.events:
            await self.events.close(grace=grace)
        if self._pull_secrets:
            await self._pull_secrets.close()
        await self._kube.close()

    @property
    def _bundle(self) -> bytes | None:
        return self._registration.bundle if self._registration else None

    def _fails_open(self) -> bool | None:
        return self._registration.fails_open if self._registration else None

    def _authority_expiry(self) -> float | None:
        expiry = self._authority.not_after if self._authority else None
        return expiry.timestamp() if expiry else None

    def _trusted(self) -> Collection[tuple[str, str]]:
        holders = {state.place.entry.holder for state in self.objects.states}
        return {(f"{holder.kind.lower()}s", holder.name) for holder in holders}

    async def _ask_who_we_are(self) -> None:
        # SelfSubjectReview of authentication/v1, which every user may make
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        while not self._user:
            try:
                answer = await self._kube.create(WHOAMI, asked)
                self._user = str(answer["status"]["userInfo"]["username"])
            except (KubeError, KeyError, TypeError) as error:
                log.warning("who we are for the API server is not known: %s", error)
                await asyncio.sleep(WHOAMI_PAUSE)
        await asyncio.Event().wait()  # for as long as this is not cancelled


def _events(cluster: settings.Cluster, kube: Kube, metrics: Metrics) -> EventsSink | None:
    if cluster.events is EventsIn.OFF:
        return None
    return EventsSink(
        kube=kube,
        where=cluster.events,
        namespace=cluster.namespace,
        instance=cluster.pod,
        emitted=metrics.events_emitted,
        dropped=metrics.events_dropped,
    )


def _extractors(kube: Kube) -> Watched:
    return Watched(f"/api/v1/namespaces/{kube.namespace}/configmaps", label_selector=EXTRACTORS)


def _registration(configured: Settings, kube: Kube) -> Registration | None:
    name = configured.cluster.webhook_configuration
    return Registration(kube, name, pinning=configured.pin.enabled) if name else None


def _authority(
    cluster: settings.Cluster, kube: Kube, registration: Registration | None, certificate: ServingCertificate
) -> SharedAuthority | None:
    if not cluster.ca_secret or registration is None:
        return None
    return SharedAuthority(kube=kube, name=cluster.ca_secret, registration=registration, certificate=certificate)
