"""Where reviews are kept and counted: JSON lines on a file descriptor, and Prometheus metrics.

Metrics count only what is drawn from small fixed sets: a host that the operator did not list, and that is not one of
the well-known ones, is `other`, since whoever writes a pod chooses hosts. Children of labelled metrics are looked up
once and kept. spec: Prometheus text format; prometheus.io, metric and label naming.
"""

from __future__ import annotations

import os
import platform
import select
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from webhook.audit.durations import Durations
from webhook.audit.record import Entry
from webhook.audit.stale import StaleAdmissions
from webhook.audit.standing import OTHER, ROOTS_MAX, ClusterStanding, Shunning, Standing
from webhook.oci.courtesy import Shunned
from webhook.policy.decision import Stale
from webhook.policy.model import PolicySet
from webhook.trust.keys import State as KeyState
from webhook.trust.sources import State

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
STAGE_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
STAGES = ("parse", "resolve", "discover", "fetch", "verify", "total")
OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})
# Who is dialled, and the name by which metrics know it.
WELL_KNOWN_HOSTS: Mapping[str, str] = {
    "auth.docker.io": "docker.io",
    "registry-1.docker.io": "docker.io",
    "gcr.io": "gcr.io",
    "ghcr.io": "ghcr.io",
    "mcr.microsoft.com": "mcr.microsoft.com",
    "public.ecr.aws": "public.ecr.aws",
    "quay.io": "quay.io",
    "registry.gitlab.com": "registry.gitlab.com",
    "registry.k8s.io": "registry.k8s.io",
}


class JsonLog:
    """Lines on a file descriptor, standard output mostly."""

    name = "log"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, lines: bytes) -> None:
        """All of `lines` were written, however long the reader of a pipe took."""
        rest = memoryview(lines)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody made the terminal or pipe that we share non-blocking
                select.select((), (self._descriptor,), ())


