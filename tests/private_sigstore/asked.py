"""Evidence of a private Sigstore held against a signer: what tests of near misses ask, and in which words."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Unpack

import pytest

from tests.private_sigstore import documents
from tests.private_sigstore.documents import edit, flipped
from tests.private_sigstore.instance import AT, Layer, LeafChanges, PrivateSigstore, key_of
from tests.private_sigstore.recipe import HowSaid, Twist
from webhook.cosign import verifier
from webhook.demo import signing
from webhook.demo.content import digest_of
from webhook.evidence.model import (
    DSSE_ENVELOPE,
    SIMPLE_SIGNING,
    Evidence,
    Form,
    Outcome,
    Place,
    Signer,
    SignerKind,
)
from webhook.oci.reference import parse_digest
from webhook.trust import material, root
from webhook.trust.at_hand import Trust
from webhook.trust.identity import Identity
from webhook.trust.root import RootKind, RootSource

IMAGE = digest_of(b"an image")
OTHER = digest_of(b"another image")
SLSA = "https://slsa.dev/provenance/v1"
KEYS = ("p256", "p384", "p521", "rsa2048", "ed25519")
MINUTE = timedelta(minutes=1)
LOGGED = AT + timedelta(seconds=5)  # where nothing else is said
MEDIA_TYPES = {Form.LEGACY: SIMPLE_SIGNING, Form.DSSE: DSSE_ENVELOPE, Form.BUNDLE: signing.BUNDLE}

OURS = PrivateSigstore()
STRANGER = PrivateSigstore(name="stranger.test")
THIRD_KEY = signing.new_key()


@dataclass(frozen=True, slots=True)
class Asked:
    """Under what something is judged: whose it shall be, and by which root."""

    root: bytes = field(default_factory=OURS.trusted_root)
    subject: str = "dev@example.com"
    issuer: str = "https://issuer.example.com"
    key: signing.SigningKey | None = None
    rooted: bool = True  # of a key
    log: bool = True
    sct: bool = True
    timestamp: bool = False
    image: str = IMAGE
    predicates: frozenset[str] = frozenset()

    def signer(self) -> Signer:
        trusted = root.parse(self.root)
        source = RootSource(
            "private", RootKind.INLINE, "private", require_log=self.log, require_sct=self.sct,
            require_timestamp=self.timestamp, inline=trusted,
        )  # fmt: skip
        if self.key is None:
            return Signer("dev", SignerKind.KEYLESS, Identity(issuer=self.issuer, subject=self.subject), source)
        public = material.parse_public_key(self.key.public_pem)
        needs_log = self.log and self.rooted
        return Signer("release", SignerKind.KEY, public, source if self.rooted else None, require_log=needs_log)


def judge(form: Form, layer: Layer, asked: Asked) -> Outcome:
    payload, annotations = layer
    digest = parse_digest(digest_of(payload))
    evidence = Evidence(
        form, parse_digest(asked.image), Place.REFERRERS, digest, digest, MEDIA_TYPES[form], annotations, payload
    )  # fmt: skip
    [outcome] = verifier.verify(evidence, (asked.signer(),), predicates=asked.predicates, trust=Trust(), now=AT)
    return outcome


def told(outcome: Outcome) -> str:
    return str(outcome.code or outcome.verdict) + (", tampered" if outcome.tampered else "")


STRAIGHT = Asked()
BY_KEY = Asked(key=key_of("p256"))
ALONE = Asked(key=key_of("p256"), rooted=False)


def rows(table: Sequence[tuple[object, ...]]) -> list[object]:
    """Parameters of a test; the first of each row is its id."""
    return [pytest.param(*row[1:], id=str(row[0])) for row in table]


bundle = OURS.keyless_bundle


def of_image() -> bytes:
    return bundle(IMAGE)


def leaf(**changes: Unpack[LeafChanges]) -> Callable[[], bytes]:
    """A bundle whose certificate says that."""
    return lambda: bundle(IMAGE, leaf=OURS.leaf(**changes))


def twisted(**twist: object) -> Callable[[], bytes]:
    """A bundle with fields of `Twist`."""
    return lambda: bundle(IMAGE, twist=Twist(**twist))  # type: ignore[arg-type]


def member(path: documents.Path, value: object, **how: Unpack[HowSaid]) -> Callable[[], bytes]:
    """A bundle in which that stands at `path`."""
    return lambda: edit(bundle(IMAGE, **how), path, value)


def bit(text: object) -> str:
    """The same base64 with a bit changed in what it wraps."""
    return signing.base64_of(flipped(base64.b64decode(str(text))))


def v2(path: documents.Path, value: object) -> Callable[[], bytes]:
    """The same with an entry of Rekor 2."""
    return member(path, value, log="v2")
