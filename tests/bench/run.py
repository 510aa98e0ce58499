"""The bench: a server on one core, load and a counting registry on the other; each figure beside a floor of this run.

    python -m tests.bench.run            the whole table, some minutes; `--short` for a glance

Prints Markdown, and writes the rows as JSON lines beside it. CPU per review is the steadiest figure on a noisy machine;
a ratio to a floor measured in the same run is steadier still. Loopback only. Needs Linux, `taskset` and two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import costs, images, signatures
from tests.doubles import aws
from tests.doubles.signer import FakeSigner
from tests.notation.aws_like import AWSLikeSigner

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools/bin"
WORK = ROOT / ".tools/bench"
SERVER_CORE, LOAD_CORE = "1", "0"
REGISTRY_PORT, ADMISSION_PORT, OPERATIONS_PORT = 21000, 21443, 21080
REGISTRY = f"127.0.0.1:{REGISTRY_PORT}"
READY_SECONDS = 30.0
ISSUER, SUBJECT = "https://issuer.example.com", "dev@example.com"  # as the private Sigstore writes them
CONDITION = f'predicate.runDetails.builder.id == "{images.BUILDER}" && predicate.materials.all(m, m.uri != "")'
DEMAND = {"predicateType": images.SLSA, "signers": ["ci"], "condition": CONDITION}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `reviews` after `warmup` of the same kind, `concurrency` at once, `delay` ms in the registry.

    `start` is the first image; `rate` is reviews per second, 0 for one after the other's answer; `requests` is what
    the registry must count per review, where that is promised.
    """

    title: str
    kind: str = "signed"
    shape: str = "digest"
    concurrency: int = 1
    delay: int = 0
    reviews: int = 600
    warmup: int = 300
    start: int = 0
    rate: float = 0.0
    auth: str = "none"
    requests: float | None = None
    extra: tuple[str, ...] = ()


