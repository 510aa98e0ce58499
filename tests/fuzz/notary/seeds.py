"""What fuzzing of Notary Project signatures begins with: accepted envelopes of each kind, real ones and made ones.

A seed is judged through the door of `notation`, as a review does it, and whatever it asks about revocation is answered
that nothing was revoked. Beside each stands what the oracle needs to judge the same envelope for the same signer.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import cbor2
from cryptography import x509

from tests.fuzz.seeds import Judged, Seed
from tests.notation import aws_like, made, vectors
from tests.notation.aws_like import AWSLikeSigner
from tests.oracle.notation import verify as oracle
from tests.trust import tokens
from webhook.demo.content import digest_of
from webhook.evidence import unsettled
from webhook.evidence.model import COSE_ENVELOPE, JWS_ENVELOPE, Evidence, Form, Outcome, Place, Signer, SignerKind
from webhook.evidence.unsettled import Unsettled
from webhook.notation import envelope, verifier
from webhook.notation.attributes import TIMESTAMP
from webhook.notation.plugin import Plugin
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import parse_digest
from webhook.trust.notary import levels
from webhook.trust.notary.inquiry import Standing, Status
from webhook.trust.notary.levels import Action, CertificateRule, Level, VerifyTimestamp
from webhook.trust.notary.profile import ProfileARN, SigningProfile
from webhook.trust.notary.stores import StoreKind, TrustStore

ELSEWHERE = parse_digest(digest_of(b"where the envelope lies"))
GOOD = Status(Standing.GOOD)


@dataclass(frozen=True, slots=True, eq=False)
class NotarySeed(Seed):
    """`judging` is how its envelope, or a mutant of it, is judged by either engine."""

    judging: Judging = field(kw_only=True, repr=False)

    @property
    def is_cose(self) -> bool:
        return self.judging.media_type == COSE_ENVELOPE


@dataclass(frozen=True, slots=True, eq=False)
class Judging:
    """One signer, at one time, about the image that is `described`."""

    signer: Signer
    media_type: str
    described: Descriptor
    now: datetime
    plugins: Mapping[str, Plugin] = field(default_factory=lambda: verifier.PLUGINS)

    def ours(self, payload: bytes, annotations: Mapping[str, str], subject: str) -> Judged:
        """What `notation` says of `payload` beside the image `subject`."""
        described = replace(self.described, digest=parse_digest(subject))
        evidence = Evidence(
            Form.NOTATION, described.digest, Place.REFERRERS, ELSEWHERE, ELSEWHERE, self.media_type, annotations,
            payload, described,
        )  # fmt: skip
        (found,) = verifier.verify(evidence, (self.signer,), now=self.now, plugins=self.plugins)
        outcome = _settled(found)
        if outcome.code is not None:
            return Judged(outcome.code, outcome.detail)
        asks = found.asks if isinstance(found, Unsettled) else ()
        assert outcome.proof is not None
        said = outcome.facts, outcome.notes, outcome.proof.times, asks
        return Judged(proof=outcome.proof, signed=(_signed(payload, self.media_type), said))

    def theirs(self, payload: bytes, image: str) -> str:
        """Empty where the oracle accepts `payload` beside `image`, else its code and what it says."""
        subject = {"mediaType": self.described.media_type, "digest": image, "size": self.described.size}
        try:
            outcome = oracle.verify(payload, self.media_type, subject, *self._statement())
        except Exception as error:  # noqa: BLE001  # it is kept as it was first written, and leaks some
            return f"{type(error).__name__}: {error}"
        problem = outcome.error
        return "" if problem is None else f"{problem.code}: {problem}"

    def _statement(self) -> tuple[dict[str, Any], oracle.Context]:
        """The signer as a statement of a Notation trust policy, and what there is besides."""
        rule = self.signer.material
        assert isinstance(rule, CertificateRule | SigningProfile)
        stores, identities, verify_timestamp = rule.stores, [str(getattr(rule, "arn", "*"))], "always"
        if isinstance(rule, CertificateRule):
            stores = (*rule.stores, *rule.timestamp_stores)
            identities = [f"x509.subject:{one}" for one in rule.subjects] or identities
            verify_timestamp = rule.verify_timestamp.value
        override = {check.value: action.value for check, action in rule.actions if action is not Action.ENFORCE}
        statement = {
            "signatureVerification": {"level": "strict", "override": override, "verifyTimestamp": verify_timestamp},
            "trustStores": list(map(str, stores)),
            "trustedIdentities": identities,
        }
        plugins = [oracle.aws_plugin(_NothingRevoked()), *(oracle.Plugin(*_fields(one)) for one in self._others())]
        certificates = {str(store): list(map(x509.load_der_x509_certificate, store.certificates)) for store in stores}
        return statement, oracle.Context(certificates, {one.name: one for one in plugins}, self.now)

    def _others(self) -> list[Plugin]:
        return [one for name, one in self.plugins.items() if name not in verifier.PLUGINS]


class _NothingRevoked:
    def get_revocation_status(self, **inquiry: object) -> Mapping[str, object]:
        del inquiry
        return {"revokedEntities": []}


def _fields(plugin: Plugin) -> tuple[str, str, frozenset[str]]:
    return plugin.name, plugin.version, plugin.processed


def _settled(found: Outcome | Unsettled) -> Outcome:
    if isinstance(found, Outcome):
        return found
    return unsettled.settle(found, {ask.inquiry: GOOD for ask in found.asks})


def _signed(payload: bytes, media_type: str) -> object:
    """What is in an envelope that was found whole, without what nobody signs."""
    whole = envelope.open_envelope(payload, media_type)
    return replace(whole, timestamp_token=None, signing_agent="")


# --- those that others made

# Of those that AWS Signer's plug-in accepts; the others are at levels that profiles do not have
STRICT_AWS = (
    *("profile", "profile-version", "second-of-two", "leaf-expired-since", "unknown-not-critical"),
    *("min-version-same", "revocation-skip"),
)  # fmt: skip


def _real() -> Iterator[NotarySeed]:
    for case in vectors.cases(vectors.NOTATION, "envelope"):
        if case["expect"]["result"] == "accept":
            yield _case(case, vectors.of_case(case, vectors.NOTATION), "notation")
    for case in vectors.cases(vectors.NOTATION, "oci-layout"):
        if case["expect"]["result"] == "accept":
            (found,) = vectors.of_layout(case)
            yield _case(case, found, "notation")
    for case in vectors.cases(vectors.AWS, "aws-envelope"):
        if case["id"] in STRICT_AWS:
            yield _case(case, vectors.of_case(case, vectors.AWS), "aws-signer")


def _case(case: vectors.Case, found: Evidence, source: str) -> NotarySeed:
    folder = vectors.AWS if source == "aws-signer" else vectors.NOTATION
    plugins = {one["name"]: Plugin(one["name"], one["version"], frozenset()) for one in case.get("plugins", [])}
    assert found.described is not None
    for signer in vectors.Statement.of_case(case, folder).signers():
        judging = Judging(signer, found.media_type, found.described, vectors.time(case["now"]),
                          plugins or verifier.PLUGINS)  # fmt: skip
        seed = _seed(f"{source}/{case['id']}", judging, found.payload)
        if seed.again().accepted:
            return seed
    raise AssertionError(f"no signer of {case['id']} accepts it")


# --- those that are made


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an envelope is made, to be made again with something else in it."""

    name: str
    media_type: str
    spec: made.Spec
    leaf: made.Node
    members: Mapping[str, object] = field(default_factory=dict)  # of the payload
    stamped: bool = False  # and the countersignature demanded

    @property
    def image(self) -> Descriptor:
        """One of its own, so that parts of others are copied from another image."""
        return replace(aws_like.IMAGE, digest=parse_digest(digest_of(self.name.encode())))

    def payload(self, **members: object) -> bytes:
        """What is signed, with members of it changed."""
        own = {"mediaType": self.image.media_type, "digest": str(self.image.digest), "size": self.image.size}
        return made.payload_of(**{**own, **self.members, **members})

    def sign(self, spec: made.Spec | None = None, leaf: made.Node | None = None, **changes: Any) -> bytes:
        """The envelope; `changes` are those of `made.sign_jws` and `made.sign_cose`."""
        is_cose = self.media_type == COSE_ENVELOPE
        sign, stamp = (made.sign_cose, _stamp_cose) if is_cose else (made.sign_jws, _stamp_jws)
        signed = sign(spec or replace(self.spec, payload=self.payload()), leaf or self.leaf, **changes)
        return stamp(signed) if self.stamped else signed

    def judging(self) -> Judging:
        """Every certificate of the chain is trusted, so that it still is when one of them becomes another."""
        trusted = tuple(made.der_of(self.leaf.chain))
        stores = tuple(TrustStore("made", kind, trusted) for kind in (StoreKind.CA, StoreKind.SIGNING_AUTHORITY))
        clocks = (authority().store,) if self.stamped else ()
        rule = CertificateRule(stores, (), levels.actions_of(Level.STRICT), clocks, VerifyTimestamp.ALWAYS)
        return Judging(Signer("made", SignerKind.CERTIFICATE, rule), self.media_type, self.image, made.SIGNED_AT)

    def seed(self) -> NotarySeed:
        return _seed(self.name, self.judging(), self.sign())


