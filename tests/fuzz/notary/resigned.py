"""Envelopes that a trusted signer made, right in their signature and wrong in what they say, and chains that are wrong.

Each member of a header and of a payload is replaced by each odd value, and by those that are almost right; then it is
really signed. Certificates are changed bit by bit and issued again by who issued them. What of it may be accepted is
for the oracle to say.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fuzz.mutants import ODD, Mutant
from tests.fuzz.notary import der, seeds
from tests.fuzz.notary.seeds import AWSRecipe, NotarySeed, Recipe
from tests.notation import aws_like, made
from tests.private_sigstore import documents
from tests.private_sigstore.documents import DELETED
from webhook.evidence.model import JWS_ENVELOPE
from webhook.notation.attributes import AUTHENTIC_SIGNING_TIME, EXPIRY, PLUGIN, PLUGIN_MIN_VERSION, SCHEME, SIGNING_TIME

Plans = Iterator[tuple[NotarySeed, Callable[[], Mutant]]]  # a seed, and how a mutant of it is made

_TIMES = (
    *("2026-11-20T08:30:00Z", "2026-11-20T08:30:00z", "2026-11-20t08:30:00Z", "2026-11-20 08:30:00Z"),
    *("2026-11-20T08:30:00", "2026-11-20T08:30:00+00:00", "2026-11-20T08:30:00-00:00", "2026-11-20T08:30:00+0000"),
    *("2026-11-20T08:30:00.5Z", "2026-11-20T08:30:00,5Z", "2026-11-20T08:30:00.123456789Z"),
    *("2026-11-20T08:30:00.1234567891Z", "2026-11-20T08:30:00.Z", "2026-11-20T08:30Z", "2026-11-20T08:30:60Z"),
    *("2026-11-20T24:00:00Z", "2026-11-20T00:30:00-08:00", "2026-11-20T08:30:00+24:00", "2026-11-20T08:30:00+23:59"),
    *("2026-11-20T08:30:00+00:60", "2026-11-31T08:30:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"),
    *("9999-12-31T23:59:59-23:59", "2026-11-20T08:30:00Z ", "\u0662026-11-20T08:30:00Z", "2027-02-18T08:30:00Z"),
    *("2026-11-20T08:30:00.000001Z", "2026-11-20T08:30:01Z", "2026-W47-5T08:30:00Z", "20261120T083000Z"),
)  # fmt: skip
_EPOCHS = (0, -1, 1, 1795163400, 1795163401, 253402300799, 253402300800, -62135596800, -62135596801, 2**63, -(2**64))
_VERSIONS = ("1.0.350", "1.0.351", "1.0.350-rc.1", "1.0.350+x", "1.0", "01.0.0", "0.0.0", "v1.0.0", "9" * 200, " 1.0.0")
_SCHEMES = ("notary.x509", "notary.x509.signingAuthority", "notary.X509", "notary.x509 ", "notary.x509.", "jws")
_NAMES: Sequence[str | int] = (
    *("alg", "cty", "crit", SCHEME, SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY, PLUGIN, PLUGIN_MIN_VERSION),
    *("b64", "jku", "jwk", "kid", "x5u", "x5c", "io.cncf.notary.timestampSignature", "com.example.note"),
    *("io.cncf.notary.unknown", "io.cncf.notary.SigningScheme"),
)  # fmt: skip
_TEXTS: Mapping[str | int, Sequence[object]] = {
    "alg": ("ES256", "ES384", "PS256", "RS256", "HS256", "EdDSA", "none", "es256"),
    "cty": ("application/json", "application/vnd.cncf.notary.payload.v1+json;x=1", "text/plain"),
    SCHEME: _SCHEMES,
    SIGNING_TIME: _TIMES,
    AUTHENTIC_SIGNING_TIME: _TIMES,
    EXPIRY: _TIMES,
    PLUGIN: (aws_like.AWS_PLUGIN, " ", "x.y"),
    PLUGIN_MIN_VERSION: _VERSIONS,
}
_LABELS = {"alg": 1, "crit": 2, "cty": 3, "x5c": 33}


def cases() -> Iterator[tuple[NotarySeed, Mutant]]:
    """All of them."""
    return ((seed, make()) for seed, make in plans())


def plans() -> Plans:
    """All of them, not yet made: signing takes most of the time."""
    for recipe in seeds.recipes():
        if recipe.name.partition(" ")[2] in ("claimed", "authority"):
            yield from _headers(recipe)
            yield from _payloads(recipe)
    for aws in seeds.AWS_RECIPES:
        yield from _aws(aws)
    for recipe in seeds.recipes():
        if recipe.name.endswith((" claimed", " authority", " rsa2048")):
            yield from _chains(recipe)
    yield from _certificates(next(recipe for recipe in seeds.recipes() if recipe.name == "jws claimed"))


# --- headers


def _headers(recipe: Recipe) -> Plans:
    seed = recipe.seed()
    spec = replace(recipe.spec, payload=recipe.payload())
    marked: list[object] = [*spec.all_critical]
    is_jws = recipe.media_type == JWS_ENVELOPE
    for name in _NAMES:
        label = name if is_jws else _LABELS.get(str(name), name)
        for value in _values(name, is_jws=is_jws):
            for critical in ([*marked], [*marked, label]):
                changed: dict[object, object] = {"crit" if is_jws else 2: critical, label: value}
                yield seed, partial(_signed, recipe, spec, changed, f"{label} := {value!r:.60}, critical {critical}")
    for other in _criticals(spec.all_critical, is_jws=is_jws):
        yield seed, partial(_signed, recipe, spec, {"crit" if is_jws else 2: other}, f"critical {other!r:.200}")
    for one, second in itertools.combinations((SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY, SCHEME), 2):
        without: dict[object, object] = {one: made.DELETED, second: made.DELETED, "crit" if is_jws else 2: [SCHEME]}
        yield seed, partial(_signed, recipe, spec, without, f"without {one} and {second}")


def _values(name: str | int, *, is_jws: bool) -> Iterable[object]:
    odd = [made.DELETED if value is DELETED else value for value in ODD]
    if is_jws:
        return [*odd, *_TEXTS.get(name, ())]
    times = [cbor2.CBORTag(number, value) for number in (0, 1, 2) for value in (*_EPOCHS, 1795163400.5, "x", b"\1")]
    special = times if name in (SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY) else _TEXTS.get(name, ())
    numbers = (-7, -35, -36, -37, -38, -39, -8, -257, 5) if name == "alg" else ()
    return [*odd, b"", b"bytes", *special, *numbers]


def _criticals(marked: Sequence[str], *, is_jws: bool) -> Iterator[object]:
    for number in range(len(marked)):
        yield [*marked[:number], *marked[number + 1 :]]
        yield [*marked, marked[number]]
        yield [*marked[:number], marked[number].upper(), *marked[number + 1 :]]
    more: Sequence[object] = (None, 0, 1, 2, 3, 33, True, 1.5, "", "alg", "crit", "x5c", [], {}, SIGNING_TIME)
    yield from ([*marked, odd] for odd in more)
    yield from ([], {}, "", " ".join(marked), dict.fromkeys(marked, True), [*marked] * 60, [marked])
    yield [name.encode() for name in marked] if not is_jws else None


def _signed(recipe: Recipe, spec: made.Spec, changes: Mapping[object, object], how: str) -> Mutant:
    return Mutant(how, recipe.sign(spec, protected=changes), {}, str(recipe.image.digest), may_pass=True)


# --- payloads


def _payloads(recipe: Recipe) -> Plans:
    seed, straight = recipe.seed(), json.loads(recipe.payload(annotations={"a": "b"}))
    for path in documents.paths(straight):
        for odd in (*ODD, *_almost(path)):
            if path or odd is not DELETED:
                changed = documents.as_bytes(documents.put(straight, path, odd))
                yield seed, partial(_about, recipe, changed, f"payload {list(path)} := {odd!r:.60}")
    good = recipe.payload()
    rest = (b"", b" ", good + b" ", b"\xef\xbb\xbf" + good, good + good, good[:-1], good.decode().encode("utf-16"),
            good.replace(b'"size"', b'"size": 1, "size"'), good.replace(b'"size"', b'"Size"'),
            good[:-1] + b', "targetartifact": {}}', b"[" + good + b"]", b"\xff" + good,
            good[:-1] + b', "x": ' + b"[" * 40 + b"]" * 40 + b"}", good[:-1] + b', "x": 1e999}',
            good[:-1] + b', "x": NaN}', good[:-1] + b', "\\ud800": 1}')  # fmt: skip
    for number, payload in enumerate(rest):
        yield seed, partial(_about, recipe, payload, f"payload: rest {number}")


def _almost(path: documents.Path) -> Iterable[object]:
    """What is nearly what stands there."""
    if path and path[-1] == "digest":
        changes = (str.upper, str.strip, lambda text: f"{text} ", lambda text: text.replace("sha256", "sha512"))
        return [
            *changes,
            lambda text: text[:-1],
            lambda text: f"{text}0",
            lambda text: text.replace("sha256", "SHA256"),
        ]
    if path and path[-1] == "size":
        return [
            lambda size: size + 1,
            float,
            str,
            lambda size: size + 0.5,
            lambda size: -size,
            lambda size: size + 2**64,
        ]
    return [lambda value: [value], str.upper if path and path[-1] == "mediaType" else lambda value: {"a": value}]


def _about(recipe: Recipe, payload: bytes, how: str) -> Mutant:
    signed = recipe.sign(replace(recipe.spec, payload=payload))
    return Mutant(how, signed, {}, str(recipe.image.digest), may_pass=True)


# --- AWS Signer


def _aws(recipe: AWSRecipe) -> Plans:
    seed = recipe.seed()
    document = json.loads(seed.payload)
    straight = json.loads(base64.urlsafe_b64decode(document["protected"] + "=="))
    payload = json.loads(base64.urlsafe_b64decode(document["payload"] + "=="))
    for name in (*straight, PLUGIN_MIN_VERSION, SIGNING_TIME, "com.amazonaws.signer.signingProfileAlias"):
        for value in (*ODD, *_TEXTS.get(name, ()), *_arns(straight.get(name))):
            for critical in (straight["crit"], list(dict.fromkeys([*straight["crit"], name]))):
                changed = {**straight, "crit": critical, name: value}
                changed = {name: one for name, one in changed.items() if one is not DELETED}
                how = f"{name} := {value!r:.80}, critical {critical}"
                yield seed, partial(_by_aws, seed, changed, payload, how)
    for number in range(len(straight["crit"])):
        changed = {**straight, "crit": straight["crit"][:number] + straight["crit"][number + 1 :]}
        yield seed, partial(_by_aws, seed, changed, payload, f"critical but {number}")


def _by_aws(seed: NotarySeed, protected: Mapping[str, object], payload: Mapping[str, object], how: str) -> Mutant:
    return Mutant(how, aws_like.jws(seeds.aws().leaf, protected, payload), {}, seed.subject, may_pass=True)


def _arns(value: object) -> Iterable[str]:
    """Others that look much the same."""
    if not isinstance(value, str) or not value.startswith("arn:"):
        return ()
    profile, job = "/signing-profiles/demo_profile", "/signing-jobs/"
    replaced = {
        "us-west-2": ("us-east-1", "US-WEST-2", "", "us-west-2 ", "us_west_2", "*"),
        "111122223333": ("444455556666", "11112222333", "1111222233334", "", "\u0661" * 12, "*"),
        "arn:aws:": ("arn:aws-cn:", "arn:aws-us-gov:", "arn::", "ARN:aws:", " arn:aws:", "arn:aws-iso-b:", "arn:evil:"),
        ":signer:": (":Signer:", ":kms:", "::"),
        profile: (f"{profile}s", "/signing-profiles/DEMO_PROFILE", f"{profile}/x", "/signing-profiles/*", profile[1:]),
        job: (f"{job}../", job[1:], "/signing-Jobs/"),
        "IrwHQeF7XW": ("irwhqef7xw", "IrwHQeF7X", "IrwHQeF7XW1", "IrwHQeF7XW/", "AAAAAAAAAA", "", "*"),
    }
    found = [value.replace(old, new) for old, many in replaced.items() for new in many if old in value]
    return [*found, value.rpartition("/")[0], value + "\n", value.upper(), value + "#", f"{value},{value}"]


# --- chains


def _chains(recipe: Recipe) -> Plans:
    """The chain of a good envelope in another order, cut, and with others in it; nobody signs it."""
    seed, leaf = recipe.seed(), recipe.leaf
    stranger = made.issue("root", None, made.CA, key=ec.generate_private_key(ec.SECP256R1()))
    ders = made.der_of(leaf.chain)
    others = [*made.der_of(stranger.chain), *made.der_of(made.leaf_of("p256", 1).chain)]
    orders: list[Sequence[bytes]] = [
        list(order) for size in range(len(ders) + 1) for order in itertools.permutations(ders, size)
    ]
    for position in range(len(ders) + 1):
        orders += [[*ders[:position], other, *ders[position:]] for other in (*others, *ders)]
        orders += [[*ders[:position], other, *ders[position + 1 :]] for other in others]
    orders += [ders + ders[-1:] * count for count in (1, 7, 8)]
    for number, order in enumerate(orders):
        yield seed, partial(_chained, seed, order, f"chain {number}")


def _chained(seed: NotarySeed, ders: Sequence[bytes], how: str) -> Mutant:
    return Mutant(how, _with_chain(seed, ders), {}, seed.subject, may_pass=True)


def _with_chain(seed: NotarySeed, ders: Sequence[bytes]) -> bytes:
    if seed.is_cose:
        protected, unprotected, payload, signature = cbor2.loads(seed.payload).value
        return cbor2.dumps(cbor2.CBORTag(18, [protected, {**unprotected, 33: list(ders)}, payload, signature]))
    return documents.edit(seed.payload, ("header", "x5c"), [base64.b64encode(one).decode() for one in ders])


def _certificates(recipe: Recipe) -> Plans:
    """Each bit of each certificate changed, and each part of it, and issued again."""
    seed, chain = recipe.seed(), list(_nodes(recipe.leaf))
    ders = made.der_of(recipe.leaf.chain)
    for position, node in enumerate(chain):
        whole, key = der.split(ders[position]), (node.issuer or node).key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        flipped = ((f"bit {bit}", tbs) for bit, tbs in der.flips(whole.tbs))
        for how, tbs in itertools.chain(flipped, der.rewrites(whole.tbs), _extended(whole.tbs)):
            yield seed, partial(_reissued, seed, ders, position, partial(whole.again, tbs, key), how)


def _reissued(seed: NotarySeed, ders: Sequence[bytes], position: int, issue: Callable[[], bytes], how: str) -> Mutant:
    return _chained(seed, [*ders[:position], issue(), *ders[position + 1 :]], f"certificate {position}: {how}")


def _nodes(leaf: made.Node) -> Iterator[made.Node]:
    node: made.Node | None = leaf
    while node is not None:
        yield node
        node = node.issuer


def _extended(tbs: bytes) -> Iterator[tuple[str, bytes]]:
    """With each of some extensions instead of the one of its kind, or besides."""
    parts = der.elements(der.content(tbs))
    extensions = der.elements(der.content(der.content(parts[-1])))
    usages = [value << 1 for value in range(128)]  # the first octet of key usage
    values = [("key usage", "2.5.29.15", b"\x03\x02\x00" + bytes([usage])) for usage in usages]
    values += [("constraints", "2.5.29.19", value) for value in _CONSTRAINTS]
    values += [("purposes", "2.5.29.37", value) for value in _PURPOSES]
    values += [("another", "1.2.3.4.5", b"\x05\x00"), ("names", "2.5.29.30", b"\x30\x00")]
    for name, oid, value in values:
        for critical in (b"\x01\x01\xff", b"", b"\x01\x01\x00"):
            identifier = _oid(oid)
            new = der.element(0x30, identifier + critical + der.element(4, value))
            others = [one for one in extensions if not der.content(one).startswith(identifier)]
            for kept in (others, extensions):
                block = der.element(0xA3, der.element(0x30, b"".join([*kept, new])))
                yield f"{name} {value.hex()} {critical.hex()}", der.element(0x30, b"".join([*parts[:-1], block]))


def _oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    return der.element(6, bytes([first * 40 + second, *rest]))


_CONSTRAINTS = tuple(
    bytes.fromhex(text)
    for text in ("3000", "30030101ff", "3003010100", "30060101ff020100", "30060101ff020101", "30060101ff0201ff",
                 "3003020100", "30060101010201ff", "0500", "")
)  # fmt: skip
_PURPOSES = tuple(
    der.element(0x30, b"".join(map(_oid, purposes)))
    for purposes in (
        *((), *((f"1.3.6.1.5.5.7.3.{number}",) for number in (1, 2, 3, 4, 8, 9, 99))),
        *(("1.3.6.1.5.5.7.3.3", f"1.3.6.1.5.5.7.3.{number}") for number in (1, 3, 99)),
        ("2.5.29.37.0",),
    )
)
