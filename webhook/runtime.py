"""The composition root, and the life of the process that serves.

`build` makes every part from one `Settings` and joins them; nothing is read or dialled before `Service.start`. `serve`
runs two listeners in one event loop until a signal: then it says so to the probes and on every connection, goes on
answering while endpoints are removed, stops listening, finishes what it accepted, writes out the trail, and ends with
exit code 0. A mistake of the operator's is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NoReturn

import prometheus_client
import uvloop
from starlette.types import ASGIApp

from webhook import environment, logs, settings, version
from webhook.admission.handler import Handler
from webhook.admission.places import Places
from webhook.audit.sinks import JsonLog, Metrics
from webhook.audit.sns import SNSSink
from webhook.audit.trail import Trail
from webhook.aws.calls import AWSError
from webhook.errors import OperatorError
from webhook.evidence.collect import Collector
from webhook.evidence.model import Evidence, Signer, SignerKind
from webhook.oci import reference
from webhook.outside import Observers, Outside, join
from webhook.policy.model import PolicySet
from webhook.policy.source import DirectorySource
from webhook.settings import Settings
from webhook.tls import ServingCertificate
from webhook.trust.keys import KeySource
from webhook.trust.kms import KMSKey
from webhook.trust.root import PUBLIC_GOOD, RootSource, Trust
from webhook.trust.sources import TrustSource
from webhook.verification import Verifier
from webhook.web import app as web
from webhook.web import server
from webhook.web.app import Life, Validate
from webhook.workers import Workers

THREADS = 2  # for what would hold up the loop: large bodies, files
TRAIL_GRACE = 2.0  # seconds for records to be written when the process ends
USAGE = 2
STDOUT = 1

log = logging.getLogger(__name__)

EXAMPLES = """\
examples:
  countersign serve --policies policies/ --no-match warn
  countersign serve --policies /etc/countersign/policies --certificate tls.crt --key tls.key
  countersign serve --address 127.0.0.1 --admission-port 9443 --registries registries.yaml

Every flag is an environment variable too: --policies is COUNTERSIGN_POLICIES. For all settings see
https://countersign.dev/docs/settings.md"""