@functools.cache
def recipes() -> tuple[Recipe, ...]:
    return tuple(_recipes())


def _recipes() -> Iterator[Recipe]:
    rich = replace(made.SPEC, extended={"com.example.note": "kept"})
    specs = {"claimed": made.SPEC, "authority": made.BY_AUTHORITY}
    for media_type, form in ((JWS_ENVELOPE, "jws"), (COSE_ENVELOPE, "cose")):
        for name, spec in specs.items():
            yield Recipe(f"{form} {name}", media_type, spec, made.leaf_of())
        yield Recipe(f"{form} rich", media_type, rich, made.leaf_of(), {"annotations": {"env": "prod"}})
        for kind in ("p384", "p521", "rsa2048", "rsa3072"):
            yield Recipe(f"{form} {kind}", media_type, made.SPEC, made.leaf_of(kind, 2))
        yield Recipe(f"{form} alone", media_type, replace(made.SPEC, expires_at=None), made.leaf_of("p256", 1))
        yield Recipe(f"{form} stamped", media_type, made.SPEC, made.leaf_of(), stamped=True)


def _stamp_jws(data: bytes) -> bytes:
    document = json.loads(data)
    signature = base64.urlsafe_b64decode(document["signature"] + "==")
    document["header"][TIMESTAMP] = base64.b64encode(authority().stamp(signature, made.SIGNED_AT)).decode()
    return json.dumps(document).encode()


