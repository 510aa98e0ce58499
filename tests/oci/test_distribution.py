"""The client against the registry that most others are made of: Basic credentials, no referrers API."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.doubles.image import CONFIG, LAYER, MANIFEST, refusal
from tests.doubles.registry import client, listed
from webhook.demo.content import digest_of
from webhook.errors import Code
from webhook.oci import docker_config, manifest
from webhook.oci.docker_config import DockerConfig
from webhook.oci.manifest import Manifest
from webhook.oci.reference import Repository, parse_digest

TOOL = Path(__file__).resolve().parents[2] / ".tools" / "bin" / "registry"
# Openwall's test vector of bcrypt.
PASSWORD, BCRYPT = "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
CONFIGURATION = """\
version: 0.1
storage: {{inmemory: {{}}}}
http: {{addr: "{host}"}}
auth: {{htpasswd: {{realm: test, path: "{folder}/htpasswd"}}}}
"""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "htpasswd").write_text(f"me:{BCRYPT}\n")
    configuration = tmp_path / "config.yml"
    configuration.write_text(CONFIGURATION.format(host=host, folder=tmp_path))
    process = await asyncio.create_subprocess_exec(
        TOOL, "serve", configuration, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await push(host)
        yield host
    finally:
        process.terminate()
        await process.wait()


async def push(host: str) -> None:
    transport = httpx.AsyncHTTPTransport(retries=10)  # until it listens
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", auth=("me", PASSWORD)) as http:
        for data in (LAYER, CONFIG):
            location = (await http.post("/v2/team/app/blobs/uploads/")).headers["location"]
            where = httpx.URL(location).copy_merge_params({"digest": digest_of(data)})
            assert (await http.put(where, content=data)).status_code == 201
        headers = {"content-type": manifest.OCI_MANIFEST}
        assert (await http.put("/v2/team/app/manifests/v1", content=MANIFEST, headers=headers)).status_code == 201


def credentials(host: str, password: str) -> tuple[DockerConfig, ...]:
    auth = base64.b64encode(f"me:{password}".encode()).decode()
    return (docker_config.parse(json.dumps({"auths": {host: {"auth": auth}}}).encode()),)


@pytest.mark.tools("registry")
async def test_pulling_with_a_password(host: str) -> None:
    repository = Repository(host, "team/app")
    async with client(listed(host), credentials=credentials(host, PASSWORD)) as (registry, observed):
        digest = await registry.resolve(repository, "v1")
        assert digest == parse_digest(digest_of(MANIFEST))
        found = await registry.fetch_manifest(repository, digest)
        assert isinstance(found, Manifest)
        assert await registry.fetch_blob(repository, found.layers[0], max_bytes=100) == LAYER
        assert await registry.fetch_manifest(repository, f"sha256-{digest.hex}.sig") is None
        assert (await registry.fetch_referrers(repository, digest)).supported is False
        assert registry.lacks_referrers(host)
    assert [status for _, _, status in observed.requests] == [401, 200, 200, 200, 404, 404]


@pytest.mark.tools("registry")
@pytest.mark.parametrize("password", ["U*V", None])
async def test_a_wrong_password_and_none(password: str | None, host: str) -> None:
    given = credentials(host, password) if password is not None else ()
    async with client(listed(host), credentials=given) as (registry, _):
        error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
    assert error.code is Code.ACCESS_DENIED
