"""The webhook over HTTPS as an API server calls it: every bad input by name, and the process that goes on."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.admission import checker
from tests.web.serving import EXEMPT, UNEXEMPT, Serving, listed, pod_of, review, serving
from webhook import settings
from webhook.admission.handler import Handler
from webhook.admission.places import Places
from webhook.admission.pods import Pods
from webhook.audit.sinks import Metrics
from webhook.audit.trail import Trail
from webhook.policy.model import PolicySet
from webhook.settings import Settings
from webhook.verification import Verifier
from webhook.web.app import Admission
from webhook.web.entrance import LARGE_BODIES, Entrance, Life

HEX = "0123456789abcdef" * 4
NODE_USER = {"username": "system:node:worker", "groups": ["system:nodes", "system:authenticated"]}


pytestmark = pytest.mark.asyncio(
    loop_scope="module"
)  # one webhook for all of them: it must stay fit whatever it was sent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def webhook(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    async with serving(tmp_path_factory.mktemp("webhook")) as running:
        yield running


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def without(field: str) -> bytes:
    document = review(EXEMPT)
    del document["request"][field]
    return encoded(document)


NO_REVIEW = {
    "empty": b"",
    "not-json": b"apiVersion: admission.k8s.io/v1",
    "truncated": encoded(review(EXEMPT))[:-10],
    "not-utf8": encoded(review("X")).replace(b"X", b"\xff"),
    "nan": encoded(review(EXEMPT)).replace(b'"dryRun": false', b'"dryRun": NaN'),
    "array": b"[]",
    "null": b"null",
    "depth-10000": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "wrong-kind": encoded(review(EXEMPT) | {"kind": "ConversionReview"}),
    "wrong-version": encoded(review(EXEMPT) | {"apiVersion": "admission.k8s.io/v1beta1"}),
    "version-of-another-type": encoded(review(EXEMPT) | {"apiVersion": 1}),
    "no-request": encoded({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}),
    "no-uid": without("uid"),
    "uid-empty": encoded(review(EXEMPT, uid="")),
    "uid-number": encoded(review(EXEMPT, uid=7)),
    "uid-with-newline": encoded(review(EXEMPT, uid="a\nb")),
    "uid-too-long": encoded(review(EXEMPT, uid="a" * 129)),
    "no-resource": without("resource"),
    "no-kind": without("kind"),
    "namespace-number": encoded(review(EXEMPT, namespace=1)),
    "namespace-too-long": encoded(review(EXEMPT, namespace="a" * 254)),
    "user-list": encoded(review(EXEMPT, userInfo=["root"])),
}


@pytest.mark.parametrize("body", NO_REVIEW.values(), ids=NO_REVIEW)
async def test_what_is_no_review_is_a_bad_request(webhook: Serving, body: bytes) -> None:
    response = await webhook.post(body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"] == "malformed"
    assert response.json()["message"]
    assert (await webhook.ask(review(EXEMPT))).allowed, "the process goes on"


WRONG_REQUESTS: dict[str, tuple[str, str, dict[str, str], int, str]] = {
    "get": ("GET", "/validate", {}, 405, "method_not_allowed"),
    "put": ("PUT", "/validate", {"content-type": "application/json"}, 405, "method_not_allowed"),
    "another-path": ("POST", "/convert", {"content-type": "application/json"}, 404, "not_found"),
    "root": ("GET", "/", {}, 404, "not_found"),
    "below": ("POST", "/validate/x", {"content-type": "application/json"}, 404, "not_found"),
    "slash": ("POST", "/validate/", {"content-type": "application/json"}, 404, "not_found"),
    "docs": ("GET", "/docs", {}, 404, "not_found"),
    "openapi": ("GET", "/openapi.json", {}, 404, "not_found"),
    "metrics-on-the-admission-port": ("GET", "/metrics", {}, 404, "not_found"),
    "no-content-type": ("POST", "/validate", {}, 415, "unsupported_media_type"),
    "yaml": ("POST", "/validate", {"content-type": "application/yaml"}, 415, "unsupported_media_type"),
    "nearly-json": (
        "POST",
        "/validate",
        {"content-type": "application/json-patch+json"},
        415,
        "unsupported_media_type",
    ),
}


@pytest.mark.parametrize(("method", "path", "headers", "status", "code"), WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
async def test_what_is_no_call_of_ours_is_told_so_in_json(
    webhook: Serving, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    response = await webhook.client.request(method, path, content=encoded(review(EXEMPT)), headers=headers)
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert "server" not in response.headers


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_by_any_of_its_names_is_taken(webhook: Serving, content_type: str) -> None:
    assert (await webhook.post(encoded(review(EXEMPT)), content_type=content_type)).status_code == 200


BAD_REFERENCES = {
    "empty": "",
    "newline": "nginx\nX-Evil: 1",
    "nul": "nginx\x00",
    "escape": "nginx\x1b[31m",
    "upper-case": "ghcr.io/Acme/shop:1",
    "look-alike": "ghcr.io/аcme/shop:1",  # noqa: RUF001 - a Cyrillic letter is the point
    "right-to-left": "ghcr.io/acme/\u202eshop",
    "4-KiB": "a" * 4096,
    "1-MiB": "a" * 1024 * 1024,
    "space": " nginx",
    "sha256-too-short": f"ghcr.io/acme/shop@sha256:{HEX[:-1]}",
    "sha256-too-long": f"ghcr.io/acme/shop@sha256:{HEX}0",
    "sha512-too-short": f"ghcr.io/acme/shop@sha512:{HEX}",
    "two-digests": f"ghcr.io/acme/shop@sha256:{HEX}@sha256:{HEX}",
    "image-id": HEX,
}


@pytest.mark.parametrize("text", BAD_REFERENCES.values(), ids=BAD_REFERENCES)
async def test_an_image_that_is_no_reference_is_denied_as_invalid(webhook: Serving, text: str) -> None:
    document = review(EXEMPT, text)
    answer = await webhook.ask(document)
    assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, 400, "reference_invalid")
    assert "spec.containers[1]" in answer.message
    record = await webhook.record(document)
    assert [image["code"] for image in record["images"]] == [None, "reference_invalid"]
    assert all(line.isascii() and line.isprintable() for line in _texts(record))


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


GOOD_REFERENCES = {
    "tag": "registry.k8s.io/pause:3.10",
    "digest": f"registry.k8s.io/pause@sha256:{HEX}",
    "digest-with-tag": f"registry.k8s.io/pause:3.10@sha256:{HEX}",
    "sha512": f"registry.k8s.io/pause@sha512:{HEX}{HEX}",
}


@pytest.mark.parametrize("text", GOOD_REFERENCES.values(), ids=GOOD_REFERENCES)
async def test_an_exempt_image_is_admitted_however_it_is_written(webhook: Serving, text: str) -> None:
    answer = await webhook.ask(review(text))
    assert answer.allowed
    assert answer.annotations["decision"] == "allow"


async def test_a_host_that_only_looks_exempt_is_not(webhook: Serving) -> None:
    answer = await webhook.ask(review("registry.k8s.io.example.invalid/pause:3.10"))
    assert (answer.allowed, answer.annotations["reason"]) == (False, "registry_unavailable")


async def test_one_refused_image_denies_the_pod_and_each_is_told(webhook: Serving) -> None:
    document = review(EXEMPT, UNEXEMPT, UNEXEMPT, "Nope")
    answer = await webhook.ask(document)
    assert (answer.allowed, answer.code, answer.reason) == (False, 403, "Forbidden")
    assert "host_refused" in answer.message
    assert "reference_invalid" in answer.message
    record = await webhook.record(document)
    results = {image["reference"]: (image["result"], image["code"]) for image in record["images"]}
    assert results == {
        EXEMPT: ("exempt", None),
        UNEXEMPT: ("denied", "host_refused"),
        "Nope": ("denied", "reference_invalid"),
    }
    assert record["images"][1]["paths"] == ["spec.containers[1] c1", "spec.containers[2] c2"]


async def test_a_hundred_containers_are_judged_each(webhook: Serving) -> None:
    images = [f"registry.k8s.io/pause:{index}" for index in range(100)]
    assert (await webhook.ask(review(*images))).allowed
    answer = await webhook.ask(review(*images[:-1], "Nope"))
    assert (answer.allowed, answer.code) == (False, 400)
    assert "spec.containers[99]" in answer.message


async def test_more_images_than_the_limit_are_too_many(webhook: Serving) -> None:
    assert (await webhook.ask(review(*[EXEMPT] * 500))).allowed
    answer = await webhook.ask(review(*[EXEMPT] * 501))
    assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, 400, "too_many_references")


async def test_the_largest_object_of_an_api_server_is_judged(webhook: Serving) -> None:
    pod = pod_of("Nope", annotations={"filler": "x" * 3 * 1024 * 1024})
    document = review(
        object=pod, oldObject=pod_of(EXEMPT, annotations={"filler": "x" * 3 * 1024 * 1024}), operation="UPDATE"
    )
    answer = await webhook.ask(document)
    assert (answer.allowed, answer.annotations["reason"]) == (False, "reference_invalid")


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
async def test_a_body_over_the_limit_is_refused_while_it_arrives(webhook: Serving, announced: bool) -> None:
    megabyte = b" " * 1024 * 1024

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(13):
            yield megabyte

    content = megabyte * 13 if announced else chunks()
    response = await webhook.client.post("/validate", content=content, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]) == (413, "limit_exceeded")
    assert (await webhook.ask(review(EXEMPT))).allowed


BAD_OBJECTS: dict[str, dict[str, Any]] = {
    "null": {"object": None},
    "absent": {"object": {}},
    "list": {"object": []},
    "no-spec": {"object": {"metadata": {}}},
    "spec-null": {"object": {"spec": None}},
    "no-containers": {"object": {"spec": {"containers": []}}},
    "containers-object": {"object": {"spec": {"containers": {"name": "a"}}}},
    "image-number": {"object": {"spec": {"containers": [{"name": "a", "image": 7}]}}},
    "init-containers-string": {
        "object": {"spec": {"containers": [{"name": "a", "image": EXEMPT}], "initContainers": "x"}}
    },
    "unknown-operation": {"operation": "PATCH"},
    "no-operation": {"operation": None},
}


@pytest.mark.parametrize("fields", BAD_OBJECTS.values(), ids=BAD_OBJECTS)
async def test_an_object_that_cannot_be_judged_is_denied_not_failed(webhook: Serving, fields: dict[str, Any]) -> None:
    document = review(EXEMPT, **fields)
    answer = await webhook.ask(document)
    assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, 400, "malformed")
    record = await webhook.record(document)
    assert (record["decision"], record["code"]) == ("deny", "malformed")


async def test_a_resource_without_extractor_is_denied(webhook: Serving) -> None:
    resource = {"group": "apps", "version": "v1", "resource": "deployments"}
    answer = await webhook.ask(review(EXEMPT, resource=resource))
    assert (answer.allowed, answer.code) == (False, 500)
    assert "no extractor" in answer.message


UNEXPECTED: dict[str, dict[str, Any]] = {
    "delete": {"operation": "DELETE", "object": None, "oldObject": pod_of("Nope")},
    "connect": {"operation": "CONNECT", "subResource": "exec", "object": {"kind": "PodExecOptions"}},
    "unknown-subresource": {"operation": "UPDATE", "subResource": "status"},
    "binding": {"subResource": "binding", "object": {"kind": "Binding"}},
}


@pytest.mark.parametrize("fields", UNEXPECTED.values(), ids=UNEXPECTED)
async def test_what_starts_no_image_passes_and_is_counted(webhook: Serving, fields: dict[str, Any]) -> None:
    before = await webhook.metric("countersign_unexpected_requests_total")
    answer = await webhook.ask(review("Nope", **fields))
    assert answer.allowed
    assert answer.annotations["decision"] == "skip"
    assert await webhook.metric("countersign_unexpected_requests_total") == before + 1


async def test_ephemeral_containers_are_judged(webhook: Serving) -> None:
    old = pod_of("Nope")
    new = pod_of("Nope")
    new["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "NOPE"}]
    fields: dict[str, Any] = {"operation": "UPDATE", "subResource": "ephemeralcontainers", "oldObject": old}
    answer = await webhook.ask(review(object=new, **fields))
    assert (answer.allowed, answer.code) == (False, 400)
    assert 'ephemeral container "debug"' in answer.message
    new["spec"]["ephemeralContainers"][0]["image"] = EXEMPT
    assert (await webhook.ask(review(object=new, **fields))).allowed


async def test_an_update_that_leaves_images_alone_passes_without_a_look(webhook: Serving) -> None:
    new = pod_of("Nope", labels={"a": "b"}, deletionTimestamp="2026-01-01T00:00:00Z")
    answer = await webhook.ask(review(object=new, oldObject=pod_of("Nope"), operation="UPDATE"))
    assert answer.allowed
    assert answer.annotations["decision"] == "skip"
    answer = await webhook.ask(review(object=pod_of("NOPE"), oldObject=pod_of("Nope"), operation="UPDATE"))
    assert (answer.allowed, answer.code) == (False, 400)


async def test_a_mirror_pod_passes_and_a_forged_one_does_not(webhook: Serving) -> None:
    pod = pod_of("Nope", annotations={"kubernetes.io/config.mirror": "x"})
    pod["spec"]["nodeName"] = "worker"
    answer = await webhook.ask(review(object=pod, userInfo=NODE_USER))
    assert (answer.allowed, answer.annotations["decision"]) == (True, "skip")
    for user in (
        {"username": "jane"},
        {"username": "system:node:worker"},
        NODE_USER | {"username": "system:node:other"},
    ):
        assert not (await webhook.ask(review(object=pod, userInfo=user))).allowed


async def test_dry_run_is_answered_alike_and_recorded_as_such(webhook: Serving) -> None:
    wet, dry = review("Nope"), review("Nope", dryRun=True)
    assert await webhook.ask(wet) == await webhook.ask(dry)
    assert [(await webhook.record(document))["dry_run"] for document in (wet, dry)] == [False, True]


async def test_warn_mode_admits_and_warns(tmp_path: Path) -> None:
    configured = Settings(policy=settings.Policy(no_match=settings.NoMatch.ALLOW))
    async with serving(tmp_path, configured, mode="warn") as webhook:
        answer = await webhook.ask(review("ghcr.invalid/acme/shop:1"))
        assert answer.allowed
        assert answer.warnings
        assert answer.annotations["decision"] == "warn"
        assert not (await webhook.ask(review("Nope"))).allowed, "no mode admits what is no reference"


async def test_the_record_explains_a_review(webhook: Serving) -> None:
    document = review(UNEXEMPT, userInfo={"username": "jane\x1b[31m" + "x" * 500})
    await webhook.ask(document)
    record = await webhook.record(document)
    assert record["uid"] == document["request"]["uid"]
    assert (record["decision"], record["status"], record["operation"]) == ("deny", 403, "CREATE")
    assert (record["resource"], record["kind"], record["namespace"], record["name"]) == ("pods", "Pod", "shop", "shop")
    assert record["user"].startswith("jane\\x1b[31m")
    assert len(record["user"]) < 300
    assert record["caller"] == "unauthenticated"
    assert record["duration_ms"] > 0
    (image,) = record["images"]
    (policy,) = image["policies"]
    assert (policy["policy"], policy["mode"], policy["result"]) == ("test", "enforce", "denied")
    assert policy["wants"]
    assert policy["outcomes"][0]["code"] == "host_refused"


@asynccontextmanager
async def hanging_registry() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A registry that takes connections and says nothing; the event is set when somebody has asked."""
    asked = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                asked.set()
        finally:
            writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_a_registry_that_hangs_is_answered_before_the_api_server_gives_up(tmp_path: Path) -> None:
    async with hanging_registry() as (host, _), serving(tmp_path, listed(host)) as webhook:
        async with asyncio.timeout(1.0):
            answer = await webhook.ask(review(f"{host}/shop:1"), query="?timeout=1s")
        assert (answer.allowed, answer.code, answer.reason) == (False, 504, "Timeout")
        assert answer.annotations == answer.annotations | {"decision": "error", "reason": "deadline_exceeded"}
        assert answer.retry_after is not None
        mixed = await webhook.ask(review(f"{host}/shop:1", "Nope"), query="?timeout=500ms")
        assert mixed.code == 400, "a retry must not hide a refusal"


