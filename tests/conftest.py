"""What needs real programs: which tests, where the programs are, and what is said when they are missing.

A test marked `tools` runs the commands that `make tools` builds (`@pytest.mark.tools("cosign")` names those it
needs), one marked `packages` those of Debian packages that it names; one marked `cluster` needs all of them, Debian
packages and root. What is missing is skipped and said in the very last lines of the run, or fails where
COUNTERSIGN_REQUIRE_TOOLS is 1. One cluster of each kind serves a whole run.
"""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.cluster import images
from tests.cluster.cluster import Cluster
from tests.kube.apiserver import Server, User

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile(
    "countersign", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("countersign")

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
IMAGE = "localhost/countersign:test"

CLIENTS = ("cosign", "crane", "notation", "registry")
API_SERVER = ("etcd", "kube-apiserver", "kubectl")
CHART = ("helm", "helm4", "helm-docs")
USERS = (User("webhook"), User("stranger"))  # whom no role lets do anything, until a test binds one
NODE = ("coredns", "etcd", "helm", "helm4", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler",
        "kubectl", "kubelet")  # fmt: skip
DEBIAN = ("buildah", "busybox", "containerd", "ip", "iptables", "mmdebstrap", "nsenter", "openssl", "ps", "runc")
SHARED = {  # files and the fixture that is made once for them; other files of tests/e2e share `cluster`
    "tests/test_image.py": "cluster",
    "tests/e2e/test_failures.py": "another_cluster",
    "tests/e2e/test_matrix.py": "another_cluster",
    "tests/e2e/test_caches.py": "vacant_cluster",
    "tests/e2e/test_chart.py": "vacant_cluster",
    "tests/e2e/test_tour.py": "vacant_cluster",
}
NAMED_MAX = 4
_numbers = itertools.count(1)
MISSING = "needs "  # how the reason of a skip begins that is for want of a program


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice the cores: half of its time a test waits for processes, timers and clusters."""
    return 2 * len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of one file, and those of all files that share a cluster, are in one process; in the order collected."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return SHARED.get(file, "cluster" if file.startswith("tests/e2e/") else file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("cluster"):
        return 0
    return 1 if item.get_closest_marker("tools") else 2


def pytest_collection_finish() -> None:
    gc.freeze()  # thousands of tests are kept to the end: no collection need look at them again


def pytest_runtest_setup(item: pytest.Item) -> None:
    if missing := _missing(item):
        reason = f"{MISSING}{', '.join(missing)}"
        if os.environ.get("COUNTERSIGN_REQUIRE_TOOLS") == "1":
            pytest.fail(f"{reason}, and COUNTERSIGN_REQUIRE_TOOLS is 1", pytrace=False)
        pytest.skip(reason)


def _missing(item: pytest.Item) -> list[str]:
    missing: list[str] = []
    if item.get_closest_marker("cluster"):
        missing += _without_root()
        missing += _without(CLIENTS + NODE, TOOLS / "bin", "`make tools`, with Go")
        missing += _without_packages(DEBIAN)
    if marker := item.get_closest_marker("tools"):
        missing += _without(marker.args or CLIENTS, TOOLS / "bin", "`make tools`, with Go")
    if marker := item.get_closest_marker("packages"):
        missing += _without_packages(marker.args)
    return missing


def _without(programs: Sequence[str], directory: Path, remedy: str) -> list[str]:
    return _remedied([program for program in programs if not (directory / program).exists()], remedy)


def _without_packages(programs: Sequence[str]) -> list[str]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [program for program in programs if not shutil.which(program, path=path)]
    return _remedied(missing, "`make packages`, as root on Debian")


def _remedied(missing: Sequence[str], remedy: str) -> list[str]:
    more = f" and {len(missing) - NAMED_MAX} more programs" if len(missing) > NAMED_MAX else ""
    return [f"{' '.join(missing[:NAMED_MAX])}{more} ({remedy})"] if missing else []


def _without_root() -> list[str]:
    return [] if sys.platform == "linux" and os.geteuid() == 0 else ["root on Linux"]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last words of a run: what was not tested for want of programs, and how to get them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = Counter(
        (report.longrepr[2].removeprefix("Skipped: "), report.nodeid.split("::")[0])
        for report in reporter.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple)
    )
    missing = {(reason, file): count for (reason, file), count in skipped.items() if reason.startswith(MISSING)}
    if missing:
        reporter.write_line("")
        reporter.write_line(f"NOT TESTED: {sum(missing.values())} tests were skipped.", red=True, bold=True)
        for wanted in sorted({reason for reason, _ in missing}):
            files = ", ".join(
                f"{file} ({count})" for (reason, file), count in sorted(missing.items()) if reason == wanted
            )
            reporter.write_line(f"  {files}:\n    {wanted}", red=True)
        reporter.write_line("  Where COUNTERSIGN_REQUIRE_TOOLS is 1, this is a failure.")


@pytest.fixture(scope="session")
def tools() -> Path:
    """The directory of the programs that `make tools` builds."""
    return TOOLS / "bin"


@pytest.fixture(scope="session")
def cluster(tools: Path) -> Iterator[Cluster]:
    """A cluster of one real node; each test takes a namespace of its own."""
    with _free_directory() as directory, Cluster(directory, tools) as running:
        yield running


@pytest.fixture(scope="session")
def another_cluster(tools: Path) -> Iterator[Cluster]:
    """A cluster that tests may disturb; each leaves it as it was."""
    with _free_directory() as directory, Cluster(directory, tools) as running:
        yield running


@pytest.fixture(scope="session")
def vacant_cluster(tools: Path, image_archive: Path) -> Iterator[Cluster]:
    """A cluster that has the image of Countersign, and where nothing of it is installed between tests."""
    with _free_directory() as directory, Cluster(directory, tools) as running:
        running.load(image_archive)
        yield running


@contextmanager
def _free_directory() -> Iterator[Path]:
    """Where no other run has its cluster: a second one in the same directory would end the first."""
    for number in itertools.count(1):
        directory = TOOLS / ("cluster" if number == 1 else f"cluster-{number}")
        TOOLS.mkdir(exist_ok=True)
        with (TOOLS / f"{directory.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield directory
            return


@pytest.fixture(scope="session")
def api_server(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server without a node; each test takes a namespace of its own. Mark it `tools(*API_SERVER)`."""
    with Server(tmp_path_factory.mktemp("api-server"), tools, *USERS) as running:
        yield running


@pytest.fixture
def namespace(api_server: Server) -> str:
    """A new one of the API server's."""
    return api_server.namespace(f"test-{next(_numbers)}")


@pytest.fixture(scope="session")
def image_archive() -> Path:
    """The image that the Dockerfile makes, as a docker-archive named `IMAGE`."""
    return build_image()


def build_image() -> Path:
    """That image, made where anything of it changed; its layers are kept between runs."""
    kept = TOOLS / "images"
    kept.mkdir(parents=True, exist_ok=True)
    base, archive = kept / "python.tar", kept / "countersign.tar"
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at it, or another process of this one
        if not base.exists():
            images.write_archive(base, images.debian_python("localhost/python:3.11", kept / "debian-python.tar"))
        run, made_by = os.environ.get("PYTEST_XDIST_TESTRUNUID", ""), kept / "made-by"
        if not run or not made_by.exists() or made_by.read_text() != run:
            images.build(ROOT, base=base, reference=IMAGE, archive=archive, storage=kept / "storage")
            made_by.write_text(run)
    return archive
