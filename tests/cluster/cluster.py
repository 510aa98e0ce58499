"""A real Kubernetes cluster of one node, from plain binaries, without Docker and without a network.

`Cluster` starts etcd, the control plane, containerd, kubelet, kube-proxy, CoreDNS and an OCI registry on a `Node` and
waits until pods can run. The programs come from the `tools` directory (built by `tools/Makefile`) and from Debian
packages; a cluster's files and logs lie below its directory. Used as a context manager, a cluster is gone afterwards;
used from the command line, it stays until `down`.

Names and addresses, the same in every cluster, since each has a network of its own:

    10.0.0.1           the node: API server :6443, DNS :53
    registry.test      the registry: TLS by a private authority on :443, plain HTTP on :5000, one storage
    10.96.0.0/16       services
    10.244.0.0/24      pods
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster import components, images, tunnel
from tests.cluster.certificates import Authority
from tests.cluster.components import NODE_ADDRESS, REGISTRY
from tests.cluster.node import HERE, Node

READY_SECONDS = 240.0
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


class Cluster:
    """`root` receives everything that the cluster writes; `tools` holds the binaries."""

    def __init__(self, root: Path = Path(".tools/cluster"), tools: Path = Path(".tools/bin")) -> None:
        environment = {
            "PATH": f"{tools.resolve()}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "KUBECONFIG": "/etc/kubernetes/admin.conf",
            # kubectl remembers, by address, what a server offers; this server's address was another's before.
            "KUBECACHEDIR": "/var/cache/kubectl",
        }
        self.node = Node(root, environment=environment)

    def __enter__(self) -> Cluster:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """An empty cluster runs; whatever was left in its directory is gone.

        Raises: CommandFailedError, TimeoutError; nothing runs then, and the logs stay.
        """
        self.down()
        if self.node.root.exists():
            shutil.rmtree(self.node.root)
        _furnish(self.node.root)
        try:
            self.node.start()
            self._start()
        except BaseException:
            self.down()
            raise

    def restart(self) -> None:
        """As after a power failure: everything was ended at once, and runs again from what was stored."""
        self.node.stop()
        self.node.start()
        self._start()

    def down(self) -> None:
        """Nothing of the cluster runs. Its directory stays, for its logs."""
        self.node.stop()

    def _start(self) -> None:
        spawn = self.node.spawn
        spawn("etcd", *components.ETCD)
        spawn("kube-apiserver", *components.API_SERVER)
        spawn("containerd", "containerd")
        spawn("registry", *components.REGISTRY_PLAIN)
        spawn("registry-tls", *components.REGISTRY_TLS)
        pause = self.node.root / "var/tmp/pause.tar"
        images.write_archive(pause, images.busybox(f"{REGISTRY}/pause:1", "sleep", "infinity"))
        self._wait_for("containerd", "ctr", "version")
        self.load(pause)
        self._wait_for("the API server", "kubectl", "get", "--raw=/readyz")
        spawn("kube-controller-manager", *components.CONTROLLER_MANAGER)
        spawn("kube-scheduler", *components.SCHEDULER)
        spawn("kubelet", *components.KUBELET, f"--cgroup-root=/{self.node.cgroup}")
        spawn("kube-proxy", *components.KUBE_PROXY)
        spawn("coredns", *components.COREDNS)
        self._wait_for("the node", "kubectl", "wait", "--for=condition=Ready", "node/node", "--timeout=5s")
        # What a pod needs: its service account, the authority of the API server, service addresses, names.
        self._wait_for("the service account", "kubectl", "get", "serviceaccount/default", "configmap/kube-root-ca.crt")
        server = "--server=https://10.96.0.1"
        self._wait_for("the first service", "kubectl", server, "get", "--raw=/readyz", "--request-timeout=1s")
        self._wait_for("its name", "busybox", "nslookup", "kubernetes.default.svc.cluster.local", NODE_ADDRESS)

    def _wait_for(self, what: str, *probe: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while self.run(*probe, check=False, seconds=10).returncode:
            self.node.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not appear within {READY_SECONDS} s; see {self.node.root}/var/log")
            time.sleep(0.1)

    def run(
        self, *args: str | Path, stdin: str = "", seconds: float = 260, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """What a program on the node wrote and returned; crane, cosign, helm … find registry and API server there."""
        return self.node.run(*args, stdin=stdin, seconds=seconds, check=check)

    def kubectl(
        self, *args: str | Path, stdin: str = "", seconds: float = 260, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.run("kubectl", *args, stdin=stdin, seconds=seconds, check=check)

    def apply(self, *objects: dict[str, Any], check: bool = True) -> subprocess.CompletedProcess[str]:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return self.kubectl("apply", "-f", "-", stdin=listed, check=check)

    def load(self, archive: Path) -> None:
        """The images of a docker-archive file can run under their names without being pulled: quicker than `push`."""
        self.run("ctr", "--namespace=k8s.io", "images", "import", archive.resolve())

    def push(self, archive: Path, reference: str) -> str:
        """The image in a docker-archive file is in the registry as `reference`. Returns its reference by digest."""
        return self.run("crane", "push", archive.resolve(), reference).stdout.strip()

    def logs(self, component: str) -> str:
        """What `kube-apiserver`, `kubelet`, `containerd` … wrote so far."""
        return self.node.log(component).read_text()

    def audit(self) -> Iterator[dict[str, Any]]:
        """The API server's audit events so far, oldest first, with the annotations that webhooks gave them."""
        return map(json.loads, self.logs("audit").splitlines())

    def reach(self, port: int, address: str = NODE_ADDRESS) -> tunnel.Tunnel:
        """While entered, a port on the host's loopback (the value of `with`) leads to an address of the cluster."""
        return tunnel.Tunnel(
            listen_in=tunnel.HOST,
            listen=("127.0.0.1", 0),
            connect_in=self.node.network,
            connect=(address, port),
        )

    def offer(self, port: int, host_port: int) -> tunnel.Tunnel:
        """While entered, `port` on the node leads to a port on the host's loopback: a webhook under test, say."""
        return tunnel.Tunnel(
            listen_in=self.node.network,
            listen=("0.0.0.0", port),
            connect_in=tunnel.HOST,
            connect=("127.0.0.1", host_port),
        )


