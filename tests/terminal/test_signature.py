"""Signatures and attestations of a private Sigstore as `verify` tells them: what they prove, what they only say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.registry import running
from tests.private_sigstore import attach, documents
from tests.private_sigstore.instance import AT, PrivateSigstore, key_of
from tests.terminal.conftest import Commands, Told, is_documented
from webhook.demo.content import as_json, descriptor
from webhook.demo.registry import MemoryRegistry
from webhook.demo.signing import EMPTY
from webhook.oci import manifest

NAME, OURS = "shop/web", PrivateSigstore()
SUBJECT, ISSUER = "dev@example.com", "https://issuer.example.com"
SLSA = "https://slsa.dev/provenance/v1"
EXTENSIONS = {
    "1.3.6.1.4.1.57264.1.2": b"push",
    "1.3.6.1.4.1.57264.1.3": b"0" * 40,
    "1.3.6.1.4.1.57264.1.4": b"Release",
    "1.3.6.1.4.1.57264.1.5": b"acme/shop",
}
DEMAND = """
  rules:
    - images: [{host}]
      attestations:
        - predicateType: slsaprovenance1
          condition: predicate.builder == 'ci'
"""
ANNOTATED = """
  rules:
    - images: [{host}]
      annotations:
        env: prod
"""


@dataclass(frozen=True, slots=True)
class Shop:
    """One image, signed by nobody yet, whom the command line's identity should have signed."""

    host: str
    stored: MemoryRegistry
    digest: str
    folder: Path
    commands: Commands

    def attach(self, data: bytes, predicate_type: str | None = None) -> None:
        said = {"predicate_type": predicate_type} if predicate_type else {}
        attach.bundle(self.stored, NAME, self.digest, data, **said)

    async def verify(self, *options: object) -> Told:
        return await asyncio.to_thread(self.commands.run, "verify", f"{self.host}/{NAME}:1.0", *options)

    async def by_identity(self, *options: object) -> Told:
        whom = ("--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER)
        return await self.verify(*whom, "--trusted-root", self.root(), *options)

    async def by_policy(self, *policies: Path) -> Told:
        return await self.verify(*(part for path in policies for part in ("--policy", path)))

    def root(self) -> Path:
        path = self.folder / "root.json"
        path.write_bytes(OURS.trusted_root())
        return path

    def policy(self, name: str = "production", more: str = "") -> Path:
        path = self.folder / f"{name}.yaml"
        root = OURS.trusted_root().decode()
        path.write_text(f"""\
apiVersion: countersign.dev/v1
kind: TrustPolicy
metadata: {{name: {name}}}
spec:
  mode: enforce
  trustRoots:
    - name: private
      trustedRoot: '{root}'
  keyless:
    - {{name: dev, issuer: "{ISSUER}", subject: {SUBJECT}, trustRoot: private}}
{more.format(host=self.host)}""")
        return path


@pytest.fixture
async def shop(tmp_path: Path, commands: Commands) -> AsyncIterator[Shop]:
    stored = MemoryRegistry()
    layer = descriptor("application/vnd.oci.image.layer.v1.tar", b"web")
    body = as_json(
        {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "config": descriptor(EMPTY, b"{}"),
            "layers": [layer],
        }
    )
    async with running(stored) as host:
        yield Shop(host, stored, stored.push_manifest(NAME, body, manifest.OCI_MANIFEST, tag="1.0"), tmp_path, commands)


# --- what is proved


async def test_a_keyless_signature_is_told_with_who_when_and_where_it_is_logged(shop: Shop) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest, timestamp=True))
    told = await shop.by_identity()
    lines = told.out.splitlines()
    assert told.code == 0
    for line in (
        f"  identity {SUBJECT}",
        f"  issuer {ISSUER}",
        "  signed 2026-03-01 12:00:05Z, by the clock of rekor.private.test",
        "  signed 2026-03-01 12:00:07Z, by the clock of tsa.private.test",
        "  ✓ identity  verified",
    ):
        assert lines.count(line) == 1, line
    assert "  logged https://rekor.private.test, entry " in told.out
    assert "not verified" not in told.out


async def test_a_certificate_is_told_by_what_people_know_a_build_by(shop: Shop) -> None:
    leaf = OURS.leaf(subject=SUBJECT, issuer=ISSUER, extensions=EXTENSIONS)
    shop.attach(OURS.keyless_bundle(shop.digest, leaf=leaf))
    told = await shop.by_identity()
    assert "  githubWorkflowRepository acme/shop" in told.out.splitlines()
    assert "githubWorkflowName" not in told.out
    assert "  and 1 more extension of the certificate: --output json" in told.out
    document = json.loads((await shop.by_identity("-o", "json")).out)
    assert document["signatures"][0]["outcomes"][0]["proof"]["extensions"]["githubWorkflowName"] == "Release"


