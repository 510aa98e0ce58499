"""`selftest`: a review sent to each entry of a live webhook configuration, the way its API server sends one.

By the service and the path that stand there, with the caBundle as the only authority and the service's name to be
proved: what is wrong on that way (a certificate, a selector, a network policy) is wrong for the API server too. The
review is a dry run of a pod whose image cannot exist; any well-formed decision on it is right.

spec: Kubernetes dynamic admission control; admission.k8s.io/v1.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import uuid
from pathlib import Path
from typing import Any

from webhook.errors import MalformedError, OperatorError, quote
from webhook.kube import client
from webhook.kube.client import KubeError
from webhook.kube.registration import GROUP, KINDS
from webhook.terminal.paper import BAD, DIM, GOOD, Paper
from webhook.untrusted import as_object, decode_base64, parse_json

SECONDS = 10.0
ANSWER_MAX_BYTES = 1 << 20
IMAGE = "countersign.invalid/selftest:none"  # RFC 6761: no such host can be


class _WrongError(Exception):
    """What is wrong with an entry."""


def run(name: str, *, kubeconfig: Path | None, context: str | None, paper: Paper) -> int:
    """Each entry was asked, and what it said is told; 0 where all of them answered. Raises: OperatorError."""
    wrong = 0
    for entry in asyncio.run(_entries(name, kubeconfig, context)):
        try:
            said, style = _ask(entry), GOOD
        except _WrongError as error:
            said, style, wrong = str(error), BAD, wrong + 1
        mark = "✗" if style is BAD else "✓"
        paper.line((f"{mark} ", style), f"{entry.get('name')}: ", said, (f" ({_where(entry)})", DIM), hang=2)
    return 1 if wrong else 0


async def _entries(name: str, kubeconfig: Path | None, context: str | None) -> list[dict[str, Any]]:
    kube = await client.by_kubeconfig_or_in_cluster(kubeconfig, context=context)
    found: list[dict[str, Any]] = []
    try:
        for kind in KINDS:
            try:
                found += (await kube.get(f"{GROUP}/{kind}/{name}")).get("webhooks") or ()
            except KubeError as error:
                if error.status != 404:
                    raise OperatorError(error.detail) from error
    finally:
        await kube.close()
    if not found:
        raise OperatorError(f"no webhook configuration is called {quote(name)}: nothing is judged in this cluster")
    return found


def _ask(entry: dict[str, Any]) -> str:
    """What the entry answered. Raises: _WrongError."""
    service = entry["clientConfig"].get("service")
    if not service:
        raise _WrongError("no service stands in its clientConfig")
    uid = str(uuid.uuid4())
    try:
        answer = _post(service, _authorities(entry), json.dumps(_review(uid)))
    except (OSError, http.client.HTTPException) as error:
        raise _WrongError(_said(error)) from error
    return _decision(answer, uid)


def _authorities(entry: dict[str, Any]) -> str:
    """Raises: _WrongError."""
    try:
        return decode_base64(entry["clientConfig"].get("caBundle") or "", "caBundle").decode("ascii")
    except (MalformedError, UnicodeDecodeError) as error:
        raise _WrongError("its caBundle is no PEM") from error


def _post(service: dict[str, Any], authorities: str, body: str) -> tuple[int, bytes]:
    if not authorities:
        raise _WrongError("its caBundle is empty: no replica has published its authority yet")
    context = ssl.create_default_context(cadata=authorities)
    host = f"{service['name']}.{service['namespace']}.svc"
    connection = http.client.HTTPSConnection(host, service.get("port", 443), timeout=SECONDS, context=context)
    try:
        path = f"{service.get('path', '/')}?timeout={SECONDS:.0f}s"
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_MAX_BYTES)
    finally:
        connection.close()


def _decision(answer: tuple[int, bytes], uid: str) -> str:
    status, body = answer
    if status != 200:
        raise _WrongError(f"HTTP {status}: {quote(body[:200].decode(errors='replace'))}")
    try:
        envelope = as_object(parse_json(body, max_bytes=ANSWER_MAX_BYTES, what="it"), "it")
        response = as_object(envelope.get("response"), "response")
    except MalformedError as error:
        raise _WrongError("no AdmissionReview came back") from error
    allowed = response.get("allowed")
    if not isinstance(allowed, bool):
        raise _WrongError("no AdmissionReview came back")
    if response.get("uid") != uid:
        raise _WrongError("another review's answer came back")
    return f"answers: {'allowed' if allowed else 'denied'}"


def _review(uid: str) -> dict[str, Any]:
    name = "countersign-selftest"
    container = {"name": "main", "image": IMAGE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
    request = {
        "uid": uid,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "default",
        "name": name,
        "userInfo": {"username": "countersign:selftest", "groups": []},
        "object": pod,
        "oldObject": None,
        "dryRun": True,
        "options": None,
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def _where(entry: dict[str, Any]) -> str:
    service = entry["clientConfig"].get("service") or {}
    return f"{service.get('namespace')}/{service.get('name')}:{service.get('port', 443)}{service.get('path', '/')}"


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not one of its caBundle's: {error.verify_message}"
    return quote(str(error) or type(error).__name__)[1:-1]
