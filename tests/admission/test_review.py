"""AdmissionReviews as values: what is read, what is answered, and that nothing else ever comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admission import checker
from tests.web.serving import pod_of, review
from webhook.admission.review import ObjectError, parse, read, respond, respond_refusal, respond_skip
from webhook.audit import record
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.kube.workload import Owner, Request
from webhook.policy import decide
from webhook.policy.decision import ImageDecision, Result

PATHS = (("spec.containers[0]", "api"),)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def parsed(document: dict[str, Any], *, max_images: int = 500) -> Request:
    return parse(json.dumps(document).encode(), max_images=max_images)


def image(result: Result, code: Code | None = None, *, reference: str = "ghcr.io/acme/shop:1") -> ImageDecision:
    return ImageDecision(reference, PATHS, None, result, code, "a detail")


def test_a_request_is_read_whole() -> None:
    pod = pod_of("nginx", generateName="shop-")
    request = parsed(review(object=pod, name="", uid="u-1", dryRun=True, subResource=""))
    assert (request.uid, request.operation, request.namespace, request.name) == ("u-1", "CREATE", "shop", "")
    assert (request.group, request.resource, request.subresource, request.kind) == ("", "pods", "", "Pod")
    assert (request.user, request.dry_run, request.generate_name) == ("jane", True, "shop-")
    assert [(found.path, found.container, found.text) for found in request.images] == [
        ("spec.containers[0]", "c0", "nginx")
    ]
    assert not request.mirror
    assert not request.unexpected


OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-5d", "uid": "u-9", "controller": True}


def test_what_the_object_claims_of_itself_is_told_and_exempts_from_nothing() -> None:
    request = parsed(review(object=pod_of("nginx", uid="u-7", ownerReferences=[{**OWNER, "controller": False}, OWNER])))
    assert request.owner == Owner("apps/v1", "ReplicaSet", "shop-5d", "u-9")
    assert (request.api_version, request.object_uid) == ("v1", "u-7")
    assert request.groups == {"system:authenticated"}
    assert [found.text for found in request.images] == ["nginx"]


CLAIMS: dict[str, Any] = {
    "none": [],
    "null": None,
    "a-mapping": OWNER,
    "text": "ReplicaSet/shop",
    "no-controller": [{**OWNER, "controller": False}],
    "controller-a-word": [{**OWNER, "controller": "true"}],
    "a-number": [{**OWNER, "uid": 7}],
    "no-name": [{name: value for name, value in OWNER.items() if name != "name"}],
    "empty": [{**OWNER, "kind": ""}],
    "too-long": [{**OWNER, "name": "a" * 318}],
    "behind-a-thousand": [{**OWNER, "controller": False}] * 1000 + [OWNER],
}


@pytest.mark.parametrize("owners", CLAIMS.values(), ids=CLAIMS)
def test_an_owner_that_is_not_plain_is_none(owners: object) -> None:
    request = parsed(review(object=pod_of("nginx", ownerReferences=owners, uid=["u"], generateName={})))
    assert (request.owner, request.object_uid, request.generate_name) == (None, "", "")
    assert [found.text for found in request.images] == ["nginx"]


def test_claims_are_bounded() -> None:
    pod = pod_of("nginx", uid="u" * 10_000, generateName="g" * 10_000) | {"apiVersion": "v" * 10_000}
    request = parsed(review(object=pod))
    assert [len(text) for text in (request.object_uid, request.generate_name, request.api_version)] == [128, 253, 317]


def test_a_review_of_any_resource_is_read_with_its_objects() -> None:
    document = review(object={"kind": "ConfigMap"}, oldObject=[7], operation="DELETE")
    read_ = read(json.dumps(document).encode())
    assert (read_.request.operation, read_.obj, read_.old_object) == ("DELETE", {"kind": "ConfigMap"}, [7])
    assert (read_.request.images, read_.request.unexpected) == ((), False)


def test_the_namespace_is_the_requests_and_not_the_objects() -> None:
    pod = pod_of("nginx", namespace="kube-system")
    assert parsed(review(object=pod, namespace="shop")).namespace == "shop"


@pytest.mark.parametrize("value", [None, "true", 1], ids=["null", "text", "number"])
def test_what_is_no_true_is_no_dry_run(value: object) -> None:
    assert parsed(review("nginx", dryRun=value)).dry_run is False


def test_the_last_of_duplicate_keys_counts_as_for_the_api_server() -> None:
    body = json.dumps(review("nginx", uid="second")).encode().replace(b'"uid":', b'"uid": "first", "uid":', 1)
    assert parse(body, max_images=10).uid == "second"


def test_no_more_images_are_read_than_one_above_the_limit() -> None:
    assert len(parsed(review(*["nginx"] * 50), max_images=10).images) == 11


def test_an_object_error_keeps_the_uid_for_the_denial() -> None:
    with pytest.raises(ObjectError) as caught:
        parsed(review(object=None, uid="u-2"))
    assert (caught.value.code, caught.value.status, caught.value.request.uid) == (Code.MALFORMED, 400, "u-2")


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_makes_anything_but_a_malformed_error(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(body, max_images=10)


@given(st.sampled_from(sorted(review("nginx")["request"])), JSON)
def test_no_field_of_any_type_makes_anything_but_our_errors(name: str, value: object) -> None:
    try:
        document = review("nginx")
        document["request"][name] = value
        request = parsed(document)
    except (MalformedError, ObjectError):
        return
    checker.check(respond_skip(request, "test"), uid=request.uid)


DECISIONS = {
    "allowed": ((image(Result.VERIFIED),), 200, "allow"),
    "exempt": ((image(Result.EXEMPT), image(Result.UNCHANGED)), 200, "allow"),
    "unchanged": ((image(Result.UNCHANGED),), 200, "skip"),
    "warned": ((image(Result.WARNED, Code.NO_SIGNATURE), image(Result.VERIFIED)), 200, "warn"),
    "denied": ((image(Result.DENIED, Code.NO_SIGNATURE),), 403, "deny"),
    "invalid": ((image(Result.DENIED, Code.REFERENCE_INVALID),), 400, "deny"),
    "unavailable": ((image(Result.ERROR, Code.REGISTRY_UNAVAILABLE),), 503, "error"),
    "late": ((image(Result.ERROR, Code.DEADLINE_EXCEEDED),), 504, "error"),
    "denied-and-late": (
        (image(Result.ERROR, Code.DEADLINE_EXCEEDED), image(Result.DENIED, Code.NO_SIGNATURE)),
        403,
        "deny",
    ),
    "hostile": ((image(Result.DENIED, Code.REFERENCE_INVALID, reference="a\x00\n\u202e" * 999),), 400, "deny"),
}


@pytest.mark.parametrize(("images", "code", "word"), DECISIONS.values(), ids=DECISIONS)
def test_every_decision_is_one_for_an_api_server(images: tuple[ImageDecision, ...], code: int, word: str) -> None:
    request = parsed(review("nginx"))
    decision = decide.decide_review(images, revision="0123")
    answer = checker.check(respond(request, decision), uid=request.uid)
    assert (answer.allowed, answer.code, answer.annotations["decision"]) == (code == 200, code, word)
    assert record.word_of(decision) == word, "metrics and records count by the word that the annotation says"
    assert (answer.retry_after is not None) == (code in (503, 504))


@pytest.mark.parametrize("status", [400, 500, 503])
def test_a_refusal_is_one_for_an_api_server(status: int) -> None:
    request = parsed(review("nginx"))
    error = InconclusiveError(Code.OVERLOADED, "too many reviews wait")
    retry_after = 1 if status == 503 else None
    answer = checker.check(respond_refusal(request, status, error, retry_after=retry_after), uid=request.uid)
    assert (answer.allowed, answer.code, answer.retry_after) == (False, status, retry_after)
    assert answer.message == "overloaded: too many reviews wait"
