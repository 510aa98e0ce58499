from __future__ import annotations

from pathlib import Path

import pytest

from webhook.demo import signing
from webhook.errors import OperatorError
from webhook.oci import reference
from webhook.settings import RegistryHost
from webhook.terminal import given

RELEASE, PIPELINE = signing.new_key().public_pem, signing.new_key("rsa2048").public_pem


def write(path: Path, pem: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(pem)
    return path


def test_keys_make_a_policy_of_any_of_them(tmp_path: Path) -> None:
    paths = [write(tmp_path / "release.pub", RELEASE), write(tmp_path / "pipeline.pem", PIPELINE)]
    (policy,) = given.keys(paths).policies
    assert [signer.name for signer in policy.signers] == ["release", "pipeline"]
    assert policy.default is not None
    assert policy.default.needed == 1
    assert "any-namespace" in policy.namespaces


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / "old" / "cosign.pub", RELEASE), write(tmp_path / "new" / "cosign.pub", PIPELINE)]
    (policy,) = given.keys(paths).policies
    assert [signer.name for signer in policy.signers] == [str(path) for path in paths]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(RELEASE, "the same key as", id="twice"),
        pytest.param(RELEASE + PIPELINE, "one PEM block expected", id="two-keys"),
        pytest.param("", "a PEM block expected", id="empty"),
        pytest.param(signing.new_key().private_pem, "private", id="private-key"),
        pytest.param(RELEASE + " " * given.KEY_MAX_BYTES, "bytes", id="too-long"),
    ],
)
def test_a_key_that_is_none_is_refused(tmp_path: Path, content: str, said: str) -> None:
    paths = [write(tmp_path / "first.pub", RELEASE), write(tmp_path / "second.pub", content)]
    with pytest.raises(OperatorError, match=f"--key {paths[1]}: .*{said}"):
        given.keys(paths)


def test_named_hosts_get_only_what_was_said() -> None:
    known = (RegistryHost("registry.example.com", private=True), RegistryHost("127.0.0.1:5000", private=True))
    hosts = given.hosts(
        known, asked="ghcr.io/a/b", insecure=["127.0.0.1:5000"], private=["10.0.0.1", "REGISTRY.corp:443"]
    )
    assert hosts == (
        RegistryHost("registry.example.com", private=True),
        RegistryHost("127.0.0.1:5000", insecure_http=True, private=True, loopback=True),
        RegistryHost("10.0.0.1", private=True),
        RegistryHost("registry.corp", private=True),
    )


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "127.0.0.2:5000", "[::1]:5000"])
def test_image_on_loopback_names_its_registry(host: str) -> None:
    (own,) = given.hosts((), asked=f"{host}/shop/web:1", insecure=[], private=[])
    assert own == RegistryHost(reference.matching_host(host), insecure_http=True, loopback=True)
    listed = RegistryHost(reference.matching_host(host))
    assert given.hosts((listed,), asked=f"{host}/shop/web:1", insecure=[], private=[]) == (listed,)


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com:5000", "10.0.0.1", "ghcr.io"])
def test_image_elsewhere_names_nothing(host: str) -> None:
    assert given.hosts((), asked=f"{host}/shop/web:1", insecure=[], private=[]) == ()


@pytest.mark.parametrize(
    "text", ["", "registry", "host.example/path", "https://host.example", "host.example:x", "a b.c"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="--insecure-registry: a host, with or without a port, expected, found "):
        given.hosts((), asked="ghcr.io/a/b", insecure=[text], private=[])