def _stamp_cose(data: bytes) -> bytes:
    protected, unprotected, payload, signature = cbor2.loads(data).value
    stamped = {**unprotected, TIMESTAMP: authority().stamp(signature, made.SIGNED_AT)}
    return cbor2.dumps(cbor2.CBORTag(18, [protected, stamped, payload, signature]))


@dataclass(frozen=True, slots=True)
class Authority:
    """A timestamp authority: a root, and whoever makes tokens under it."""

    root: tokens.Issuer
    leaf: tokens.Issuer

    @property
    def store(self) -> TrustStore:
        return TrustStore("clock", StoreKind.TSA, tuple(made.der_of([self.root.certificate])))

    def stamp(self, signature: bytes, at: datetime) -> bytes:
        return tokens.make_token(signature, key=self.leaf.key, certificate=self.leaf.certificate, at=at)


@functools.cache
def authority() -> Authority:
    keys = tokens.make_key(), tokens.make_key()
    root = tokens.Issuer(keys[0], tokens.make_certificate("tsa root", keys[0]))
    leaf = tokens.make_certificate("tsa", keys[1], issuer=root, purposes=[tokens.TIME_STAMPING])
    return Authority(root, tokens.Issuer(keys[1], leaf))


# --- AWS Signer


@functools.cache
def aws() -> AWSLikeSigner:
    return AWSLikeSigner()


@dataclass(frozen=True, slots=True)
class AWSRecipe:
    """How an envelope of AWS Signer's is made, to be made again with something else in it."""

    name: str
    attributes: Mapping[str, object] = field(default_factory=dict)  # besides its own, not critical
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> Descriptor:
        return replace(aws_like.IMAGE, digest=parse_digest(digest_of(self.name.encode())))

    def judging(self) -> Judging:
        store = TrustStore("aws-like", StoreKind.SIGNING_AUTHORITY, tuple(made.der_of(aws().leaf.chain)))
        profile = SigningProfile(ProfileARN.parse(aws().arn), store)
        return Judging(Signer("mine", SignerKind.PROFILE, profile), JWS_ENVELOPE, self.image, aws_like.NOW)

    def seed(self) -> NotarySeed:
        signed = aws().sign(
            self.attributes, critical=tuple(aws().attributes), annotations=self.annotations, image=self.image
        )
        return _seed(self.name, self.judging(), signed)


AWS_RECIPES = (AWSRecipe("aws plain"), AWSRecipe("aws annotated", {"com.example.note": 1}, {"env": "prod"}))


def _seed(name: str, judging: Judging, payload: bytes) -> NotarySeed:
    subject = str(judging.described.digest)
    return NotarySeed(name, Form.NOTATION, payload, {}, judging.ours, subject, judging=judging)


@functools.cache
def seeds() -> tuple[NotarySeed, ...]:
    """All of them. Each is accepted as it is."""
    return (*(recipe.seed() for recipe in recipes()), *(recipe.seed() for recipe in AWS_RECIPES), *_real())