def full(host: str, *, fails_open: bool) -> Settings:
    """One place, and nobody may wait for it."""
    configured = listed(host)
    admission = settings.Admission(verifications=1, queue_max=0, fails_open=fails_open)
    return replace(configured, admission=admission)


async def test_overload_is_told_so_that_another_replica_is_tried(tmp_path: Path) -> None:
    async with hanging_registry() as (host, asked), serving(tmp_path, full(host, fails_open=False)) as webhook:
        first = asyncio.create_task(webhook.ask(review(f"{host}/shop:1"), query="?timeout=1s"))
        await asked.wait()
        document = review(f"{host}/shop:2")
        response = await webhook.post(encoded(document))
        assert (response.status_code, response.json()["error"]) == (503, "overloaded")
        assert (response.headers["retry-after"], response.headers["connection"]) == ("1", "close")
        assert (await webhook.ask(review(EXEMPT))).allowed, "what needs no network needs no place"
        assert (await first).code == 504
        assert (await webhook.ask(review(f"{host}/shop:2"), query="?timeout=200ms")).code == 504, (
            "the place is free again"
        )
        assert await webhook.metric('countersign_admission_refused_total{status="503"}') == 1
        assert (await webhook.record(document))["code"] == "overloaded"


async def test_overload_never_admits_where_the_entry_fails_open(tmp_path: Path) -> None:
    async with hanging_registry() as (host, asked), serving(tmp_path, full(host, fails_open=True)) as webhook:
        first = asyncio.create_task(webhook.ask(review(f"{host}/shop:1"), query="?timeout=1s"))
        await asked.wait()
        answer = await webhook.ask(review(f"{host}/shop:2"))
        assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, 503, "overloaded")
        assert answer.retry_after == 1
        await first


