"""One near miss with the acceptance beside it, and the ways to make both; the tables of this folder are made of these.

Nothing is judged here: `tests/test_named_bad_input.py` pushes each into a registry and asks for the decision.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.doubles.registry import HostileRegistry, on
from tests.doubles.verifying import Shelf, signature_tag
from tests.private_sigstore import attach, documents, images
from tests.private_sigstore.asked import OURS, STRANGER
from tests.private_sigstore.authority import Authority
from tests.private_sigstore.clock import Clock
from tests.private_sigstore.documents import Document, edit, put
from tests.private_sigstore.images import (
    SLSA,
    Attach,
    Fields,
    bundle,
    by_key,
    changed,
    demanding,
    made,
    signature,
    signatures,
    twisted,
)
from tests.private_sigstore.instance import (
    AT,
    Layer,
    PrivateSigstore,
    key_of,
)
from tests.private_sigstore.logs import CTLog
from tests.private_sigstore.recipe import Twist
from tests.trust.tokens import Details, Mistakes
from webhook.demo import signing
from webhook.demo.content import as_json
from webhook.demo.registry import OCI_INDEX
from webhook.errors import Code
from webhook.oci import manifest

ENTRIES = ("verificationMaterial", "tlogEntries")
ENTRY = (*ENTRIES, 0)
PROOF = (*ENTRY, "inclusionProof")
NOTE = ("inclusionProof", "checkpoint", "envelope")
STAMPS = ("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps")
CHAINED = ("verificationMaterial", "x509CertificateChain", "certificates")
SPDX = "https://spdx.dev/Document"
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Row:
    """`bad` is refused by `code`, `good` is verified, both by the policy that `asked` changes."""

    code: Code
    bad: Attach
    good: Attach = field(default_factory=bundle)
    asked: Fields = field(default_factory=dict)
    tampers: bool = False  # or is blocked: a policy that only warns denies too
    words: str = ""  # somewhere in what is told of the evidence
    status: int = 403
    alone: bool = False  # what is bad is the registry, or fills all the room that there is


def entry_of(make: Callable[[str], bytes]) -> Callable[[str], Document]:
    """The log entry of another bundle."""
    return lambda image: json.loads(make(image))["verificationMaterial"]["tlogEntries"][0]


def with_entry(make: Callable[[str], Document], **how: Any) -> Attach:
    """A bundle with the log entry that `make` makes, beside nothing of its own."""
    return made(lambda image: edit(OURS.keyless_bundle(image, **how), ENTRY, make(image)))


def more_entries(*makes: Callable[[str], Document], first: bool = False) -> Attach:
    """A bundle with other entries behind, or in front of, its own."""

    def make(image: str) -> bytes:
        others = [one(image) for one in makes]
        return edit(OURS.keyless_bundle(image), ENTRIES, lambda own: [*others, *own] if first else [*own, *others])

    return made(make)


def with_annotation(name: str, of: Callable[[str], Layer], **how: Any) -> Attach:
    """A legacy signature with one annotation of another."""
    return signatures(lambda image: changed(
        lambda same: OURS.legacy_signature(same, **how), {name: of(image)[1][name]})(image))  # fmt: skip


def instance(**parts: object) -> PrivateSigstore:
    """`OURS`, with parts replaced."""
    other = copy.copy(OURS)
    for name, part in parts.items():
        setattr(other, name, part)
    return other


def checkpoint(**changes: Any) -> Attach:
    """A bundle whose proof has another checkpoint, well signed by the log."""
    return twisted(logged=lambda entry: put(entry, NOTE, OURS.rekor.checkpoint(**changes)))


def body(path: documents.Path, value: object, **how: Any) -> Attach:
    """A bundle whose entry is authentic, and about something else."""
    return bundle(twist=Twist(body=lambda document: put(document, path, value)), **how)


def moved_signature(shelf: Shelf, image: str) -> None:
    """The whole `.sig` manifest of another image of the same repository."""
    other = shelf.image("another", tag="another")
    signature()(shelf, other)
    tags = shelf.stored.repository(shelf.name).tags
    tags[signature_tag(image)] = tags[signature_tag(other)]


def moved_referrer(shelf: Shelf, image: str) -> None:
    """The referrer of another image, which the registry lists for this one."""
    other = shelf.image("another", tag="another")
    digest = attach.bundle(shelf.stored, shelf.name, other, OURS.keyless_bundle(other))
    size = len(shelf.stored.repository(shelf.name).manifests[digest].data)
    listing(shelf, image, [{"mediaType": manifest.OCI_MANIFEST, "digest": digest, "size": size}])


def listing(shelf: Shelf, image: str, entries: Sequence[Mapping[str, object]]) -> None:
    """The fallback tag of the image lists these."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
    shelf.stored.push_manifest(shelf.name, as_json(index), OCI_INDEX, tag=image.replace(":", "-"))


