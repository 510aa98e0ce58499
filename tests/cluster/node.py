"""A machine inside this machine: namespaces in which a cluster's programs run as if they were alone.

A `Node` owns its mounts, network, processes, host name and cgroup, so several nodes never meet and none touches the
host. It sees the host's programs and file system, except `/etc` (the host's, overlaid with `<root>/etc`), `/var`
(`<root>/var`) and `/run` (empty): programs keep their usual paths. It lives exactly as long as its first process
(`node.sh`); killing that one is the whole clean-up, and a leftover of a crashed run is found by its pid file.
Needs root. What runs on the node is the business of `cluster`.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")
STOP_SECONDS = 30.0


class CommandFailedError(Exception):
    """A command on the node did not succeed; the message holds what it wrote to its standard error."""


class Node:
    """`environment` is added to the host's, without its proxies."""

    def __init__(self, root: Path, *, environment: dict[str, str]) -> None:
        self.root = root.resolve()
        self.cgroup = f"countersign-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"
        # The host's proxies are nowhere to be found from here.
        inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.environment = inherited | environment
        self._spawned: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def pid(self) -> int | None:
        """The host's number for the node's first process, or `None` when it does not run."""
        try:
            pid, namespace = json.loads((self.root / "node.json").read_text())
            return pid if _network(pid) == namespace else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    @property
    def network(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    def start(self) -> None:
        """The namespaces exist and are furnished, with what `<root>/etc` holds in `/etc`.

        `<root>` must not lie below /etc, /run or /var, which the node hides, nor on an overlay file system.
        """
        for directory in ("etc", ".etc", "var/lib/containerd", "var/lib/kubelet", "var/log", "var/tmp"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        if not (self.root / "var/run").is_symlink():  # a node that starts again has it
            (self.root / "var/run").symlink_to("/run")
        for hierarchy in _hierarchies():
            (hierarchy / self.cgroup).mkdir(exist_ok=True)
        unshare = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--mount-proc", "--kill-child"]
        with self.log("node").open("wb") as log:
            parent = subprocess.Popen(
                [*unshare, HERE / "node.sh", self.root, "node"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._spawned["node"] = parent
        assert parent.stdout is not None  # it is a pipe
        with parent.stdout as progress:
            furnished = progress.readline() == b"furnished\n"
        if not furnished:
            raise CommandFailedError(f"node.sh could not furnish the node:\n{self.log('node').read_text()}")
        pid = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text())
        (self.root / "node.json").write_text(json.dumps([pid, _network(pid)]))

    def stop(self) -> None:
        """Nothing of the node runs or is mounted any more; its files stay."""
        if (pid := self.pid) is not None:
            # The first process of a PID namespace is the last to leave it: the kernel has then ended all the others.
            first = os.pidfd_open(pid)
            signal.pidfd_send_signal(first, signal.SIGKILL)
            select.select([first], [], [], STOP_SECONDS)
            os.close(first)
        for process in self._spawned.values():
            process.kill()  # matters to a node that was interrupted before its pid was written
            process.wait()
        self._spawned.clear()
        for hierarchy in _hierarchies():
            _remove_cgroup(hierarchy / self.cgroup)

    def command(self, *args: str | Path) -> list[str]:
        """The command line that runs `args` on the node, in the current directory, if given `environment`."""
        if self.pid is None:
            raise CommandFailedError(f"no node runs in {self.root}")
        namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc"]
        enter = ["nsenter", f"--target={self.pid}", *namespaces, f"--wdns={Path.cwd()}"]
        return [*enter, *map(str, args)]

    def run(
        self, *args: str | Path, stdin: str = "", seconds: float = 260, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """What `args` wrote and returned. After `seconds` it is ended, and has failed with status 124 or 137."""
        command = self.command("timeout", "--kill-after=2", str(seconds), *args)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=self.environment)
        if check and done.returncode:
            raise CommandFailedError(
                f"{' '.join(map(str, args))}: status {done.returncode}\n{done.stderr or done.stdout}"
            )
        return done

    def spawn(self, name: str, *args: str | Path) -> None:
        """`args` runs in the background and writes to `/var/log/<name>.log`."""
        with self.log(name).open("ab") as log:
            self._spawned[name] = subprocess.Popen(
                self.command(*args),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self.environment,
            )

    def end(self, name: str) -> None:
        """What was spawned as `name` runs no more; it was not asked."""
        process = self._spawned.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def log(self, name: str) -> Path:
        return self.root / "var/log" / f"{name}.log"

    def check(self) -> None:
        """Raises: CommandFailedError, when something spawned has ended."""
        for name, process in self._spawned.items():
            if process.poll() is not None:
                tail = self.log(name).read_text().splitlines()[-10:]
                raise CommandFailedError("\n".join([f"{name}: ended with status {process.returncode}", *tail]))


def _network(pid: int) -> str:
    """Tells this process from a later one with the same number."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _hierarchies() -> Iterable[Path]:
    """Where a cgroup has to be made: in each controller's tree (version 1), or in the only tree (version 2)."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove_cgroup(top: Path) -> None:
    for path, _, _ in os.walk(top, topdown=False):
        for _ in range(100):  # a group is busy for some milliseconds after its last process has died
            try:
                Path(path).rmdir()
                break
            except OSError:
                time.sleep(0.02)
