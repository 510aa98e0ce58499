from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from webhook.demo import signing
from webhook.errors import OperatorError
from webhook.evidence.model import SignerKind
from webhook.oci import reference
from webhook.policy.model import PolicySet
from webhook.settings import RegistryHost
from webhook.terminal import given
from webhook.trust import mirror
from webhook.trust.identity import Claims, Identity
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource

RELEASE, PIPELINE = signing.new_key().public_pem, signing.new_key("rsa2048").public_pem


def write(path: Path, pem: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(pem)
    return path


def test_keys_make_a_policy_of_any_of_them(tmp_path: Path) -> None:
    paths = [write(tmp_path / "release.pub", RELEASE), write(tmp_path / "pipeline.pem", PIPELINE)]
    (policy,) = given.signers(keys=[str(path) for path in paths]).policies
    assert [signer.name for signer in policy.signers] == ["release", "pipeline"]
    assert policy.default is not None
    assert policy.default.needed == 1
    assert "any-namespace" in policy.namespaces


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / "old" / "cosign.pub", RELEASE), write(tmp_path / "new" / "cosign.pub", PIPELINE)]
    (policy,) = given.signers(keys=[str(path) for path in paths]).policies
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
        given.signers(keys=[str(path) for path in paths])


ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "https://github.com/acme/api/.github/workflows/release.yml@refs/heads/main"
CLAIMS = Claims(ISSUER, (("uri", SUBJECT),))


def identity_of(policies: PolicySet) -> tuple[Identity, RootSource]:
    (policy,) = policies.policies
    (signer,) = policy.signers
    assert policy.default is not None
    assert (policy.default.signers, policy.default.needed, signer.kind) == ((signer,), 1, SignerKind.KEYLESS)
    assert isinstance(signer.material, Identity)
    assert signer.trust_root is not None
    return signer.material, signer.trust_root


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param(lambda: given.identities(issuer=ISSUER, subject=SUBJECT), id="exact"),
        pytest.param(
            lambda: given.identities(
                issuer_regexp=r"https://token\.actions\.githubusercontent\.com",
                subject_regexp=r"^https://github\.com/acme/api/.*$",
            ),
            id="regular expressions",
        ),
    ],
)
def test_an_identity_makes_a_policy(identity: Callable[[], PolicySet]) -> None:
    rule, source = identity_of(identity())
    assert source == PUBLIC_GOOD
    assert rule.mismatch(CLAIMS) == ""
    assert rule.mismatch(Claims("https://evil.example", CLAIMS.subjects))
    assert rule.mismatch(Claims(ISSUER, (("uri", "https://github.com/evil/api"),)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            {"subject": SUBJECT},
            "--certificate-oidc-issuer: required, and missing: --certificate-oidc-issuer or "
            "--certificate-oidc-issuer-regexp",
            id="no issuer",
        ),
        pytest.param(
            {"issuer": ISSUER},
            "--certificate-identity: required, and missing: --certificate-identity or --certificate-identity-regexp",
            id="no subject",
        ),
        pytest.param(
            {"issuer": ISSUER, "issuer_regexp": "x", "subject": SUBJECT},
            "--certificate-oidc-issuer-regexp: --certificate-oidc-issuer is given too: one of both expected",
            id="two issuers",
        ),
        pytest.param(
            {"issuer": ISSUER, "subject_regexp": ".*"}, "--certificate-identity-regexp: matches everything", id="all"
        ),
        pytest.param(
            {"issuer": ISSUER, "subject": ""},
            "--certificate-identity: text expected, found empty text",
            id="empty",
        ),
    ],
)
def test_an_identity_that_says_too_little_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        given.identities(**options)  # type: ignore[arg-type]
    assert str(caught.value) == said


def without(path: Path, *names: str) -> Path:
    document = json.loads(mirror.packaged_document())
    for name in names:
        del document[name]
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("removed", "demanded"),
    [
        pytest.param((), (True, True, False), id="whole"),
        pytest.param(("ctlogs",), (True, False, False), id="no CT log"),
        pytest.param(("tlogs",), (False, True, True), id="no log, so a timestamp"),
        pytest.param(("timestampAuthorities",), (True, True, False), id="no timestamp authority"),
    ],
)
def test_of_a_trusted_root_what_it_has_is_demanded(
    tmp_path: Path, removed: tuple[str, ...], demanded: tuple[bool, bool, bool]
) -> None:
    path = without(tmp_path / "own.json", *removed)
    _, source = identity_of(given.identities(issuer=ISSUER, subject=SUBJECT, trusted_root=path))
    assert (source.name, source.kind) == ("own.json", RootKind.INLINE)
    assert source.inline is not None
    assert source.key == f"inline sha256:{source.inline.fingerprint}"
    assert (source.require_log, source.require_sct, source.require_timestamp) == demanded


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        pytest.param(("certificateAuthorities",), "a certificate authority, and a transparency log or", id="authority"),
        pytest.param(("tlogs", "timestampAuthorities"), "a transparency log or a timestamp authority", id="no clock"),
        pytest.param(("mediaType",), "mediaType", id="another document"),
    ],
)
def test_a_trusted_root_that_can_prove_nothing_is_refused(tmp_path: Path, removed: tuple[str, ...], said: str) -> None:
    path = without(tmp_path / "own.json", *removed)
    with pytest.raises(OperatorError, match=f"--trusted-root {path}: .*{said}"):
        given.identities(issuer=ISSUER, subject=SUBJECT, trusted_root=path)


def test_a_trusted_root_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"--trusted-root .*: cannot be read: No such file"):
        given.identities(issuer=ISSUER, subject=SUBJECT, trusted_root=tmp_path / "gone.json")


def test_named_hosts_get_only_what_was_said() -> None:
    known = (RegistryHost("registry.example.com", private=True), RegistryHost("127.0.0.1:5000", private=True))
    hosts = given.hosts(
        known, asked=["ghcr.io/a/b"], insecure=["127.0.0.1:5000"], private=["10.0.0.1", "REGISTRY.corp:443"]
    )
    assert hosts == (
        RegistryHost("registry.example.com", private=True),
        RegistryHost("127.0.0.1:5000", insecure_http=True, private=True, loopback=True),
        RegistryHost("10.0.0.1", private=True),
        RegistryHost("registry.corp", private=True),
    )


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "127.0.0.2:5000", "[::1]:5000"])
def test_image_on_loopback_names_its_registry(host: str) -> None:
    (own,) = given.hosts((), asked=[f"{host}/shop/web:1"], insecure=[], private=[])
    assert own == RegistryHost(reference.matching_host(host), insecure_http=True, loopback=True)
    listed = RegistryHost(reference.matching_host(host))
    assert given.hosts((listed,), asked=[f"{host}/shop/web:1"], insecure=[], private=[]) == (listed,)


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com:5000", "10.0.0.1", "ghcr.io"])
def test_image_elsewhere_names_nothing(host: str) -> None:
    assert given.hosts((), asked=[f"{host}/shop/web:1"], insecure=[], private=[]) == ()


@pytest.mark.parametrize(
    "text", ["", "registry", "host.example/path", "https://host.example", "host.example:x", "a b.c"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="--insecure-registry: a host, with or without a port, expected, found "):
        given.hosts((), asked=["ghcr.io/a/b"], insecure=[text], private=[])
