"""What verifying depends on is tried from here, and told by what it is, with what is missing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.doubles import aws, ecr
from tests.doubles.aws import Response
from tests.doubles.registry import HostileRegistry, on, raw, running
from tests.doubles.signer import FakeSigner
from tests.oci.test_hosts import issue
from tests.terminal.conftest import Commands, Shelf, Told, policy
from webhook.demo.registry import MemoryRegistry

HEAD = "apiVersion: countersign.dev/v1\nkind: TrustPolicy\nmetadata: {name: aws}\nspec:\n  mode: enforce\n"
PROFILE = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/ecr_profile"
ALIAS = f"awskms:///arn:aws:kms:{aws.REGION}:{aws.ACCOUNT}:alias"


@pytest.fixture(scope="module")
def services() -> Iterator[str]:
    """The URL of KMS, ECR and STS; there is the key `alias/release`."""
    with aws.moto() as url:
        secrets = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        kms = boto3.client("kms", region_name=aws.REGION, endpoint_url=url, **secrets)
        made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName="alias/release", TargetKeyId=made)
        kms.close()
        yield url


@pytest.fixture
def signer() -> Iterator[FakeSigner]:
    with FakeSigner() as fake:
        yield fake


@pytest.fixture
def cloud(services: str, signer: FakeSigner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK asks loopback for everything, with static credentials."""
    use(aws.variables(services, signer_data=signer.url), monkeypatch)


def use(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True, slots=True)
class Practice:
    """Runs `countersign doctor`."""

    commands: Commands
    directory: Path

    def see(self, *options: object, **fields: str) -> Told:
        """With a policy of these `fields`, where there are any."""
        if fields:
            path = self.directory / "policy.yaml"
            path.write_text(HEAD + "".join(f"  {field}: {value}\n" for field, value in fields.items()))
            options = (*options, "--policy", path)
        return self.commands.run("doctor", *options)

    def document(self, *options: object, **fields: str) -> dict[str, Any]:
        told = self.see(*options, "--output", "json", **fields)
        assert told.err == ""
        document: dict[str, Any] = json.loads(told.out)
        assert told.code == (0 if document["well"] else 1)
        return document

    def check(self, kind: str, name: str, *options: object, **fields: str) -> dict[str, Any]:
        """The check of that name, of the one subject of that kind."""
        (subject,) = (one for one in self.document(*options, **fields)["subjects"] if one["kind"] == kind)
        (check,) = (one for one in subject["checks"] if one["name"] == name)
        return dict(check)


@pytest.fixture
def doctor(commands: Commands, tmp_path: Path) -> Practice:
    return Practice(commands, tmp_path)


def key(alias: str) -> str:
    return f"[{{name: pipeline, kms: '{ALIAS}/{alias}'}}]"


def profile(arn: str = PROFILE, revocation: str = "enforce") -> str:
    return f"[{{name: ecr, arn: '{arn}', revocation: '{revocation}'}}]"


# --- registries


async def test_an_image_that_can_be_read_is_well(shelf: Shelf, doctor: Practice) -> None:
    told = await asyncio.to_thread(doctor.see, shelf.cases["signed-bundle"].reference)
    assert (told.code, told.err) == (0, "")
    for line in (
        f"registry {shelf.host}",
        f"  ✓ address      127.0.0.1, port {shelf.host.partition(':')[2]}, loopback",
        "  ✓ answer       HTTP 200 over plain http",
        "  - credentials  none: it is asked anonymously",
        f"  ✓ manifest   {shelf.cases['signed-bundle'].digest}",
        "  ✓ referrers  1 listed",
    ):
        assert line in told.out.splitlines()
    assert told.last == "all well"


async def test_an_image_that_is_not_there_is_not_well(shelf: Shelf, doctor: Practice) -> None:
    check = await asyncio.to_thread(doctor.check, "image", "manifest", f"{shelf.host}/shop/none:1")
    assert (check["health"], check["missing_action"]) == ("wrong", None)
    assert "image_not_found: " in check["detail"]