async def test_a_build_is_told_once(shop: Shop) -> None:
    leaf = OURS.leaf(subject=SUBJECT, issuer=ISSUER, extensions=EXTENSIONS)
    shop.attach(OURS.keyless_bundle(shop.digest, leaf=leaf))
    made = OURS.keyless_bundle(shop.digest, leaf=leaf, predicate_type=SLSA, predicate={"builder": "ci"})
    shop.attach(made, SLSA)
    told = await shop.by_policy(shop.policy(more=DEMAND))
    assert told.code == 0
    assert told.out.count("githubWorkflowRepository") == 1
    assert "  extensions as of " in told.out


async def test_a_key_is_told_in_full(shop: Shop) -> None:
    key = key_of("p256")
    path = shop.folder / "release.pub"
    path.write_text(key.public_pem)
    shop.attach(OURS.key_bundle(shop.digest, key=key, log="none"))
    told = await shop.verify("--key", path)
    document = json.loads((await shop.verify("--key", path, "-o", "json")).out)
    assert f"  key sha256:{document['signatures'][0]['outcomes'][0]['fingerprint']}" in told.out.splitlines()


async def test_signers_of_one_name_are_told_with_their_policies(shop: Shop) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest))
    told = await shop.by_policy(shop.policy("one"), shop.policy("two", ANNOTATED))
    assert told.code == 1
    assert "✓ dev (one)  verified" in told.out
    assert "✗ dev (two)  claim_mismatch  annotation env: 'prod' expected, found none" in told.out
    assert f"  identity {SUBJECT}" in told.out.splitlines(), "it was verified, though no use to one of them"
    assert "not verified" not in told.out


# --- what is only said


async def test_what_a_signature_only_says_is_told_as_such(shop: Shop) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest, logged_at=AT + timedelta(hours=1)))
    told = await shop.by_identity()
    lines = told.out.splitlines()
    start = lines.index("  says of itself, not verified:")
    assert lines[start + 1 : start + 4] == [
        f"    identity {SUBJECT}",
        f"    issuer {ISSUER}",
        "    certificate valid from 2026-03-01 12:00:00Z to 2026-03-01 12:10:00Z",
    ]
    assert lines[start + 4].startswith("    log entry ")
    assert lines[start + 4].endswith(", of 2026-03-01 13:00:00Z")
    assert lines[start + 5].startswith("  ✗ identity  time_invalid  ")
    assert not any(line.startswith(("  issuer ", "  signed ", "  logged ")) for line in lines)


async def test_a_programs_document_keeps_both_apart(shop: Shop) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest, log="none", timestamp=True))
    document = json.loads((await shop.by_identity("-o", "json")).out)
    (signature,) = document["signatures"]
    assert signature["outcomes"][0]["proof"] is None
    assert signature["unverified"] == {
        "predicate_type": "https://sigstore.dev/cosign/sign/v1",
        "issuer": ISSUER,
        "subjects": [SUBJECT],
        "not_before": "2026-03-01T12:00:00+00:00",
        "not_after": "2026-03-01T12:10:00+00:00",
        "log_entries": [],
        "timestamps": ["2026-03-01T12:00:07+00:00"],
        "notary": None,
    }
    assert all(map(is_documented, signature["unverified"]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("verificationMaterial",), {}, id="no-material"),
        pytest.param(("verificationMaterial", "tlogEntries", 0, "integratedTime"), str(2**62), id="time-beyond-time"),
        pytest.param(
            ("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps", 0, "signedTimestamp"),
            "AAAA",
            id="timestamp-that-is-none",
        ),
        pytest.param(("dsseEnvelope", "payload"), "e30=", id="statement-that-says-nothing"),
    ],
)
async def test_what_cannot_be_read_is_left_out(shop: Shop, path: documents.Path, value: object) -> None:
    shop.attach(documents.edit(OURS.keyless_bundle(shop.digest, timestamp=True), path, value))
    told = await shop.by_identity()
    assert (told.code, told.err) == (1, "")
    assert "1  Sigstore bundle, from the referrers API" in told.out


# --- attestations


@pytest.mark.parametrize(
    ("predicate", "code", "lines"),
    [
        pytest.param(
            {"builder": "ci"},
            0,
            [
                "    ✓ rules[0].attestations[0]  as demanded",
                "      condition predicate.builder == 'ci'",
                "      predicate.builder was 'ci'",
                "  attestation slsaprovenance1  met  attestation 1",
            ],
            id="true",
        ),
        pytest.param(
            {"builder": "laptop"},
            1,
            [
                "    ✗ rules[0].attestations[0]  claim_mismatch  condition is false",
                "      condition predicate.builder == 'ci'",
                "      predicate.builder was 'laptop'",
                "  attestation slsaprovenance1  claim_mismatch  attestation 1",
            ],
            id="false",
        ),
        pytest.param(
            {},
            1,
            [
                "      condition predicate.builder == 'ci'",
                "  attestation slsaprovenance1  condition_error  attestation 1",
            ],
            id="error",
        ),
    ],
)
async def test_an_attestation_is_told_with_what_its_condition_saw(
    shop: Shop, predicate: dict[str, Any], code: int, lines: list[str]
) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest, predicate_type=SLSA, predicate=predicate), SLSA)
    told = await shop.by_policy(shop.policy(more=DEMAND.replace("attestations:", "require: none\n      attestations:")))
    assert told.code == code
    for line in ("  ✓ dev  attested", f"  type {SLSA}", *lines):
        assert told.out.splitlines().count(line) == 1, line