# In this order: the rows with a delay find their repositories known from those before.
ROWS = (
    Row("digest, form known", requests=2),
    Row("tag, form known", shape="tag", requests=3),
    Row("digest, nothing known (6,000 repositories of one)", kind="single", reviews=1000, warmup=50, requests=4),
    Row("tag, nothing known", kind="single", shape="tag", start=2000, reviews=600, warmup=20, requests=5),
    Row("v3 bundle, form known", kind="bundle", warmup=100, requests=3),
    Row("keyless, form known", kind="keyless", warmup=100, requests=2),
    Row("keyless v3 bundle, form known", kind="keyless-bundle", warmup=100, requests=3),
    Row("signed, and attested with a condition, form known", kind="attested", warmup=100, requests=4),
    Row("unsigned: denied, every place asked", kind="unsigned", reviews=200, warmup=20, requests=3),
    Row("digest, form known, bearer tokens, each kept", auth="bearer", requests=2),
    Row("pod of three images", shape="digest3", warmup=100, reviews=300, requests=6),
    Row("exempt registry", reviews=2000, requests=0, extra=("-host", "registry.k8s.io")),
    Row("unchanged update", reviews=2000, requests=0, extra=("-op", "UPDATE")),
    Row("digest, 16 at once", concurrency=16, reviews=1500),
    Row("digest, 64 at once", concurrency=64, reviews=1500),
    Row("keyless v3 bundle, 16 at once", kind="keyless-bundle", concurrency=16, warmup=50, reviews=900),
    Row("digest, 20 ms", delay=20, warmup=20, reviews=100),
    Row("tag, 20 ms", shape="tag", delay=20, warmup=20, reviews=100),
    Row("pod of three images, 20 ms", shape="digest3", delay=20, warmup=20, reviews=60),
    Row("digest, 20 ms, 16 at once", delay=20, warmup=20, concurrency=16, reviews=480),
    Row("digest, 20 ms, 64 at once", delay=20, warmup=20, concurrency=64, reviews=960),
    Row("100 new images a second, 20 ms, open loop", delay=20, warmup=20, concurrency=64, reviews=1000, rate=100.0),
)
NO_VARIABLES: Mapping[str, str] = {}
COLUMNS = (
    *("case", "requests", "CPU ms", "worker ms", "of constant", "of two GETs"),
    *("p50 ms", "p95", "p99", "reviews/s", "memory MiB", "worker MiB"),
)
AWS_ROWS = (  # each signed in a job of its own: one call of AWS's for each review
    Row("AWS Signer, form known, one call", kind="profile", warmup=100, reviews=300, requests=3),
    Row("AWS Signer, 16 at once", kind="profile", concurrency=16, start=400, warmup=0, reviews=600),
)
BESIDE = "exempt registry, beside 64 keyless at once"
FLOORS = (
    ("FastAPI, constant answer", "tests.bench.floors:fastapi", Row("floor", reviews=2000)),
    ("bare ASGI, constant answer", "tests.bench.floors:asgi", Row("floor", reviews=2000)),
    ("two GETs and a verification, aiohttp", "tests.bench.floors:verify", Row("floor")),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the webhook on this machine.")
    parser.add_argument("--short", action="store_true", help="a tenth of the reviews, no memory row")
    parser.add_argument("--out", type=Path, default=WORK / "results.jsonl", help="rows as JSON lines")
    options = parser.parse_args()
    missing = [f"bench-{name}" for name in ("drive", "registry") if not (TOOLS / f"bench-{name}").exists()]
    if missing or not shutil.which("taskset"):
        print(f"bench: {' '.join(missing) or 'taskset'} is not here: `make tools`, with Go", file=sys.stderr)
        return 2
    scale = 0.1 if options.short else 1.0
    _prepare()
    results: list[dict[str, Any]] = []
    with _registry():
        results += _floors(scale)
        with _server() as pid:
            results += [_drive(row.title, row, pid, scale) for row in ROWS]
            results.append(_beside(pid, scale))
        results += _aws(scale)
        if not options.short:
            with _server() as pid:
                results += _memory(pid)
        results += _floors(scale)  # again: machines drift
    options.out.write_text("".join(json.dumps(result) + "\n" for result in results))
    print(_table(results))
    print()
    print(costs.table(signatures.measure(20 if options.short else signatures.ROUNDS)))
    return 0


def _floors(scale: float) -> list[dict[str, Any]]:
    found = []
    for title, application, row in FLOORS:
        with _floor(application) as pid:
            found.append(_drive(title, row, pid, scale, floor=True))
    return found


def _aws(scale: float) -> list[dict[str, Any]]:
    """What AWS Signer signed, in a server of its own, since the SDK is loaded there."""
    os.sched_setaffinity(0, {int(LOAD_CORE)})  # of AWS, which is a thread here
    found = []
    with FakeSigner() as signer, _server("aws", aws.variables(signer_data=signer.url)) as pid:
        for row in AWS_ROWS:
            asked = len(signer.requests)
            found.append(_drive(row.title, row, pid, scale))
            calls = len(signer.requests) - asked
            if calls != row.warmup + found[-1]["n"]:
                raise SystemExit(f"bench: {row.title}: one call of AWS for each review promised, counted {calls}")
    return found


def _prepare() -> None:
    """The data of the bench exist; they are kept between runs."""
    plan = repr(images.Plan())
    if not (WORK / "plan").exists() or (WORK / "plan").read_text() != plan:
        images.write(WORK, images.Plan())
        (WORK / "plan").write_text(plan)
    _write_policy("policies", {
        "trustedKeys": [{"name": "bench", "publicKey": (WORK / "key.pub").read_text()}],
        "trustRoots": [{"name": "private", "trustedRoot": (WORK / "trusted_root.json").read_text()}],
        "keyless": [{"name": "ci", "trustRoot": "private", "issuer": ISSUER, "subject": SUBJECT}],
        "rules": [
            {"images": [f"{REGISTRY}/keyless/**", f"{REGISTRY}/keyless-bundle/**"], "signers": ["ci"]},
            {"images": [f"{REGISTRY}/attested/**"], "signers": ["bench"], "attestations": [DEMAND]},
            {"images": [f"{REGISTRY}/bench/**"], "signers": ["bench"]},
        ],
        "exemptRegistries": ["registry.k8s.io"],
    })  # fmt: skip
    root = {"name": "aws-like", "type": "signingAuthority", "certificates": (WORK / "aws-root.pem").read_text()}
    profile = {"name": "ecr", "arn": AWSLikeSigner().arn, "trustStore": "aws-like"}
    _write_policy("aws", {"trustStores": [root], "signerProfiles": [profile]})
    registries = {"registries": [{"host": REGISTRY, "insecureHTTP": True, "loopback": True}]}
    (WORK / "registries.yaml").write_text(json.dumps(registries))


def _write_policy(folder: str, spec: dict[str, object]) -> None:
    head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "bench"}}
    (WORK / folder).mkdir(exist_ok=True)
    (WORK / folder / "bench.yaml").write_text(json.dumps({**head, "spec": {"mode": "enforce", **spec}}))


