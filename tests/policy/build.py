"""Short ways to say what a policy demands and what was found, for the tests of select, decide and message."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from webhook.errors import Code, InconclusiveError, RejectedError
from webhook.evidence.model import (
    Attestation,
    Evidence,
    Form,
    Outcome,
    Place,
    Proof,
    SignedTime,
    Signer,
    SignerKind,
    Verdict,
    failed,
)
from webhook.oci import reference
from webhook.oci.reference import Digest, Pattern, Reference
from webhook.policy import attestations as attested_policy
from webhook.policy import select
from webhook.policy.condition import Condition
from webhook.policy.counting import sole_material
from webhook.policy.decide import decide_image
from webhook.policy.decision import ImageDecision, PolicyDecision, Weighed
from webhook.policy.demand import decide_policy
from webhook.policy.model import (
    AttestationDemand,
    Deny,
    Mode,
    Namespaces,
    OnUnavailable,
    Pick,
    PolicyException,
    PolicySet,
    Rule,
    Tags,
    TrustPolicy,
)
from webhook.settings import NoMatch
from webhook.trust.identity import Claims, Identity
from webhook.trust.material import PublicKey
from webhook.trust.notary.levels import Action, CertificateRule, Level, actions_of
from webhook.trust.notary.profile import ProfileARN, SigningProfile
from webhook.trust.notary.stores import StoreKind, TrustStore
from webhook.trust.notary.subject import Subject

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOST = "registry.example.com"
IMAGE = f"{HOST}/pay/api:1.4"
DIGEST = Digest("sha256", "ab12" + "0" * 58 + "9f")
OTHER = Digest("sha256", "cd" * 32)
ISSUER = "https://token.actions.example.com"
SLSA = "https://slsa.dev/provenance/v1"
VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"
DAY = timedelta(days=1)
INCONCLUSIVE = frozenset(
    {
        Code.REGISTRY_UNAVAILABLE,
        Code.RATE_LIMITED,
        Code.ACCESS_DENIED,
        Code.TRUST_UNAVAILABLE,
        Code.DEADLINE_EXCEEDED,
        Code.OVERLOADED,
        Code.NOT_PINNED,
        Code.POLICY_UNAVAILABLE,
        Code.INTERNAL_ERROR,
        Code.REVOCATION_UNKNOWN,
        Code.NOT_CACHED,
    }
)


def signer(name: str, material: str = "") -> Signer:
    fingerprint = hashlib.sha256((material or name).encode()).hexdigest()
    return Signer(name, SignerKind.KEY, PublicKey(fingerprint, "ECDSA P-256"))


def keyless(name: str, subject: str = "") -> Signer:
    return Signer(name, SignerKind.KEYLESS, Identity(issuer=ISSUER, subject=subject or f"{name}@example.com"))


def profile(name: str, *, version: str = "", revocation: Action = Action.ENFORCE) -> Signer:
    arn = ProfileARN("aws", "us-west-2", "111122223333", f"{name}_profile", version)
    return Signer(name, SignerKind.PROFILE, SigningProfile(arn, _store(StoreKind.SIGNING_AUTHORITY), revocation))


def certificate(name: str, *, level: Level = Level.STRICT) -> Signer:
    subject = Subject((("C", "US"), ("ST", "WA"), ("O", f"{name}.example")))
    rule = CertificateRule((_store(StoreKind.CA),), (subject,), actions_of(level))
    return Signer(name, SignerKind.CERTIFICATE, rule)


def _store(kind: StoreKind) -> TrustStore:
    return TrustStore("acme", kind, (b"a certificate",))


def fingerprint(name: str) -> str:
    return signer(name).fingerprint


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(reference.parse_pattern(text) for text in texts)


def rule(
    *names: str | Signer,
    images: tuple[str, ...] = (),
    needed: int = 1,
    label: str = "signers",
    on_unavailable: OnUnavailable = OnUnavailable.DENY,
    annotations: tuple[tuple[str, str], ...] = (),
    max_age: timedelta | None = None,
    attestations: tuple[AttestationDemand, ...] = (),
) -> Rule:
    return Rule(label, patterns(*images), _signers(names), needed, on_unavailable, annotations, max_age, attestations)


def wanted(
    *names: str | Signer,
    kind: str = SLSA,
    pick: Pick = Pick.ANY,
    max_age: timedelta | None = None,
    time_field: tuple[str, ...] = (),
    condition: Condition | None = None,
    label: str = "rules[0].attestations[0]",
) -> AttestationDemand:
    """A demand for an attestation by any of `names`."""
    return AttestationDemand(label, kind, _signers(names), condition, pick, max_age, time_field)


def _signers(names: Sequence[str | Signer]) -> tuple[Signer, ...]:
    return tuple(signer(name) if isinstance(name, str) else name for name in names)


def policy(
    name: str = "production",
    *,
    default: Rule | None = None,
    mode: Mode = Mode.ENFORCE,
    namespaces: Namespaces | None = None,
    exempt: tuple[str, ...] = (),
    rules: tuple[Rule, ...] = (),
    deny: tuple[Deny, ...] = (),
    exceptions: tuple[PolicyException, ...] = (),
    enforce_in: tuple[str, ...] = (),
    owner_help: str = "",
    tags: Tags = Tags.ALLOW,
    tampered: Mode = Mode.ENFORCE,
) -> TrustPolicy:
    every = (*rules, *([default] if default else []))
    return TrustPolicy(
        name=name,
        revision=hashlib.sha256(name.encode()).hexdigest()[:12],
        origin=f"{name}.yaml:1",
        mode=mode,
        namespaces=namespaces or Namespaces(),
        signers=tuple(dict.fromkeys(one for demand in every for one in _all_signers(demand))),
        exempt=patterns(*exempt),
        rules=rules,
        default=default,
        deny=deny,
        exceptions=exceptions,
        enforce_in=enforce_in,
        help=owner_help,
        tags=tags,
        tampered=tampered,
    )


def _all_signers(demand: Rule) -> tuple[Signer, ...]:
    return (*demand.signers, *(one for attestation in demand.attestations for one in attestation.signers))


def policies(
    *members: TrustPolicy, baseline: tuple[str, ...] = (), broken: Mapping[str, str] | None = None
) -> PolicySet:
    return PolicySet(
        members,
        "5e7f00d",
        "/etc/countersign/policies",
        baseline=patterns(*baseline),
        problems=broken or {},
        broken=tuple(broken or ()),
    )


def proof(
    who: Signer,
    *,
    at: datetime | None = None,
    annotations: Mapping[str, str] | None = None,
    material: str = "",
    certificate: str = "",
    index: int | None = None,
    attestation: Attestation | None = None,
) -> Proof:
    """What a signature by `who` proves; an identity signs with a key of its own, made for the day."""
    claims = Claims(ISSUER, (("email", material or f"{who.name}@example.com"),)) if not who.fingerprint else None
    return Proof(
        material=material or (f"identity:{who.name}" if claims else f"spki:{who.fingerprint}"),
        key_fingerprint=who.fingerprint or fingerprint(f"made for {who.name}"),
        certificate_fingerprint=certificate,
        claims=claims,
        times=(SignedTime(at, "rekor.example.com"),) if at is not None else (),
        logged=(("https://rekor.example.com", index),) if index is not None else (),
        annotations=annotations or {},
        attestation=attestation,
    )


def verified(
    name: str | Signer,
    *,
    at: datetime | None = None,
    annotations: Mapping[str, str] | None = None,
    material: str = "",
    certificate: str = "",
    index: int | None = None,
) -> Outcome:
    (who,) = _signers([name])
    shown = proof(who, at=at, annotations=annotations, material=material, certificate=certificate, index=index)
    return Outcome(Verdict.VERIFIED, None, "legacy signature by ECDSA P-256", who, evidence(), proof=shown)


def notarized(who: Signer, *, notes: tuple[str, ...] = (), key: str = "", at: datetime | None = None,
              annotations: Mapping[str, str] | None = None, certificate: str = "") -> Outcome:  # fmt: skip
    """A verified Notary Project signature by `who`; `key` names the key of the certificate."""
    signed_with = fingerprint(key or f"made for {who.name}")
    shown = Proof(
        material=sole_material(who) or f"spki:{signed_with}",
        key_fingerprint=signed_with,
        certificate_fingerprint=certificate,
        times=(SignedTime(at, "AWS Signer"),) if at is not None else (),
        annotations=annotations or {},
    )
    detail = "notation signature"
    return Outcome(Verdict.VERIFIED, None, detail, who, evidence(Form.NOTATION), proof=shown, notes=notes)


def attested(
    name: str | Signer,
    *,
    kind: str = SLSA,
    at: datetime | None = None,
    predicate: Mapping[str, object] | None = None,
    certificate: str = "",
    index: int | None = None,
) -> Outcome:
    """A verified statement of type `kind` about the image, whole."""
    (who,) = _signers([name])
    said = Attestation(kind, {"predicateType": kind, "predicate": predicate or {}})
    shown = proof(who, at=at, certificate=certificate, index=index, attestation=said)
    return Outcome(Verdict.ATTESTED, None, "attestation by ECDSA P-256", who, evidence(Form.BUNDLE), proof=shown)


def rejected(
    code: Code, name: str | Signer | None = None, detail: str = "as forged", *, form: Form = Form.LEGACY
) -> Outcome:
    """What a piece of evidence came to for one signer, or, without a name, what was found wrong for all."""
    whose = signer(name) if isinstance(name, str) else name
    return failed(RejectedError(code, detail), signer=whose, evidence=evidence(form) if name else None)


def inconclusive(code: Code, name: str | Signer | None = None, detail: str = "it did not answer") -> Outcome:
    return failed(InconclusiveError(code, detail), signer=signer(name) if isinstance(name, str) else name)


def outcome(code: Code, name: str | None = None) -> Outcome:
    return inconclusive(code, name) if code in INCONCLUSIVE else rejected(code, name)


def evidence(form: Form = Form.LEGACY) -> Evidence:
    return Evidence(form, DIGEST, Place.SIGNATURE_TAG, OTHER, OTHER, "application/json", {}, b"{}")


def weighed(loaded: PolicySet, outcomes: Sequence[Outcome], now: datetime = NOW) -> list[Weighed]:
    """All that `outcomes` attest, held against all that any policy demands."""
    demands = [one for policy in loaded.policies for rule in _rules(policy) for one in rule.attestations]
    return attested_policy.weigh(outcomes, demands, image={"digest": str(DIGEST)}, now=now)


def _rules(policy: TrustPolicy) -> tuple[Rule, ...]:
    return (*policy.rules, *([policy.default] if policy.default else []))


NOTHING = Outcome(Verdict.REJECTED, Code.NO_SIGNATURE, "no candidate was found")


def judge(
    loaded: PolicySet,
    *outcomes: Outcome,
    image: str = IMAGE,
    digest: Digest | None = DIGEST,
    namespace: str = "pay",
    known: frozenset[str] = frozenset(),
    candidates_listed: bool = True,
    no_match: NoMatch = NoMatch.DENY,
) -> ImageDecision:
    """An image from its reference to its decision, `outcomes` being all that was found."""
    parsed = reference.parse(image)
    selections = select.select(loaded, reference=parsed, digest=parsed.digest or digest, namespace=namespace, now=NOW)
    return decide_image(
        reference=parsed,
        paths=(("spec.containers[0]", "api"),),
        digest=parsed.digest or digest,
        decisions=[
            decide_policy(
                selection,
                outcomes,
                blocked=select.blocked(loaded),
                known=known,
                candidates_listed=candidates_listed,
                weighed=weighed(loaded, outcomes),
                now=NOW,
            )
            for selection in selections
        ],
        policies=loaded,
        no_match=no_match,
    )


def judge_policy(
    one: TrustPolicy,
    *outcomes: Outcome,
    known: frozenset[str] = frozenset(),
    candidates_listed: bool = True,
    digest: Digest | None = DIGEST,
) -> PolicyDecision:
    """What one policy says of `IMAGE`."""
    return judge(policies(one), *outcomes, known=known, candidates_listed=candidates_listed, digest=digest).policies[0]


def parsed(text: str = IMAGE) -> Reference:
    return reference.parse(text)