FLAGS = (
    ("COUNTERSIGN_POLICIES", "DIR", "folder of trust policies (default /etc/countersign/policies)"),
    ("COUNTERSIGN_NO_MATCH", "WORD", "an image that no enforcing policy speaks of: deny (default), warn or allow"),
    ("COUNTERSIGN_REGISTRIES", "FILE", "YAML file on registries: private, plain HTTP, own authority"),
    ("COUNTERSIGN_DOCKER_CONFIG", "FILE", "docker config.json with credentials for registries"),
    ("COUNTERSIGN_ADDRESS", "IP", "address to listen on (default 0.0.0.0; :: for both families)"),
    ("COUNTERSIGN_ADMISSION_PORT", "PORT", "https, POST /validate (default 9443)"),
    ("COUNTERSIGN_OPERATIONS_PORT", "PORT", "plain http, probes and metrics (default 8080)"),
    ("COUNTERSIGN_CERTIFICATE", "FILE", "certificate chain in PEM; without it one is issued at start"),
    ("COUNTERSIGN_KEY", "FILE", "its private key in PEM"),
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that serves, joined and idle."""

    settings: Settings
    source: DirectorySource
    trust: TrustSource
    outside: Outside
    sns: SNSSink | None
    collector: Collector
    workers: Workers
    certificate: ServingCertificate
    trail: Trail
    life: Life
    admission: ASGIApp
    operations: ASGIApp


def build(configured: Settings, *, audit_descriptor: int = STDOUT) -> Parts:
    """The parts that `configured` describes; records go to `audit_descriptor`. Raises: OperatorError."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each
    metrics = Metrics(hosts=_labels(configured), version=version.installed())
    outside = join(configured, Observers(metrics.registry_request, metrics.revocation, metrics.key_refresh))
    collector = Collector(registry=outside.registry, limits=configured.evidence, observe=metrics.stage)
    trust = TrustSource(configured.trust, configured.network, observe=metrics.trust_refresh)
    workers = Workers(configured.verification)
    verifier = Verifier(
        registry=outside.registry,
        collector=collector,
        policy=configured.policy,
        observe=metrics.stage,
        trust=lambda: _at_hand(trust, outside.keys),
        judge=workers.judge if configured.verification.workers else None,
        revocation=outside.asking.standing,
        keep=Evidence.emptied,
        crosscheck=configured.verification.crosscheck,
        crosschecked=metrics.crosschecked,
    )
    source = DirectorySource(configured.policy, before=lambda new: _have_at_hand(new, trust, outside.keys))
    certificate = ServingCertificate(configured.server, now=datetime.now(UTC))
    metrics.watch(
        policies=lambda: source.current,
        certificate_expiry=lambda: certificate.not_after.timestamp(),
        trust=lambda: trust.states,
        keys=lambda: outside.keys.states,
    )
    handler = Handler(
        policies=lambda: source.current,
        verifier=verifier,
        places=Places(places=configured.admission.verifications, listed=_hosts(configured)),
        limits=configured.admission,
    )
    sns = _sns(configured, outside, metrics)
    trail = Trail((JsonLog(audit_descriptor), *([sns] if sns else [])), dropped=metrics.dropped)
    life = Life(
        problems=lambda: _problems(source, certificate),
        notes=lambda: _notes(source, certificate, trust, outside.keys),
    )
    validate = Validate(handler=handler, trail=trail, metrics=metrics, limits=configured.admission, life=life)
    return Parts(
        settings=configured,
        source=source,
        trust=trust,
        outside=outside,
        sns=sns,
        collector=collector,
        workers=workers,
        certificate=certificate,
        trail=trail,
        life=life,
        admission=web.Admission(validate),
        operations=web.operations(life=life, metrics=metrics),
    )


class Service:
    """Two listeners over `Parts`. `admission_port` and `operations_port` are the real ones, where 0 was asked for."""

    def __init__(self, parts: Parts) -> None:
        options = parts.settings.server
        self.parts = parts
        with contextlib.ExitStack() as opened:
            admission = opened.enter_context(
                server.listen(options.address, options.admission_port, "COUNTERSIGN_ADMISSION_PORT")
            )
            operations = opened.enter_context(
                server.listen(options.address, options.operations_port, "COUNTERSIGN_OPERATIONS_PORT")
            )
            opened.pop_all()
        self.admission_port: int = admission.getsockname()[1]
        self.operations_port: int = operations.getsockname()[1]
        self._admission = server.make(parts.admission, options, parts.certificate.context), admission
        self._operations = server.make(parts.operations, options, None), operations

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Reviews are answered from when `ready` is called until some time after `stop` is set."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="work"))
        parts = self.parts
        parts.source.load()
        works = [parts.source.watch(), parts.certificate.watch(), parts.trust.watch(), parts.outside.keys.watch()]
        works += [_warm_when_needed(parts), *([parts.sns.run()] if parts.sns else [])]
        watchers = [asyncio.create_task(work) for work in works]
        try:
            async with server.running(*self._operations), server.running(*self._admission):
                ready()
                await stop.wait()
                parts.life.draining = True
                log.info("draining: reviews are answered for %g s more", parts.settings.server.shutdown_delay)
                await asyncio.sleep(parts.settings.server.shutdown_delay)
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
            await parts.collector.close()
            await parts.workers.close()
            await parts.trail.close(grace=TRAIL_GRACE)
            if parts.sns is not None:
                await parts.sns.close(grace=TRAIL_GRACE)
            await parts.outside.close()


def main(arguments: Sequence[str]) -> int:
    """`countersign serve`: the exit code, when the process has served."""
    logs.to_stderr()
    for name in environment.unknown_variables(os.environ):
        log.warning("%s is no setting of this version", name)
    try:
        given = vars(_parser().parse_args(arguments))
        serve(environment.read(os.environ, {name: text for name, text in given.items() if text is not None}))
    except OperatorError as error:
        print(f"countersign: {error}", file=sys.stderr)  # noqa: T201 - one line for whoever started this
        return USAGE
    return 0


def serve(configured: Settings) -> None:
    """Serves until a signal. Raises: OperatorError, before anything was answered."""
    service = Service(build(configured))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(service, configured.server))


