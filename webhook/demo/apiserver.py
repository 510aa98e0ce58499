"""The API server's part in the demo: it posts AdmissionReviews over HTTPS, and words the answers as kubectl shows them.

The webhook's certificate is checked against the authority it wrote at start, as `caBundle` has an API server do. An
answer that an API server would not accept (another uid, no `response`) is an error here too.

spec: Kubernetes admission.k8s.io/v1; dynamic admission control, response.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from webhook import untrusted
from webhook.errors import CountersignError

WEBHOOK = "pods.countersign.dev"
ANSWER_MAX_BYTES = 1024 * 1024
REVIEW_SECONDS = 10  # `timeoutSeconds` of a webhook's entry, sent along as `?timeout=10s`


@dataclass(frozen=True, slots=True)
class Answer:
    """What the webhook said; `seconds` is the whole round trip. `failed` is an answer that is no decision, or none."""

    allowed: bool
    reason: str
    message: str
    warnings: tuple[str, ...]
    seconds: float
    failed: bool = False

    def as_kubectl(self, pod: str, *, file: str) -> tuple[str, ...]:
        """The lines that `kubectl apply -f <file>` would print."""
        warned = tuple(f"Warning: {warning}" for warning in self.warnings)
        if self.allowed:
            return (*warned, f"pod/{pod} created")
        creating = f'error when creating "{file}": '
        if self.failed:
            failed = (
                f'Internal error occurred: failed calling webhook "{WEBHOOK}": failed to call webhook: {self.message}'
            )
            return (f"Error from server (InternalError): {creating}{failed}",)
        kind = f" ({self.reason})" if self.reason else ""
        first, *rest = self.message.splitlines() or [""]
        denied = f'admission webhook "{WEBHOOK}" denied the request: {first}'
        return (*warned, f"Error from server{kind}: {creating}{denied}", *rest)


def review(pod: str, image: str, *, namespace: str) -> Mapping[str, object]:
    """An AdmissionReview for the creation of a pod of one container."""
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    request = {
        "uid": str(uuid.uuid4()),
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": pod,
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
        "object": {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": namespace},
            "spec": {"containers": [{"name": pod, "image": image}]},
        },
        "oldObject": None,
        "dryRun": False,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


class _BrokenError(Exception):
    """What came back is no answer that an API server accepts."""


class APIServer:
    """Speaks to the webhook on one kept connection. Not safe for use by more than one thread."""

    def __init__(self, *, port: int, ca_file: Path) -> None:
        trust = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection("localhost", port, timeout=REVIEW_SECONDS, context=trust)

    def post(self, document: Mapping[str, object]) -> Answer:
        """The webhook's answer to `document`. Never raises: a call that failed is an answer as well."""
        started = time.perf_counter()
        try:
            return _parse(self._exchange(json.dumps(document).encode()), document, started)
        except (OSError, http.client.HTTPException, CountersignError, _BrokenError) as error:
            self._connection.close()
            return Answer(False, "", str(error), (), time.perf_counter() - started, failed=True)

    def _exchange(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "kube-apiserver-admission"}
        self._connection.request("POST", f"/validate?timeout={REVIEW_SECONDS}s", body=body, headers=headers)
        answer = self._connection.getresponse()
        data = answer.read(ANSWER_MAX_BYTES + 1)
        if answer.status != 200:
            raise _BrokenError(f"the webhook answered {answer.status}: {data[:200]!r}")
        return data

    def close(self) -> None:
        """The connection is closed."""
        self._connection.close()


def _parse(data: bytes, document: Mapping[str, object], started: float) -> Answer:
    parsed = untrusted.parse_json(data, max_bytes=ANSWER_MAX_BYTES, what="the webhook's answer")
    response = untrusted.as_object(untrusted.as_object(parsed, "the answer").get("response"), "response")
    if response.get("uid") != untrusted.as_object(document["request"], "request")["uid"]:
        raise _BrokenError("the webhook answered another request: its uid differs")
    status = untrusted.as_object(response.get("status", {}), "status")
    warnings = untrusted.as_array(response.get("warnings", []), "warnings", max_items=100)
    return Answer(
        allowed=response.get("allowed") is True,
        reason=untrusted.as_string(status.get("reason", ""), "status.reason"),
        message=untrusted.as_string(status.get("message", ""), "status.message"),
        warnings=tuple(untrusted.as_string(warning, "a warning") for warning in warnings),
        seconds=time.perf_counter() - started,
    )
