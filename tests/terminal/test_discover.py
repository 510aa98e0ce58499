"""What is attached to an image is told as a tree, whatever it is, and nothing of it is passed off as verified."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.registry import HostileRegistry, on, raw, running
from tests.private_sigstore import attach
from tests.private_sigstore.instance import PrivateSigstore
from tests.terminal.conftest import TRUSTED, Commands, Told
from webhook.demo import signing
from webhook.demo.content import as_json, descriptor
from webhook.demo.registry import OCI_INDEX
from webhook.evidence.model import DSSE_ENVELOPE
from webhook.oci import manifest
from webhook.settings import MIB

NAME = "shop/web"
SLSA, SPDX = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"
SIGNER = "dev@example.com (issuer https://issuer.example.com)"
EMPTY = descriptor(signing.EMPTY, b"{}")
Fields = dict[str, object]


@dataclass(frozen=True, slots=True)
class Attic:
    """A registry with one image, to which anything can be attached."""

    host: str
    stored: HostileRegistry
    digest: str
    commands: Commands

    async def discover(self, *options: object, image: str = f"{NAME}:1.0") -> Told:
        argv = ("discover", f"{self.host}/{image}", *options)
        return await asyncio.to_thread(self.commands.run, *argv)

    async def document(self) -> dict[str, Any]:
        told = await self.discover("--output", "json")
        assert (told.code, told.err) == (0, "")
        document: dict[str, Any] = json.loads(told.out)
        return document

    def refer(self, subject: str, artifact_type: str, *contents: bytes, **fields: object) -> str:
        """An artifact of that type refers to `subject`; returns its digest."""
        body = {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": EMPTY,
            "layers": [descriptor(artifact_type, content) for content in contents],
            "subject": {
                "mediaType": manifest.OCI_MANIFEST,
                "digest": subject,
                "size": len(self.stored.repository(NAME).manifests[subject].data),
            },
            **fields,
        }
        return self.push(as_json(body), *contents)

    def push(self, body: bytes, *blobs: bytes, tag: str | None = None, media_type: str = manifest.OCI_MANIFEST) -> str:
        for blob in blobs:
            self.stored.push_blob(NAME, blob)
        return self.stored.push_manifest(NAME, body, media_type, tag=tag)

    def tag(self, suffix: str) -> str:
        return f"{self.digest.replace(':', '-')}{suffix}"


def image(text: str) -> bytes:
    layer = descriptor("application/vnd.oci.image.layer.v1.tar", text.encode())
    body = {"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "config": EMPTY, "layers": [layer]}
    return as_json(body)


@pytest.fixture
async def attic(commands: Commands) -> AsyncIterator[Attic]:
    stored = HostileRegistry()
    async with running(stored) as host:
        yield Attic(host, stored, stored.push_manifest(NAME, image("web"), manifest.OCI_MANIFEST, tag="1.0"), commands)


@pytest.fixture
async def full(commands: Commands) -> AsyncIterator[Attic]:
    """An image for two platforms, to which everybody has attached something."""
    stored = HostileRegistry()
    async with running(stored) as host:
        attic = Attic(host, stored, _index(stored), commands)
        _fill(attic)
        yield attic


def _index(stored: HostileRegistry) -> str:
    platforms: list[Fields] = []
    for architecture in ("amd64", "arm64"):
        body = image(architecture)
        stored.push_manifest(NAME, body, manifest.OCI_MANIFEST)
        platform = {"os": "linux", "architecture": architecture}
        platforms.append({**descriptor(manifest.OCI_MANIFEST, body), "platform": platform})
    layers = [
        {
            **descriptor("application/vnd.in-toto+json", kind.encode()),
            "annotations": {"in-toto.io/predicate-type": kind},
        }
        for kind in (SPDX, "https://slsa.dev/provenance/v0.2")
    ]
    built = as_json({"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "config": EMPTY, "layers": layers})
    stored.push_manifest(NAME, built, manifest.OCI_MANIFEST)
    notes = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": str(platforms[0]["digest"]),
    }
    unknown = {"os": "unknown", "architecture": "unknown"}
    listed = [*platforms, {**descriptor(manifest.OCI_MANIFEST, built), "platform": unknown, "annotations": notes}]
    body = as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    return stored.push_manifest(NAME, body, OCI_INDEX, tag="1.0")


def _fill(attic: Attic) -> None:
    sigstore, stored, digest = PrivateSigstore(), attic.stored, attic.digest
    attach.signatures(
        stored, NAME, digest, [sigstore.legacy_signature(digest, keyless=False), sigstore.legacy_signature(digest)]
    )
    attach.attestations(
        stored,
        NAME,
        digest,
        [sigstore.legacy_attestation(digest), sigstore.legacy_attestation(digest, predicate_type=SPDX)],
    )
    sbom = b'{"spdxVersion": "SPDX-2.3"}'
    body = {"schemaVersion": 2, "config": EMPTY, "layers": [descriptor("text/spdx+json", sbom)]}
    attic.push(as_json(body), sbom, tag=attic.tag(".sbom"))
    attach.bundle(stored, NAME, digest, sigstore.keyless_bundle(digest, predicate_type=SLSA), predicate_type=SLSA)
    signed = signing.sign_bundle(TRUSTED, digest, descriptor(OCI_INDEX, b"") | {"digest": digest})
    attic.push(signed.manifest, *signed.blobs)
    attic.refer(digest, "application/vnd.cncf.notary.signature", b"jws")
    listed = attic.refer(digest, "application/spdx+json", sbom * 1000)
    attic.refer(listed, "application/vnd.cncf.notary.signature", b"a signature of the SBOM")


async def test_all_that_is_attached_is_a_tree(full: Attic) -> None:
    told = await full.discover()
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert full.digest in told.out
    for start in (
        "  Nothing here was verified: ",
        "platforms  3 found",
        "├── linux/amd64 ",
        "├── linux/arm64 ",
        "└── BuildKit attestations, unsigned ",
        "    │   about sha256:",
        "    ├── SPDX SBOM, unsigned ",
        "    │       predicate https://spdx.dev/Document",
        ".sig tag  2 found",
        "├── cosign signature ",
        "│       says it was signed with a key",
        "└── cosign signature ",
        f"        says it was signed by {SIGNER}",
        ".att tag  2 found",
        "└── attestation: SPDX SBOM ",
        ".sbom tag (unsigned, never evidence)  1 found",
        "└── SPDX SBOM, unsigned ",
        "referrers API  4 found",
        "├── Sigstore bundle: SLSA provenance ",
        f"│       predicate {SLSA}",
        "├── Sigstore bundle: signature ",
        "├── Notary Project signature ",
        "└── SPDX SBOM ",
        "    └── Notary Project signature ",
        "fallback tag  none",
    ):
        assert any(line.startswith(start) for line in lines), start
    assert "│       says it was made 2026-01-01T00:00:00Z" in lines
    assert "26.4 KiB  sha256:" in told.out


async def test_every_fact_is_in_the_document(full: Attic) -> None:
    document = await full.document()
    assert (document["digest"], document["media_type"], document["verified"]) == (full.digest, OCI_INDEX, False)
    places = {place["place"]: place for place in document["places"]}
    assert {name: place["answer"] for name, place in places.items()} == {
        "platforms": "3 found",
        "signature_tag": "2 found",
        "attestation_tag": "2 found",
        "sbom_tag": "1 found",
        "referrers": "4 found",
        "fallback_tag": "none",
    }
    provenance = places["referrers"]["items"][0]
    assert provenance["what"] == "Sigstore bundle: SLSA provenance"
    assert (provenance["predicate_type"], provenance["signer"]) == (SLSA, SIGNER)
    assert (provenance["artifact_type"], provenance["unsigned"]) == (signing.BUNDLE, False)
    assert provenance["digest"] in full.stored.repository(NAME).manifests
    (sbom,) = places["sbom_tag"]["items"]
    assert (sbom["unsigned"], sbom["size"], sbom["signer"]) == (True, 27, None)
    built = places["platforms"]["items"][2]
    assert (built["unsigned"], built["items"][0]["predicate_type"]) == (True, SPDX)
    assert places["platforms"]["items"][1]["platform"] == "linux/arm64"
    (signature,) = places["referrers"]["items"][3]["items"]
    assert signature["what"] == "Notary Project signature"


async def test_an_image_to_which_nothing_is_attached(attic: Attic) -> None:
    told = await attic.discover()
    assert (told.code, told.err) == (0, "")
    assert "platforms" not in told.out
    assert told.out.count("  none\n") == 5
    assert attic.stored.requests == {"resolve": 1, "manifest": 5, "referrers": 1}


async def test_what_the_fallback_tag_lists_too_stands_once(attic: Attic) -> None:
    attic.stored.referrers = False
    digest = attic.refer(attic.digest, "application/spdx+json", b"{}")
    data = attic.stored.repository(NAME).manifests[digest].data
    listed = descriptor(manifest.OCI_MANIFEST, data)
    index = as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]})
    attic.push(index, tag=attic.tag(""), media_type=OCI_INDEX)
    places = {place["place"]: place for place in (await attic.document())["places"]}
    assert places["referrers"]["answer"] == "not supported"
    assert [item["what"] for item in places["fallback_tag"]["items"]] == ["SPDX SBOM"]
    attic.stored.referrers = True
    places = {place["place"]: place for place in (await attic.document())["places"]}
    assert [item["what"] for item in places["referrers"]["items"]] == ["SPDX SBOM"]
    assert places["fallback_tag"]["items"] == []


@pytest.mark.parametrize(
    ("part", "place", "code"),
    [
        pytest.param(".att", "attestation_tag", "registry_unavailable", id="att"),
        pytest.param("/referrers/", "referrers", "registry_unavailable", id="referrers"),
    ],
)
async def test_a_place_that_could_not_be_asked_is_told_and_takes_no_other_along(
    full: Attic, part: str, place: str, code: str
) -> None:
    full.stored.rules.append(on(part, 500))
    told = await full.discover("--output", "json")
    assert told.code == 2
    answers = {each["place"]: each["answer"] for each in json.loads(told.out)["places"]}
    assert answers.pop(place) == code
    assert not {"registry_unavailable", "access_denied"} & set(answers.values())
    assert f"{code}: " in (await full.discover()).out


async def test_one_thing_that_is_broken_hides_no_other(attic: Attic) -> None:
    gone = attic.refer(attic.digest, signing.BUNDLE, b"{}")
    attic.stored.repository(NAME).blobs.clear()
    garbled = attic.refer(attic.digest, signing.BUNDLE, b"no bundle", annotations={"n": "1"})
    notation = attic.refer(attic.digest, "application/vnd.cncf.notary.signature", b"jws")
    (place,) = (each for each in (await attic.document())["places"] if each["place"] == "referrers")
    problems = {item["digest"]: item["problem"] for item in place["items"]}
    assert "listed but missing" in problems[gone]
    assert "not JSON" in problems[garbled]
    assert problems[notation] is None


async def test_what_names_another_subject_is_said_to(attic: Attic) -> None:
    other = attic.push(image("another"))
    listed = attic.refer(other, "application/spdx+json", b"{}")
    entry = descriptor(manifest.OCI_MANIFEST, attic.stored.repository(NAME).manifests[listed].data)
    index = as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    attic.push(index, tag=attic.tag(""), media_type=OCI_INDEX)
    told = await attic.discover()
    assert "malformed: its manifest does not name as subject what it is listed for" in told.out


async def test_a_thousand_layers_and_a_hundred_referrers_are_bounded_and_said(attic: Attic) -> None:
    layers = [{**descriptor(DSSE_ENVELOPE, b"%d" % number), "annotations": {}} for number in range(1000)]
    attic.push(as_json({"schemaVersion": 2, "config": EMPTY, "layers": layers}), tag=attic.tag(".att"))
    for number in range(100):
        attic.refer(attic.digest, "application/spdx+json", b"{}", annotations={"n": str(number)})
    told = await attic.discover()
    assert told.code == 0
    assert ".att tag  1000 found" in told.out
    assert "└── and 950 more, not looked at" in told.out.splitlines()
    assert "└── and 50 more, not looked at" in told.out.splitlines()
    assert attic.stored.requests.total() < 250


async def test_what_is_attached_goes_on_for_ever_and_is_followed_one_step(attic: Attic) -> None:
    subject = attic.digest
    for _ in range(5):
        subject = attic.refer(subject, "application/spdx+json", b"{}")
    for number in range(20):
        attic.refer(attic.digest, "text/plain", b"{}", annotations={"n": str(number)})
    (place,) = (each for each in (await attic.document())["places"] if each["place"] == "referrers")
    (nested,) = place["items"][0]["items"]
    assert nested["items"] == []


async def test_a_bundle_of_mebibytes_is_not_fetched(attic: Attic) -> None:
    attic.refer(attic.digest, signing.BUNDLE, bytes(2 * MIB), annotations={"dev.sigstore.bundle.predicateType": SLSA})
    told = await attic.discover()
    assert "Sigstore bundle: SLSA provenance  " in told.out
    assert "2.0 MiB" in told.out
    assert attic.stored.requests["blob"] == 0


async def test_foreign_text_does_not_steer_a_terminal(attic: Attic) -> None:
    attic.refer(attic.digest, "text/\x1b[2J", b"{}", annotations={"org.opencontainers.image.created": "\x1b]0;"})
    told = await attic.discover()
    assert "\x1b" not in told.out
    assert "artifact of type text/\\x1b[2J" in told.out


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        pytest.param(f"{NAME}:absent", (), "image_not_found: ", id="tag"),
        pytest.param(f"{NAME}@sha256:{'0' * 64}", (), "image_not_found: ", id="digest"),
        pytest.param("NAME", (), "IMAGE: ", id="reference"),
        pytest.param(f"{NAME}:1.0", ("--timeout", "0"), "--timeout", id="timeout"),
        pytest.param(f"{NAME}:1.0", ("--docker-config", "/none"), "/none", id="docker config"),
    ],
)
async def test_a_mistake_is_one_line(attic: Attic, image: str, options: tuple[str, ...], said: str) -> None:
    told = await attic.discover(*options, image=image)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert told.err.startswith("error: ")
    assert said in told.err


@pytest.mark.parametrize("status", [401, 403])
async def test_a_registry_that_wants_credentials_is_said_with_a_hint(attic: Attic, status: int) -> None:
    attic.stored.rules.append(on("/v2/", status))
    told = await attic.discover()
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("error: access_denied: ")
    assert "--docker-config" in told.err


def test_help_has_examples(commands: Commands) -> None:
    told = commands.run("discover", "--help")
    assert told.code == 0
    assert "Examples:\n    countersign discover " in told.out


async def test_time_is_bounded(attic: Attic, commands: Commands) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw(silent) as host:
        told = await asyncio.to_thread(commands.run, "discover", f"{host}/shop/web:1.0", "--timeout", "0.2")
    assert told.code == 2
    assert told.err.startswith("error: deadline_exceeded: ")


async def test_json_has_the_fields_that_are_documented(full: Attic) -> None:
    document = await full.document()
    text = (Path(__file__).parents[2] / "docs" / "discover.md").read_text()
    for part in (document, document["places"][0], document["places"][0]["items"][0]):
        for field in part:
            assert f"`{field}`" in text or f"`{field}[]`" in text, field