async def test_digests_are_looked_for_too(shelf: Shelf, doctor: Practice) -> None:
    there, digest = shelf.cases["signed"].reference.rpartition(":")[0], shelf.cases["signed"].digest
    check = await asyncio.to_thread(doctor.check, "image", "manifest", f"{there}@{digest}")
    assert (check["health"], check["detail"]) == ("well", digest)
    absent = "sha256:" + "0" * 64
    check = await asyncio.to_thread(doctor.check, "image", "manifest", f"{there}@{absent}")
    assert check["health"] == "wrong"
    assert f"has no {absent}" in check["detail"]


def test_registries_of_rules_and_of_the_settings_are_tried(doctor: Practice, tmp_path: Path) -> None:
    listed = tmp_path / "registries.yaml"
    listed.write_text('registries: [{host: "127.0.0.1:1", insecureHTTP: true, loopback: true}]')
    path = tmp_path / "policies.yaml"
    images = '["127.0.0.1:2/shop", "*.example.com", "127.0.0.1:1/**", docker.io/acme]'
    path.write_text(policy(rules=f"[{{images: {images}}}]"))
    document = doctor.document("--registries", listed, "--policy", path)
    assert [one["name"] for one in document["subjects"]] == ["127.0.0.1:2", "127.0.0.1:1", "docker.io"]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        pytest.param("10.0.0.1:5000", "is an IP address", id="address"),
        pytest.param("registry.corp.internal", "a private network", id="name"),
    ],
)
def test_what_may_not_be_dialled_is_told_with_the_setting(doctor: Practice, host: str, said: str) -> None:
    check = doctor.check("registry", "address", f"{host}/shop:1")
    assert check["health"] == "wrong"
    assert said in check["detail"]
    assert "registries.yaml" in check["remedy"]


def test_an_address_that_is_listed_and_may_not_be_dialled_is_told(doctor: Practice, tmp_path: Path) -> None:
    listed = tmp_path / "registries.yaml"
    listed.write_text('registries: [{host: "127.0.0.1:1"}]')
    check = doctor.check("registry", "address", "--registries", listed)
    assert check["detail"].startswith("127.0.0.1 is a loopback address (setting `loopback: true`")


def test_a_name_without_address_is_told(doctor: Practice, tmp_path: Path) -> None:
    listed = tmp_path / "registries.yaml"
    nowhere = f"{'a' * 64}.example.com"  # no label of DNS is as long
    listed.write_text(f"registries: [{{host: registry.example.com, endpoint: {nowhere}}}]")
    check = doctor.check("registry", "address", "--registries", listed)
    assert check["detail"].startswith("no address is known of the name ")


async def test_a_certificate_that_is_not_trusted_is_told(doctor: Practice, tmp_path: Path) -> None:
    certificate = issue(tmp_path, "127.0.0.1")
    async with running(MemoryRegistry(), certificate=certificate) as host:
        listed = tmp_path / "registries.yaml"
        listed.write_text(f'registries: [{{host: "{host}", loopback: true}}]')
        options = ("registry", "answer", "--registries", listed)
        strange = await asyncio.to_thread(doctor.check, *options)
        trusted = await asyncio.to_thread(doctor.check, *options, "--ca-file", certificate[0])
    assert strange["health"] == "wrong"
    assert "--ca-file" in strange["remedy"]
    assert trusted["health"] == "well"


@pytest.mark.parametrize(
    ("status", "health"), [(200, "well"), (401, "well"), (404, "well"), (429, "wrong"), (503, "wrong")]
)
async def test_who_answers_and_is_not_overwhelmed_is_well(doctor: Practice, status: int, health: str) -> None:
    async with running(HostileRegistry(on("/v2/", status))) as host:
        check = await asyncio.to_thread(doctor.check, "registry", "answer", f"{host}/shop:1")
    assert (check["health"], check["detail"]) == (health, f"HTTP {status} over plain http")


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def test_a_registry_that_hangs_ends_in_time(doctor: Practice) -> None:
    async with raw(_say_nothing) as host:
        check = await asyncio.to_thread(doctor.check, "image", "time", f"{host}/shop:1", "--timeout", "0.3")
    assert check["detail"] == "not ended within --timeout, 0.3 s"


async def test_credentials_of_docker_are_named_by_their_file(shelf: Shelf, doctor: Practice, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {shelf.host: {"username": "user", "password": "s3cret"}}}))
    image = shelf.cases["signed"].reference
    told = await asyncio.to_thread(doctor.see, image, "--docker-config", config)
    assert f"  ✓ credentials  from {config}" in told.out.splitlines()
    assert "s3cret" not in told.out


