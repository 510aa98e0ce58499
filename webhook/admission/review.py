"""AdmissionReview v1: bytes to a request, a decision to bytes.

`parse` takes what a caller sent, who need not be an API server, and believes no type in it. An envelope that cannot be
answered as a review is a `MalformedError`: it has no `uid` to copy, or speaks another version. Once there is a `uid`,
an object that cannot be judged is an `ObjectError`, so that it is refused by a well-formed denial which no failure
policy softens. Duplicate keys are tolerated: an API server's own serializer wrote this, and nothing in it is signed.
spec: Kubernetes admission.k8s.io/v1, AdmissionReview.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from webhook import untrusted
from webhook.admission.early import Told
from webhook.errors import Code, CountersignError, MalformedError, RejectedError, quote
from webhook.kube import pulling, workload
from webhook.kube.workload import Request
from webhook.policy import message
from webhook.policy.decision import ReviewDecision

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
UID_MAX_CHARS = 128  # a UUID has 36
NAME_MAX_CHARS = 253  # RFC 1123 subdomain, the longest name of an object
VERSION_MAX_CHARS = NAME_MAX_CHARS + 1 + 63  # group, slash, version
GROUPS_MAX = 10_000
VALUES_MAX = 500_000  # of one review; real ones have thousands, and whoever reaches the port may send one

REASONS: Mapping[int, str] = {
    400: "Invalid",
    403: "Forbidden",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

_HEAD = re.compile(
    rb'{"kind":"AdmissionReview","apiVersion":"admission\.k8s\.io/v1","request":{"uid":"([0-9A-Za-z-]{1,128})"'
)


class ReviewError(CountersignError):
    """`request` gets no decision on images; `status` is the HTTP-like code of the refusal."""

    def __init__(self, error: CountersignError, *, request: Request, status: int) -> None:
        super().__init__(error.code, error.detail)
        self.request, self.status = request, status


class ObjectError(ReviewError):
    """The object of `request` cannot be judged, whoever tries."""


class UnexaminedError(ReviewError):
    """This process could not examine `request`, and another may: `status` is 503 or 500."""


@dataclass(frozen=True, slots=True)
class Review:
    """An AdmissionReview of any resource: the request without images, and its objects as they came."""

    request: Request
    obj: object
    old_object: object


def read(body: bytes) -> Review:
    """What an AdmissionReview asks, of whatever resource. Raises: MalformedError."""
    fields = _fields(body)
    request = Request(**_head(fields), images=(), unchanged=())
    return Review(request, fields.get("object"), fields.get("oldObject"))


def parse(body: bytes, *, max_images: int) -> Request:
    """The request in an AdmissionReview of a Pod. More than `max_images` images are read as one more, and no further.

    Raises: MalformedError, ObjectError.
    """
    fields = _fields(body)
    head = _head(fields)
    try:
        found = workload.images_of(
            head["resource"],
            head["subresource"],
            head["operation"],
            fields.get("object"),
            fields.get("oldObject"),
            max_images=max_images,
            group=head["group"],
        )
        mirror = not found.unexpected and workload.is_mirror(fields.get("object"), head["user"], head["groups"])
    except (RejectedError, MalformedError) as error:
        status = 500 if isinstance(error, RejectedError) else 400
        raise ObjectError(error, request=Request(**head, images=(), unchanged=()), status=status) from error
    return Request(
        **head,
        images=found.images,
        unchanged=found.unchanged,
        mirror=mirror,
        unexpected=found.unexpected,
        pull_secrets=pulling.of_pod(fields.get("object")),
    )


def begun(head: bytes) -> Request | None:
    """The request with which a body begins, as an API server writes it, and nothing of it but its `uid`.

    So a body that cannot be read can still be denied.
    """
    match = _HEAD.match(head)
    if match is None:
        return None
    return Request(match[1].decode("ascii"), "", "", "", "", "", "", "", "", dry_run=False, images=(), unchanged=())


def respond(request: Request, decision: ReviewDecision) -> bytes:
    """The AdmissionReview that tells `decision`."""
    response: dict[str, object] = {"uid": request.uid, "allowed": decision.allowed}
    if not decision.allowed:
        response["status"] = _status(decision.status, message.denial(decision), message.retry_after(decision))
    if warnings := message.warnings(decision):
        response["warnings"] = warnings
    if annotations := message.audit_annotations(decision):
        response["auditAnnotations"] = annotations
    return _review(response)


def respond_skip(request: Request, reason: str) -> bytes:
    """The AdmissionReview that admits what starts no image, or runs whatever the answer."""
    return _review(
        {"uid": request.uid, "allowed": True, "auditAnnotations": {"decision": "skip", "reason": reason}},
    )


def respond_patch(
    request: Request,
    operations: Sequence[Mapping[str, str]],
    *,
    annotations: Mapping[str, str],
    warnings: Sequence[str],
) -> bytes:
    """The AdmissionReview that admits `request` and rewrites its object by `operations`, a JSON patch (RFC 6902)."""
    response: dict[str, object] = {"uid": request.uid, "allowed": True}
    if operations:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(operations)).decode()}
    if warnings:
        response["warnings"] = warnings
    response["auditAnnotations"] = {"decision": "allow" if annotations else "skip", **annotations}
    return _review(response)


def respond_early(request: Request, told: Told) -> bytes:
    """The AdmissionReview that tells of a workload what its pods will be told."""
    response: dict[str, object] = {"uid": request.uid, "allowed": told.denial is None}
    if told.denial is not None:
        response["status"] = _status(told.denial.status, message.denial(told.denial), None)
    if told.warnings:
        response["warnings"] = told.warnings
    response["auditAnnotations"] = told.annotations
    return _review(response)


def respond_policy(
    request: Request, refusal: tuple[int, str] | None, *, warnings: Sequence[str], annotations: Mapping[str, str]
) -> bytes:
    """The AdmissionReview that tells what becomes of a policy; `refusal` is the status, and why."""
    response: dict[str, object] = {"uid": request.uid, "allowed": refusal is None}
    if refusal is not None:
        response["status"] = _status(*refusal, None)
    if warnings:
        response["warnings"] = warnings
    response["auditAnnotations"] = annotations
    return _review(response)


def respond_refusal(request: Request, status: int, error: CountersignError, *, retry_after: int | None = None) -> bytes:
    """The AdmissionReview that denies `request` without a look at its images."""
    return _review(
        {
            "uid": request.uid,
            "allowed": False,
            "status": _status(status, f"{error.code}: {error.detail}", retry_after),
            "auditAnnotations": {"decision": "error" if status >= 500 else "deny", "reason": error.code},
        }
    )


def _fields(body: bytes) -> Mapping[str, object]:
    return untrusted.as_object(_envelope(body).get("request"), "request")


def _head(fields: Mapping[str, object]) -> dict[str, Any]:
    """What a `Request` says of everything but images."""
    resource = untrusted.as_object(fields.get("resource"), "request.resource")
    kind = untrusted.as_object(fields.get("kind"), "request.kind")
    user = untrusted.as_object(fields.get("userInfo") or {}, "request.userInfo")
    return {
        "uid": _uid(fields.get("uid")),
        "operation": _string(fields, "operation", "request"),
        "namespace": _name(fields, "namespace"),
        "group": _string(resource, "group", "request.resource"),
        "resource": _string(resource, "resource", "request.resource"),
        "subresource": _string(fields, "subResource", "request"),
        "kind": _string(kind, "kind", "request.kind"),
        "name": _name(fields, "name"),
        "user": _string(user, "username", "request.userInfo"),
        "groups": _groups(user),
        "dry_run": fields.get("dryRun") is True,
        **_claims(fields.get("object")),
    }


def _envelope(body: bytes) -> Mapping[str, object]:
    untrusted.check_values(body, max_values=VALUES_MAX, what="the body")
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise MalformedError(Code.MALFORMED, f"a JSON document expected: {str(error)[:120]}") from error
    envelope = untrusted.as_object(value, "the body")
    for name, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        found = envelope.get(name)
        if found != expected:
            shown = quote(found, max_chars=80) if isinstance(found, str) else untrusted.kind_of(found)
            raise MalformedError(Code.MALFORMED, f"{name}: {expected} expected, found {shown}")
    return envelope


def _uid(value: object) -> str:
    uid = untrusted.as_string(value, "request.uid")
    if not 0 < len(uid) <= UID_MAX_CHARS or not uid.isascii() or not uid.isprintable():
        raise MalformedError(
            Code.MALFORMED,
            f"request.uid: 1 to {UID_MAX_CHARS} printable characters expected, found {quote(uid, max_chars=40)}",
        )
    return uid


def _name(fields: Mapping[str, object], key: str) -> str:
    name = _string(fields, key, "request")
    if len(name) > NAME_MAX_CHARS:
        raise MalformedError(Code.MALFORMED, f"request.{key}: at most {NAME_MAX_CHARS} characters expected")
    return name


def _string(fields: Mapping[str, object], key: str, where: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else "" if value is None else untrusted.as_string(value, f"{where}.{key}")


def _groups(user: Mapping[str, object]) -> frozenset[str]:
    listed = untrusted.as_array(user.get("groups") or [], "request.userInfo.groups", max_items=GROUPS_MAX)
    return frozenset(group for group in listed if isinstance(group, str))


def _claims(obj: object) -> dict[str, Any]:
    """What the object says of itself, as far as it can be told: whoever writes it chooses all of that."""
    if not isinstance(obj, dict):
        return {}
    metadata = obj.get("metadata")
    claims: dict[str, Any] = {"api_version": _bounded(obj.get("apiVersion"), VERSION_MAX_CHARS)}
    if isinstance(metadata, dict):
        claims["generate_name"] = _bounded(metadata.get("generateName"), NAME_MAX_CHARS)
        claims["object_uid"] = _bounded(metadata.get("uid"), UID_MAX_CHARS)
        claims["owner"] = workload.controller_of(metadata)
    return claims


def _bounded(value: object, max_chars: int) -> str:
    return value[:max_chars] if isinstance(value, str) else ""


def _status(code: int, text: str, retry_after: int | None) -> dict[str, object]:
    status: dict[str, object] = {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": REASONS[code],
        "code": code,
    }
    if retry_after is not None:
        status["details"] = {"retryAfterSeconds": retry_after}
    return status


def _review(response: Mapping[str, object]) -> bytes:
    return orjson.dumps({"apiVersion": API_VERSION, "kind": KIND, "response": response})
