"""How things stand at the moment of an exposition: metrics that are asked of those who know, and kept nowhere.

Labels are drawn from small sets, like those of all metrics; what is not known has no sample, since any number would be
taken for knowledge. spec: Prometheus text format; kubernetes.md 14 and 17.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from webhook.oci.courtesy import Shunned
from webhook.policy.model import PolicySet
from webhook.trust.keys import State as KeyState
from webhook.trust.root import RootKind
from webhook.trust.sources import State

ROOTS_MAX = 64  # trust roots with series of their own
OTHER = "other"


class Standing(Collector):
    """The policies, the certificate and the trust material at hand."""

    def __init__(
        self,
        policies: Callable[[], PolicySet],
        certificate_expiry: Callable[[], float],
        trust: Callable[[], Sequence[State]],
        keys: Callable[[], Sequence[KeyState]],
    ) -> None:
        self._policies, self._certificate_expiry, self._trust, self._keys = policies, certificate_expiry, trust, keys

    def collect(self) -> Iterable[Metric]:
        policies = self._policies()
        info = GaugeMetricFamily("countersign_policy_info", "The set of policies in force.", labels=("revision",))
        info.add_metric((policies.revision,), 1)
        yield info
        yield GaugeMetricFamily("countersign_policies", "Policies in force.", len(policies.policies))
        yield GaugeMetricFamily(
            "countersign_policy_errors", "Policy files whose last version could not be used.", len(policies.problems)
        )
        yield GaugeMetricFamily(
            "countersign_tls_certificate_expiry_timestamp_seconds",
            "When the serving certificate expires.",
            self._certificate_expiry(),
        )
        states = self._trust()
        yield GaugeMetricFamily(
            "countersign_trust_root_problems",
            "Trust roots that could not be refreshed, read or had at all.",
            sum(bool(state.problem) for state in states),
        )
        yield GaugeMetricFamily(
            "countersign_key_problems",
            "Keys in KMS that could not be fetched anew, or had at all.",
            sum(bool(state.problem) for state in self._keys()),
        )
        refreshed = GaugeMetricFamily(
            "countersign_trust_root_refreshed_timestamp_seconds",
            "When a TUF repository last vouched for a trust root; 0 where none has yet.",
            labels=("root",),
        )
        for state in states[:ROOTS_MAX]:
            if state.source.kind is not RootKind.FILE:
                refreshed.add_metric((state.source.key,), state.at.timestamp() if state.at else 0)
        yield refreshed


class Shunning(Collector):
    """Which registries are not asked since they do not answer. `hosts` are labels by the host that is dialled."""

    def __init__(self, shunned: Callable[[], Sequence[Shunned]], hosts: Mapping[str, str]) -> None:
        self._shunned, self._hosts = shunned, hosts

    def collect(self) -> Iterable[Metric]:
        breakers = GaugeMetricFamily(
            "countersign_registry_breaker_open",
            "Registries, or repositories of theirs, that are not asked now since they do not answer.",
            labels=("host",),
        )
        for host, count in Counter(self._hosts.get(one.authority, OTHER) for one in self._shunned()).items():
            breakers.add_metric((host,), count)
        yield breakers


class ClusterStanding(Collector):
    """What is known of the cluster; `None` is what is not known, and not told."""

    def __init__(
        self,
        policies: Callable[[], PolicySet],
        unheard: Mapping[str, Callable[[], float]],
        fails_open: Callable[[], bool | None],
        authority_expiry: Callable[[], float | None],
    ) -> None:
        self._policies, self._unheard = policies, unheard
        self._fails_open, self._authority_expiry = fails_open, authority_expiry

    def collect(self) -> Iterable[Metric]:
        unheard = {watched: seconds() for watched, seconds in self._unheard.items()}
        staleness = GaugeMetricFamily(
            "countersign_kube_staleness_seconds",
            "Since the API server was last heard of, by what is watched.",
            labels=("watch",),
        )
        for watched, seconds in unheard.items():
            staleness.add_metric((watched,), seconds)
        yield staleness
        yield GaugeMetricFamily(
            "countersign_policy_last_sync_timestamp_seconds",
            "When the policies in force were last known to be those of the cluster; 0 where they never were.",
            max(0.0, time.time() - unheard["policies"]),
        )
        if (fails_open := self._fails_open()) is not None:
            # kubernetes.md 17: a policy enforces, and the API server admits what nobody answers
            enforcing = any(policy.enforces for policy in self._policies().policies)
            yield GaugeMetricFamily(
                "countersign_enforcement_fail_open",
                "Whether a policy enforces while the webhook's entry for pods says failurePolicy: Ignore.",
                float(fails_open and enforcing),
            )
        if (expiry := self._authority_expiry()) is not None:
            yield GaugeMetricFamily(
                "countersign_tls_authority_expiry_timestamp_seconds",
                "When the authority expires that signs serving certificates.",
                expiry,
            )
