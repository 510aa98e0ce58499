"""Images beside which a private Sigstore put something, and the policy of a user who trusts it.

An `Attach` puts evidence beside one image of a repository, as bundles in referrers or as layers of the tags `.sig` and
`.att`, right in everything that its arguments do not say otherwise. `spec` is the policy that all of it is for.

spec: cosign SIGNATURE_SPEC and BUNDLE_SPEC; sigstore protobuf-specs, TrustedRoot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.doubles.verifying import Shelf, signature_tag
from tests.private_sigstore import attach, documents
from tests.private_sigstore.asked import OURS
from tests.private_sigstore.instance import Layer, PrivateSigstore, Window
from tests.private_sigstore.recipe import Twist
from webhook.evidence.model import DSSE_ENVELOPE, SIGN_PREDICATE, SIMPLE_SIGNING

Attach = Callable[[Shelf, str], None]  # beside the image with that digest
MakeLayer = Callable[[str], Layer]
Fields = Mapping[str, object]

SLSA = "https://slsa.dev/provenance/v1"
SUBJECT, ISSUER = "dev@example.com", "https://issuer.example.com"
DEV: Fields = {"name": "dev", "issuer": ISSUER, "subject": SUBJECT, "trustRoot": "private"}


# --- policies


def spec(**more: object) -> dict[str, object]:
    """Of a policy that trusts `DEV` under the root of `OURS`; a field that is `None` is left out."""
    fields: dict[str, object] = {"mode": "enforce", "keyless": [DEV], "trustRoots": [trusted()], **more}
    return {name: value for name, value in fields.items() if value is not None}


def trusted(
    sigstore: PrivateSigstore = OURS, *, windows: Mapping[str, Window] | None = None, without: Sequence[str] = (),
    **flags: bool,
) -> Fields:  # fmt: skip
    """An entry of `trustRoots`, written out."""
    root = sigstore.trusted_root(windows=windows, without=without)
    return {"name": "private", "trustedRoot": root.decode(), **flags}


def under(sigstore: PrivateSigstore = OURS, **root: Any) -> Fields:
    """Fields of a policy: another root than that of `OURS` as it is."""
    return {"trustRoots": [trusted(sigstore, **root)]}


def by(**fields: object) -> Fields:
    """Fields of a policy: `DEV` described otherwise."""
    described = {**DEV, **fields}
    return {"keyless": [{name: value for name, value in described.items() if value is not None}]}


def by_key(pem: str, **fields: object) -> Fields:
    """Fields of a policy: a key instead of an identity; a log is not demanded unless `fields` say so."""
    key = {"name": "release", "publicKey": pem, "requireLog": False, "trustRoot": "private", **fields}
    return {"keyless": None, "trustedKeys": [key]}


def demanding(**demand: object) -> Fields:
    """Fields of a policy: an attestation instead of a signature."""
    wanted = {"predicateType": SLSA, **demand}
    return {"rules": [{"images": ["**"], "require": "none", "attestations": [wanted]}]}


# --- evidence


def all_of(*parts: Attach) -> Attach:
    """Each of `parts`, in this order."""

    def put(shelf: Shelf, image: str) -> None:
        for part in parts:
            part(shelf, image)

    return put


def bundle(*, by: PrivateSigstore = OURS, of: str = "", hint: str = "", **how: Any) -> Attach:
    """A bundle; about `of` where that is given. `hint` is the predicate type that nobody signs, where it lies."""
    named = hint or how.get("predicate_type", SIGN_PREDICATE)
    return made(lambda image: by.keyless_bundle(of or image, **how), hint=named)


def made(make: Callable[[str], bytes], *, hint: str = SIGN_PREDICATE) -> Attach:
    """The bundle that `make` makes of the image's digest."""
    return lambda shelf, image: _ignore(
        attach.bundle(shelf.stored, shelf.name, image, make(image), predicate_type=hint)
    )


def member(path: documents.Path, value: object, **how: Any) -> Attach:
    """A bundle in which that stands at `path`, which nobody signed."""
    return made(lambda image: documents.edit(OURS.keyless_bundle(image, **how), path, value))


def twisted(**twist: Any) -> Attach:
    """A bundle with fields of `Twist`."""
    return bundle(twist=Twist(**twist))


def statement(path: documents.Path, value: object, **how: Any) -> Attach:
    """A bundle that signs a statement in which that stands at `path`."""
    return bundle(twist=Twist(payload=lambda document: documents.put(document, path, value)), **how)


def signature(*, by: PrivateSigstore = OURS, of: str = "", **how: Any) -> Attach:
    """One layer in the `.sig` tag."""
    return signatures(lambda image: by.legacy_signature(of or image, **how))


def signatures(*makes: MakeLayer) -> Attach:
    """Layers in the `.sig` tag."""
    return lambda shelf, image: _ignore(
        attach.signatures(shelf.stored, shelf.name, image, [make(image) for make in makes])
    )


def annotated(changes: Mapping[str, str | None], **how: Any) -> Attach:
    """One layer in the `.sig` tag, with other annotations, which nobody signed."""
    return signatures(changed(lambda image: OURS.legacy_signature(image, **how), changes))


def attestation(*, of: str = "", predicate_type: str = SLSA, **how: Any) -> Attach:
    """One layer in the `.att` tag."""
    return attestations(lambda image: OURS.legacy_attestation(of or image, predicate_type=predicate_type, **how))


def attestations(*makes: MakeLayer) -> Attach:
    """Layers in the `.att` tag."""
    return lambda shelf, image: _ignore(
        attach.attestations(shelf.stored, shelf.name, image, [make(image) for make in makes])
    )


def changed(make: MakeLayer, changes: Mapping[str, str | None]) -> MakeLayer:
    """The layer that `make` makes with other annotations; without one that is `None`."""

    def changing(image: str) -> Layer:
        payload, annotations = make(image)
        merged = {**annotations, **changes}
        return payload, {name: value for name, value in merged.items() if value is not None}

    return changing


def manifest(change: Callable[[documents.Document], object], *, tag: str = "sig") -> Attach:
    """A good layer in the tag of that suffix, whose manifest `change` changes, under its right digest."""

    def put(shelf: Shelf, image: str) -> None:
        name = signature_tag(image).removesuffix("sig") + tag
        if tag == "sig":
            made_of = attach.tagged(name, SIMPLE_SIGNING, [OURS.legacy_signature(image)])
        else:
            made_of = attach.tagged(name, DSSE_ENVELOPE, [OURS.legacy_attestation(image, predicate_type=SLSA)])
        body = documents.edit(made_of.manifest, (), change)
        attach.push(shelf.stored, shelf.name, attach.Attachment(body, made_of.blobs, name))

    return put


def _ignore(digest: str) -> None:
    del digest
