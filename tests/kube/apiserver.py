"""A real API server with etcd on loopback, without a node: where objects, watches, rights and admission are real.

Up in some four seconds. Nothing runs pods, and nothing makes service accounts' tokens: users are known by tokens, and
what they may do is RBAC's, as everywhere. A webhook in the test's process is reached through a Service of type
ExternalName (`webhook_service`).
"""

from __future__ import annotations

import contextlib
import http
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster.certificates import Authority
from tests.doubles.ports import free_port

READY_SECONDS = 180.0
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """`groups` besides those that every user is in; a service account is `system:serviceaccount:NAMESPACE:NAME`."""

    name: str
    groups: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        return f"token-of-{self.name.replace(':', '-')}"


class Server:
    """Everything lies below `root`. Used as a context manager; nothing of it runs afterwards."""

    def __init__(self, root: Path, tools: Path, *users: User, port: int = 0, flags: Sequence[str] = ()) -> None:
        self.root, self._tools, self._flags = root, tools, flags
        self._users = (User(ADMIN, ("system:masters",)), *users)
        self.port = port or free_port()
        self._etcd_ports = free_port(), free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._authority: Authority | None = None

    def __enter__(self) -> Server:
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            self._furnish()
            self._start_etcd()
            self.start()
        except BaseException:
            self._stop_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_all()

    def start(self) -> None:
        """The API server answers; it had been stopped, or never ran."""
        pki = self.root / "pki"
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_ports[0]}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/server.crt",
            f"--tls-private-key-file={pki}/server.key",
            f"--token-auth-file={self.root}/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/accounts.key",
            f"--service-account-signing-key-file={pki}/accounts.key",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",  # nobody makes the account `default`
            f"--audit-policy-file={self.root}/audit-policy.yaml",
            f"--audit-log-path={self.root}/audit.log",
            *self._flags,
        )
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or self._running["kube-apiserver"].poll() is not None:
                raise TimeoutError(f"the API server did not come up:\n{self.log('kube-apiserver')[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """The API server is away; what it stored stays."""
        self._end("kube-apiserver")

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """A kubeconfig for `user`."""
        found = next(one for one in self._users if one.name == user)
        path = self.root / f"{found.token}.kubeconfig"
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.root / "pki/ca.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": found.token}}],
        }
        path.write_text(json.dumps(document))
        return path

    def kubectl(
        self, *args: str | Path, stdin: str = "", user: str = ADMIN, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """What kubectl wrote and returned."""
        done = subprocess.run(
            [self._tools / "kubectl", f"--kubeconfig={self.kubeconfig(user)}", f"--cache-dir={self.root}/cache", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def apply(
        self, *objects: Mapping[str, Any], user: str = ADMIN, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return self.kubectl("apply", "-f", "-", stdin=listed, user=user, check=check)

    def namespace(self, name: str) -> str:
        """The namespace is there. Returns its name."""
        with contextlib.suppress(FileExistsError):
            self._ask("/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def audit(self) -> Sequence[Mapping[str, Any]]:
        """The API server's audit events so far, oldest first."""
        path = self.root / "audit.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self, program: str) -> str:
        return (self.root / f"{program}.log").read_text()

    def _furnish(self) -> None:
        self._authority = Authority(self.root / "pki")
        self._authority.issue("server", common_name="kube-apiserver", hosts=("127.0.0.1", "localhost"))
        key = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True, timeout=30).stdout
        (self.root / "pki/accounts.key").write_bytes(key)
        rows = (f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"' for user in self._users)
        (self.root / "tokens.csv").write_text("".join(f"{row}\n" for row in rows))
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        (self.root / "audit-policy.yaml").write_text(json.dumps({**policy, "rules": [{"level": "Metadata"}]}))

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        self._spawn(
            "etcd",
            f"--data-dir={self.root}/etcd",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def _spawn(self, program: str, *args: str) -> None:
        with (self.root / f"{program}.log").open("ab") as output:
            self._running[program] = subprocess.Popen(
                [self._tools / program, *args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.root,
                env={"PATH": os.environ["PATH"]},
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        try:
            self._ask("/readyz", seconds=2)
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _ask(self, path: str, document: Mapping[str, Any] | None = None, *, seconds: float = 30) -> None:
        """Answered well, as kubectl would have been, in a hundredth of its time. Raises: FileExistsError, OSError."""
        context = ssl.create_default_context(cafile=self.root / "pki/ca.crt")
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        headers = {"Authorization": f"Bearer {self._users[0].token}", "Content-Type": "application/json"}
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=context):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.HTTPStatus.CONFLICT:
                raise FileExistsError(path) from error
            raise

    def _end(self, program: str) -> None:
        process = self._running.pop(program, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # on SIGTERM it would wait for a minute for those who still watch
        process.wait(timeout=20)

    def _stop_all(self) -> None:
        for program in ("kube-apiserver", "etcd"):
            self._end(program)
        shutil.rmtree(self.root / "etcd", ignore_errors=True)


def webhook_service(namespace: str, name: str = "countersign") -> Mapping[str, Any]:
    """A Service that leads to this machine: a webhook's real TLS name is checked, and its port stands beside it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