async def test_one_connection_serves_many_reviews(webhook: Serving) -> None:
    body = encoded(review(EXEMPT))
    head = (
        f"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("localhost", webhook.service.admission_port, ssl=_trust(webhook))
    for _ in range(5):
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"close" not in answer.lower()
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_ends_early_hurts_nobody(webhook: Serving) -> None:
    stream = await asyncio.open_connection(
        "localhost", webhook.service.admission_port, ssl=_trust(webhook), family=socket.AF_INET
    )
    stream[1].write(
        b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    await stream[1].drain()
    stream[1].close()
    assert (await webhook.ask(review(EXEMPT))).allowed


def _trust(webhook: Serving) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(webhook.folder / "ca.pem"))


async def test_probes_and_metrics_have_a_port_of_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as webhook:
        await webhook.ask(review("Nope"))
        assert (await webhook.operations.get("/healthz")).json() == {"status": "ok"}
        assert (await webhook.operations.get("/readyz")).json() == {"ready": True}
        verbose = (await webhook.operations.get("/readyz?verbose")).json()
        assert verbose["notes"]["policies"] == "1"
        assert (await webhook.operations.post("/validate", content=b"{}")).status_code == 404
        denied = 'countersign_admission_requests_total{decision="deny",operation="CREATE",webhook="pods"}'
        assert await webhook.metric(denied) == 1
        assert await webhook.metric('countersign_verdicts_total{code="reference_invalid"}') == 1
        assert await webhook.metric("countersign_admission_inflight") == 0
        assert await webhook.metric('countersign_stage_duration_seconds_count{stage="parse"}') == 1


async def test_what_a_pod_names_never_becomes_a_label(webhook: Serving) -> None:
    await webhook.ask(review("evil-host.invalid/a:1", namespace="evil-namespace"))
    text = (await webhook.operations.get("/metrics")).text
    assert "evil" not in text
    assert 'host="other"' in text


async def test_draining_says_so_on_every_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as webhook:
        webhook.service.parts.life.draining = True
        ready = await webhook.operations.get("/readyz")
        assert (ready.status_code, ready.json()["problems"].keys()) == (503, {"draining"})
        assert (await webhook.operations.get("/healthz")).status_code == 200
        response = await webhook.post(encoded(review(EXEMPT)))
        assert (response.status_code, response.headers["connection"]) == (200, "close")


async def test_large_bodies_take_turns_and_all_are_answered(webhook: Serving) -> None:
    filler = {"filler": "x" * 1024 * 1024}
    documents = [review(object=pod_of(EXEMPT, annotations=filler)) for _ in range(LARGE_BODIES * 3)]
    answers = await asyncio.gather(*(webhook.ask(document) for document in documents))
    assert all(answer.allowed for answer in answers)


def failing(*, fails_open: bool) -> httpx.AsyncClient:
    """The admission application over a handler that has a bug."""

    def policies() -> PolicySet:
        raise RuntimeError("a secret detail")

    limits = settings.Admission()
    places = Places(places=1, listed=frozenset())
    metrics = Metrics(hosts={}, version="0")
    verifier = Verifier.__new__(Verifier)  # never reached
    handler = Handler(policies=policies, verifier=verifier, places=places, limits=limits)
    validate = Entrance(
        webhook="pods",
        reviewer=Pods(handler=handler, references_max=limits.references_max),
        trail=Trail((), dropped=metrics.dropped),
        metrics=metrics,
        life=Life(problems=dict, notes=dict),
        large=asyncio.Semaphore(LARGE_BODIES),
        body_max_bytes=limits.body_max_bytes,
        fails_open=lambda: fails_open,
    )
    transport = httpx.ASGITransport(Admission({"/validate": validate}))
    return httpx.AsyncClient(transport=transport, base_url="https://test", headers={"content-type": "application/json"})


async def test_a_bug_is_an_error_without_details_and_logged_with_the_uid(caplog: pytest.LogCaptureFixture) -> None:
    document = review(EXEMPT)
    async with failing(fails_open=False) as client:
        response = await client.post("/validate", content=encoded(document))
    assert (response.status_code, response.json()["error"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert document["request"]["uid"] in caplog.text
    assert "a secret detail" in caplog.text


async def test_a_bug_never_admits_where_the_entry_fails_open() -> None:
    document = review(EXEMPT)
    async with failing(fails_open=True) as client:
        response = await client.post("/validate", content=encoded(document))
    answer = checker.check(response.content, uid=document["request"]["uid"], status=response.status_code)
    assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, 500, "internal_error")
    assert "secret" not in answer.message
