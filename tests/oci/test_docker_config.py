"""Which entry of a docker config.json is used for which repository."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from webhook.errors import Code, MalformedError, OperatorError
from webhook.oci import docker_config
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository


def auth(user: str, password: str = "s3cr3t") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def document(**fields: object) -> bytes:
    return json.dumps(fields).encode()


async def users(keys: list[str], host: str, path: str) -> list[str]:
    config = docker_config.parse(document(auths={key: auth(key) for key in keys}))
    return [found.username for found in await config.credentials(Repository(host, path))]


@pytest.mark.parametrize(
    ("key", "host", "path"),
    [
        ("ghcr.io", "ghcr.io", "team/app"),
        ("https://ghcr.io", "ghcr.io", "team/app"),
        ("https://ghcr.io/v2/", "ghcr.io", "team/app"),
        ("GHCR.io", "ghcr.io", "team/app"),
        ("ghcr.io", "ghcr.io:443", "team/app"),
        ("ghcr.io/team", "ghcr.io", "team/app"),
        ("ghcr.io/team/app", "ghcr.io", "team/app"),
        ("registry.example.com:5000", "registry.example.com:5000", "a/b"),
        ("*.example.com", "registry.example.com", "a/b"),
        ("re*.example.com", "registry.example.com", "a/b"),
        ("*.example.com:5000/a", "registry.example.com:5000", "a/b"),
        ("https://index.docker.io/v1/", "docker.io", "library/nginx"),
        ("docker.io", "docker.io", "library/nginx"),
    ],
)
async def test_an_entry_is_used_where_its_key_says(key: str, host: str, path: str) -> None:
    assert len(await users([key], host, path)) == 1


@pytest.mark.parametrize(
    ("key", "host", "path"),
    [
        ("ghcr.io", "ghcr.io.example.com", "team/app"),
        ("ghcr.io", "example.com", "ghcr.io/app"),
        ("ghcr.io", "xghcr.io", "team/app"),
        ("ghcr.io/team", "ghcr.io", "team-evil/app"),
        ("ghcr.io/team/app", "ghcr.io", "team"),
        ("registry.example.com:5000", "registry.example.com", "a/b"),
        ("registry.example.com", "registry.example.com:5000", "a/b"),
        ("registry.example.com:5000", "registry.example.com:5001", "a/b"),
        ("*.example.com", "example.com", "a/b"),
        ("*.example.com", "a.b.example.com", "a/b"),
        ("*.com", "registry.example.com", "a/b"),
        ("*", "registry.example.com", "a/b"),
        ("re*.example.com", "other.example.com", "a/b"),
        ("[a-z]*.example.com", "registry.example.com", "a/b"),
        ("docker.io", "docker.example.com", "library/nginx"),
    ],
)
async def test_an_entry_is_used_nowhere_else(key: str, host: str, path: str) -> None:
    assert await users([key], host, path) == []


async def test_the_more_specific_comes_first() -> None:
    keys = ["ghcr.io", "ghcr.io/team/app", "ghcr.io/team", "quay.io"]
    assert await users(keys, "ghcr.io", "team/app") == ["ghcr.io/team/app", "ghcr.io/team", "ghcr.io"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (auth("me", "pass:word"), Credential(username="me", password="pass:word")),
        ({"username": "me", "password": "p"}, Credential(username="me", password="p")),
        ({"username": "x", "password": "y"} | auth("me"), Credential(username="me", password="s3cr3t")),
        ({"identitytoken": "it"}, Credential(identity_token="it")),
        ({"registrytoken": "rt"}, Credential(registry_token="rt")),
        ({"auth": "bWU6czNj\ncjN0\r\n"}, Credential(username="me", password="s3cr3t")),
        ({"auth": "bWU6czNjcjN0MQ"}, Credential(username="me", password="s3cr3t1")),
        (auth("me", "line\n"), Credential(username="me", password="line\n")),
        (auth("<token>", "it"), Credential(username="<token>", password="it", identity_token="it")),
        (
            auth("00000000-0000-0000-0000-000000000000", "it"),
            Credential(username="00000000-0000-0000-0000-000000000000", password="it", identity_token="it"),
        ),
    ],
)
async def test_what_an_entry_holds(entry: dict[str, str], expected: Credential) -> None:
    config = docker_config.parse(document(auths={"ghcr.io": entry}))
    assert await config.credentials(Repository("ghcr.io", "a/b")) == (expected,)
    assert config.notes == ()


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"auth": "s3cr3t!"},
        {"auth": base64.b64encode(b"s3cr3t").decode()},
        {"auth": base64.b64encode(b"\xff:s3cr3t").decode()},
        {"username": 7},
        {"registrytoken": "s3cr3t\r\nhost: evil.example"},
        {"registrytoken": "s3cr3t s3cr3t"},
        {"registrytoken": "s3cr3té"},
        "s3cr3t",
        None,
    ],
)
async def test_a_broken_entry_hides_no_other_and_is_said(entry: object) -> None:
    config = docker_config.parse(document(auths={"quay.io": entry, "ghcr.io": auth("me")}))
    assert len(await config.credentials(Repository("ghcr.io", "a/b"))) == 1
    assert await config.credentials(Repository("quay.io", "a/b")) == ()
    (note,) = config.notes
    assert "'quay.io'" in note
    assert "s3cr3t" not in note


async def test_the_older_form_is_the_entries_alone() -> None:
    config = docker_config.parse_dockercfg(document(**{"https://index.docker.io/v1/": auth("me"), "auths": auth("x")}))
    (found,) = await config.credentials(Repository("docker.io", "library/nginx"))
    assert found.username == "me"
    assert await config.credentials(Repository("docker.io.evil.example", "library/nginx")) == ()


@pytest.mark.parametrize("parse", [docker_config.parse, docker_config.parse_dockercfg])
def test_fewer_entries_may_be_allowed(parse: Callable[..., docker_config.DockerConfig]) -> None:
    entries = {name: auth(name) for name in ("a", "b", "c")}
    data = document(auths=entries) if parse is docker_config.parse else document(**entries)
    assert parse(data, max_entries=3).notes == ()
    with pytest.raises(MalformedError) as caught:
        parse(data, max_entries=2)
    assert caught.value.code is Code.LIMIT_EXCEEDED


def test_programs_are_not_run_and_that_is_said() -> None:
    config = docker_config.parse(document(credsStore="desktop", credHelpers={"gcr.io": "gcloud"}))
    assert [note.partition(" ")[0] for note in config.notes] == ["`credsStore`", "`credHelpers`"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.MALFORMED),
        (b"[]", Code.MALFORMED),
        (b'{"auths": []}', Code.MALFORMED),
        (b'{"auths": {"a": {}, "a": {}}}', Code.MALFORMED),
        (document(auths={str(number): {} for number in range(1001)}), Code.LIMIT_EXCEEDED),
        (b" " * (1024 * 1024 + 1), Code.LIMIT_EXCEEDED),
    ],
)
def test_a_broken_file(data: bytes, code: Code) -> None:
    with pytest.raises(MalformedError) as caught:
        docker_config.parse(data)
    assert caught.value.code is code


async def test_loading(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(OperatorError, match=r"config\.json: cannot be read"):
        docker_config.load(path)
    path.write_bytes(b"{")
    with pytest.raises(OperatorError, match=r"config\.json: .*JSON"):
        docker_config.load(path)
    path.write_bytes(document(auths={"ghcr.io": auth("me")}))
    assert len(await docker_config.load(path).credentials(Repository("ghcr.io", "a/b"))) == 1
