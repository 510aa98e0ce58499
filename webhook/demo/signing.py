"""Real cosign signatures, made on the spot: keys, signature manifests and bundles as cosign 2 and 3 write them.

For the demo and for tests, never for a running webhook, which only verifies. Everything is a value: bytes to be pushed
by whoever asked for them. Byte for byte the documents have the layout of cosign 3.1; only the spaces that cosign's
protobuf writer puts after commas are left out, since it puts them at random.

spec: cosign SIGNATURE_SPEC and BUNDLE_SPEC; DSSE 1.0; in-toto statement 1; OCI image 1.1, manifest, subject.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from webhook.demo.content import as_json, descriptor, digest_of
from webhook.evidence.model import IN_TOTO, SIGN_PREDICATE, SIMPLE_SIGNING
from webhook.oci import manifest

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT = "https://in-toto.io/Statement/v1"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"

_CREATED = "2026-01-01T00:00:00Z"
_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that signs as cosign does with one of its kind, and its public half as PEM."""

    name: str
    public_pem: str
    private: _PrivateKey = field(repr=False, compare=False)

    def sign(self, data: bytes, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
        """The signature over `data`; `algorithm` replaces the hash that goes with the key."""
        match self.private:
            case ec.EllipticCurvePrivateKey():
                return self.private.sign(data, ec.ECDSA(algorithm or _CURVE_HASHES[self.private.curve.name]))
            case rsa.RSAPrivateKey():
                chosen = algorithm or hashes.SHA256()
                pss = padding.PSS(padding.MGF1(chosen), padding.PSS.MAX_LENGTH)
                return self.private.sign(data, pss if self.name == "rsa-pss" else padding.PKCS1v15(), chosen)
            case ed25519.Ed25519PrivateKey():
                return self.private.sign(data)

    @property
    def hint(self) -> str:
        """How a bundle names this key: base64 of the SHA-256 of its SPKI."""
        spki = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64_of(hashlib.sha256(spki).digest())

    @property
    def private_pem(self) -> str:
        """PKCS#8 without a password, for `cosign import-key-pair`."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


_CURVE_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}

_KINDS: Mapping[str, Callable[[], _PrivateKey]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
    "rsa-pss": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def new_key(kind: str = "p256") -> SigningKey:
    """A fresh key: `p256`, `p384`, `p521`, `rsa2048`, `rsa3072`, `rsa4096`, `rsa-pss` or `ed25519`."""
    private = _KINDS[kind]()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(kind, public.decode(), private)


@dataclass(frozen=True, slots=True)
class SignedLayer:
    """One legacy signature: the signed `payload`, and the annotations that carry the signature."""

    payload: bytes
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SignedLegacy:
    """What `cosign sign --new-bundle-format=false` pushes: `manifest` under `tag`, `config`, and one blob per layer."""

    tag: str
    manifest: bytes
    config: bytes
    layers: tuple[SignedLayer, ...]

    @property
    def payload(self) -> bytes:
        """The newest signed payload."""
        return self.layers[-1].payload

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """All that the manifest names, to be pushed before it."""
        return (self.config, *(layer.payload for layer in self.layers))


def sign_legacy(
    key: SigningKey, image_digest: str, reference: str, *,
    annotations: Mapping[str, str] | None = None, onto: SignedLegacy | None = None,
) -> SignedLegacy:  # fmt: skip
    """A simple signing signature of `image_digest`, after those of `onto` where there are some.

    `reference` becomes the docker reference, a claim nobody checks; `annotations` are `cosign sign -a`.
    """
    payload = simple_payload(image_digest, reference, annotations)
    layer = SignedLayer(payload, {"dev.cosignproject.cosign/signature": base64_of(key.sign(payload))})
    return legacy_manifest(image_digest, (*(onto.layers if onto else ()), layer))


def simple_payload(image_digest: str, reference: str, annotations: Mapping[str, str] | None = None) -> bytes:
    """The bytes that a legacy signature signs."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": image_digest},
        "type": "cosign container image signature",
    }
    return as_json({"critical": critical, "optional": dict(annotations) if annotations else None})


def legacy_manifest(image_digest: str, layers: tuple[SignedLayer, ...]) -> SignedLegacy:
    """The `.sig` manifest of `layers`, whatever they hold."""
    never = "0001-01-01T00:00:00Z"
    config = as_json({
        "architecture": "", "created": never, "history": [{"created": never} for _ in layers], "os": "",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer.payload) for layer in layers]}, "config": {},
    })  # fmt: skip
    body = as_json(
        {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "config": descriptor(IMAGE_CONFIG, config),
            "layers": [
                {**descriptor(SIMPLE_SIGNING, layer.payload), "annotations": dict(layer.annotations)}
                for layer in layers
            ],
        }
    )
    return SignedLegacy(f"{image_digest.replace(':', '-')}.sig", body, config, layers)


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """What `cosign sign` pushes: a referrer's `manifest`, by digest, its `bundle`, and the empty `config`."""

    manifest: bytes
    bundle: bytes
    config: bytes

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """All that the manifest names, to be pushed before it."""
        return (self.config, self.bundle)

    @property
    def descriptor(self) -> Mapping[str, object]:
        """How the referrers answer, or the fallback tag's index, lists it."""
        return {**descriptor(manifest.OCI_MANIFEST, self.manifest), "artifactType": BUNDLE}


def sign_bundle(key: SigningKey, image_digest: str, image_descriptor: Mapping[str, object]) -> SignedBundle:
    """A Sigstore bundle that signs `image_digest`, attached to `image_descriptor`: media type, size and digest."""
    envelope = sign_envelope(key, sign_statement(image_digest))
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.hint}},
        "dsseEnvelope": envelope,
    }
    return bundle_manifest(as_json(bundle), image_descriptor)


def sign_statement(image_digest: str, predicate_type: str = SIGN_PREDICATE) -> bytes:
    """The in-toto statement of a cosign 3 signature: its subject has no name, its predicate is empty."""
    algorithm, _, value = image_digest.partition(":")
    return as_json(
        {
            "_type": STATEMENT,
            "subject": [{"digest": {algorithm: value}, "annotations": {}}],
            "predicateType": predicate_type,
            "predicate": {},
        }
    )


def sign_envelope(key: SigningKey, statement: bytes) -> dict[str, object]:
    """A DSSE envelope of `statement`."""
    signed = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(statement), statement)
    return {
        "payload": base64_of(statement),
        "payloadType": IN_TOTO,
        "signatures": [{"sig": base64_of(key.sign(signed))}],
    }


def bundle_manifest(bundle: bytes, image_descriptor: Mapping[str, object]) -> SignedBundle:
    """The referrer that carries `bundle`, whatever it holds."""
    config = b"{}"
    body = as_json(
        {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "config": {**descriptor(EMPTY, config), "artifactType": BUNDLE},
            "layers": [descriptor(BUNDLE, bundle)],
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": SIGN_PREDICATE,
                "org.opencontainers.image.created": _CREATED,
            },
            "subject": {name: image_descriptor[name] for name in ("mediaType", "size", "digest")},
            "artifactType": BUNDLE,
        }
    )
    return SignedBundle(body, bundle, config)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()
