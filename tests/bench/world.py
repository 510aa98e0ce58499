"""Where measurements take place: a counting registry and the servers under test, processes of their own on loopback.

Servers are pinned to one core, the registry and the load to the other. A `World` has a name, a directory and ports of
its own, so that two never meet; the images are made once, and shared by all. Loopback only. Linux, with `taskset`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench import images
from tests.notation.aws_like import AWSLikeSigner

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools/bin"
DATA = ROOT / ".tools/bench"
SERVER_CORE, LOAD_CORE = "1", "0"
READY_SECONDS = 60.0
ISSUER, SUBJECT = "https://issuer.example.com", "dev@example.com"  # as the private Sigstore writes them
CONDITION = f'predicate.runDetails.builder.id == "{images.BUILDER}" && predicate.materials.all(m, m.uri != "")'
DEMAND = {"predicateType": images.SLSA, "signers": ["ci"], "condition": CONDITION}
NO_VARIABLES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers, ours or a floor."""

    pid: int
    admission_port: int
    operations_port: int | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.admission_port}/validate?timeout=30s"

    @property
    def metrics(self) -> str:
        """Where its metrics are; empty for a floor."""
        return f"http://127.0.0.1:{self.operations_port}/metrics" if self.operations_port else ""


def missing() -> list[str]:
    """What has to be there to measure anything, and is not."""
    programs = [f"bench-{name}" for name in ("drive", "registry") if not (TOOLS / f"bench-{name}").exists()]
    return programs if shutil.which("taskset") else [*programs, "taskset"]


@dataclass(frozen=True, slots=True)
class World:
    """`port` is the registry's; the servers' are above it."""

    name: str
    port: int

    @property
    def directory(self) -> Path:
        return DATA / self.name

    @property
    def registry_host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """The images exist, which are kept between runs, and what servers are told of them."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (DATA / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            plan, made = repr(images.Plan()), DATA / "plan"
            if not made.exists() or made.read_text() != plan:
                images.write(DATA, images.Plan())
                made.write_text(plan)
        self._write_policy("policies", {
            "trustedKeys": [{"name": "bench", "publicKey": (DATA / "key.pub").read_text()}],
            "trustRoots": [{"name": "private", "trustedRoot": (DATA / "trusted_root.json").read_text()}],
            "keyless": [{"name": "ci", "trustRoot": "private", "issuer": ISSUER, "subject": SUBJECT}],
            "rules": [
                {"images": self._in("keyless", "keyless-bundle"), "signers": ["ci"]},
                {"images": self._in("attested"), "signers": ["bench"], "attestations": [DEMAND]},
                {"images": self._in("bench"), "signers": ["bench"]},
            ],
            "exemptRegistries": ["registry.k8s.io"],
        })  # fmt: skip
        root = {"name": "aws-like", "type": "signingAuthority", "certificates": (DATA / "aws-root.pem").read_text()}
        profile = {"name": "ecr", "arn": AWSLikeSigner().arn, "trustStore": "aws-like"}
        self._write_policy("aws", {"trustStores": [root], "signerProfiles": [profile]})
        registries = {"registries": [{"host": self.registry_host, "insecureHTTP": True, "loopback": True}]}
        (self.directory / "registries.yaml").write_text(json.dumps(registries))
        (self.directory / "valkey.key").write_text(secrets.token_hex(32))

    def _in(self, *folders: str) -> list[str]:
        return [f"{self.registry_host}/{folder}/**" for folder in folders]

    def _write_policy(self, folder: str, spec: dict[str, object]) -> None:
        head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "bench"}}
        (self.directory / folder).mkdir(exist_ok=True)
        document = json.dumps({**head, "spec": {"mode": "enforce", **spec}})
        (self.directory / folder / "bench.yaml").write_text(document)

    @contextmanager
    def registry(self) -> Iterator[None]:
        options = ["-listen", self.registry_host, "-realm-host", "127.0.0.1", "-load", str(DATA / "objects.jsonl")]
        with self._process(LOAD_CORE, [str(TOOLS / "bench-registry"), *options], "registry", self.port):
            yield

    @contextmanager
    def server(
        self, policies: str = "policies", variables: Mapping[str, str] = NO_VARIABLES, *, number: int = 0
    ) -> Iterator[Server]:
        """Ours; of several at once each has a `number`."""
        admission, operations = self.port + 443 + number, self.port + 80 + number
        environment = {
            "COUNTERSIGN_POLICIES": str(self.directory / policies),
            "COUNTERSIGN_REGISTRIES": str(self.directory / "registries.yaml"),
            "COUNTERSIGN_ADDRESS": "127.0.0.1",
            "COUNTERSIGN_ADMISSION_PORT": str(admission),
            "COUNTERSIGN_OPERATIONS_PORT": str(operations),
            "COUNTERSIGN_SHUTDOWN_DELAY": "0",
            "MALLOC_ARENA_MAX": "2",
            **variables,
        }
        command = [sys.executable, "-m", "webhook.cli", "serve"]
        with self._process(SERVER_CORE, command, f"server-{number}", admission, environment) as pid:
            yield Server(pid, admission, operations)

    @contextmanager
    def replicas(self, count: int) -> Iterator[list[Server]]:
        """As many of ours, that share a Valkey."""
        port = self.port + 79
        quiet = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--daemonize", "no"]
        variables = {
            "COUNTERSIGN_VALKEY": f"valkey://127.0.0.1:{port}",
            "COUNTERSIGN_VALKEY_KEY_FILE": str(self.directory / "valkey.key"),
            "COUNTERSIGN_VALKEY_TIMEOUT": "1",  # ten replicas share one core
            "COUNTERSIGN_WORKERS": "0",
        }
        with ExitStack() as stack:
            stack.enter_context(self._process(LOAD_CORE, ["valkey-server", *quiet], "valkey", port))
            yield [stack.enter_context(self.server(variables=variables, number=number)) for number in range(count)]

    @contextmanager
    def floor(self, application: str) -> Iterator[Server]:
        certificate, key = self.directory / "floor.crt", self.directory / "floor.key"
        if not key.exists():
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
            run(*command, "-days", "30", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate)
        port = self.port + 443
        options = ["--loop=uvloop", "--http=httptools", "--log-level=warning", "--no-access-log", f"--port={port}"]
        options += [f"--ssl-certfile={certificate}", f"--ssl-keyfile={key}"]
        command = [sys.executable, "-m", "uvicorn", application, *options]
        with self._process(SERVER_CORE, command, "floor", port, {"KEY": str(DATA / "key.pub")}) as pid:
            yield Server(pid, port)

    @contextmanager
    def _process(
        self, core: str, command: Sequence[str], name: str, port: int, environment: Mapping[str, str] = NO_VARIABLES
    ) -> Iterator[int]:
        path = self.directory / f"{name}.log"
        if _answers(port):
            raise SystemExit(f"bench: port {port} is taken: another run of it?")
        with path.open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", core, *command],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            _wait_for(port, process, path)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def workers(pid: int) -> dict[int, tuple[float, float]]:
    """Seconds of CPU and MiB of memory of each of a server's own processes."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):  # it has ended since
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found[int(child)] = seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found


def run(*command: str | Path, timeout: float = 600) -> str:
    """What `command` printed. Raises: SystemExit, when it failed."""
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: {command[0]}: status {done.returncode}\n{done.stderr or done.stdout}")
    return done.stdout


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if _answers(port):
            return
        time.sleep(0.05)
    raise SystemExit(f"bench: nothing listens on port {port}:\n{log.read_text()[-2000:]}")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