async def test_a_programs_document_has_what_a_condition_saw(shop: Shop) -> None:
    made = OURS.keyless_bundle(shop.digest, predicate_type=SLSA, predicate={"builder": "laptop"})
    shop.attach(made, SLSA)
    path = shop.policy(more=DEMAND)
    document = json.loads((await shop.verify("--policy", path, "-o", "json")).out)
    (signature,) = document["signatures"]
    (demand,) = signature["demands"]
    assert demand == {
        "label": "rules[0].attestations[0]",
        "signer": "dev",
        "condition": "predicate.builder == 'ci'",
        "code": "claim_mismatch",
        "detail": "condition is false: predicate.builder was 'laptop'",
        "at": "2026-03-01T12:00:05+00:00",
        "saw": [{"part": "predicate.builder", "value": "'laptop'"}],
    }
    told = document["policies"][0]["attestations"][0]
    for part in (demand, signature["outcomes"][0]["proof"], told, told["saw"][0]):
        assert all(map(is_documented, part)), part


async def test_each_of_several_attestations_is_told_apart(shop: Shop) -> None:
    for builder in ("one", "two"):
        made = OURS.keyless_bundle(shop.digest, predicate_type=SLSA, predicate={"builder": builder})
        shop.attach(made, SLSA)
    told = await shop.by_policy(shop.policy(more=DEMAND))
    assert told.code == 1
    assert "      predicate.builder was 'one'" in told.out.splitlines()
    assert "      predicate.builder was 'two'" in told.out.splitlines()


async def test_a_missing_attestation_is_told_in_full(shop: Shop) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest))
    told = await shop.by_policy(shop.policy(more=DEMAND))
    assert told.code == 1
    assert f"no_signature  no attestation of type {SLSA} was found for this digest" in told.out
    assert "counts        signature 1" in told.out


async def test_what_a_key_only_attests_is_no_signature_of_the_policys(shop: Shop) -> None:
    attach.attestations(
        shop.stored, NAME, shop.digest, [OURS.legacy_attestation(shop.digest, keyless=False, predicate_type=SLSA)]
    )
    attach.signatures(shop.stored, NAME, shop.digest, [OURS.legacy_signature(shop.digest, keyless=False)])
    told = await shop.by_policy(shop.policy(more=DEMAND))
    assert told.code == 1
    lines = told.out.splitlines()
    assert "  dev                          unsupported  signature 1" in lines
    assert "  attestation slsaprovenance1  unsupported  attestation 2" in lines


async def test_an_attestation_of_another_type_is_no_trouble(shop: Shop) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest))
    made = OURS.keyless_bundle(shop.digest, predicate_type=SLSA, predicate={"builder": "ci"})
    for data in (OURS.keyless_bundle(shop.digest, predicate_type="https://spdx.dev/Document"), made):
        shop.attach(data)  # as a signature, which is what unsigned hints may say of anything
    told = await shop.by_policy(shop.policy(more=DEMAND.replace("== 'ci'", "== 'laptop'")))
    assert told.code == 1
    assert "  - dev  claim_mismatch  an attestation of a type that nothing demands" in told.out.splitlines()
    assert "    ✗ rules[0].attestations[0]  claim_mismatch  condition is false" in told.out.splitlines()


# --- what was not needed


async def test_what_was_enough_is_told(shop: Shop) -> None:
    attach.signatures(shop.stored, NAME, shop.digest, [OURS.legacy_signature(shop.digest)] * 2)
    told = await shop.by_identity()
    assert told.code == 0
    assert "  .sig tag       2 found, 1 looked at: what was found was enough" in told.out.splitlines()


# --- usage


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("--key", "a.pub", "--policy", "b.yaml"), "found more than one", id="two-ways"),
        pytest.param((), "found none", id="no-way"),
        pytest.param(("--key", "a.pub", "--trusted-root", "r.json"), "--trusted-root: it is for", id="root-of-a-key"),
        pytest.param(("--policy", "p", "--trusted-root", "r.json"), "--trusted-root: it is for", id="root-of-a-policy"),
    ],
)
def test_what_the_image_is_held_against_is_said_once(commands: Commands, options: tuple[str, ...], said: str) -> None:
    told = commands.run("verify", "ghcr.io/acme/shop:1", *options)
    assert (told.code, told.out) == (2, "")
    assert said in told.err


async def test_a_build_that_no_certificate_tells_is_not_pointed_to(shop: Shop) -> None:
    shop.attach(OURS.keyless_bundle(shop.digest))
    shop.attach(OURS.keyless_bundle(shop.digest, predicate_type=SLSA, predicate={"builder": "ci"}), SLSA)
    told = await shop.by_policy(shop.policy(more=DEMAND))
    assert told.code == 0
    assert "extensions" not in told.out
