"""What fuzzing begins with: accepted evidence of every form, real and made, with the signer that accepts it.

A seed is judged through the door of `cosign`, as a review does it; message signatures through the conformance entry,
which alone takes them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from tests.conformance import cases, client
from tests.conformance.cases import Case
from tests.private_sigstore.authority import NameKind
from tests.private_sigstore.instance import Layer, PrivateSigstore, key_of
from webhook.cosign import verifier
from webhook.demo import signing
from webhook.demo.content import digest_of
from webhook.errors import CountersignError
from webhook.evidence.model import (
    DSSE_ENVELOPE,
    SIMPLE_SIGNING,
    Evidence,
    Form,
    Place,
    Proof,
    Signer,
    SignerKind,
)
from webhook.oci.reference import Digest, parse_digest
from webhook.trust import material, root
from webhook.trust.at_hand import Trust
from webhook.trust.identity import Identity
from webhook.trust.root import RootKind, RootSource, TrustRoot

NOW = datetime(2026, 11, 21, tzinfo=UTC)
OTHER_IMAGE = digest_of(b"the manifest of another image")
PREDICATE = "https://slsa.dev/provenance/v1"
MEDIA_TYPES = {Form.LEGACY: SIMPLE_SIGNING, Form.DSSE: DSSE_ENVELOPE, Form.BUNDLE: signing.BUNDLE}


@dataclass(frozen=True, slots=True)
class Judged:
    """`code` is empty where it was accepted; then `proof` is there too, where the form has one, and `signed` is what
    else was signed and must be the same in a mutant that is accepted."""

    code: str = ""
    detail: str = ""
    proof: Proof | None = None
    signed: object = field(default=None, repr=False)

    @property
    def accepted(self) -> bool:
        return not self.code


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """`optional` is what may be missing or wrong, since something else vouches as well, or nobody asks for it:
    `promise`, `proof`, `timestamp`, `log`, `certificate`. Unless `promised`, nobody signed index and time of an entry.
    """

    name: str
    form: Form | None  # `None`: no evidence of an image, but `what`
    payload: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(repr=False)
    judge: Callable[[bytes, Mapping[str, str], str], Judged] = field(repr=False)
    subject: str
    optional: frozenset[str] = frozenset()
    promised: bool = True
    what: str = "message"  # signature, for the conformance entry

    def again(self) -> Judged:
        return self.judge(self.payload, self.annotations, self.subject)


def judge_evidence(
    form: Form, signer: Signer, predicates: frozenset[str], payload: bytes, annotations: Mapping[str, str], subject: str
) -> Judged:
    """Through the door of `cosign`."""
    image, layer = parse_digest(subject), parse_digest(digest_of(payload))
    evidence = Evidence(
        form, image, Place.REFERRERS, layer, layer, MEDIA_TYPES[form], annotations, payload
    )  # fmt: skip
    [outcome] = verifier.verify(evidence, (signer,), predicates=predicates, trust=Trust(), now=NOW)
    if outcome.code is None:
        assert outcome.proof is not None
        return Judged(proof=outcome.proof)
    return Judged(outcome.code, outcome.detail)


def judge_message(case: Case, payload: bytes, annotations: Mapping[str, str], subject: str) -> Judged:
    """Through the conformance entry. An exception that is none of ours goes through."""
    assert not annotations
    assert case.root is not None
    artifact = case.artifact("artifact") if "artifact" in case.modes else client.artifact_named(subject)
    if subject == OTHER_IMAGE:
        artifact = client.artifact_of(b"another artifact")
    try:
        client.verify_bundle(payload, artifact, case.signer, case.root)
    except CountersignError as error:
        return Judged(error.code, error.detail)
    return Judged()


# --- those that are made


@dataclass(frozen=True, slots=True)
class Made:
    """A private Sigstore, and who is trusted there."""

    sigstore: PrivateSigstore
    root: TrustRoot

    def identity(self, subject: str = "dev@example.com", *, log: bool = True, timestamp: bool = False) -> Signer:
        material_ = Identity(issuer="https://issuer.example.com", subject=subject)
        return Signer("dev", SignerKind.KEYLESS, material_, self._source(log=log, timestamp=timestamp))

    def key(self, kind: str = "p256", *, rooted: bool = True, log: bool = True) -> Signer:
        public = material.parse_public_key(key_of(kind).public_pem)
        source = self._source(log=log, timestamp=False) if rooted else None
        return Signer("release", SignerKind.KEY, public, source, require_log=log and rooted)

    def _source(self, *, log: bool, timestamp: bool) -> RootSource:
        name = f"private log={log} timestamp={timestamp}"
        return RootSource(
            name, RootKind.INLINE, name, require_log=log, require_timestamp=timestamp, inline=self.root
        )  # fmt: skip


@functools.cache
def made() -> Made:
    sigstore = PrivateSigstore()
    return Made(sigstore, root.parse(sigstore.trusted_root()))


def _made_bundles(one: Made) -> Iterator[Seed]:
    new, who = one.sigstore, one.identity()

    def seed(name: str, make: Callable[[str], bytes], signer: Signer = who, optional: str = "timestamp",
             *, promised: bool = True) -> Seed:  # fmt: skip
        image = digest_of(name.encode())  # one of its own, so that parts of others are copied from another image
        return _seed(f"bundle {name}", Form.BUNDLE, (make(image), {}), signer, image, optional, promised=promised)

    make, by_key, both = partial(new.keyless_bundle), partial(new.key_bundle), "promise timestamp"
    stamped = partial(make, timestamp=True)
    yield seed("keyless", make)
    yield seed("keyless, stamped", stamped, optional=both)
    # Where no log need vouch, only its key binds a certificate to a signature: a key that signs nothing else
    own = partial(stamped, key=signing.new_key())
    yield seed("keyless, log optional", own, one.identity(log=False), f"{both} log")
    yield seed("keyless, stamp demanded", stamped, one.identity(timestamp=True), "promise")
    own = partial(stamped, key=signing.new_key())
    yield seed("keyless, stamped only", partial(own, log="none"), one.identity(log=False), "log")
    yield seed("keyless, stamped, no promise", partial(stamped, promise=False), optional="", promised=False)
    yield seed("keyless, Rekor 2", partial(make, log="v2"), optional="", promised=False)
    yield seed("keyless 0.1", partial(make, version="0.1"), optional="proof timestamp")
    yield seed("keyless 0.2", partial(make, version="0.2", chain=(new.authority.certificate,)))
    yield seed("keyless intoto", partial(make, entry="intoto 0.0.2"))
    for kind in ("p384", "p521", "rsa2048", "ed25519"):
        yield seed(f"keyless {kind}", partial(make, key=key_of(kind)))
    named = new.leaf(subject="dev!example.com", kind=NameKind.USERNAME, sct_extensions=b"more")
    yield seed("keyless username", partial(make, leaf=named), one.identity("dev!example.com"))
    predicate = {"builder": {"id": "https://builder.example.com"}}
    yield seed("attestation", partial(make, predicate_type=PREDICATE, predicate=predicate))
    yield seed("key, not logged", partial(by_key, log="none"), one.key(rooted=False), "log timestamp")
    yield seed("key, logged, no root", by_key, one.key(rooted=False), "log timestamp")
    yield seed("key, logged", by_key, one.key(), both)
    yield seed("key, log optional", by_key, one.key(log=False), f"{both} log")
    yield seed("key, Rekor 2", partial(by_key, log="v2", timestamp=False), one.key(), promised=False)


def _made_layers(one: Made) -> Iterator[Seed]:
    new, who, free = one.sigstore, one.identity(), one.key(rooted=False)

    def seed(name: str, make: Callable[[str], Layer], signer: Signer = who, optional: str = "timestamp",
             form: Form = Form.LEGACY) -> Seed:  # fmt: skip
        image = digest_of(f"layer {name}".encode())
        return _seed(f"{form} {name}", form, make(image), signer, image, optional)

    make, anything = partial(new.legacy_signature), "log timestamp certificate"
    yield seed("keyless", make)
    yield seed("keyless, stamped", partial(make, timestamp=True))
    own = partial(make, timestamp=True, log="none", key=signing.new_key())
    yield seed("keyless, stamped only", own, one.identity(log=False), "log")
    annotated = partial(make, keyless=False, log="none", annotations={"env": "prod"})
    yield seed("key", annotated, free, anything)
    yield seed("key, logged", partial(make, keyless=False), one.key(), "timestamp certificate")
    yield seed("key, log optional", partial(make, keyless=False), one.key(log=False), anything)
    yield seed("key beside its certificate", make, one.key())

    attest = partial(new.legacy_attestation, predicate_type=PREDICATE)
    yield seed("entry dsse", attest, form=Form.DSSE)
    yield seed("entry intoto 1", partial(attest, entry="intoto 0.0.1"), form=Form.DSSE)
    yield seed("entry intoto 2, stamped", partial(attest, entry="intoto 0.0.2", timestamp=True), form=Form.DSSE)
    yield seed("key", partial(attest, keyless=False, log="none"), free, anything, Form.DSSE)


def _seed(
    name: str, form: Form, layer: Layer, signer: Signer, subject: str, optional: str, *, promised: bool = True
) -> Seed:
    judge = partial(judge_evidence, form, signer, frozenset({PREDICATE}))
    payload, annotations = layer
    return Seed(name, form, payload, annotations, judge, subject, frozenset(optional.split()), promised)


# --- those that others made


def _real(case: Case) -> Seed:
    optional = _REAL_OPTIONAL.get(case.id, "timestamp")
    if case.is_layer or case.id.startswith("bundles/cosign3"):
        layer: Layer = (
            (case.read("payload"), json.loads(case.read("annotations"))) if case.is_layer else (case.read("bundle"), {})
        )
        form = Form.LEGACY if case.is_layer else Form.BUNDLE
        return _seed(case.id, form, layer, case.policy_signer(), case.digest, optional)
    subject = str(Digest("sha256", case.artifact("digest").digests["sha256"].hex()))
    promised = b"inclusionPromise" in case.read("bundle")
    judge = partial(judge_message, case)
    return Seed(case.id, None, case.read("bundle"), {}, judge, subject, frozenset(optional.split()), promised)


_REAL_OPTIONAL: Mapping[str, str] = {
    "bundles/cosign3-sign-keyless": "promise timestamp",
    "bundles/cosign3-sign-keyless+regex": "promise timestamp",
    "conformance/happy-path-v0.1": "proof timestamp",
    "conformance/trust-root-tlog-validity-end-inclusive": "proof timestamp",
    "conformance/intoto-with-custom-trust-root": "promise timestamp",
    "conformance/managed-key-happy-path": "promise timestamp",
    "legacy/key-rekor": "timestamp certificate",
    "legacy/key-only": "log timestamp certificate",
}


@functools.cache
def seeds() -> tuple[Seed, ...]:
    """All of them. Each is accepted as it is."""
    real = (_real(case) for case in cases.CASES.values() if not case.code)
    return (*_made_bundles(made()), *_made_layers(made()), *real)
