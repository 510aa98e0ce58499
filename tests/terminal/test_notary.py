"""Signatures of the Notary Project on the command line: verified with AWS asked on loopback, and listed as hearsay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.doubles import aws
from tests.doubles.registry import HostileRegistry, running
from tests.doubles.signer import FakeSigner
from tests.notation.aws_like import AUTHORITY, AWSLikeSigner, issue, sign
from tests.terminal.conftest import Commands, Told, is_documented
from webhook.demo import signing
from webhook.demo.content import as_json, descriptor
from webhook.evidence.model import JWS_ENVELOPE, NOTARY_SIGNATURE
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest

NAME = "shop/web"
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
EMPTY = descriptor(signing.EMPTY, b"{}")
SIGNER = AWSLikeSigner()
LEAF = SIGNER.new_leaf(NOW - DAY, NOW + DAY)
ACME = issue("C=US,ST=WA,O=Acme,CN=acme.example", start=NOW - DAY, end=NOW + 365 * DAY)
CI = issue("C=US,ST=WA,O=Acme,CN=ci", ACME, start=NOW - DAY, end=NOW + DAY)
STRANGER = issue("C=US,ST=WA,O=Evil,CN=x", start=NOW - DAY, end=NOW + DAY, ca=False)


@dataclass(frozen=True, slots=True)
class Stall:
    """A registry with one image, and envelopes attached to it."""

    host: str
    stored: HostileRegistry
    image: Descriptor
    commands: Commands
    directory: Path
    signer: FakeSigner

    @property
    def reference(self) -> str:
        return f"{self.host}/{NAME}:1"

    def attach(self, envelope: bytes, media_type: str = JWS_ENVELOPE) -> None:
        body = as_json(
            {
                "schemaVersion": 2,
                "mediaType": manifest.OCI_MANIFEST,
                "artifactType": NOTARY_SIGNATURE,
                "config": EMPTY,
                "layers": [descriptor(media_type, envelope)],
                "subject": {
                    "mediaType": self.image.media_type,
                    "digest": str(self.image.digest),
                    "size": self.image.size,
                },
            }
        )
        self.stored.push_blob(NAME, envelope)
        self.stored.push_manifest(NAME, body, manifest.OCI_MANIFEST)

    def aws_signed(self, by: AWSLikeSigner = SIGNER) -> None:
        self.attach(by.sign(at=NOW, leaf=LEAF, image=self.image, expires_at=NOW + 365 * DAY))

    async def run(self, command: str, *options: object) -> Told:
        return await asyncio.to_thread(self.commands.run, command, self.reference, *options)

    async def verify(self, spec: Mapping[str, object], *options: object) -> Told:
        path = self.directory / "policy.yaml"
        head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "aws"}}
        path.write_text(json.dumps({**head, "spec": {"mode": "enforce", **spec}}))
        return await self.run("verify", "--policy", path, *options)


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSigner]:
    with FakeSigner() as fake:
        for name, value in aws.variables(signer_data=fake.url).items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
async def stall(commands: Commands, tmp_path: Path, signer: FakeSigner) -> AsyncIterator[Stall]:
    stored = HostileRegistry()
    layer = descriptor("application/vnd.oci.image.layer.v1.tar", b"web")
    body = as_json({"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "config": EMPTY, "layers": [layer]})
    digest = stored.push_manifest(NAME, body, manifest.OCI_MANIFEST, tag="1")
    image = Descriptor(manifest.OCI_MANIFEST, Digest("sha256", digest.partition(":")[2]), len(body), None, {}, None)
    async with running(stored) as host:
        yield Stall(host, stored, image, commands, tmp_path, signer)


def profiles(arn: str = SIGNER.arn, **fields: object) -> dict[str, object]:
    """Whose root has the place of AWS Signer's."""
    store = {"name": "aws-signer", "type": "signingAuthority", "certificates": SIGNER.root.pem}
    return {"signerProfiles": [{"name": "ecr", "arn": arn, **fields}], "trustStores": [store]}


def certificates(**fields: object) -> dict[str, object]:
    store = {"name": "acme", "type": "ca", "certificates": ACME.pem}
    rule = {"name": "acme", "trustStore": "acme", "subjects": ["C=US, ST=WA, O=Acme"], **fields}
    return {"certificates": [rule], "trustStores": [store]}


# --- verify