def _furnish(root: Path) -> None:
    """`root` holds the node's configuration: `etc/` from here, certificates, kubeconfigs."""
    shutil.copytree(HERE / "etc", root / "etc")
    pki = root / "etc/kubernetes/pki"
    authority = Authority(pki)
    authority.issue("apiserver", common_name="kube-apiserver", hosts=components.API_SERVER_NAMES)
    for name, common_name, organization in components.CLIENTS:
        hosts = ("node", NODE_ADDRESS)  # the kubelet's certificate serves too
        pair = authority.issue(name, common_name=common_name, organization=organization, hosts=hosts)
        (root / f"etc/kubernetes/{name}.conf").write_text(_kubeconfig(authority.certificate, *pair))
    key = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout
    (pki / "service-accounts.key").write_bytes(key)

    # Every program on the node, containerd included, trusts the registry's authority as it does the public ones.
    registry = Authority(pki, "registry-ca")
    registry.issue("registry", common_name=REGISTRY, hosts=(REGISTRY,))
    (root / CERTIFICATES).parent.mkdir(parents=True)
    (root / CERTIFICATES).write_bytes(("/" / CERTIFICATES).read_bytes() + registry.certificate.read_bytes())


def _kubeconfig(authority: Path, certificate: Path, key: Path) -> str:
    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    server = {"server": f"https://{NODE_ADDRESS}:6443", "certificate-authority-data": data(authority)}
    user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "node",
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": "node"}}],
        "clusters": [{"name": "node", "cluster": server}],
        "users": [{"name": "node", "user": user}],
    }
    return json.dumps(document)


def main() -> int:
    parser = argparse.ArgumentParser(description="A Kubernetes cluster of one node, for tests. Needs root.")
    parser.add_argument("--dir", type=Path, default=Path(".tools/cluster"), help="its files (default: %(default)s)")
    parser.add_argument("--tools", type=Path, default=Path(".tools/bin"), help="the binaries (default: %(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start an empty cluster")
    verbs.add_parser("down", help="end it; its directory stays")
    verbs.add_parser("status", help="what runs")
    execute = verbs.add_parser("exec", help="run a command on the node")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    cluster = Cluster(options.dir, options.tools)
    match options.verb:
        case "up":
            cluster.up()
        case "down":
            cluster.down()
        case "exec":
            return subprocess.call(cluster.node.command(*options.command), env=cluster.node.environment)
        case "status" if cluster.node.pid is None:
            print("no cluster runs")
            return 1
        case "status":
            print(cluster.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide", seconds=10).stdout)
            print(cluster.run("ps", "-e", "--sort=-rss", "--format=rss,etime,comm").stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
