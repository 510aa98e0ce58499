"""The images of the demo: small, made on the spot, and signed well, badly or not at all.

Each is pushed to the embedded registry over HTTP, as any client would, so that what the webhook reads has travelled.
How a case was made is told in its `story`, and what the webhook must answer in its `code`.

spec: OCI image 1.1, manifest; OCI distribution 1.1, push.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass

from webhook.demo import signing
from webhook.demo.content import as_json, descriptor, digest_of
from webhook.demo.signing import SignedBundle, SignedLegacy, SigningKey
from webhook.errors import Code
from webhook.oci import manifest

LAYER = "application/vnd.oci.image.layer.v1.tar"
TIMEOUT = 5.0  # seconds; the registry runs in this process


@dataclass(frozen=True, slots=True)
class Image:
    """One image as pushed; `descriptor` names its manifest."""

    repository: str
    tag: str
    data: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def descriptor(self) -> Mapping[str, object]:
        return descriptor(manifest.OCI_MANIFEST, self.data)


@dataclass(frozen=True, slots=True)
class Case:
    """An image with a story: `reference` is what a pod names, `code` why that pod is denied, or `None`."""

    name: str
    reference: str
    digest: str
    story: str
    code: Code | None

    @property
    def admitted(self) -> bool:
        return self.code is None


class Pusher:
    """A push client for one registry on plain HTTP. Not safe for use by more than one thread."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._connection = http.client.HTTPConnection(host, timeout=TIMEOUT)

    def push(self, repository: str, tag: str, *, text: str) -> Image:
        """An image of one layer, `text`, is in the registry under `tag`."""
        layer = text.encode()
        config = as_json(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
        )
        for blob in (layer, config):
            self._push_blob(repository, blob)
        body = as_json(
            {
                "schemaVersion": 2,
                "mediaType": manifest.OCI_MANIFEST,
                "config": descriptor(signing.IMAGE_CONFIG, config),
                "layers": [descriptor(LAYER, layer)],
            }
        )
        self._push_manifest(repository, tag, body)
        return Image(repository, tag, body)

    def attach_legacy(self, image: Image, signature: SignedLegacy) -> None:
        """`signature`, whatever it signs, is offered as that of `image`: under its `.sig` tag."""
        for blob in signature.blobs:
            self._push_blob(image.repository, blob)
        self._push_manifest(image.repository, f"{image.digest.replace(':', '-')}.sig", signature.manifest)

    def attach_bundle(self, image: Image, signature: SignedBundle) -> None:
        """`signature` is among the referrers of `image`."""
        for blob in signature.blobs:
            self._push_blob(image.repository, blob)
        self._push_manifest(image.repository, digest_of(signature.manifest), signature.manifest)

    def close(self) -> None:
        """The connection is closed."""
        self._connection.close()

    def _push_blob(self, repository: str, data: bytes) -> None:
        location = self._send("POST", f"/v2/{repository}/blobs/uploads/", b"", "application/octet-stream")
        mark = "&" if "?" in location else "?"
        self._send("PUT", f"{location}{mark}digest={digest_of(data)}", data, "application/octet-stream")

    def _push_manifest(self, repository: str, name: str, data: bytes) -> None:
        self._send("PUT", f"/v2/{repository}/manifests/{name}", data, manifest.OCI_MANIFEST)

    def _send(self, method: str, path: str, data: bytes, media_type: str) -> str:
        self._connection.request(method, path, body=data, headers={"Content-Type": media_type})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status not in (201, 202):
            raise RuntimeError(f"{method} {path}: the embedded registry answered {answer.status}: {body[:200]!r}")
        return answer.headers.get("Location", "")


def make(host: str, *, trusted: SigningKey, stranger: SigningKey) -> tuple[Case, ...]:
    """The cases of the demo are in the registry at `host`; `trusted` is the key that the policy names."""
    pusher = Pusher(host)
    try:
        return _make(pusher, trusted, stranger)
    finally:
        pusher.close()


def _make(pusher: Pusher, trusted: SigningKey, stranger: SigningKey) -> tuple[Case, ...]:
    web = pusher.push("shop/web", "1.0", text="the web shop, as released")
    signature = signing.sign_legacy(trusted, web.digest, f"{pusher.host}/{web.repository}")
    pusher.attach_legacy(web, signature)
    api = pusher.push("shop/api", "1.0", text="its interface, as released")
    pusher.attach_bundle(api, signing.sign_bundle(trusted, api.digest, api.descriptor))
    unsigned = pusher.push("shop/cron", "1.0", text="a nightly job that nobody signed")
    tampered = pusher.push("shop/web", "1.0-fixed", text="the web shop, as released, and a small addition")
    pusher.attach_legacy(tampered, signature)
    wrong = pusher.push("shop/api", "1.1", text="its interface, from somewhere else")
    pusher.attach_bundle(wrong, signing.sign_bundle(stranger, wrong.digest, wrong.descriptor))

    def case(name: str, image: Image, story: str, code: Code | None = None) -> Case:
        return Case(name, f"{pusher.host}/{image.repository}:{image.tag}", image.digest, story, code)

    return (
        case("signed", web, "signed with the release key, as cosign 2 does: a .sig tag"),
        case("signed-bundle", api, "signed with the release key, as cosign 3 does: a bundle among the referrers"),
        case("unsigned", unsigned, "nobody signed this one", Code.NO_SIGNATURE),
        case(
            "tampered", tampered, "changed after signing; the old signature was copied beside it", Code.SUBJECT_MISMATCH
        ),
        case("wrong-key", wrong, "signed, but with a key that the policy does not name", Code.SIGNATURE_INVALID),
    )