async def _serve(service: Service, options: settings.Server) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, _stop_or_exit, stop)

    def ready() -> None:
        _settle_memory()
        ports = service.admission_port, service.operations_port
        log.info("serving on %s: admission on port %d (https), probes and metrics on %d", options.address, *ports)

    await service.run(stop, ready=ready)


def _settle_memory() -> None:
    """What start-up made lives as long as the process, and what it only needed is given back: some 2 MiB."""
    gc.collect()
    gc.freeze()  # no collection need look at it again
    with contextlib.suppress(AttributeError, OSError):  # of the C library, where it is glibc
        ctypes.CDLL(None).malloc_trim(0)


def _stop_or_exit(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)  # asked twice: what is in flight is given up
    stop.set()


async def _warm_when_needed(parts: Parts) -> None:
    """Once a policy needs a worker, or AWS Signer, it is made ready before the first evidence is found."""
    todo = [(_needs_worker, _warm_workers), (_needs_signer, _warm_aws)]
    while True:
        for needs, warm in tuple(todo):
            if needs(parts.source.current):
                todo.remove((needs, warm))
                await warm(parts)
        if not todo:
            return
        await asyncio.sleep(parts.settings.policy.reload_interval)


async def _warm_workers(parts: Parts) -> None:
    parts.workers.warm()


async def _warm_aws(parts: Parts) -> None:
    with contextlib.suppress(AWSError):  # which is for whoever asks in earnest
        await parts.outside.aws.partition_of("")


def _at_hand(trust: TrustSource, keys: KeySource) -> Trust:
    fetched = keys.current
    return replace(trust.current, keys=fetched.keys, key_problems=fetched.key_problems)


def _have_at_hand(policies: PolicySet, trust: TrustSource, keys: KeySource) -> None:
    """What `policies` name was looked for, before they are in force."""
    trust.use(_roots_of(policies))
    keys.use(signer.material for signer in _signers(policies) if isinstance(signer.material, KMSKey))


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
    return any(signer.kind is SignerKind.PROFILE for signer in _signers(policies))


def _roots_of(policies: PolicySet) -> tuple[RootSource, ...]:
    """The roots that are needed. A key for which no log is demanded makes do with the one that is shipped."""
    return tuple(
        signer.trust_root
        for signer in _signers(policies)
        if signer.trust_root is not None
        and (signer.kind is SignerKind.KEYLESS or signer.require_log or signer.trust_root != PUBLIC_GOOD)
    )


def _signers(policies: PolicySet) -> Iterator[Signer]:
    return (signer for policy in policies.policies for signer in policy.signers)


def _hosts(configured: Settings) -> frozenset[str]:
    return frozenset(reference.matching_host(entry.host) for entry in configured.registry.hosts)


def _labels(configured: Settings) -> Mapping[str, str]:
    return {entry.endpoint or entry.host: entry.host for entry in configured.registry.hosts}


def _problems(source: DirectorySource, certificate: ServingCertificate) -> Mapping[str, str]:
    """Why reviews should not be sent here now."""
    problems = {}
    policies = source.current
    if policies.searched in policies.broken:
        problems["policies"] = f"{policies.searched}: {policies.problems.get(policies.searched, 'not read')}"
    if certificate.not_after <= datetime.now(UTC):
        problems["certificate"] = f"expired at {certificate.not_after.isoformat()}"
    return problems


def _notes(
    source: DirectorySource, certificate: ServingCertificate, trust: TrustSource, keys: KeySource
) -> Mapping[str, str]:
    policies = source.current
    notes = {
        "policies": str(len(policies.policies)),
        "policy-revision": policies.revision,
        "certificate-expires": certificate.not_after.isoformat(),
    }
    notes |= {f"policy-file {name}": problem for name, problem in policies.problems.items()}
    if certificate.problem:
        notes["certificate"] = certificate.problem
    now = datetime.now(UTC)
    notes |= {f"trust-root {state.source.key}": state.describe(now) for state in trust.states}
    return notes | {f"key {state.place}": state.describe(now) for state in keys.states}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OperatorError(f"{message} (see '{self.prog} --help')")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="countersign serve",
        description="Run the webhook until SIGTERM.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for variable, metavar, text in FLAGS:
        parser.add_argument(environment.flag_of(variable), dest=variable, metavar=metavar, help=text)
    return parser