# --- AWS


def test_all_is_well_at_aws(cloud: None, doctor: Practice, signer: FakeSigner) -> None:
    told = doctor.see(trustedKeys=key("release"), signerProfiles=profile())
    assert (told.code, told.err) == (0, "")
    for said in (
        "identity at AWS\n  ✓ credentials  from environment variables\n  ✓ identity     arn:aws:sts::",
        f"key {ALIAS}/release\n  ✓ address       127.0.0.1: 127.0.0.1, port ",
        "  ✓ GetPublicKey  ECDSA P-256, sha256:",
        f"profile {PROFILE}\n  ✓ address              127.0.0.1: ",
        "  ✓ GetRevocationStatus  answered in us-west-2, of a job that was made up",
    ):
        assert said in told.out
    (asked,) = signer.questions
    assert asked["profileVersionArn"] == [f"{PROFILE}/0000000000"]


def test_nobody_at_aws_is_asked_where_nothing_of_it_is_named(
    commands: Commands, doctor: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(aws.without_credentials(), monkeypatch)
    document = doctor.document("127.0.0.1:1/x")
    assert [one["kind"] for one in document["subjects"]] == ["registry", "image"]


@pytest.mark.parametrize(
    ("failure", "health", "action"),
    [
        pytest.param(None, "well", None, id="nothing is revoked"),
        pytest.param(aws.refusal(400, "ValidationException", "no such job"), "well", None, id="no such job"),
        pytest.param(
            aws.refusal(403, "AccessDeniedException"),
            "wrong",
            "signer:GetRevocationStatus",
            id="a permission is missing",
        ),
        pytest.param(aws.refusal(403, "UnrecognizedClientException"), "wrong", None, id="nobody that AWS knows"),
        pytest.param(aws.refusal(500, "InternalServiceErrorException"), "wrong", None, id="an outage"),
        pytest.param(Response(body=b"<html>log in</html>"), "wrong", None, id="a captive proxy"),
    ],
)
def test_a_profile_is_well_where_its_revocation_may_be_asked(
    cloud: None, doctor: Practice, signer: FakeSigner, failure: Response | None, health: str, action: str | None
) -> None:
    signer.failing = failure
    check = doctor.check("profile", "GetRevocationStatus", signerProfiles=profile())
    assert (check["health"], check["missing_action"]) == (health, action)


def test_nobody_is_asked_of_a_profile_whose_revocation_is_off(
    cloud: None, doctor: Practice, signer: FakeSigner
) -> None:
    check = doctor.check("profile", "GetRevocationStatus", signerProfiles=profile(revocation="off"))
    assert check["health"] == "not_tried"
    assert signer.requests == []


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        pytest.param("none", "there is no such key or alias", id="no such alias"),
        pytest.param("release", "ECDSA P-256", id="one that is there"),
    ],
)
def test_a_key_is_well_where_it_can_be_had(cloud: None, doctor: Practice, alias: str, said: str) -> None:
    check = doctor.check("key", "GetPublicKey", trustedKeys=key(alias))
    assert check["health"] == ("well" if alias == "release" else "wrong")
    assert said in check["detail"]