class Metrics:
    """All metrics of one process, in a registry of its own. `hosts` are labels by the host that is dialled."""

    def __init__(self, *, hosts: Mapping[str, str], version: str) -> None:
        self.registry = CollectorRegistry()
        self.inflight = 0  # reviews being answered now
        self._hosts = {**WELL_KNOWN_HOSTS, **hosts}
        self._reviews = self._counter("admission_requests", "Reviews answered.", "webhook", "operation", "decision")
        text = "Time from a review's arrival to its answer."
        self._review_took = self._durations("admission_request_duration_seconds", text, BUCKETS).of()
        inflight = Gauge("countersign_admission_inflight", "Reviews being answered now.", registry=self.registry)
        inflight.set_function(lambda: self.inflight)
        text = "How late the event loop came to what was due, looked at some times a second."
        self._lag = self._durations("event_loop_lag_seconds", text, LAG_BUCKETS).of()
        text = "Time that reviews spend in each stage."
        stages = self._durations("stage_duration_seconds", text, STAGE_BUCKETS, "stage")
        self._stages = {stage: stages.of(stage) for stage in STAGES}
        self._requests = self._counter("registry_requests", "Requests to registries.", "host", "kind", "code")
        text = "Time that registries take to answer."
        self._request_seconds = self._durations("registry_request_duration_seconds", text, BUCKETS, "kind")
        self._courtesies = self._counter(
            "registry_courtesy", "Registries that were not asked, and why.", "host", "event"
        )
        self._verdicts = self._counter("verdicts", "Images judged, by result or reason code.", "code")
        self._refused = self._counter("admission_refused", "HTTP requests that were no review we answer.", "status")
        self._unexpected = self._counter("unexpected_requests", "Reviews that should not have been sent here.")
        self._crosschecks = self._counter("crosscheck", "Bundles shown to the second implementation.", "result")
        self._refreshes = self._counter("trust_refresh", "Looks at TUF repositories.", "root", "result")
        self._roots: set[str] = set()
        self._revocations = self._counter("revocation", "Answers about revocation.", "kind", "standing")
        self._revocation_seconds = Histogram(
            "countersign_revocation_duration_seconds",
            "Time that answers about revocation take.",
            ("kind",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._looks = self._counter("key_refresh", "Looks at keys in KMS.", "result")
        self._found = self._counter("findings", "Images that were examined, by what they were decided by.", "result")
        text = "About what the findings take that are kept."
        self._found_bytes = Gauge("countersign_findings_bytes", text, registry=self.registry)
        self._shared = self._counter("shared_cache", "Documents asked of the cache that replicas share.", "result")
        admissions = "Images admitted on what was known before, while nobody said more."
        self._stale = StaleAdmissions(self._counter("stale_admissions", admissions, "kind"))
        self._warmed = self._counter("warm_start_images", "Images of running pods looked at again.", "result")
        self._dropped = self._counter("audit_dropped", "Audit records that a sink did not keep.", "sink")
        self._events = self._counter("events_emitted", "Events written, new ones and series brought up to date.")
        self._events_dropped = self._counter("events_dropped", "What was to be an Event, and is none.")
        build = Gauge("countersign_build_info", "This build.", ("version", "python"), registry=self.registry)
        build.labels(version, platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        self._children: dict[tuple[object, ...], Callable[[], None]] = {}

    def review(self, entry: Entry) -> None:
        """`entry` is counted: the review, its time, and the verdict on each image."""
        request = entry.request
        operation = request.operation if request.operation in OPERATIONS else OTHER
        self._count(self._reviews, entry.webhook, operation, entry.word)
        self._review_took(entry.duration)
        self._stages["total"](entry.duration)
        if request.unexpected:
            self._count(self._unexpected)
        if entry.decision is not None:
            for image in entry.decision.images:
                self._count(self._verdicts, str(image.code or image.result))
                if image.stale:
                    self._stale.note(image)
        for text, why in entry.stale:
            self._stale.note_one(Stale.TAG, text, why)

    def refused(self, status: int) -> None:
        """A request was answered with an error of HTTP, never with a decision."""
        self._count(self._refused, str(status))

    def stage(self, stage: str, seconds: float) -> None:
        """One stage of a review took `seconds`."""
        self._stages[stage](seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop came so many seconds late to what was due."""
        self._lag(seconds)

    def registry_request(self, kind: str, host: str, status: int, seconds: float) -> None:
        """A registry answered with `status`, or with nothing (0)."""
        label = self._hosts.get(host, OTHER)
        code = str(status) if 100 <= status < 600 else "none"
        self._count(self._requests, label, str(kind), code)
        self._request_seconds.of(str(kind))(seconds)

    def courtesy(self, event: str, host: str) -> None:
        """A registry is not asked any more (`opened`), answers again (`closed`), or asked to be left alone (`limited`);
        or a request to it was not made for one of these reasons (`withheld`)."""
        self._count(self._courtesies, self._hosts.get(host, OTHER), str(event))

    def dropped(self, sink: str, records: int) -> None:
        """`sink` lost so many records. From any thread."""
        self._dropped.labels(sink).inc(records)

    def events_emitted(self, events: int) -> None:
        """So many Events were written."""
        self._events.inc(events)

    def events_dropped(self, notices: int) -> None:
        """So many notices became no Event. From any thread."""
        self._events_dropped.inc(notices)

    def crosschecked(self, result: str) -> None:
        """A second implementation was asked: it `agreed`, `disagreed`, or could `not judge` the bundle."""
        self._count(self._crosschecks, result)

    def warmed(self, result: str) -> None:
        """An image that runs was looked at again: `verified`, `denied`, `error`, or `skipped` without a look."""
        self._count(self._warmed, result)

    def trust_refresh(self, root: str, result: str) -> None:
        """A TUF repository was asked for `root`; `result` is `success` or `failure`."""
        if len(self._roots) < ROOTS_MAX:
            self._roots.add(root)
        self._count(self._refreshes, root if root in self._roots else OTHER, result)

    def revocation(self, kind: str, standing: str, seconds: float) -> None:
        """`kind` of responder (signer, ocsp, crl) was asked, and said `standing` after so many seconds."""
        self._count(self._revocations, kind, standing)
        self._revocation_seconds.labels(kind).observe(seconds)

    def key_refresh(self, uri: str, result: str) -> None:
        """KMS was asked for a key: `success`, `ended` or `failure`. From any thread."""
        del uri  # which policies are free to choose
        self._looks.labels(result).inc()

    def shared_cache(self, result: str) -> None:
        """`result` is what came of asking the cache that replicas share, or of putting something there."""
        self._count(self._shared, result)

    def found(self, result: str) -> None:
        """What an image was decided by: `remembered`, `joined`, `searched` or `stale`."""
        self._count(self._found, result)

    def watch_memory(self, size: Callable[[], int]) -> None:
        """From now on an exposition says how many bytes of findings are kept."""
        self._found_bytes.set_function(size)

    def watch(
        self,
        *,
        policies: Callable[[], PolicySet],
        certificate_expiry: Callable[[], float],
        trust: Callable[[], Sequence[State]] = tuple,
        keys: Callable[[], Sequence[KeyState]] = tuple,
        shunned: Callable[[], Sequence[Shunned]] = tuple,
    ) -> None:
        """From now on an exposition says what is in force at that moment."""
        self.registry.register(Standing(policies, certificate_expiry, trust, keys))
        self.registry.register(Shunning(shunned, self._hosts))

    def watch_cluster(
        self,
        *,
        policies: Callable[[], PolicySet],
        unheard: Mapping[str, Callable[[], float]],
        fails_open: Callable[[], bool | None],
        authority_expiry: Callable[[], float | None],
    ) -> None:
        """From now on an exposition says how we stand with the cluster. `unheard` are seconds since the API server was
        heard of, by what is watched there, `policies` among it; `None` is what is not known, and not told."""
        self.registry.register(ClusterStanding(policies, unheard, fails_open, authority_expiry))

    def expose(self) -> bytes:
        """Everything, in the text format."""
        return generate_latest(self.registry)

    def _durations(self, name: str, text: str, bounds: Sequence[float], label: str = "") -> Durations:
        return Durations(f"countersign_{name}", text, bounds, registry=self.registry, label=label)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"countersign_{name}", text, labels, registry=self.registry)

    def _count(self, counter: Counter, *labels: str) -> None:
        # `Counter.labels` takes a lock and builds a tuple of strings each time: most of what counting would cost.
        increment = self._children.get((counter, *labels))
        if increment is None:
            increment = self._children[counter, *labels] = (counter.labels(*labels) if labels else counter).inc
        increment()
