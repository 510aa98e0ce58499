"""Both entries that pinning takes, over one registry in memory that counts what it is asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.admission import checker
from tests.doubles.registry import HostileRegistry
from tests.doubles.verifying import NOW, RELEASE, Cluster, opened
from tests.kube.test_pin import applied
from webhook import settings
from webhook.admission.handler import Handler
from webhook.admission.pinning import Demand, Pinning
from webhook.admission.places import Places
from webhook.admission.pods import Pods
from webhook.admission.watch import Watch
from webhook.audit.record import Entry
from webhook.kube.workload import Request
from webhook.policy import document
from webhook.policy.model import PolicySet
from webhook.settings import NoMatch
from webhook.verification import Pending

ON = settings.Pin(enabled=True)


@dataclass
class Scene:
    """`installed` is what is known of the mutating entry; the image `:1` is signed, `:unsigned` is not."""

    cluster: Cluster
    registry: HostileRegistry
    demand: Demand
    pinning: Pinning
    pods: Pods
    places: Places
    policies: PolicySet
    signed: str
    unsigned: str
    installed: bool | None = True
    broken: bool = False  # there are no policies to be had

    @property
    def image(self) -> str:
        return f"{self.cluster.host}/{self.cluster.name}"

    @property
    def asked(self) -> list[str]:
        """What the registry was asked, since this was read last."""
        lines = self.registry.lines
        self.registry.seen.clear()
        return lines

    async def mutate(self, document: Mapping[str, Any], *, timeout: float | None = 5.0) -> Mutated:
        request = self.pinning.parse(json.dumps(document).encode())
        entry, body = await self.pinning.decide(Watch(), request, timeout)
        answer, operations = checker.check_mutation(body, uid=document["request"]["uid"])
        assert answer.allowed, "this entry never denies"
        return Mutated(answer, operations, applied(operations, document["request"]["object"] or {}), entry)

    def begun(self, request: Request) -> Pending:
        """The only image of `request`, which needs the network."""
        (image,), namespace = request.images, request.namespace
        begun = self.cluster.verifier.begin(image.text, paths=(), namespace=namespace, policies=self.policies, now=NOW)
        assert isinstance(begun, Pending)
        return begun

    async def validate(self, document: Mapping[str, Any]) -> checker.Answer:
        request = self.pods.parse(json.dumps(document).encode())
        _, body = await self.pods.decide(Watch(), request, 10.0)
        return checker.check(body, uid=document["request"]["uid"])


@dataclass(frozen=True)
class Mutated:
    answer: checker.Answer
    operations: list[dict[str, str]]
    pod: dict[str, Any]
    entry: Entry

    @property
    def images(self) -> list[str]:
        return [container["image"] for container in self.pod["spec"]["containers"]]


@contextlib.asynccontextmanager
async def scene(
    *policies: Mapping[str, Any],
    configured: settings.Pin = ON,
    limits: settings.Admission | None = None,
    no_match: NoMatch = NoMatch.DENY,
    cache: settings.Cache = settings.NOTHING_KEPT,
) -> AsyncIterator[Scene]:
    """Those policies' `spec`s are in force, or one that enforces, by the key that signed; `$` is the registry."""
    registry = HostileRegistry()
    limits = limits or settings.Admission()
    async with opened(no_match, stored=registry, cache=cache) as cluster:
        for index, spec in enumerate(policies or ({},)):
            cluster.policy(f"p{index}", **json.loads(json.dumps(spec).replace("$", cluster.host)))
        found = document.parse(yaml.safe_dump_all(cluster.policies).encode(), origin="policies.yaml", now=NOW)
        policy_set = PolicySet(found, "revision", "policies.yaml")
        places = Places(places=limits.verifications, listed=frozenset())
        demand = Demand(verifier=cluster.verifier, configured=configured, installed=lambda: made.installed)

        def policies_now() -> PolicySet:
            if made.broken:
                raise RuntimeError("broken")
            return policy_set

        shared: dict[str, Any] = {"policies": policies_now, "verifier": cluster.verifier, "places": places}
        shared |= {"limits": limits, "clock": lambda: NOW}
        handler = Handler(**shared, refuse=demand.refuse)
        made = Scene(
            cluster,
            registry,
            demand,
            Pinning(**shared, demand=demand),
            Pods(handler=handler, references_max=limits.references_max),
            places,
            policy_set,
            cluster.image("signed"),
            cluster.image("unsigned", tag="unsigned"),
        )
        cluster.sign(made.signed, RELEASE)
        yield made
