"""The registry in memory, asked as clients ask it; and asked by the clients themselves, where they are there."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.doubles.registry import running
from webhook.demo.content import digest_of
from webhook.demo.registry import OCI_INDEX, MemoryRegistry

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
BLOB = b"a layer of some bytes"
DIGEST = digest_of(BLOB)
UPLOADS = "/v2/team/app/blobs/uploads/"
TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "bin"


def manifest(**fields: object) -> bytes:
    config = {"mediaType": "application/vnd.example.config", "digest": digest_of(b"{}"), "size": 2}
    return json.dumps({"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": config, "layers": []} | fields).encode()


MANIFEST = manifest()
SUBJECT = {"mediaType": MEDIA_TYPE, "digest": digest_of(MANIFEST), "size": len(MANIFEST)}


@pytest.fixture
def app() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
async def client(app: MemoryRegistry) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry.example.com") as client:
        yield client


async def test_ping(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/")).status_code == 200


class TestBlobs:
    async def pulled(self, client: httpx.AsyncClient) -> bytes:
        head = await client.head(f"/v2/team/app/blobs/{DIGEST}")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(BLOB)))
        assert head.headers["docker-content-digest"] == DIGEST
        return (await client.get(f"/v2/team/app/blobs/{DIGEST}")).content

    async def test_in_one_post(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(UPLOADS, params={"digest": DIGEST}, content=BLOB)
        assert (answer.status_code, answer.headers["location"]) == (201, f"/v2/team/app/blobs/{DIGEST}")
        assert await self.pulled(client) == BLOB

    async def test_by_post_and_put(self, client: httpx.AsyncClient) -> None:
        location = (await client.post(UPLOADS)).headers["location"]
        assert (await client.put(location, params={"digest": DIGEST}, content=BLOB)).status_code == 201
        assert await self.pulled(client) == BLOB

    async def test_in_chunks(self, client: httpx.AsyncClient) -> None:
        location = (await client.post(UPLOADS)).headers["location"]
        for start, end in ((0, 10), (10, len(BLOB))):
            ranges = {"content-range": f"{start}-{end - 1}"}
            answer = await client.patch(location, content=BLOB[start:end], headers=ranges)
            assert (answer.status_code, answer.headers["range"]) == (202, f"0-{end - 1}")
        assert (await client.get(location)).headers["range"] == f"0-{len(BLOB) - 1}"
        assert (await client.put(location, params={"digest": DIGEST})).status_code == 201
        assert await self.pulled(client) == BLOB

    async def test_a_chunk_out_of_order_is_refused(self, client: httpx.AsyncClient) -> None:
        location = (await client.post(UPLOADS)).headers["location"]
        answer = await client.patch(location, content=BLOB, headers={"content-range": "5-25"})
        assert answer.status_code == 416

    async def test_an_upload_that_is_given_up(self, client: httpx.AsyncClient) -> None:
        location = (await client.post(UPLOADS)).headers["location"]
        assert (await client.delete(location)).status_code == 204
        assert (await client.put(location, params={"digest": DIGEST}, content=BLOB)).status_code == 404

    async def test_mounted_from_another_repository(self, app: MemoryRegistry, client: httpx.AsyncClient) -> None:
        app.push_blob("team/base", BLOB)
        assert (await client.post(UPLOADS, params={"mount": DIGEST, "from": "team/base"})).status_code == 201
        assert await self.pulled(client) == BLOB

    async def test_a_mount_that_cannot_be_is_an_upload(self, client: httpx.AsyncClient) -> None:
        assert (await client.post(UPLOADS, params={"mount": DIGEST, "from": "team/base"})).status_code == 202

    async def test_another_digest_is_refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(UPLOADS, params={"digest": digest_of(b"other")}, content=BLOB)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")
        assert (await client.get(f"/v2/team/app/blobs/{DIGEST}")).status_code == 404

    async def test_deleting(self, app: MemoryRegistry, client: httpx.AsyncClient) -> None:
        app.push_blob("team/app", BLOB)
        assert (await client.delete(f"/v2/team/app/blobs/{DIGEST}")).status_code == 202
        assert (await client.head(f"/v2/team/app/blobs/{DIGEST}")).status_code == 404


class TestManifests:
    async def put(self, client: httpx.AsyncClient, name: str, data: bytes) -> httpx.Response:
        return await client.put(f"/v2/team/app/manifests/{name}", content=data, headers={"content-type": MEDIA_TYPE})

    @pytest.mark.parametrize("name", ["v1", digest_of(MANIFEST)])
    async def test_pushed_and_pulled(self, name: str, client: httpx.AsyncClient) -> None:
        assert (await self.put(client, name, MANIFEST)).status_code == 201
        for answer in (
            await client.get(f"/v2/team/app/manifests/{name}"),
            await client.get(f"/v2/team/app/manifests/{digest_of(MANIFEST)}"),
        ):
            assert answer.content == MANIFEST
            assert answer.headers["content-type"] == MEDIA_TYPE
            assert answer.headers["docker-content-digest"] == digest_of(MANIFEST)

    @pytest.mark.parametrize(
        ("name", "data", "code"),
        [
            (digest_of(b"other"), MANIFEST, "DIGEST_INVALID"),
            ("v1", b"not JSON", "MANIFEST_INVALID"),
            ("v1", b"[]", "MANIFEST_INVALID"),
        ],
    )
    async def test_what_is_refused(self, name: str, data: bytes, code: str, client: httpx.AsyncClient) -> None:
        answer = await self.put(client, name, data)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)

    async def test_what_is_not_there(self, app: MemoryRegistry, client: httpx.AsyncClient) -> None:
        answer = await client.get("/v2/team/app/manifests/v1")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
        app.repository("team/app")
        answer = await client.get("/v2/team/app/manifests/v1")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")

    async def test_tags(self, client: httpx.AsyncClient) -> None:
        for tag in ("v2", "v1"):
            await self.put(client, tag, MANIFEST)
        assert (await client.get("/v2/team/app/tags/list")).json() == {"name": "team/app", "tags": ["v1", "v2"]}
        await client.delete("/v2/team/app/manifests/v1")
        assert (await client.get("/v2/team/app/manifests/v1")).status_code == 404
        assert (await client.get(f"/v2/team/app/manifests/{digest_of(MANIFEST)}")).status_code == 200
        await client.delete(f"/v2/team/app/manifests/{digest_of(MANIFEST)}")
        assert (await client.get("/v2/team/app/manifests/v2")).status_code == 404


class TestReferrers:
    PATH = f"/v2/team/app/referrers/{digest_of(MANIFEST)}"

    async def push(self, client: httpx.AsyncClient, **fields: object) -> httpx.Response:
        data = manifest(subject=SUBJECT, **fields)
        return await client.put(
            f"/v2/team/app/manifests/{digest_of(data)}", content=data, headers={"content-type": MEDIA_TYPE}
        )

    async def test_what_refers_is_listed(self, client: httpx.AsyncClient) -> None:
        pushed = await self.push(client, artifactType="a/b+c", annotations={"name": "value"})
        assert pushed.headers["oci-subject"] == digest_of(MANIFEST)
        await self.push(client)
        answer = await client.get(self.PATH)
        assert answer.headers["content-type"] == OCI_INDEX
        assert [(each["artifactType"], each["annotations"]) for each in answer.json()["manifests"]] == [
            ("a/b+c", {"name": "value"}),
            ("application/vnd.example.config", {}),
        ]

    async def test_filtered(self, client: httpx.AsyncClient) -> None:
        await self.push(client, artifactType="a/b+c")
        await self.push(client, artifactType="d/e")
        answer = await client.get(self.PATH, params={"artifactType": "a/b+c"})
        assert answer.headers["oci-filters-applied"] == "artifactType"
        assert [each["artifactType"] for each in answer.json()["manifests"]] == ["a/b+c"]

    async def test_of_nothing(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(self.PATH)
        assert (answer.status_code, answer.json()["manifests"]) == (200, [])

    async def test_left_out(self, app: MemoryRegistry, client: httpx.AsyncClient) -> None:
        app.referrers = False
        assert "oci-subject" not in (await self.push(client)).headers
        assert (await client.get(self.PATH)).status_code == 404


async def test_requests_are_counted_by_kind(app: MemoryRegistry, client: httpx.AsyncClient) -> None:
    await client.get("/v2/")
    await client.post(UPLOADS, params={"digest": DIGEST}, content=BLOB)
    await client.put("/v2/team/app/manifests/v1", content=MANIFEST)
    await client.head("/v2/team/app/manifests/v1")
    await client.get("/v2/team/app/manifests/v1")
    await client.get(f"/v2/team/app/blobs/{DIGEST}")
    await client.get(f"/v2/team/app/referrers/{DIGEST}")
    await client.get("/elsewhere")
    assert app.requests == {"other": 2, "push": 2, "resolve": 1, "manifest": 1, "blob": 1, "referrers": 1}


async def run(folder: Path, tool: str, *arguments: str) -> str:
    """What the command says; it must succeed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "COSIGN_PASSWORD": "", "SIGSTORE_NO_CACHE": "1"}
    process = await asyncio.create_subprocess_exec(
        TOOLS / tool,
        *arguments,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode().strip()


@pytest.mark.tools("crane", "cosign", "notation")
@pytest.mark.parametrize("referrers", [True, False], ids=["referrers API", "fallback tags"])
async def test_the_clients_themselves(referrers: bool, tmp_path: Path) -> None:
    async with running(MemoryRegistry(referrers=referrers)) as host:
        image = f"{host}/team/app"
        (tmp_path / "layer.tar").write_bytes(bytes(10240))
        await run(tmp_path, "crane", "append", "--oci-empty-base", "-f", "layer.tar", "-t", f"{image}:v1")
        await run(tmp_path, "crane", "copy", f"{image}:v1", f"{host}/team/copy:v1")
        await run(tmp_path, "crane", "pull", f"{host}/team/copy:v1", "pulled.tar")
        signed = f"{image}@{await run(tmp_path, 'crane', 'digest', f'{image}:v1')}"
        await run(tmp_path, "cosign", "generate-key-pair")
        plain = ("--allow-http-registry", signed)
        offline = ("--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "-y")
        await run(tmp_path, "cosign", "sign", *offline, "--new-bundle-format=false", *plain)
        await run(tmp_path, "cosign", "sign", *offline, *plain)
        for form in ("true", "false"):
            await run(
                tmp_path,
                "cosign",
                "verify",
                "--key=cosign.pub",
                "--insecure-ignore-tlog",
                f"--new-bundle-format={form}",
                *plain,
            )
        await run(tmp_path, "notation", "cert", "generate-test", "--default", "test")
        await run(tmp_path, "notation", "sign", "--insecure-registry", signed)
        assert "application/vnd.cncf.notary.signature" in await run(
            tmp_path, "notation", "ls", "--insecure-registry", signed
        )