def test_a_key_that_may_not_be_read_names_the_permission(
    cloud: None, doctor: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aws.Server(lambda _: aws.refusal(400, "AccessDeniedException", "User: arn:aws:sts::1:x is not")) as denying:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", denying.url)
        check = doctor.check("key", "GetPublicKey", trustedKeys=key("release"))
    assert (check["health"], check["missing_action"]) == ("wrong", "kms:GetPublicKey")


def test_an_endpoint_that_nobody_listed_is_told(cloud: None, doctor: Practice) -> None:
    named = "[{name: pipeline, kms: 'awskms://kms.example.com/alias/release'}]"
    check = doctor.check("key", "GetPublicKey", trustedKeys=named)
    assert "COUNTERSIGN_KMS_ENDPOINTS" in check["detail"]


def test_who_has_no_identity_is_told_how_to_get_one(doctor: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws.without_credentials(), monkeypatch)
    document = doctor.document(trustedKeys=key("release"), signerProfiles=profile())
    checks = [check for subject in document["subjects"] for check in subject["checks"]]
    assert [check["name"] for check in checks] == ["credentials", "GetPublicKey", "GetRevocationStatus"]
    assert all("Pod Identity" in check["remedy"] for check in checks)


@pytest.mark.parametrize("credentials", [True, False], ids=["somebody", "nobody"])
def test_without_a_region_the_identity_is_asked_for_where_the_policy_says(
    cloud: None, doctor: Practice, monkeypatch: pytest.MonkeyPatch, credentials: bool
) -> None:
    monkeypatch.delenv("AWS_REGION")
    if not credentials:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (subject,) = (one for one in doctor.document(signerProfiles=profile())["subjects"] if one["kind"] == "identity")
    checks = [(check["name"], check["health"]) for check in subject["checks"]]
    found = [("credentials", "well"), ("identity", "well")]
    assert checks == (found if credentials else [("credentials", "wrong")])
    assert "region" not in str(subject)


def test_an_identity_that_nobody_can_tell_does_no_harm(
    cloud: None, doctor: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    told = doctor.see(signerProfiles=profile())
    assert told.code == 0
    assert "  - identity  sts:GetCallerIdentity" in told.out


# --- ECR


async def test_ecr_is_asked_with_its_token(cloud: None, doctor: Practice, tmp_path: Path) -> None:
    stored = HostileRegistry()
    async with running(stored) as endpoint:
        told = await asyncio.to_thread(
            doctor.see, "--registries", at_ecr(tmp_path, endpoint), f"{ecr.HOST}/{ecr.OWN}:1"
        )
    assert "  ✓ credentials  from ecr:GetAuthorizationToken" in told.out.splitlines()
    assert any(stored.authorizations())


async def test_what_ecr_refuses_names_the_permission(cloud: None, doctor: Practice, tmp_path: Path) -> None:
    async with running(HostileRegistry(on("/manifests/", 403))) as endpoint:
        options = ("image", "manifest", "--registries", at_ecr(tmp_path, endpoint), f"{ecr.HOST}/{ecr.OWN}:1")
        check = await asyncio.to_thread(doctor.check, *options)
    assert (check["health"], check["missing_action"]) == ("wrong", "ecr:BatchGetImage")


async def test_who_has_no_login_to_ecr_is_not_said_to_lack_a_permission(
    doctor: Practice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(aws.without_credentials(), monkeypatch)
    async with running(HostileRegistry(on("/manifests/", 401))) as endpoint:
        options = ("--registries", at_ecr(tmp_path, endpoint), f"{ecr.HOST}/{ecr.OWN}:1")
        document = await asyncio.to_thread(doctor.document, *options)
    checks = [check for subject in document["subjects"] for check in subject["checks"] if check["health"] == "wrong"]
    assert [check["name"] for check in checks] == ["credentials", "credentials", "manifest"]
    assert [check["missing_action"] for check in checks] == [None] * 3


async def test_a_login_to_ecr_that_is_denied_names_the_permission(
    cloud: None, doctor: Practice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aws.Server(lambda _: aws.refusal(400, "AccessDeniedException")) as denying:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", denying.url)
        async with running(HostileRegistry()) as endpoint:
            options = ("registry", "credentials", "--registries", at_ecr(tmp_path, endpoint))
            check = await asyncio.to_thread(doctor.check, *options)
    assert (check["health"], check["missing_action"]) == ("wrong", "ecr:GetAuthorizationToken")


def at_ecr(directory: Path, endpoint: str) -> Path:
    path = directory / "registries.yaml"
    entry = f'{{host: {ecr.HOST}, endpoint: "{endpoint}", insecureHTTP: true, loopback: true}}'
    path.write_text(f"registries: [{entry}]")
    return path


# --- the rest


def test_nothing_to_look_at_is_a_mistake(doctor: Practice) -> None:
    told = doctor.see()
    assert (told.code, told.out) == (2, "")
    assert "nothing to look at" in told.err


def test_json_has_the_fields_that_are_documented(cloud: None, doctor: Practice) -> None:
    document = doctor.document(signerProfiles=profile())
    text = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    for part in (document, document["subjects"][0], document["subjects"][0]["checks"][0]):
        for field in part:
            assert f"`{field}`" in text or f"`{field}[]`" in text, field
