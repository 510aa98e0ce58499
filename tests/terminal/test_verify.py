from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.doubles.registry import HostileRegistry, basic, on, running
from tests.terminal.conftest import STRANGER, Commands, Shelf, is_documented, policy
from webhook.terminal import configured


@pytest.mark.parametrize(
    ("image", "code", "said", "last"),
    [
        pytest.param("signed", 0, "✓ release  verified", "ADMITTED in ", id="signed"),
        pytest.param("signed-bundle", 0, "✓ release  verified", "ADMITTED in ", id="signed-bundle"),
        pytest.param("unsigned", 1, "release  no_signature  ", "DENIED in ", id="unsigned"),
        pytest.param("tampered", 1, "✗ release  subject_mismatch  ", "DENIED in ", id="tampered"),
        pytest.param("wrong-key", 1, "✗ release  signature_invalid  ", "DENIED in ", id="wrong-key"),
    ],
)
async def test_an_image_is_held_against_a_key(shelf: Shelf, image: str, code: int, said: str, last: str) -> None:
    told = await shelf.verify(image, "--key", shelf.key)
    assert (told.code, told.err) == (code, "")
    assert said in told.out
    assert shelf.cases[image].digest in told.out
    assert told.last.startswith(last)


async def test_a_denial_tells_every_place_that_was_asked(shelf: Shelf) -> None:
    told = await shelf.verify("tampered", "--key", shelf.key)
    for line in ("  .sig tag       1 found", "  referrers API  none", "  fallback tag   none"):
        assert line in told.out.splitlines()
    assert "https://countersign.dev/docs/denied.md#subject_mismatch" in told.out
    assert told.last.endswith("5 registry requests")


