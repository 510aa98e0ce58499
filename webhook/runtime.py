"""The life of the process that serves.

`serve` joins all parts and runs two listeners in one event loop until a signal: then it says so to the probes and on
every connection, goes on answering while endpoints are removed, stops listening, finishes what it accepted, writes out
the trail, and ends with exit code 0. A mistake of the operator's is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import functools
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

import uvloop

from webhook import environment, logs
from webhook.composition import Parts, Work, build
from webhook.errors import OperatorError
from webhook.settings import Settings
from webhook.web import server

if TYPE_CHECKING:
    from webhook.kube.client import Kube

THREADS = 4  # for what would hold up the loop: large bodies, policies as they are loaded, files
SWITCH_SECONDS = 0.001  # in which a thread hands Python's lock over: the loop waits for it some times in each review
LAG_PAUSE = 0.25  # seconds between two looks at how late the event loop is
READY_PAUSE = 1.0  # seconds between two looks whether all is loaded
WORK_PAUSE = 5.0  # seconds before work that failed is begun again
TRAIL_GRACE = 2.0  # seconds for records to be written when the process ends
USAGE = 2

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
        parts.load()
        works: list[Work] = [*parts.works, functools.partial(_watch_lag, parts.lagged)]
        watchers = [asyncio.create_task(_go_on(work)) for work in works]
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
            await parts.verifier.close()
            await parts.collector.close()
            await parts.workers.close()
            await parts.trail.close(grace=TRAIL_GRACE)
            last = [part.close(grace=TRAIL_GRACE) for part in (parts.sns, parts.installation) if part is not None]
            await asyncio.gather(*last)
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
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(configured))


async def _serve(configured: Settings) -> None:
    service, options = Service(build(configured, kube=await _connect(configured))), configured.server
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    settling: list[asyncio.Task[None]] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, _stop_or_exit, stop)

    def ready() -> None:
        gc.collect()
        _settle_memory()
        settling.append(loop.create_task(_settle_when_ready(service.parts)))
        ports = service.admission_port, service.operations_port
        log.info("serving on %s: admission on port %d (https), probes and metrics on %d", options.address, *ports)

    await service.run(stop, ready=ready)


async def _connect(configured: Settings) -> Kube | None:
    """The API of the cluster in which we are installed, if we are. Raises: OperatorError."""
    if not configured.cluster.namespace:
        return None
    from webhook import installation

    return await installation.connect(configured.cluster)


async def _go_on(work: Work) -> None:
    """`work`, which is to last, is begun again should it ever fail: what it keeps up to date would stand still."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s failed, and is begun again", getattr(work, "__qualname__", work))
        await asyncio.sleep(WORK_PAUSE)


async def _watch_lag(lagged: Callable[[float], None]) -> None:
    """Says again and again how late the event loop comes to what is due: so long every review waits at times."""
    while True:
        due = time.perf_counter() + LAG_PAUSE
        await asyncio.sleep(LAG_PAUSE)
        lagged(max(0.0, time.perf_counter() - due))


async def _settle_when_ready(parts: Parts) -> None:
    """Policies that come from a cluster are read while it serves already."""
    if parts.installation is not None:
        while parts.life.problems():  # noqa: ASYNC110 - made of many states, none of which tells
            await asyncio.sleep(READY_PAUSE)
        _settle_memory()  # without a collection, which would hold up reviews: what is loaded has no circles


def _settle_memory() -> None:
    """What start-up made lives as long as the process, and what it only needed is given back: some 2 MiB."""
    gc.freeze()  # no collection need look at it again
    with contextlib.suppress(AttributeError, OSError):  # of the C library, where it is glibc
        ctypes.CDLL(None).malloc_trim(0)


def _stop_or_exit(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)  # asked twice: what is in flight is given up
    stop.set()


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