async def test_a_signature_by_the_profile_is_told_with_its_checks(stall: Stall) -> None:
    stall.aws_signed()
    told = await stall.verify(profiles())
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    for line in (
        "signature 1  Notary Project signature (JWS), from the referrers API",
        "  scheme notary.x509.signingAuthority",
        f"  profile {SIGNER.version_arn}",
        f"  job {SIGNER.job_arn}",
        f"  signed {NOW:%Y-%m-%d %H:%M:%SZ}, by the clock of AWS Signer",
        "    ✓ integrity           ok",
        "    ✓ authenticity        ok",
        "    ✓ authenticTimestamp  ok",
        "    ✓ expiry              ok",
        "    ✓ revocation          ok",
    ):
        assert line in lines
    assert "  ✓ ecr  verified  " in told.out
    assert len(stall.signer.requests) == 1


@pytest.mark.parametrize(
    ("arn", "revoked", "fields", "code", "said"),
    [
        pytest.param(f"{SIGNER.arn}x", "", {}, 1, "✗ authenticity  identity_mismatch", id="another profile"),
        pytest.param(SIGNER.arn, SIGNER.job_arn, {}, 1, "✗ ecr  revoked  ", id="revoked"),
        pytest.param(
            SIGNER.arn, SIGNER.job_arn, {"revocation": "warn"}, 0, "! revocation          revoked: ", id="warned"
        ),
        pytest.param(
            SIGNER.arn, SIGNER.job_arn, {"revocation": "off"}, 0, "- revocation          skipped", id="not asked"
        ),
    ],
)
async def test_what_fails_is_told_where_it_fails(
    stall: Stall, arn: str, revoked: str, fields: dict[str, object], code: int, said: str
) -> None:
    stall.aws_signed()
    stall.signer.revoked = {revoked}
    told = await stall.verify(profiles(arn, **fields))
    assert told.code == code
    assert said in told.out


async def test_an_outage_at_aws_is_no_denial(stall: Stall) -> None:
    stall.aws_signed()
    stall.signer.failing = aws.refusal(500, "InternalServiceErrorException")
    told = await stall.verify(profiles())
    assert told.code == 2
    assert "    ? revocation          revocation_unknown" in told.out.splitlines()
    assert "  .sig tag       not needed" in told.out.splitlines()


async def test_a_profile_can_be_named_without_a_policy(stall: Stall) -> None:
    stall.aws_signed()
    told = await stall.run("verify", "--profile", SIGNER.arn)
    assert told.code == 1
    assert "authenticity  untrusted_material" in told.out, "the root is not that of AWS"
    assert stall.signer.requests == []
    assert 'policy "command line"' in told.out


async def test_a_certificate_is_held_against_its_rule(stall: Stall) -> None:
    stall.attach(
        sign(issue("C=US,ST=WA,O=Acme,CN=ci", ACME, start=NOW - DAY, end=NOW + DAY), at=NOW, image=stall.image)
    )
    told = await stall.verify(certificates())
    assert told.code == 0
    assert f"  signed {NOW:%Y-%m-%d %H:%M:%SZ}, as the signer says" in told.out.splitlines()
    other = await stall.verify(certificates(subjects=["C=US, ST=WA, O=Other"]))
    assert other.code == 1
    assert "authenticity  identity_mismatch" in other.out


async def test_what_is_only_told_is_told_once(stall: Stall) -> None:
    stall.attach(
        sign(issue("C=US,ST=WA,O=Evil,CN=x", start=NOW - DAY, end=NOW + DAY, ca=False), at=NOW, image=stall.image)
    )
    told = await stall.verify(certificates(level="audit"))
    assert told.code == 0
    assert told.out.count("    ! authenticity") == 1


async def test_what_proves_nothing_is_told_as_hearsay(stall: Stall) -> None:
    stall.aws_signed()
    told = await stall.verify(profiles(f"{SIGNER.arn}x"))
    assert "  says of itself, not verified:" in told.out
    assert f"    profile {SIGNER.version_arn}" in told.out.splitlines()