def listed_as(predicate_type: str, make: Attach) -> Attach:
    """What `make` puts beside the image, listed in the fallback tag as of that type."""
    annotations = {"dev.sigstore.bundle.predicateType": predicate_type}

    def put_beside(shelf: Shelf, image: str) -> None:
        stored = shelf.stored.repository(shelf.name)
        before = set(stored.manifests)
        make(shelf, image)
        [digest] = set(stored.manifests) - before
        size = len(stored.manifests[digest].data)
        entry = {"mediaType": manifest.OCI_MANIFEST, "digest": digest, "size": size, "annotations": annotations}
        listing(shelf, image, [{**entry, "artifactType": signing.BUNDLE}])

    return put_beside


def of_document(change: Callable[[Document], object], **how: Any) -> Attach:
    """A bundle that signs something else than a statement."""
    return bundle(twist=Twist(payload=change), **how)


def digest_in(document: Document) -> str:
    """The image's digest, of a statement or of a simple signing payload."""
    if "critical" in document:
        return str(documents.at(document, ("critical", "image", "docker-manifest-digest")))
    return f"sha256:{documents.at(document, ('subject', 0, 'digest', 'sha256'))}"


HUNDRED = [{"digest": {"sha256": f"{number:064x}"}} for number in range(100)]


UNKNOWN_LOG = CTLog("ct.unknown.test")


def crowd(good_at: int, total: int) -> Attach:
    """A good legacy signature among others that are worthless, `good_at` of them before it."""

    def make(shelf: Shelf, image: str) -> None:
        good = OURS.legacy_signature(image)
        layers: list[Layer] = [(good[0], {"number": str(number)}) for number in range(total - 1)]
        layers.insert(good_at, good)
        attach.signatures(shelf.stored, shelf.name, image, layers)

    return make


def padded(make: images.MakeLayer, size: int) -> images.MakeLayer:
    """A layer with spaces behind it: JSON that says the same, and another layer."""
    return lambda image: ((layer := make(image))[0].ljust(size), layer[1])


def by_release(image: str) -> Layer:
    return OURS.legacy_attestation(image, predicate_type=SLSA, keyless=False, log="none")


RELEASE_KEY = by_key(key_of("p256").public_pem)


ATTESTED_BY_KEY: Fields = {**RELEASE_KEY, **demanding()}


class Forger(Clock):
    """A clock that puts something else into its tokens."""

    details: Details = Details()
    mistakes: Mistakes = Mistakes()

    def stamp(self, message: bytes, at: datetime, *, embed: bool = True, **_: Any) -> bytes:
        return Clock.stamp(self, message, at, embed=embed, details=self.details, mistakes=self.mistakes)


def clock(authority: Authority, *, details: Details | None = None, mistakes: Mistakes | None = None) -> PrivateSigstore:
    """`OURS`, stamped by another clock or otherwise."""
    kind = type("Forged", (Forger,), {"details": details or Details(), "mistakes": mistakes or Mistakes()})
    return instance(clock=kind(authority))


REAL = OURS.clock.authority


FORGED = STRANGER.clock.authority


STAMPED = bundle(log="v2")


LONG = OURS.leaf(lifetime=timedelta(hours=1))


def below(authority: Authority, **how: Any) -> Attach:
    return bundle(certificate=authority.issue(key_of("p256"), AT, LONG), **how)


def attested(image: str, *, predicate_type: str = SLSA, **how: Any) -> Layer:
    """A layer of an `.att` manifest."""
    return OURS.legacy_attestation(image, predicate_type=predicate_type, **how)


def serving(part: str, data: bytes, status: int = 200) -> Attach:
    """From now on the registry answers these bytes to whatever is asked for below that path."""

    def put_beside(shelf: Shelf, image: str) -> None:
        assert isinstance(shelf.stored, HostileRegistry)
        headers = (("content-type", manifest.OCI_MANIFEST),)
        shelf.stored.rules.append(on(part, status, headers=headers, body=data))

    return put_beside
