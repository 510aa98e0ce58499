"""Documents that are changed before they are signed or logged, by whoever is trusted, and trust roots that are changed.

A trusted signer may be careless, and an authentic log entry may say anything: each value of what is inside a signature
or an entry is replaced by each odd one, and then really signed, promised and proved. What may pass is listed: members
that are not read, or are the signer's to choose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.fuzz import seeds
from tests.fuzz.mutants import ODD, Mutant
from tests.fuzz.seeds import PREDICATE, Judged, Made, Seed
from tests.private_sigstore import documents
from tests.private_sigstore.documents import Document, Path
from tests.private_sigstore.instance import Layer, key_of
from tests.private_sigstore.recipe import Twist
from webhook.demo.content import digest_of
from webhook.errors import MalformedError
from webhook.evidence.model import Form, Signer, SignerKind
from webhook.trust import root
from webhook.trust.root import RootKind, RootSource

IMAGE = digest_of(b"the image of all that is signed again")


@dataclass(frozen=True, slots=True)
class _Recipe:
    """`make` it with a twist; `part` of it is changed, and `free` are the places where it may be."""

    name: str
    form: Form
    signer: Signer
    make: Callable[[Twist], Layer]
    part: str  # a field of `Twist`: `payload` or `body`
    free: str = ""


def mutants() -> Iterator[tuple[Seed, Mutant]]:
    """Of everything."""
    for recipe in _recipes(seeds.made()):
        seed, straight = _seed(recipe), _straight(recipe)
        for path in documents.paths(straight):
            for odd in ODD if path else (None, [], {}, 0, "x"):
                yield seed, _twisted(recipe, straight, path, odd)
    yield from _roots(seeds.made())


def _recipes(one: Made) -> Iterator[_Recipe]:
    new, who, key = one.sigstore, one.identity(), one.key(rooted=False)
    certificate = new.issue(key_of("p256"))

    def bundle(twist: Twist, **how: object) -> Layer:
        return new.keyless_bundle(IMAGE, certificate=certificate, twist=twist, **how), {}  # type: ignore[arg-type]

    statement = r"predicate(/.*)?|subject/0/annotations(/.*)?"
    entry = r"spec/envelopeHash(/.*)?"  # of an envelope that clients of bundles write anew
    twice = r"spec/content/hash(/.*)?|spec/content/envelope/payloadType"
    by_key = partial(new.legacy_signature, IMAGE, keyless=False, log="none", annotations={"env": "prod"})
    legacy = partial(new.legacy_signature, IMAGE, certificate=certificate)
    attest = partial(new.legacy_attestation, IMAGE, certificate=certificate, predicate_type=PREDICATE)
    yield _Recipe("statement", Form.BUNDLE, who, bundle, "payload", statement)
    yield _Recipe("attestation", Form.BUNDLE, who, partial(bundle, predicate_type=PREDICATE), "payload", statement)
    yield _Recipe("dsse", Form.BUNDLE, who, bundle, "body", entry)
    yield _Recipe("intoto 2", Form.BUNDLE, who, partial(bundle, entry="intoto 0.0.2"), "body", twice)
    yield _Recipe("hashedrekord 2", Form.BUNDLE, who, partial(bundle, log="v2"), "body")
    yield _Recipe("simple", Form.LEGACY, key, lambda twist: by_key(twist=twist), "payload",
                  r"optional(/.*)?|critical/identity(/.*)?")  # fmt: skip
    yield _Recipe("hashedrekord", Form.LEGACY, who, lambda twist: legacy(twist=twist), "body")
    yield _Recipe("layer dsse", Form.DSSE, who, lambda twist: attest(twist=twist), "body")
    yield _Recipe("layer intoto 1", Form.DSSE, who, lambda twist: attest(twist=twist, entry="intoto 0.0.1"), "body",
                  "spec/content/payloadHash")  # fmt: skip
    yield _Recipe("layer intoto 2", Form.DSSE, who, lambda twist: attest(twist=twist, entry="intoto 0.0.2"), "body",
                  "spec/content/envelope/payloadType")  # fmt: skip


def _seed(recipe: _Recipe) -> Seed:
    payload, annotations = recipe.make(Twist())
    judge = partial(seeds.judge_evidence, recipe.form, recipe.signer, frozenset({PREDICATE}))
    return Seed(f"signed again: {recipe.name}", recipe.form, payload, annotations, judge, IMAGE)


def _straight(recipe: _Recipe) -> Document:
    """The part, as it should be."""
    seen: list[Document] = []

    def look(document: Document) -> object:
        seen.append(document)
        return document

    recipe.make(_twist(recipe, look))
    return seen[0]


def _twisted(recipe: _Recipe, straight: Document, path: Path, odd: object) -> Mutant:
    changed = documents.put(straight, path, odd)
    how = f"{recipe.part} {'/'.join(map(str, path))} := {odd!r:.40}"
    # A log holds documents with a kind; nothing else can be handed to it
    logged = changed if isinstance(changed, dict) else {"kind": changed}
    payload, annotations = recipe.make(_twist(recipe, lambda _: changed if recipe.part == "payload" else logged))
    free = re.fullmatch(recipe.free, "/".join(map(str, path))) is not None or changed == straight
    return Mutant(how, payload, annotations, IMAGE, may_pass=free)


def _twist(recipe: _Recipe, change: Callable[[Document], object]) -> Twist:
    return Twist(payload=change) if recipe.part == "payload" else Twist(body=change)


# --- trust roots


def _roots(one: Made) -> Iterator[tuple[Seed, Mutant]]:
    """Whatever a trust root says: it is refused whole, or something is judged by it."""
    good = one.sigstore.trusted_root()
    bundle = one.sigstore.keyless_bundle(IMAGE, timestamp=True)
    for path in documents.paths(json.loads(good)):
        for odd in ODD if path else ODD[:-1]:
            data = documents.edit(good, path, odd)
            seed = Seed("trust root", Form.BUNDLE, bundle, {}, partial(_judge_by, one, data), IMAGE)
            yield seed, Mutant(f"root {path} := {odd!r:.40}", bundle, {}, IMAGE, may_pass=True)


def _judge_by(one: Made, data: bytes, payload: bytes, annotations: object, subject: str) -> Judged:
    assert not annotations
    try:
        trusted = root.parse(data)
    except MalformedError as error:
        return Judged(error.code, error.detail)
    source = RootSource("odd", RootKind.INLINE, "odd", inline=trusted)
    signer = Signer("dev", SignerKind.KEYLESS, one.identity().material, source)
    return seeds.judge_evidence(Form.BUNDLE, signer, frozenset(), payload, {}, subject)
