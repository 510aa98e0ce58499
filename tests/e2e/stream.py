"""Clients that create pods as fast as they can, and what each of them is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

from tests.cluster.cluster import Cluster
from tests.e2e import api
from tests.e2e.pods import pod

CLIENTS = 4


@contextmanager
def stream(cluster: Cluster, namespace: str, images: Sequence[str]) -> Iterator[list[api.Answer]]:
    """While entered, pods of `images` are created in turn by server-side dry run; yields what is told."""
    answers: list[api.Answer] = []
    over = threading.Event()

    def create(server: api.API) -> None:
        for image in cycle(images):
            if over.is_set():
                return
            answers.append(server.create(pod("loop", image, namespace=namespace), dry_run=True))

    with api.connect(cluster, connections=CLIENTS) as server:
        clients = [threading.Thread(target=create, args=[server]) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield answers
        finally:
            over.set()
            for client in clients:
                client.join()
