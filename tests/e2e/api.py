"""The API server as a client library sees it: many requests at once, which a kubectl for each would not bear."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.cluster.cluster import Cluster

API_SERVER_PORT = 6443


@dataclass(frozen=True, slots=True)
class Answer:
    """`message` is the error's, as kubectl prints it after its own words; empty where the object was accepted.
    `warnings` are those of all admission, in one text."""

    image: str
    code: int
    message: str
    warnings: str = ""


class API:
    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def create(self, pod: Mapping[str, Any], *, dry_run: bool = False) -> Answer:
        """What the API server says to a new pod."""
        return self._create("api/v1", "pods", pod, pod["spec"]["containers"][0]["image"], dry_run=dry_run)

    def create_deployment(self, deployment: Mapping[str, Any], *, dry_run: bool = False) -> Answer:
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        return self._create("apis/apps/v1", "deployments", deployment, image, dry_run=dry_run)

    def evict(self, pod: str, *, namespace: str) -> int:
        """The status with which the API server answers, as it does a node that is drained."""
        metadata = {"name": pod, "namespace": namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        return self._http.post(f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", json=eviction).status_code

    def _create(self, group: str, resource: str, obj: Mapping[str, Any], image: str, *, dry_run: bool) -> Answer:
        path = f"/{group}/namespaces/{obj['metadata']['namespace']}/{resource}"
        answer = self._http.post(path, params={"dryRun": "All"} if dry_run else {}, json=obj)
        message = "" if answer.is_success else answer.json()["message"]
        return Answer(image, answer.status_code, message, answer.headers.get("warning", ""))

    def create_all(self, pods: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """All of `pods` at the same time, each on a connection of its own."""
        with ThreadPoolExecutor(len(pods)) as threads:
            return list(threads.map(self.create, pods))


@contextmanager
def connect(cluster: Cluster, *, connections: int) -> Iterator[API]:
    """The cluster's API, as its administrator, over at most so many connections."""
    pki = cluster.node.root / "etc/kubernetes/pki"
    context = ssl.create_default_context(cafile=pki / "ca.crt")
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    limits = httpx.Limits(max_connections=connections)
    with (
        cluster.reach(API_SERVER_PORT) as (host, port),
        httpx.Client(base_url=f"https://{host}:{port}", verify=context, limits=limits, timeout=40) as http,
    ):
        yield API(http)