@contextmanager
def _registry() -> Iterator[None]:
    command = [
        "taskset",
        "-c",
        LOAD_CORE,
        str(TOOLS / "bench-registry"),
        "-realm-host",
        "127.0.0.1",
        "-load",
        str(WORK / "objects.jsonl"),
    ]
    with _process(command, "registry", REGISTRY_PORT):
        yield


@contextmanager
def _server(policies: str = "policies", variables: Mapping[str, str] = NO_VARIABLES) -> Iterator[int]:
    environment = {
        **variables,
        "COUNTERSIGN_POLICIES": str(WORK / policies),
        "COUNTERSIGN_REGISTRIES": str(WORK / "registries.yaml"),
        "COUNTERSIGN_ADDRESS": "127.0.0.1",
        "COUNTERSIGN_ADMISSION_PORT": str(ADMISSION_PORT),
        "COUNTERSIGN_OPERATIONS_PORT": str(OPERATIONS_PORT),
        "COUNTERSIGN_SHUTDOWN_DELAY": "0",
        "MALLOC_ARENA_MAX": "2",
    }
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "webhook.cli", "serve"]
    with _process(command, "server", ADMISSION_PORT, environment) as pid:
        yield pid


@contextmanager
def _floor(application: str) -> Iterator[int]:
    certificate, key = WORK / "floor.crt", WORK / "floor.key"
    if not key.exists():
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        _run(*command, "-days", "30", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate)
    options = ["--loop=uvloop", "--http=httptools", "--log-level=warning", "--no-access-log"]
    options += [f"--ssl-certfile={certificate}", f"--ssl-keyfile={key}", f"--port={ADMISSION_PORT}"]
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "uvicorn", application, *options]
    with _process(command, "floor", ADMISSION_PORT, {"KEY": str(WORK / "key.pub")}) as pid:
        yield pid


