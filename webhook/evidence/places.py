"""Where evidence may be, and what of all that is there can be wanted: told by types and hints, before it is fetched.

Media types and annotations are claims that nobody signed. They say what need not be fetched, and in which order the
rest is, and never what anything is worth: that a bundle names its image, or a layer its predicate type, is for `cosign`
to find out. Asking and fetching is left to `collect`.

spec: cosign signature, attestation and bundle specifications; OCI distribution 1.1, referrers and referrers tag schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from webhook.errors import Code, MalformedError, quote
from webhook.evidence.model import (
    BUNDLE_PREFIX,
    COSE_ENVELOPE,
    DSSE_ENVELOPE,
    IN_TOTO,
    JWS_ENVELOPE,
    NOTARY_SIGNATURE,
    SIGN_PREDICATE,
    SIMPLE_SIGNING,
    Form,
    Place,
    Wants,
)
from webhook.oci.manifest import Descriptor, Manifest
from webhook.oci.reference import Digest

SIGNATURE_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"  # cosign 2, experimental OCI 1.1 mode
# Registries that list the config's media type, or nothing, where the artifact type belongs.
UNTOLD_TYPES = (None, "", "application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json")
BUNDLE_PREDICATE = "dev.sigstore.bundle.predicateType"  # of a manifest, and of its descriptor in a listing
LAYER_PREDICATE = "predicateType"
CREATED = "org.opencontainers.image.created"

SUFFIXES = {Place.SIGNATURE_TAG: ".sig", Place.ATTESTATION_TAG: ".att", Place.FALLBACK_TAG: ""}


def to_ask(wants: Wants) -> tuple[Place, ...]:
    """Every place where something of what is wanted may be."""
    referred = wants.signatures or wants.notation or bool(wants.predicates)
    useful = {
        Place.SIGNATURE_TAG: wants.signatures,
        Place.ATTESTATION_TAG: bool(wants.predicates),
        Place.REFERRERS: referred,
        Place.FALLBACK_TAG: referred,
    }
    return tuple(place for place in Place if useful[place])


def tag(place: Place, digest: Digest) -> str | None:
    """The tag that is `place` for `digest`; `None` where cosign can make none: a tag has at most 128 characters."""
    suffix = SUFFIXES[place]
    if suffix and digest.algorithm != "sha256":
        return None
    # OCI distribution 1.1, referrers tag schema: at most 32 characters of algorithm and 64 of hex.
    return f"{digest.algorithm}-{digest.hex[:64]}{suffix}"


def candidates(listed: Iterable[Descriptor], wants: Wants) -> list[Descriptor]:
    """What of a listing may be wanted, each kind in turn, of a kind the likeliest first, and of these the newest, as
    they say themselves."""
    found = [each for each in listed if _may_hold(each.artifact_type, wants) and _is_wanted(_hint(each), wants)]
    found.sort(key=lambda each: each.annotations.get(CREATED, ""), reverse=True)
    return _in_turn(sorted(found, key=lambda each: (each.artifact_type in UNTOLD_TYPES, not _hint(each))), _hint)


def referrer_layers(manifest: Manifest, subject: Digest, wants: Wants) -> list[Descriptor]:
    """What of a referrer of `subject` may be wanted; its layers tell what it is, whatever its type says.

    Raises: MalformedError.
    """
    # A listing is only the registry's claim: the manifest itself must name its subject.
    if manifest.subject is None or manifest.subject.digest != subject:
        named = manifest.subject.digest if manifest.subject else "nothing"
        raise MalformedError(Code.MALFORMED, f"the referrer {manifest.digest} names {named} as its subject")
    if (manifest.artifact_type or manifest.config.media_type) == NOTARY_SIGNATURE:
        return _envelopes(manifest) if wants.notation else []
    bundles = [layer for layer in manifest.layers if form_of(layer) is Form.BUNDLE]
    if not bundles:
        return [*signatures(manifest, wants), *attestations(manifest, wants)]
    if len(manifest.layers) != 1:
        raise MalformedError(
            Code.MALFORMED, f"the bundle manifest {manifest.digest} has {len(manifest.layers)} layers, one expected"
        )
    return bundles if _is_wanted(manifest.annotations.get(BUNDLE_PREDICATE, ""), wants) else []


def signatures(manifest: Manifest, wants: Wants) -> Sequence[Descriptor]:
    """The layers that may hold a signature; envelopes beside them are none."""
    return [layer for layer in manifest.layers if wants.signatures and form_of(layer) is Form.LEGACY]


def attestations(manifest: Manifest, wants: Wants) -> Sequence[Descriptor]:
    """The layers that may hold an attestation, each kind in turn, the newest first: cosign appends."""
    found = [
        layer
        for layer in reversed(manifest.layers)
        if wants.predicates and form_of(layer) is Form.DSSE and _is_demanded(_layer_hint(layer), wants)
    ]
    return _in_turn(sorted(found, key=lambda layer: not _layer_hint(layer)), _layer_hint)


def form_of(layer: Descriptor) -> Form | None:
    """How the content of a layer is wrapped; `None` where it is nothing of ours."""
    if layer.media_type.startswith(BUNDLE_PREFIX):
        return Form.BUNDLE
    return _FORMS.get(layer.media_type)


_FORMS = {
    SIMPLE_SIGNING: Form.LEGACY,
    DSSE_ENVELOPE: Form.DSSE,
    JWS_ENVELOPE: Form.NOTATION,
    COSE_ENVELOPE: Form.NOTATION,
}


def _envelopes(manifest: Manifest) -> list[Descriptor]:
    """Notary Project, signature specification, storage: exactly one layer, whose media type is the envelope's."""
    what = f"the signature manifest {manifest.digest}"
    if len(manifest.layers) != 1:
        raise MalformedError(Code.MALFORMED, f"{what} has {len(manifest.layers)} layers, one expected")
    [layer] = manifest.layers
    if form_of(layer) is not Form.NOTATION:
        found = quote(layer.media_type, max_chars=80)
        raise MalformedError(
            Code.UNSUPPORTED, f"{what}: an envelope {JWS_ENVELOPE} or {COSE_ENVELOPE} expected, found {found}"
        )
    return [layer]


