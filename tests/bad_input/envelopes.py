"""Notary Project signatures beside images: the certificates of Acme, what they sign, and the policy that trusts them.

Each is right in everything that its arguments do not say otherwise, and a referrer as Notation pushes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cryptography import x509

from tests.bad_input.makers import Row
from tests.doubles.verifying import Shelf
from tests.notation import made
from tests.notation.made import CA, COSE, JWS, LEAF, SPEC, Node, Profile, Spec
from tests.private_sigstore import documents
from tests.private_sigstore.documents import Document
from tests.private_sigstore.images import Attach, Fields
from webhook.demo.content import as_json, descriptor
from webhook.demo.signing import EMPTY
from webhook.errors import Code
from webhook.evidence.model import NOTARY_SIGNATURE
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import parse_digest

Make = Callable[[Descriptor], bytes]  # an envelope about the image that is described so
Change = Callable[[Document], object]

ROOT = made.issue("root", None, CA)
BETWEEN = made.issue("intermediate", ROOT, CA)
RELEASE = made.issue("leaf", BETWEEN)
# Under the same names, with the same key at the end
STRANGER = made.issue("leaf", made.issue("root", None, CA, key=made.key_of("p256", "stranger")))

SUBJECT = "C=US, ST=WA, O=acme.example"


# --- policies


def store(name: str, kind: str, certificate: x509.Certificate) -> Fields:
    """An entry of `trustStores`."""
    return {"name": name, "type": kind, "certificates": documents.pem(certificate)}


def by_certificate(*stores: Fields, **more: object) -> Fields:
    """Fields of a policy: a rule about certificates, and stores beside that of Acme."""
    rule = {"name": "acme", "trustStore": "acme", "subjects": [SUBJECT], **more}
    written = {name: value for name, value in rule.items() if value is not None}
    own = [] if any(one["name"] == "acme" for one in stores) else [store("acme", "ca", ROOT.certificate)]
    return {"keyless": None, "trustRoots": None, "trustStores": [*own, *stores], "certificates": [written]}


ACME = by_certificate()


# --- evidence


def enveloped(
    make: Make,
    media_type: str = JWS,
    *,
    change: Change = lambda document: document,
    stored_as: str = manifest.OCI_MANIFEST,
) -> Attach:
    """The envelope that `make` makes, in a referrer whose manifest `change` changes."""

    def put_beside(shelf: Shelf, image: str) -> None:
        refer(shelf, image, make(described(shelf, image)), media_type, change=change, stored_as=stored_as)

    return put_beside


def refer(
    shelf: Shelf, image: str, data: bytes, media_type: str = JWS, *, change: Change = lambda document: document,
    stored_as: str = manifest.OCI_MANIFEST,
) -> str:  # fmt: skip
    """`data` is a referrer of the image; returns the digest of its manifest."""
    about = described(shelf, image)
    body = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "artifactType": NOTARY_SIGNATURE,
        "config": descriptor(EMPTY, b"{}"),
        "layers": [descriptor(media_type, data)],
        "subject": {"mediaType": about.media_type, "digest": image, "size": about.size},
    }
    for blob in (b"{}", data):
        shelf.stored.push_blob(shelf.name, blob)
    return shelf.stored.push_manifest(shelf.name, as_json(change(body)), stored_as)


def described(shelf: Shelf, image: str) -> Descriptor:
    size = len(shelf.stored.repository(shelf.name).manifests[image].data)
    return Descriptor(manifest.OCI_MANIFEST, parse_digest(image), size, None, {}, None)


def spec_of(image: Descriptor, spec: Spec = SPEC, **target: object) -> Spec:
    """`spec` about `image`, with members of what is signed changed."""
    own = {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size}
    return replace(spec, payload=made.payload_of(**{**own, **target}))


def jws(
    spec: Spec = SPEC, leaf: Node = RELEASE, *, target: Mapping[str, object] = made.NOTHING,
    then: Callable[[bytes], bytes] = bytes, **how: Any,
) -> Attach:  # fmt: skip
    """An envelope in JWS; `how` is as of `made.sign_jws`, and `then` changes what was signed."""
    return enveloped(lambda image: then(made.sign_jws(spec_of(image, spec, **target), leaf, **how)), JWS)


def cose(
    spec: Spec = SPEC, leaf: Node = RELEASE, *, target: Mapping[str, object] = made.NOTHING,
    then: Callable[[bytes], bytes] = bytes, **how: Any,
) -> Attach:  # fmt: skip
    """The same in COSE."""
    return enveloped(lambda image: then(made.sign_cose(spec_of(image, spec, **target), leaf, **how)), COSE)


def listed(change: Change) -> Attach:
    """A good envelope, in a manifest that is changed."""
    return enveloped(lambda image: made.sign_jws(spec_of(image), RELEASE), change=change)


def leaf(name: str, profile: Profile = LEAF, **how: Any) -> Node:
    """A certificate of Acme's for signing."""
    return made.issue(name, BETWEEN, profile, **how)


def above(count: int) -> Node:
    """A leaf in a chain of so many certificates."""
    issuer = ROOT
    for number in range(count - 2):
        issuer = made.issue(f"authority {number}", issuer, CA)
    return made.issue("leaf", issuer)


def row(code: Code, bad: Attach, words: str, *, good: Attach | None = None, asked: Fields = ACME, **how: Any) -> Row:
    """A row of evidence by Acme."""
    return Row(code, bad, good or jws(), asked, words=words, **how)