@contextmanager
def _process(command: Sequence[str], name: str, port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    with (WORK / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | (environment or {}), stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        _wait_for(port, process, WORK / f"{name}.log")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"bench: nothing listens on port {port}:\n{log.read_text()[-2000:]}")


def _drive(title: str, row: Row, pid: int, scale: float, *, floor: bool = False) -> dict[str, Any]:
    reviews = max(20, int(row.reviews * scale))
    before = _workers(pid)
    result: dict[str, Any] = json.loads(_run(*_command(title, row, pid, reviews), timeout=300).splitlines()[0])
    result |= {"floor": floor} | _worked(before, _workers(pid), reviews + row.warmup)
    wrong = result["errors"] or (result["allowed"] if row.kind == "unsigned" else result["denied"])
    if wrong:
        raise SystemExit(f"bench: {title}: wrong answers: {json.dumps(result, indent=1)}")
    if row.requests is not None and result["registry_per_review"] != row.requests:
        raise SystemExit(
            f"bench: {title}: {row.requests} requests per review promised, counted {result['registry_by_kind']}"
        )
    return result


def _beside(pid: int, scale: float) -> dict[str, Any]:
    """A constant answer's times while 64 keyless reviews are in flight all along."""
    busy = Row("", kind="keyless", concurrency=64, reviews=6000, warmup=0)
    with _driving(busy, pid):
        before = _workers(pid)
        while not _worked(before, _workers(pid), 1)["worker_ms_per_review"] > 100:
            time.sleep(0.05)
        result = _drive(BESIDE, Row("", reviews=2000, warmup=0, extra=("-host", "registry.k8s.io")), pid, scale)
    if not result["worker_ms_per_review"]:
        raise SystemExit("bench: no keyless review was in flight beside the constant answers")
    return result


def _command(title: str, row: Row, pid: int, reviews: int) -> list[str | Path]:
    options = {
        "images": WORK / "images.json", "name": title, "registry": REGISTRY, "pid": pid,
        "url": f"https://127.0.0.1:{ADMISSION_PORT}/validate?timeout=30s",
        "kind": row.kind, "shape": row.shape, "c": row.concurrency, "delay": row.delay, "n": reviews,
        "warmup": row.warmup, "start": row.start, "rate": row.rate, "auth": row.auth,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    return ["taskset", "-c", LOAD_CORE, TOOLS / "bench-drive", *words, *row.extra]


@contextmanager
def _driving(row: Row, pid: int) -> Iterator[None]:
    """Reviews are sent all the while, and nobody counts them."""
    command = [str(word) for word in _command("beside", row, pid, row.reviews)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _workers(pid: int) -> dict[int, tuple[float, float]]:
    """Seconds of CPU and MiB of memory of each of the server's own processes."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):  # it has ended since
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found[int(child)] = seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found


def _worked(
    before: dict[int, tuple[float, float]], after: dict[int, tuple[float, float]], reviews: int
) -> dict[str, float]:
    spent = sum(seconds - before.get(child, (0.0, 0.0))[0] for child, (seconds, _) in after.items())
    memory = sum(memory for _, memory in after.values())
    return {"worker_ms_per_review": 1e3 * spent / reviews, "worker_rss_mib": memory}


def _memory(pid: int) -> list[dict[str, Any]]:
    """A server's memory after its first thousand reviews, and after ten thousand."""
    first = _drive("memory after 1,000 reviews", Row("", concurrency=16, reviews=1000, warmup=0), pid, 1.0)
    rest = Row("", concurrency=16, reviews=4500, warmup=0, start=1000)
    _drive("", rest, pid, 1.0)
    single = Row("", kind="single", concurrency=16, reviews=4500, warmup=0)
    last = _drive("memory after 10,000 reviews, 4,500 of new repositories", single, pid, 1.0)
    for result in (first, last):
        result["sockets"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return [first, last]


def _table(results: Sequence[dict[str, Any]]) -> str:
    asgi, verify = (_mean_cpu(results, FLOORS[index][0]) for index in (1, 2))
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for r in results:
        cpu = r["cpu_ms_per_review"]
        lines.append(_line([
            ("floor: " if r["floor"] else "") + r["name"], f"{r['registry_per_review']:.2f}", f"{cpu:.3f}",
            f"{r['worker_ms_per_review']:.2f}", f"{cpu / asgi:.1f}", f"{cpu / verify:.2f}",
            *(f"{r[quantile]:.1f}" for quantile in ("p50_ms", "p95_ms", "p99_ms")), f"{r['per_s']:.0f}",
            f"{r['rss_after_mib']:.1f}", f"{r['worker_rss_mib']:.1f}",
        ]))  # fmt: skip
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean_cpu(results: Sequence[dict[str, Any]], name: str) -> float:
    found = [result["cpu_ms_per_review"] for result in results if result["name"] == name]
    return float(sum(found) / len(found))


def _run(*command: str | Path, cwd: Path = ROOT, timeout: float = 600) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: {command[0]}: status {done.returncode}\n{done.stderr or done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
