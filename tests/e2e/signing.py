"""Images in a cluster's registry and the signatures on them, made by the real crane, cosign and notation.

Each image prints its own name, so each has a digest of its own. Signatures come in both forms: the legacy `.sig`
manifest, and the bundle, which this registry lists by the fallback tag, as it has no referrers API; those of the Notary
Project are JWS or COSE, and listed as the registry can. Some are no work of an honest signer: signatures copied from
another image, and ones whose payload was edited afterwards.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.cluster import images
from tests.cluster.cluster import Cluster
from tests.cluster.components import REGISTRY

REGISTRY_PORT = 5000  # in plain HTTP
LEGACY = ("--tlog-upload=false", "--new-bundle-format=false", "--use-signing-config=false")


@dataclass(frozen=True, slots=True)
class Key:
    private: Path
    public: Path

    @property
    def pem(self) -> str:
        return self.public.read_text()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that signed itself, whose key notation knows by its `name`."""

    name: str
    path: Path

    @property
    def pem(self) -> str:
        return self.path.read_text()


@dataclass(frozen=True, slots=True)
class Image:
    """`tagged` and `pinned` name the same image: by its tag, and by its digest."""

    tagged: str
    pinned: str

    @property
    def digest(self) -> str:
        return self.pinned.partition("@")[2]

    @property
    def repository(self) -> str:
        return self.pinned.partition("@")[0]