async def test_a_signature_is_told_once_for_all_signers(shelf: Shelf, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_text(STRANGER.public_pem)
    told = await shelf.verify("signed", "--key", other, "--key", shelf.key)
    assert told.code == 0
    assert told.out.count("signature 1  ") == 1
    assert "signature 2" not in told.out
    assert "✗ other    signature_invalid" in told.out
    assert "✓ release" in told.out


async def test_policies_decide_by_namespace(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(policy(namespaces="{include: [shop]}", help="ask the release team"))
    inside = await shelf.verify("unsigned", "--policy", path, "--namespace", "shop")
    assert inside.code == 1
    assert 'policy "production"' in inside.out
    assert "  ask the release team" in inside.out.splitlines()
    outside = await shelf.verify("signed", "--policy", path, "--namespace", "other")
    assert outside.code == 1
    assert "no_policy: " in outside.out
    assert outside.last.endswith("no registry requests")


async def test_a_warn_policy_warns(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_NO_MATCH", "warn")
    path = tmp_path / "policies.yaml"
    path.write_text(policy(mode="warn"))
    told = await shelf.verify("unsigned", "--policy", path)
    assert told.code == 0
    assert 'Warning: policy "production" would deny it: no_signature' in told.out


async def test_an_outage_is_no_denial(shelf: Shelf) -> None:
    argv = ("--key", shelf.key, "--timeout", "5", "--insecure-registry", "127.0.0.1:1")
    told = await shelf.verify("127.0.0.1:1/shop/web:1.0", *argv)
    assert told.code == 2
    assert "release  registry_unavailable" not in told.out, "said of the image, not of a signer"
    assert "registry_unavailable" in told.out
    assert told.last.startswith("COULD NOT TELL in ")


async def test_an_image_on_loopback_needs_no_flag(shelf: Shelf, commands: Commands) -> None:
    image = shelf.cases["signed"].reference
    told = await asyncio.to_thread(commands.run, "verify", image, "--key", shelf.key)
    assert told.code == 0


def test_a_private_registry_is_refused_unless_it_is_named(commands: Commands, shelf: Shelf) -> None:
    told = commands.run("verify", "10.0.0.1:5000/shop/web:1.0", "--key", shelf.key)
    assert told.code == 1
    assert "host_refused" in told.out
    assert "--insecure-registry" in told.out


async def test_json_holds_every_fact(shelf: Shelf) -> None:
    told = await shelf.verify("signed", "--key", shelf.key, "--output", "json")
    document = json.loads(told.out)
    assert told.code == 0
    assert document["image"] == shelf.cases["signed"].reference
    assert document["digest"] == shelf.cases["signed"].digest
    assert (document["verdict"], document["result"], document["code"]) == ("admitted", "verified", None)
    (signature,) = document["signatures"]
    assert (signature["form"], signature["place"]) == ("legacy", "signature_tag")
    (outcome,) = signature["outcomes"]
    assert (outcome["signer"], outcome["verdict"], outcome["code"]) == ("release", "verified", None)
    assert outcome["fingerprint"] == outcome["facts"]["fingerprint"]
    (decided,) = document["policies"]
    assert (decided["name"], decided["result"], decided["counted"]) == ("command line", "verified", ["release"])


async def test_every_request_is_counted(shelf: Shelf) -> None:
    shelf.stored.requests.clear()
    document = json.loads((await shelf.verify("tampered", "--key", shelf.key, "-o", "json")).out)
    assert document["registry_requests"] == shelf.stored.requests.total()


@pytest.mark.parametrize(
    ("image", "code", "verdict", "reason"),
    [
        pytest.param("wrong-key", 1, "denied", "signature_invalid", id="denied"),
        pytest.param("127.0.0.1:1/x", 2, "could_not_tell", "registry_unavailable", id="could-not-tell"),
    ],
)
async def test_json_says_how_it_ended(shelf: Shelf, image: str, code: int, verdict: str, reason: str) -> None:
    told = await shelf.verify(image, "--key", shelf.key, "-o", "json", "--insecure-registry", "127.0.0.1:1")
    document = json.loads(told.out)
    assert (told.code, document["verdict"], document["code"]) == (code, verdict, reason)


async def test_json_has_the_fields_that_are_documented(shelf: Shelf) -> None:
    document = json.loads((await shelf.verify("tampered", "--key", shelf.key, "-o", "json")).out)
    signature = document["signatures"][0]
    for part in (document, document["asked"][0], signature, signature["outcomes"][0], document["policies"][0]):
        for field in part:
            assert is_documented(field), field


async def test_what_a_registry_says_cannot_steer_the_terminal(shelf: Shelf) -> None:
    hostile = HostileRegistry(
        on("/manifests/", 403, body=b'{"errors":[{"code":"DENIED","message":"\\u001b[2J\\u202e"}]}')
    )
    async with running(hostile) as host:
        told = await shelf.verify(f"{host}/x", "--key", shelf.key, "--insecure-registry", host)
    assert told.code == 2
    assert "access_denied" in told.out
    assert "--docker-config" in told.out
    assert all(character.isprintable() or character == "\n" for character in told.out)


async def test_the_users_own_docker_login_is_used(shelf: Shelf, tmp_path: Path) -> None:
    private = HostileRegistry(basic("Basic dXNlcjpzM2NyZXQ="))
    async with running(private) as host:
        config = tmp_path / "home" / ".docker" / "config.json"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"auths": {host: {"username": "user", "password": "s3cret"}}}))
        told = await shelf.verify(f"{host}/x:1", "--key", shelf.key, "--insecure-registry", host)
    assert "image_not_found" in told.out
    assert any(private.authorizations())
    assert "s3cret" not in told.out + told.err


def test_flags_come_before_the_environment_and_that_before_the_home_folder(tmp_path: Path) -> None:
    own = tmp_path / "home" / ".docker" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text("{}")

    def chosen(environment: dict[str, str], flag: Path | None) -> Path | None:
        settings = configured.read(environment, registries=None, docker_config=flag, ca_file=None)
        return settings.registry.docker_config

    named = {"COUNTERSIGN_DOCKER_CONFIG": "/environment"}
    assert chosen(named, Path("/flag")) == Path("/flag")
    assert chosen(named, None) == Path("/environment")
    assert chosen({}, None) == own
    own.unlink()
    assert chosen({}, None) is None


@pytest.mark.parametrize("option", ["--registries", "--docker-config", "--ca-file"])
async def test_a_file_that_cannot_be_read_is_one_line(shelf: Shelf, tmp_path: Path, option: str) -> None:
    told = await shelf.verify("signed", "--key", shelf.key, option, tmp_path / "none")
    assert (told.code, told.out) == (2, "")
    assert told.err.count("\n") == 1
