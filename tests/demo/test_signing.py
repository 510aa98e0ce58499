"""What the demo signs is what cosign signs: the layout here, and the real cosign in both directions."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.web.serving import listed, review, serving
from webhook.cosign import verifier
from webhook.demo import signing
from webhook.demo.signing import SigningKey
from webhook.evidence.model import Evidence, Form, Outcome, Place, Signer, SignerKind, Verdict
from webhook.oci.reference import Digest
from webhook.trust import material
from webhook.trust.at_hand import Trust
from webhook.trust.material import Padding

NOW = datetime(2026, 11, 21, tzinfo=UTC)
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
KINDS = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", "rsa-pss", "ed25519")

key_of = functools.cache(signing.new_key)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def parsed(digest: str) -> Digest:
    algorithm, _, value = digest.partition(":")
    return Digest(algorithm, value)


IMAGE = digest_of(b"an image")
DESCRIPTOR = {"mediaType": OCI_MANIFEST, "size": 8, "digest": IMAGE, "platform": {"os": "linux"}}


def judge(key: SigningKey, form: Form, image: str, payload: bytes, annotations: Mapping[str, str]) -> Outcome:
    padding = Padding.PSS if key.name == "rsa-pss" else Padding.PKCS1V15
    signer = Signer("release", SignerKind.KEY, material.parse_public_key(key.public_pem, padding=padding))
    layer, manifest = parsed(digest_of(payload)), parsed(digest_of(b"the manifest of the signature"))
    evidence = Evidence(form, parsed(image), Place.REFERRERS, manifest, layer, "", annotations, payload)
    [outcome] = verifier.verify(evidence, (signer,), predicates=frozenset(), trust=Trust(), now=NOW)
    return outcome


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key_makes_signatures_that_verify(kind: str) -> None:
    key = key_of(kind)
    legacy = signing.sign_legacy(key, IMAGE, "registry.example/app")
    bundle = signing.sign_bundle(key, IMAGE, DESCRIPTOR)

    outcomes = (
        judge(key, Form.LEGACY, IMAGE, legacy.payload, legacy.layers[0].annotations),
        judge(key, Form.BUNDLE, IMAGE, bundle.bundle, {}),
    )

    assert [outcome.verdict for outcome in outcomes] == [Verdict.VERIFIED] * 2


def test_a_key_shows_nothing_of_its_private_half() -> None:
    key = signing.new_key()

    assert "private" not in repr(key).lower()
    assert "BEGIN PUBLIC KEY" in key.public_pem


def test_the_signature_manifest_has_the_layout_of_cosign_2() -> None:
    signed = signing.sign_legacy(key_of("p256"), IMAGE, "registry.example/app", annotations={"env": "prod"})

    assert signed.tag == IMAGE.replace(":", "-") + ".sig"
    assert json.loads(signed.payload) == {
        "critical": {
            "identity": {"docker-reference": "registry.example/app"},
            "image": {"docker-manifest-digest": IMAGE},
            "type": "cosign container image signature",
        },
        "optional": {"env": "prod"},
    }
    document = json.loads(signed.manifest)
    assert document["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "size": len(signed.config),
        "digest": digest_of(signed.config),
    }
    assert document["layers"] == [
        {
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "size": len(signed.payload),
            "digest": digest_of(signed.payload),
            "annotations": dict(signed.layers[0].annotations),
        }
    ]
    assert signed.blobs == (signed.config, signed.payload)


def test_signatures_are_appended_in_the_order_of_signing() -> None:
    first = signing.sign_legacy(key_of("p256"), IMAGE, "a")
    second = signing.sign_legacy(key_of("p384"), IMAGE, "b", onto=first)

    assert second.layers[0] == first.layers[0]
    assert [layer["digest"] for layer in json.loads(second.manifest)["layers"]] == [
        digest_of(first.payload),
        digest_of(second.payload),
    ]
    assert second.tag == first.tag


def test_the_referrer_has_the_layout_of_cosign_3() -> None:
    signed = signing.sign_bundle(key_of("p256"), IMAGE, DESCRIPTOR)

    document = json.loads(signed.manifest)

    assert document["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert document["subject"] == {"mediaType": OCI_MANIFEST, "size": 8, "digest": IMAGE}
    assert document["config"]["digest"] == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert [layer["digest"] for layer in document["layers"]] == [digest_of(signed.bundle)]
    assert signed.descriptor["digest"] == digest_of(signed.manifest)
    assert signed.blobs == (signed.config, signed.bundle)


# --- the real cosign


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry on loopback, spoken to with as little as tests need."""

    host: str

    def get(self, path: str) -> bytes:
        status, _, body = self._ask("GET", path)
        assert status == 200, (path, status, body[:300])
        return body

    def push(self, name: str, tag: str, manifest: bytes, *blobs: bytes, media_type: str = OCI_MANIFEST) -> str:
        for blob in blobs:
            _, location, _ = self._ask("POST", f"/v2/{name}/blobs/uploads/")
            path = location.removeprefix(f"http://{self.host}")
            status, _, body = self._ask("PUT", f"{path}{'&' if '?' in path else '?'}digest={digest_of(blob)}", blob)
            assert status == 201, body
        status, _, body = self._ask("PUT", f"/v2/{name}/manifests/{tag}", manifest, media_type)
        assert status == 201, body
        return digest_of(manifest)

    def _ask(self, method: str, path: str, body: bytes = b"", media_type: str = "") -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            headers = {"Content-Type": media_type or "application/octet-stream", "Accept": "*/*"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Location", ""), answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def registry(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    with (tmp_path_factory.mktemp("registry") / "log").open("wb") as log:
        process = subprocess.Popen([tools / "crane", "registry", "serve", "--address", host], stdout=log, stderr=log)
    try:
        _await_port(host)
        yield Registry(host)
    finally:
        process.terminate()
        process.wait(10)


def _await_port(host: str) -> None:
    address, _, port = host.partition(":")
    for _ in range(100):
        try:
            socket.create_connection((address, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"no registry at {host}")


@dataclass(frozen=True, slots=True)
class Cosign:
    """The real command, in a home of its own, knowing no service."""

    program: Path
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self.home), "COSIGN_PASSWORD": ""}
        return subprocess.run(
            [self.program, *arguments], cwd=self.home, env=environment, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def must(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def public(self, key: SigningKey) -> str:
        path = self.home / f"{key.name}.pub"
        path.write_text(key.public_pem)
        return str(path)

    def private(self, key: SigningKey) -> str:
        (self.home / f"{key.name}.pem").write_text(key.private_pem)
        self.must("import-key-pair", "--key", f"{key.name}.pem", "--output-key-prefix", key.name, "-y")
        return str(self.home / f"{key.name}.key")


@pytest.fixture(scope="module")
def cosign(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    command = Cosign(tools / "cosign", tmp_path_factory.mktemp("cosign"))
    command.must("signing-config", "create", "--out", "services.json")
    return command


def push_image(registry: Registry, name: str) -> tuple[str, Mapping[str, object]]:
    """An image of no layers; its reference by digest, and its descriptor."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    described = {"mediaType": signing.IMAGE_CONFIG, "size": len(config), "digest": digest_of(config)}
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [], "annotations": {"for": name}}
    ).encode()
    digest = registry.push(name, "1", manifest, config)
    return f"{registry.host}/{name}@{digest}", {"mediaType": OCI_MANIFEST, "size": len(manifest), "digest": digest}


def index_of(*descriptors: Mapping[str, object]) -> bytes:
    media_type = "application/vnd.oci.image.index.v1+json"
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": list(descriptors)}).encode()


# cosign verifies with SHA-256 unless told otherwise, and signs with the hash of the curve
COSIGN_KINDS = {"p256": "sha256", "p384": "sha384", "p521": "sha512", "rsa2048": "sha256", "rsa4096": "sha256"}


@pytest.mark.tools("cosign", "crane")
@pytest.mark.parametrize("kind", COSIGN_KINDS)
def test_cosign_accepts_our_legacy_signatures(kind: str, registry: Registry, cosign: Cosign) -> None:
    name = f"ours/legacy-{kind}"
    reference, descriptor = push_image(registry, name)
    other = signing.sign_legacy(signing.new_key(), str(descriptor["digest"]), name)
    signed = signing.sign_legacy(key_of(kind), str(descriptor["digest"]), name, onto=other)
    registry.push(name, signed.tag, signed.manifest, *signed.blobs)

    verify = ("verify", "--insecure-ignore-tlog=true", "--signature-digest-algorithm", COSIGN_KINDS[kind])

    assert str(descriptor["digest"]) in cosign.must(*verify, "--key", cosign.public(key_of(kind)), reference)
    assert cosign.run(*verify, "--key", cosign.public(signing.new_key()), reference).returncode != 0


@pytest.mark.tools("cosign", "crane")
@pytest.mark.parametrize("kind", COSIGN_KINDS)
def test_cosign_accepts_our_bundles(kind: str, registry: Registry, cosign: Cosign) -> None:
    name = f"ours/bundle-{kind}"
    reference, descriptor = push_image(registry, name)
    digest = str(descriptor["digest"])
    signed = signing.sign_bundle(key_of(kind), digest, descriptor)
    registry.push(name, digest_of(signed.manifest), signed.manifest, *signed.blobs)
    index_type = "application/vnd.oci.image.index.v1+json"
    registry.push(name, digest.replace(":", "-"), index_of(signed.descriptor), media_type=index_type)

    verify = ("verify", "--insecure-ignore-tlog=true", "--signature-digest-algorithm", COSIGN_KINDS[kind])

    cosign.must(*verify, "--key", cosign.public(key_of(kind)), reference)
    assert cosign.run(*verify, "--key", cosign.public(signing.new_key()), reference).returncode != 0


@pytest.mark.tools("cosign", "crane")
@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072"])
def test_we_accept_what_cosign_signs(kind: str, registry: Registry, cosign: Cosign) -> None:
    name = f"theirs/{kind}"
    reference, descriptor = push_image(registry, name)
    image, key = str(descriptor["digest"]), key_of(kind)
    private = cosign.private(key)
    sign = ("sign", "--yes", "--key", private)

    cosign.must(*sign, "--tlog-upload=false", "--new-bundle-format=false", "--use-signing-config=false", reference)
    cosign.must(*sign, "--signing-config", "services.json", reference)

    (layer,) = json.loads(registry.get(f"/v2/{name}/manifests/{image.replace(':', '-')}.sig"))["layers"]
    payload = registry.get(f"/v2/{name}/blobs/{layer['digest']}")
    assert judge(key, Form.LEGACY, image, payload, layer["annotations"]).verdict is Verdict.VERIFIED
    assert judge(key, Form.LEGACY, IMAGE, payload, layer["annotations"]).verdict is Verdict.REJECTED

    (referrer,) = json.loads(registry.get(f"/v2/{name}/manifests/{image.replace(':', '-')}"))["manifests"]
    (layer,) = json.loads(registry.get(f"/v2/{name}/manifests/{referrer['digest']}"))["layers"]
    payload = registry.get(f"/v2/{name}/blobs/{layer['digest']}")
    assert judge(key, Form.BUNDLE, image, payload, {}).verdict is Verdict.VERIFIED
    assert judge(key, Form.BUNDLE, IMAGE, payload, {}).verdict is Verdict.REJECTED


@pytest.mark.tools("cosign", "crane")
@pytest.mark.parametrize("form", ["--new-bundle-format=false", "--new-bundle-format=true"])
async def test_what_cosign_has_just_signed_is_admitted_at_once(
    registry: Registry, cosign: Cosign, tmp_path: Path, form: str
) -> None:
    key = key_of("p256")
    reference, _ = push_image(registry, f"just/signed{form[-4:]}")
    sign = ("sign", "--yes", "--key", cosign.private(key), "--tlog-upload=false", "--use-signing-config=false", form)
    async with serving(tmp_path, listed(registry.host), key=key.public_pem) as webhook:
        for _ in range(2):
            assert (await webhook.ask(review(reference))).code == 403
        await asyncio.to_thread(cosign.must, *sign, reference)
        signed = time.monotonic()
        assert (await webhook.ask(review(reference))).allowed
        print(f"admitted {1000 * (time.monotonic() - signed):.0f} ms after it was signed")


@pytest.mark.tools("cosign", "crane")
def test_what_cosign_3_signs_with_ed25519_does_not_verify_and_says_why(registry: Registry, cosign: Cosign) -> None:
    name, key = "theirs/ed25519", key_of("ed25519")
    reference, descriptor = push_image(registry, name)
    image = str(descriptor["digest"])
    sign = ("sign", "--yes", "--key", cosign.private(key), "--tlog-upload=false", "--new-bundle-format=false")
    cosign.must(*sign, "--use-signing-config=false", reference)
    (layer,) = json.loads(registry.get(f"/v2/{name}/manifests/{image.replace(':', '-')}.sig"))["layers"]

    outcome = judge(
        key, Form.LEGACY, image, registry.get(f"/v2/{name}/blobs/{layer['digest']}"), layer["annotations"]
    )  # fmt: skip

    assert outcome.code == "signature_invalid"
    assert "Ed25519ph" in outcome.detail
