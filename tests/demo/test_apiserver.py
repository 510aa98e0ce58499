from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from webhook import settings
from webhook.demo import apiserver, registry
from webhook.demo.apiserver import Answer, APIServer
from webhook.tls.certificate import ServingCertificate
from webhook.web import server

Body = Callable[[str], bytes]
REVIEW = apiserver.review("web", "nginx", namespace="shop")


def response(**fields: object) -> Body:
    return lambda uid: json.dumps({"response": {"uid": uid} | fields}).encode()


def certificate(folder: Path) -> ssl.SSLContext:
    options = settings.Server(names=("localhost",), ca_out_file=folder / "ca.crt")
    return ServingCertificate(options, now=datetime.now(UTC)).context


class Webhook:
    """Answers every review alike."""

    def __init__(self, status: int, body: Body) -> None:
        self._status, self._body = status, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await registry.read(scope, receive)
        body = self._body(json.loads(request.body)["request"]["uid"])
        await send({"type": "http.response.start", "status": self._status, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def post(folder: Path, body: Body, *, status: int = 200, review: Mapping[str, object] = REVIEW) -> Answer:
    listener = server.listen("127.0.0.1", 0, "test")
    made = server.make(Webhook(status, body), settings.Server(), certificate(folder))
    async with server.running(made, listener):
        client = APIServer(port=listener.getsockname()[1], ca_file=folder / "ca.crt")
        try:
            return await asyncio.to_thread(client.post, review)
        finally:
            client.close()


async def test_an_admission_reads_as_kubectl_prints_it(tmp_path: Path) -> None:
    answer = await post(tmp_path, response(allowed=True, warnings=["mind the gap"]))
    assert answer.as_kubectl("web", file="web.yaml") == ("Warning: mind the gap", "pod/web created")


async def test_a_denial_reads_as_kubectl_prints_it(tmp_path: Path) -> None:
    status = {"reason": "Forbidden", "message": "first\n  second", "code": 403}
    answer = await post(tmp_path, response(allowed=False, status=status))
    first = 'admission webhook "pods.countersign.dev" denied the request: first'
    assert answer.as_kubectl("web", file="web.yaml") == (
        f'Error from server (Forbidden): error when creating "web.yaml": {first}',
        "  second",
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(503, response(allowed=True), id="status"),
        pytest.param(200, lambda _: b"", id="empty"),
        pytest.param(200, lambda _: b"[]", id="no-object"),
        pytest.param(200, lambda _: b"{}", id="no-response"),
        pytest.param(200, response(uid="another", allowed=True), id="uid"),
        pytest.param(200, lambda _: b" " * (apiserver.ANSWER_MAX_BYTES + 1), id="endless"),
    ],
)
async def test_what_an_api_server_would_not_accept_admits_nothing(tmp_path: Path, status: int, body: Body) -> None:
    answer = await post(tmp_path, body, status=status)
    assert (answer.allowed, answer.failed) == (False, True)
    (line,) = answer.as_kubectl("web", file="web.yaml")
    assert line.startswith(
        'Error from server (InternalError): error when creating "web.yaml": Internal error occurred: '
    )


async def test_allowed_is_a_boolean_and_nothing_else(tmp_path: Path) -> None:
    answer = await post(tmp_path, response(allowed="true"))
    assert not answer.allowed


async def test_another_authority_is_not_trusted(tmp_path: Path) -> None:
    context = certificate(tmp_path)
    certificate(tmp_path)  # its authority replaces the first one's
    listener = server.listen("127.0.0.1", 0, "test")
    made = server.make(Webhook(200, response(allowed=True)), settings.Server(), context)
    async with server.running(made, listener):
        client = APIServer(port=listener.getsockname()[1], ca_file=tmp_path / "ca.crt")
        answer = await asyncio.to_thread(client.post, REVIEW)
        client.close()
    assert (answer.allowed, answer.failed) == (False, True)
    assert "CERTIFICATE_VERIFY_FAILED" in answer.message
