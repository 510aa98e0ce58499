"""An OCI registry in memory, as a bare ASGI application: what `countersign demo` and tests push to and pull from.

It serves what clients such as cosign, crane and notation ask for: blobs in one piece or in chunks, manifests by tag and
by digest, tags, and the referrers API, which can be left out so that clients fall back to tags. It is polite, unlimited
and unprotected, so it belongs on loopback; one that misbehaves is for others to make of it. spec: OCI distribution 1.1.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from webhook.demo.content import digest_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"

_ROUTE = re.compile(
    r"/v2/(?P<name>[a-z0-9._/-]+?)/"
    r"(?P<kind>manifests|blobs/uploads|blobs|referrers|tags)/(?P<reference>[A-Za-z0-9_.:=-]*)"
)


@dataclass(frozen=True, slots=True)
class StoredManifest:
    data: bytes
    media_type: str


@dataclass(slots=True)
class StoredRepository:
    """What was pushed. Whoever writes here directly tampers, which demonstrations need."""

    manifests: dict[str, StoredManifest] = field(default_factory=dict)  # by digest
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)  # by digest


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request, read to its end."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Outgoing:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class MemoryRegistry:
    """`requests` counts by kind: resolve (HEAD of a manifest), manifest, blob, referrers, push, other."""

    def __init__(self, *, referrers: bool = True) -> None:
        self.referrers = referrers
        self.repositories: dict[str, StoredRepository] = {}
        self.requests: Counter[str] = Counter()
        self._uploads: dict[str, bytes] = {}

    def repository(self, name: str) -> StoredRepository:
        """The repository of that name, made where there is none."""
        return self.repositories.setdefault(name, StoredRepository())

    def push_blob(self, name: str, data: bytes) -> str:
        """`data` can be pulled; returns its digest."""
        digest = digest_of(data)
        self.repository(name).blobs[digest] = data
        return digest

    def push_manifest(self, name: str, data: bytes, media_type: str, *, tag: str | None = None) -> str:
        """`data` can be pulled by its digest, and by `tag`; returns its digest."""
        digest = digest_of(data)
        stored = self.repository(name)
        stored.manifests[digest] = StoredManifest(data, media_type)
        if tag is not None:
            stored.tags[tag] = digest
        return digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await reply(send, self.answer(await read(scope, receive)))

    def answer(self, request: Incoming) -> Outgoing:
        """What the registry answers; HEAD is answered like GET, less the body, which is left out when it is sent."""
        route = _ROUTE.fullmatch(request.path)
        if route is None:
            self.requests["other"] += 1
            return Outgoing(200, body=b"{}") if request.path in ("/v2/", "/v2") else _error(404, "NOT_FOUND")
        name, kind, reference = route["name"], route["kind"], route["reference"]
        self.requests[_kind_of(request.method, kind)] += 1
        match kind:
            case "manifests":
                return self._manifests(request, name, reference)
            case "blobs":
                return self._blobs(request, name, reference)
            case "blobs/uploads":
                return self._upload(request, name, reference)
            case "referrers":
                return self._list_referrers(request, name, reference)
        return self._list_tags(name)

    def _manifests(self, request: Incoming, name: str, reference: str) -> Outgoing:
        if request.method == "PUT":
            return self._put_manifest(request, name, reference)
        stored = self.repositories.get(name)
        if stored is None:
            return _error(404, "NAME_UNKNOWN")
        digest = stored.tags.get(reference, reference)
        manifest = stored.manifests.get(digest)
        if manifest is None:
            return _error(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            return self._delete_manifest(stored, reference)
        return Outgoing(200, (("content-type", manifest.media_type), ("docker-content-digest", digest)), manifest.data)

    def _put_manifest(self, request: Incoming, name: str, reference: str) -> Outgoing:
        digest = digest_of(request.body)
        by_digest = ":" in reference
        if by_digest and reference != digest:
            return _error(400, "DIGEST_INVALID")
        fields = _fields(request.body)
        if fields is None:
            return _error(400, "MANIFEST_INVALID")
        media_type = request.headers.get("content-type", "") or str(fields.get("mediaType", ""))
        self.push_manifest(name, request.body, media_type, tag=None if by_digest else reference)
        headers = [("location", f"/v2/{name}/manifests/{digest}"), ("docker-content-digest", digest)]
        if self.referrers and isinstance(subject := fields.get("subject"), dict):
            headers.append(("oci-subject", str(subject.get("digest"))))
        return Outgoing(201, tuple(headers))

    def _delete_manifest(self, stored: StoredRepository, reference: str) -> Outgoing:
        if reference in stored.tags:
            del stored.tags[reference]
        else:
            del stored.manifests[reference]
            stored.tags = {tag: digest for tag, digest in stored.tags.items() if digest != reference}
        return Outgoing(202)

    def _blobs(self, request: Incoming, name: str, digest: str) -> Outgoing:
        stored = self.repositories.get(name)
        data = stored.blobs.get(digest) if stored is not None else None
        if stored is None or data is None:
            return _error(404, "BLOB_UNKNOWN")
        if request.method == "DELETE":
            del stored.blobs[digest]
            return Outgoing(202)
        return Outgoing(200, (("content-type", "application/octet-stream"), ("docker-content-digest", digest)), data)

    def _upload(self, request: Incoming, name: str, upload: str) -> Outgoing:
        if request.method == "POST":
            return self._start_upload(request, name)
        if upload not in self._uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        if request.method == "PATCH":
            return self._append(request, name, upload)
        if request.method == "PUT":
            return self._store(name, self._uploads.pop(upload) + request.body, request.query.get("digest", ""))
        if request.method == "DELETE":
            del self._uploads[upload]
            return Outgoing(204)
        return Outgoing(204, self._progress(name, upload))

    def _start_upload(self, request: Incoming, name: str) -> Outgoing:
        if digest := request.query.get("digest"):
            return self._store(name, request.body, digest)
        source = self.repositories.get(request.query.get("from", ""))
        mounted = source.blobs.get(request.query.get("mount", "")) if source is not None else None
        if mounted is not None:
            return self._store(name, mounted, request.query["mount"])
        upload = uuid.uuid4().hex
        self._uploads[upload] = b""
        return Outgoing(202, self._progress(name, upload))

    def _append(self, request: Incoming, name: str, upload: str) -> Outgoing:
        start = request.headers.get("content-range", "").partition("-")[0]
        if start and start != str(len(self._uploads[upload])):
            return Outgoing(416, self._progress(name, upload))
        self._uploads[upload] += request.body
        return Outgoing(202, self._progress(name, upload))

    def _store(self, name: str, data: bytes, digest: str) -> Outgoing:
        if digest != digest_of(data):
            return _error(400, "DIGEST_INVALID")
        self.push_blob(name, data)
        return Outgoing(201, (("location", f"/v2/{name}/blobs/{digest}"), ("docker-content-digest", digest)))

    def _progress(self, name: str, upload: str) -> tuple[tuple[str, str], ...]:
        end = max(len(self._uploads[upload]) - 1, 0)
        location = f"/v2/{name}/blobs/uploads/{upload}"
        return (("location", location), ("range", f"0-{end}"), ("docker-upload-uuid", upload))

    def _list_referrers(self, request: Incoming, name: str, digest: str) -> Outgoing:
        if not self.referrers:
            return Outgoing(404, (("content-type", "text/plain"),), b"404 page not found\n")
        listed = list(self._referrers_of(name, digest))
        headers = [("content-type", OCI_INDEX)]
        if wanted := request.query.get("artifactType"):
            listed = [descriptor for descriptor in listed if descriptor["artifactType"] == wanted]
            headers.append(("oci-filters-applied", "artifactType"))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
        return Outgoing(200, tuple(headers), json.dumps(index).encode())

    def _referrers_of(self, name: str, digest: str) -> Iterable[dict[str, object]]:
        stored = self.repositories.get(name, StoredRepository())
        for referrer, manifest in stored.manifests.items():
            fields = _fields(manifest.data) or {}
            subject, config = fields.get("subject"), fields.get("config")
            if not isinstance(subject, dict) or subject.get("digest") != digest:
                continue
            config_type = config.get("mediaType") if isinstance(config, dict) else None
            yield {
                "mediaType": manifest.media_type,
                "digest": referrer,
                "size": len(manifest.data),
                "artifactType": fields.get("artifactType") or config_type,
                "annotations": fields.get("annotations") or {},
            }

    def _list_tags(self, name: str) -> Outgoing:
        stored = self.repositories.get(name)
        if stored is None:
            return _error(404, "NAME_UNKNOWN")
        document = {"name": name, "tags": sorted(stored.tags)}
        return Outgoing(200, (("content-type", "application/json"),), json.dumps(document).encode())


async def read(scope: Scope, receive: Receive) -> Incoming:
    """The request of an ASGI scope, read to its end."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return Incoming(
        method=scope["method"],
        path=scope["path"],
        query={name: values[0] for name, values in parse_qs(scope["query_string"].decode("ascii")).items()},
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=b"".join(parts),
    )


async def reply(send: Send, answer: Outgoing) -> None:
    """`answer` is sent; the server leaves the body out where the request was HEAD."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _kind_of(method: str, kind: str) -> str:
    if method not in ("GET", "HEAD") or kind == "blobs/uploads":
        return "push"
    match kind:
        case "manifests":
            return "resolve" if method == "HEAD" else "manifest"
        case "blobs":
            return "blob"
        case "referrers":
            return "referrers"
    return "other"


def _fields(data: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _error(status: int, code: str) -> Outgoing:
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
    return Outgoing(status, (("content-type", "application/json"),), body)