class Workshop:
    """Makes images, keys and signatures; its files lie in `directory`, which the node must see."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster, self._directory = cluster, directory
        self._services = directory / "no-services.json"
        self._run("cosign", "signing-config", "create", "--out", self._services)

    def _run(self, *args: str | Path) -> str:
        return self._cluster.run("env", "COSIGN_PASSWORD=", *args).stdout.strip()

    def _notation(self, *args: str | Path) -> None:
        home = self._directory / "notation"
        self._cluster.run("env", f"NOTATION_CONFIG={home}", f"HOME={home}", "notation", *args)

    def certificate(self, name: str) -> Certificate:
        self._notation("cert", "generate-test", name)
        return Certificate(name, self._directory / "notation" / "localkeys" / f"{name}.crt")

    def sign_notary(self, image: Image, by: Certificate, *, form: str = "jws") -> Image:
        """`image` has a Notary Project signature by `by`, with the referrers API where its registry has one."""
        plain = ["--insecure-registry"] if image.repository.startswith("127.0.0.1:") else []
        self._notation(
            "sign", "--key", by.name, "--signature-format", form, "--force-referrers-tag=false", *plain, image.pinned
        )
        return image

    def copy(self, image: Image, host: str) -> Image:
        """The same image in the registry at `host`, with nothing attached to it."""
        tagged = f"{host}/{image.tagged.partition('/')[2]}"
        self._run("crane", "copy", image.pinned, tagged)
        return Image(tagged, f"{tagged.rpartition(':')[0]}@{image.digest}")

    def key(self, name: str) -> Key:
        prefix = self._directory / name
        self._run("cosign", "generate-key-pair", f"--output-key-prefix={prefix}")
        return Key(prefix.with_suffix(".key"), prefix.with_suffix(".pub"))

    def image(self, name: str, *, tag: str = "1", text: str = "") -> Image:
        """An image for one platform, in the Docker form; it prints `text`, or its name."""
        tagged = f"{REGISTRY}/{name}:{tag}"
        archive = self._directory / "image.tar"
        images.write_archive(archive, images.busybox(tagged, "echo", text or tagged))
        return Image(tagged, self._cluster.push(archive, tagged))

    def index(self, name: str) -> Image:
        """An image for two platforms: the OCI index, which is what gets signed, and not what it lists."""
        here = self.image(name, tag="here")
        other = {"amd64": "arm64", "arm64": "amd64"}[images.ARCHITECTURE]
        platform = f"--set-platform=linux/{other}"
        there = self._run("crane", "mutate", platform, here.pinned, f"--tag={here.repository}:there")
        tagged = f"{here.repository}:1"
        self._run("crane", "index", "append", f"--manifest={here.pinned}", f"--manifest={there}", f"--tag={tagged}")
        return Image(tagged, f"{here.repository}@{self._run('crane', 'digest', tagged)}")

    def listed(self, index: Image) -> Image:
        """The manifest in `index` for this machine's platform."""
        tagged = f"{index.repository}:here"
        return Image(tagged, f"{index.repository}@{self._run('crane', 'digest', tagged)}")

    def sign_legacy(self, image: Image, key: Key) -> Image:
        self._run("cosign", "sign", "--yes", "--key", key.private, *LEGACY, image.pinned)
        return image

    def sign_bundle(self, image: Image, key: Key) -> Image:
        self._run("cosign", "sign", "--yes", "--key", key.private, "--signing-config", self._services, image.pinned)
        return image

    def attest(self, image: Image, key: Key, predicate: Mapping[str, object], *, kind: str, legacy: bool) -> Image:
        """`image` has an attestation of cosign's type `kind` by `key`: a `.att` manifest, or else a bundle."""
        file = self._directory / "predicate.json"
        file.write_text(json.dumps(predicate))
        form = LEGACY if legacy else ("--signing-config", self._services)
        what = ("--predicate", file, "--type", kind)
        self._run("cosign", "attest", "--yes", "--key", key.private, *what, *form, image.pinned)
        return image

    def copy_attestation(self, source: Image, target: Image) -> Image:
        """`target` has the `.att` manifest of `source`, whose statements name another digest."""
        self._run("crane", "copy", attestation_tag(source), attestation_tag(target))
        return target

    def copy_signature(self, source: Image, target: Image) -> Image:
        """`target` has the legacy signature of `source`, whose payload names another digest."""
        self._run("crane", "copy", signature_tag(source), signature_tag(target))
        return target

    def copy_bundle(self, source: Image, target: Image) -> Image:
        """`target` has what refers to `source`: a bundle whose statement names another digest."""
        self._run("crane", "copy", referrers_tag(source), referrers_tag(target))
        return target

    def referrer(self, image: Image) -> str:
        """The digest of the one manifest that refers to `image`."""
        index = json.loads(self._run("crane", "manifest", referrers_tag(image)))
        (entry,) = index["manifests"]
        return str(entry["digest"])

    def redirect_bundle(self, source: Image, target: Image) -> Image:
        """As `copy_bundle`, but what refers to `target` says so: only the signed statement names another digest."""
        self.copy_bundle(source, target)
        index, referrer = self._run("crane", "manifest", referrers_tag(source)), self.referrer(source)
        manifest = self._run("crane", "manifest", f"{source.repository}@{referrer}")
        redirected = manifest.replace(source.digest, target.digest)
        digest = f"sha256:{hashlib.sha256(redirected.encode()).hexdigest()}"
        path = f"/v2/{target.repository.partition('/')[2]}/manifests"
        with self._cluster.reach(REGISTRY_PORT) as (host, port), httpx.Client(base_url=f"http://{host}:{port}") as http:
            _put(http, f"{path}/{digest}", redirected)
            _put(http, f"{path}/{target.digest.replace(':', '-')}", index.replace(referrer, digest))
        return target

    def edit_envelope(self, source: Image, target: Image) -> Image:
        """As `redirect_bundle`, and in the Notary Project envelope too the digest of `target` stands."""
        index, referrer = self._run("crane", "manifest", referrers_tag(source)), self.referrer(source)
        manifest = json.loads(self._run("crane", "manifest", f"{source.repository}@{referrer}"))
        paths = [f"/v2/{image.repository.partition('/')[2]}" for image in (source, target)]
        with self._cluster.reach(REGISTRY_PORT) as (host, port), httpx.Client(base_url=f"http://{host}:{port}") as http:
            envelope = http.get(f"{paths[0]}/blobs/{manifest['layers'][0]['digest']}").raise_for_status().content
            edited = _edited(envelope, source.digest, target.digest)
            manifest["layers"][0] |= {"digest": _push_blob(http, paths[1], edited), "size": len(edited)}
            redirected = json.dumps(manifest).replace(source.digest, target.digest)
            digest = f"sha256:{hashlib.sha256(redirected.encode()).hexdigest()}"
            _push_blob(http, paths[1], b"{}")  # the manifest's config
            _put(http, f"{paths[1]}/manifests/{digest}", redirected)
            listed = json.loads(index)
            listed["manifests"][0] |= {"digest": digest, "size": len(redirected)}
            _put(http, f"{paths[1]}/manifests/{target.digest.replace(':', '-')}", json.dumps(listed))
        return target

    def edit_signature(self, source: Image, target: Image) -> Image:
        """`target` has the legacy signature of `source`, with its payload edited to name the digest of `target`."""
        layer = json.loads(self._run("crane", "manifest", signature_tag(source)))["layers"][0]
        payload = self._run("crane", "blob", f"{source.repository}@{layer['digest']}")
        files = self._directory / "payload.json", self._directory / "signature"
        files[0].write_text(payload.replace(source.digest, target.digest))
        files[1].write_text(layer["annotations"]["dev.cosignproject.cosign/signature"])
        assert base64.b64decode(files[1].read_text(), validate=True)
        self._run("cosign", "attach", "signature", "--payload", files[0], "--signature", files[1], target.pinned)
        return target


def signature_tag(image: Image) -> str:
    return f"{image.repository}:{image.digest.replace(':', '-')}.sig"


def attestation_tag(image: Image) -> str:
    return f"{referrers_tag(image)}.att"


def referrers_tag(image: Image) -> str:
    return signature_tag(image).removesuffix(".sig")


def _put(http: httpx.Client, path: str, document: str) -> None:
    media_type = json.loads(document)["mediaType"]
    http.put(path, content=document, headers={"Content-Type": media_type}).raise_for_status()


def _push_blob(http: httpx.Client, path: str, data: bytes) -> str:
    """Returns its digest."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    upload = http.post(f"{path}/blobs/uploads/").raise_for_status().headers["location"]
    separator = "&" if "?" in upload else "?"
    http.put(f"{upload}{separator}digest={digest}", content=data).raise_for_status()
    return digest


def _edited(envelope: bytes, digest: str, other: str) -> bytes:
    """A JWS or COSE envelope in whose payload another digest stands, of the same length."""
    if not envelope.startswith(b"{"):
        return envelope.replace(digest.encode(), other.encode())
    document = json.loads(envelope)
    payload = base64.urlsafe_b64decode(document["payload"] + "==").replace(digest.encode(), other.encode())
    return json.dumps({**document, "payload": base64.urlsafe_b64encode(payload).rstrip(b"=").decode()}).encode()
