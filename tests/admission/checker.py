"""What an API server accepts as an answer to an AdmissionReview, checked without any code of the webhook.

spec: Kubernetes admission.k8s.io/v1; dynamic admission control, response; apimachinery, qualified names.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

ANNOTATION_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
IMAGE_POINTER = re.compile(
    r"/spec/((containers|initContainers|ephemeralContainers)/[0-9]+/image|volumes/[0-9]+/image/reference)"
)
RESPONSE_FIELDS = {"uid", "allowed", "status", "warnings", "auditAnnotations"}
REASON_OF_CODE = {
    400: "Invalid",
    403: "Forbidden",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True)
class Answer:
    allowed: bool
    code: int
    reason: str
    message: str
    warnings: tuple[str, ...]
    annotations: dict[str, str]
    retry_after: int | None


def check(body: bytes, *, uid: str, status: int = 200, content_type: str = "application/json") -> Answer:
    """The decision in an answer, when it is one that an API server takes for a decision."""
    assert 200 <= status < 300, f"HTTP {status} is no decision: {body[:200]!r}"
    assert content_type.partition(";")[0] == "application/json"
    review = json.loads(body)
    assert set(review) == {"apiVersion", "kind", "response"}
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = review["response"]
    assert set(response) <= RESPONSE_FIELDS, "a validating webhook sends no patch"
    assert response["uid"] == uid
    assert type(response["allowed"]) is bool
    assert ("status" in response) == (not response["allowed"])
    warnings = tuple(response.get("warnings", ()))
    _check_warnings(warnings)
    annotations: dict[str, str] = response.get("auditAnnotations", {})
    _check_annotations(annotations)
    code, reason, message, retry_after = _check_status(response.get("status"))
    return Answer(response["allowed"], code, reason, message, warnings, annotations, retry_after)


def check_mutation(body: bytes, *, uid: str) -> tuple[Answer, list[dict[str, str]]]:
    """The same of a mutating webhook that only ever replaces images, and its patch (RFC 6902)."""
    review = json.loads(body)
    kind, patch = review["response"].pop("patchType", None), review["response"].pop("patch", None)
    assert (kind, patch) == (None, None) or (kind == "JSONPatch" and patch), "both, or neither"
    operations: list[dict[str, str]] = json.loads(base64.b64decode(patch, validate=True)) if patch else []
    for operation in operations:
        assert set(operation) == {"op", "path", "value"}
        assert operation["op"] == "replace"
        assert IMAGE_POINTER.fullmatch(operation["path"])
    assert len({operation["path"] for operation in operations}) == len(operations)
    return check(json.dumps(review).encode(), uid=uid), operations


def _check_status(status: dict[str, Any] | None) -> tuple[int, str, str, int | None]:
    if status is None:
        return 200, "", "", None
    assert status["status"] == "Failure"
    assert status["reason"] == REASON_OF_CODE[status["code"]], "code and reason tell the same"
    message = status["message"]
    assert message.strip(), "a denial without a message is told as `without explanation`"
    assert len(message.encode()) <= 2048
    assert all(mark == "\n" or mark.isprintable() for mark in message), "no control characters"
    retry_after = status.get("details", {}).get("retryAfterSeconds")
    if retry_after is not None:
        assert status["code"] in (429, 500, 503, 504), "clients repeat only these"
        assert 0 < retry_after <= 2
    return status["code"], status["reason"], message, retry_after


def _check_warnings(warnings: tuple[str, ...]) -> None:
    assert len(warnings) <= 5
    assert len(set(warnings)) == len(warnings)
    assert sum(map(len, warnings)) <= 4096
    for warning in warnings:
        assert 0 < len(warning) <= 256
        assert warning.isprintable(), f"the API server drops a warning with control characters: {warning!r}"


def _check_annotations(annotations: dict[str, str]) -> None:
    assert annotations["decision"] in ("allow", "warn", "deny", "error", "skip")
    for key, value in annotations.items():
        assert ANNOTATION_KEY.fullmatch(key), f"the API server drops the key {key!r}"
        assert isinstance(value, str)
        assert len(value.encode()) < 1024
