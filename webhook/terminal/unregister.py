"""`unregister`: the API server asks nobody any more. For uninstalling, and for the worst hour of the night."""

from __future__ import annotations

import asyncio
from pathlib import Path

from webhook.errors import OperatorError
from webhook.kube import client
from webhook.kube.client import Kube, KubeError
from webhook.kube.registration import GROUP, KINDS
from webhook.terminal.paper import Paper


def run(name: str, *, kubeconfig: Path | None, context: str | None, paper: Paper) -> int:
    """No webhook configuration called `name` is there. Raises: OperatorError."""
    asyncio.run(_run(name, kubeconfig, context, paper))
    return 0


async def _run(name: str, kubeconfig: Path | None, context: str | None, paper: Paper) -> None:
    kube = await client.by_kubeconfig_or_in_cluster(kubeconfig, context=context)
    try:
        for kind in KINDS:
            paper.line(f"{kind}/{name}: {await _delete(kube, f'{GROUP}/{kind}/{name}')}")
    finally:
        await kube.close()


async def _delete(kube: Kube, path: str) -> str:
    try:
        await kube.delete(path)
    except KubeError as error:
        if error.status != 404:
            raise OperatorError(error.detail) from error
        return "was not there"
    return "deleted"