async def test_json_has_the_checks_and_the_notes(stall: Stall) -> None:
    stall.aws_signed()
    stall.signer.revoked = {SIGNER.job_arn}
    document = json.loads((await stall.verify(profiles(revocation="warn"), "--output", "json")).out)
    (signature,) = document["signatures"]
    (outcome,) = signature["outcomes"]
    checks = ("integrity", "authenticity", "authenticTimestamp", "expiry")
    assert [outcome["facts"][check] for check in checks] == ["ok"] * 4
    assert outcome["facts"]["revocation"].startswith("revoked: ")
    assert outcome["notes"] == [outcome["facts"]["revocation"]]
    assert outcome["proof"]["material"] == f"profile:{SIGNER.arn.lower()}"
    for field in (*signature, *outcome, *checks, "revocation"):
        assert is_documented(field), field


# --- keys in AWS KMS


@dataclass(frozen=True, slots=True)
class KMSKey:
    """A key that only KMS has, under `alias`."""

    client: Any
    alias: str

    def sign(self, data: bytes) -> bytes:
        asked = {"MessageType": "RAW", "SigningAlgorithm": "ECDSA_SHA_256"}
        return bytes(self.client.sign(KeyId=self.alias, Message=data, **asked)["Signature"])


@pytest.fixture
def key(signer: FakeSigner, monkeypatch: pytest.MonkeyPatch) -> Iterator[KMSKey]:
    with aws.moto() as url:
        for name, value in aws.variables(url).items():
            monkeypatch.setenv(name, value)
        client = boto3.client("kms", region_name=aws.REGION)
        made = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        client.create_alias(AliasName="alias/release", TargetKeyId=made)
        yield KMSKey(client, "alias/release")
        client.delete_alias(AliasName="alias/release")
        client.close()


@pytest.mark.parametrize(
    ("named", "code", "said"),
    [
        pytest.param("awskms:///alias/release", 0, "✓ release  verified", id="alias"),
        pytest.param("awskms:///alias/none", 2, "no such key or alias", id="no such alias"),
    ],
)
async def test_a_key_in_kms_can_be_named(stall: Stall, key: KMSKey, named: str, code: int, said: str) -> None:
    digest = str(stall.image.digest)
    payload = signing.simple_payload(digest, stall.reference)
    signature = {"dev.cosignproject.cosign/signature": signing.base64_of(await asyncio.to_thread(key.sign, payload))}
    signed = signing.legacy_manifest(digest, (signing.SignedLayer(payload, signature),))
    stall.stored.push_blob(NAME, payload)
    stall.stored.push_manifest(NAME, signed.manifest, manifest.OCI_MANIFEST, tag=f"{digest.replace(':', '-')}.sig")
    told = await stall.run("verify", "--key", named)
    assert told.code == code
    assert said in told.out + told.err


async def test_an_endpoint_on_the_command_line_is_allowed_by_being_named(
    stall: Stall, key: KMSKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = key.client.meta.endpoint_url.removeprefix("http://").replace("localhost", "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    told = await stall.run("verify", "--key", f"awskms://{endpoint}/alias/release")
    assert (told.code, told.err) == (1, "")
    assert "no_signature" in told.out


# --- discover


async def test_a_signature_is_listed_with_what_it_says(stall: Stall) -> None:
    stall.aws_signed()
    told = await stall.run("discover")
    assert told.code == 0
    for said in (
        "Notary Project signature (JWS)",
        f"says it was signed by {LEAF.certificate.subject.rfc4514_string()}",
        f"says it was signed {NOW:%Y-%m-%d %H:%M:%SZ} and expires ",
        "scheme notary.x509.signingAuthority, asks for the plug-in com.amazonaws.signer.notation.plugin",
        f"profile {SIGNER.version_arn}",
    ):
        assert said in told.out


async def test_json_says_what_the_envelope_says(stall: Stall) -> None:
    stall.aws_signed()
    document: dict[str, Any] = json.loads((await stall.run("discover", "--output", "json")).out)
    (item,) = (one for place in document["places"] for one in place["items"])
    said = item["notary"]
    assert (said["envelope"], said["scheme"], said["profile"]) == ("JWS", AUTHORITY, SIGNER.version_arn)
    assert said["about"] == str(stall.image.digest)
    text = (Path(__file__).parents[2] / "docs" / "discover.md").read_text()
    assert [field for field in said if f"`{field}`" not in text] == []


async def test_an_envelope_that_cannot_be_read_is_said_to_be_so(stall: Stall) -> None:
    stall.attach(b"{}")
    stall.attach(b"{}", "application/json")
    document = json.loads((await stall.run("discover", "--output", "json")).out)
    problems = [one["problem"] for place in document["places"] for one in place["items"]]
    assert sum(problem is not None for problem in problems) == 1