def _in_turn(found: Sequence[Descriptor], hint: Callable[[Descriptor], str]) -> list[Descriptor]:
    """One of each kind, then the next of each, and so on. Only so many are examined: the scan of every day must not
    crowd out the one provenance or signature."""
    numbers: Counter[str] = Counter()
    turns = []
    for each in found:
        turns.append(numbers[hint(each)])
        numbers[hint(each)] += 1
    return [each for _, each in sorted(zip(turns, found, strict=True), key=lambda pair: pair[0])]


def _hint(descriptor: Descriptor) -> str:
    if descriptor.artifact_type == NOTARY_SIGNATURE:  # a kind by itself, which has no other hint
        return NOTARY_SIGNATURE
    return descriptor.annotations.get(BUNDLE_PREDICATE, "")


def _layer_hint(layer: Descriptor) -> str:
    return layer.annotations.get(LAYER_PREDICATE, "")


def _may_hold(artifact_type: str | None, wants: Wants) -> bool:
    """Another artifact's type is a reason to discard; that of one of ours, or none, says little."""
    if artifact_type is None or artifact_type in UNTOLD_TYPES:
        return True
    if artifact_type == NOTARY_SIGNATURE:
        return wants.notation
    if artifact_type.startswith(SIGNATURE_ARTIFACT):
        return wants.signatures
    if artifact_type.startswith(DSSE_ENVELOPE):
        return bool(wants.predicates)
    cosign = wants.signatures or bool(wants.predicates)
    return cosign and artifact_type.startswith((BUNDLE_PREFIX, IN_TOTO))


def _is_wanted(named: str, wants: Wants) -> bool:
    """Whether a bundle that says it is of the predicate type `named`, empty where it says nothing, is to be fetched.

    The hint may discard, and nothing else. What was discarded wrongly is missed, which denies; or it admits, where a
    demand looks at the newest statement or at all of them. But whoever can write the hint, in the index of a fallback
    tag or in the manifest of an `.att` tag, could as well have left the entry out; and a referrer's own manifest cannot
    be given another hint without becoming another referrer beside it. So an attacker gains nothing by it.
    """
    signs = (wants.signatures and named == SIGN_PREDICATE) or (wants.notation and named == NOTARY_SIGNATURE)
    return signs or _is_demanded(named, wants)


def _is_demanded(named: str, wants: Wants) -> bool:
    """The same for an envelope, which is never a signature."""
    return not named or named in wants.predicates
