"""What the machine and the libraries cost without Countersign: the floors that the bench's figures are ratios of.

floors:fastapi   a constant answer by a FastAPI route
floors:asgi      a constant answer by a bare ASGI callable
floors:verify    the `.sig` manifest, its payload, one P-256 verification; no policy, no checks (KEY names the key)
"""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import FastAPI, Request, Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"}
fastapi = FastAPI()
verify = FastAPI()
_client: list[aiohttp.ClientSession] = []


def _answer(uid: str, allowed: bool) -> bytes:
    response = {"uid": uid, "allowed": allowed}
    return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})


@fastapi.post("/validate")
async def constant(request: Request) -> Response:
    review = orjson.loads(await request.body())
    return Response(_answer(review["request"]["uid"], True), media_type="application/json")


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while (message := await receive()) and message["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    out = _answer(orjson.loads(body)["request"]["uid"], True)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(out)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": out})


@verify.post("/validate")
async def two_requests_and_a_verification(request: Request) -> Response:
    review = orjson.loads(await request.body())["request"]
    allowed = [await _signed(container["image"]) for container in review["object"]["spec"]["containers"]]
    return Response(_answer(review["uid"], all(allowed)), media_type="application/json")


async def _signed(image: str) -> bool:
    host, _, rest = image.partition("/")
    repository, _, digest = rest.partition("@")
    base = f"http://{host}/v2/{repository}"
    manifest = orjson.loads(await _get(f"{base}/manifests/{digest.replace(':', '-')}.sig"))
    for layer in manifest["layers"]:
        payload = await _get(f"{base}/blobs/{layer['digest']}")
        signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
        _key().verify(signature, payload, ec.ECDSA(hashes.SHA256()))
        if orjson.loads(payload)["critical"]["image"]["docker-manifest-digest"] == digest:
            return True
    return False


async def _get(url: str) -> bytes:
    if not _client:
        _client.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100), headers=ACCEPT))
    async with _client[0].get(url) as response:
        return await response.read()


@functools.cache
def _key() -> ec.EllipticCurvePublicKey:
    key = load_pem_public_key(Path(os.environ["KEY"]).read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key
