"""Short ways to say what a policy demands and what was found, for the tests of select, decide and message."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from webhook.errors import Code, InconclusiveError, RejectedError
from webhook.evidence.model import Evidence, Form, Outcome, Place, Signer, SignerKind, Verdict, failed
from webhook.oci import reference
from webhook.oci.reference import Digest, Pattern, Reference
from webhook.policy.decide import decide_image
from webhook.policy.decision import ImageDecision, PolicyDecision
from webhook.policy.demand import decide_policy
from webhook.policy.model import (
    Deny,
    Mode,
    Namespaces,
    OnUnavailable,
    PolicyException,
    PolicySet,
    Rule,
    Tags,
    TrustPolicy,
)
from webhook.policy.select import blocked_keys, select
from webhook.settings import NoMatch
from webhook.trust.material import PublicKey

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOST = "registry.example.com"
IMAGE = f"{HOST}/pay/api:1.4"
DIGEST = Digest("sha256", "ab12" + "0" * 58 + "9f")
OTHER = Digest("sha256", "cd" * 32)
INCONCLUSIVE = frozenset(
    {
        Code.REGISTRY_UNAVAILABLE,
        Code.RATE_LIMITED,
        Code.ACCESS_DENIED,
        Code.DEADLINE_EXCEEDED,
        Code.OVERLOADED,
        Code.POLICY_UNAVAILABLE,
        Code.INTERNAL_ERROR,
    }
)


def signer(name: str, material: str = "") -> Signer:
    fingerprint = hashlib.sha256((material or name).encode()).hexdigest()
    return Signer(name, SignerKind.KEY, PublicKey(fingerprint, "ECDSA P-256"))


def fingerprint(name: str) -> str:
    return signer(name).material.fingerprint


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(reference.parse_pattern(text) for text in texts)


def rule(
    *names: str,
    images: tuple[str, ...] = (),
    needed: int = 1,
    label: str = "signers",
    on_unavailable: OnUnavailable = OnUnavailable.DENY,
) -> Rule:
    return Rule(label, patterns(*images), tuple(map(signer, names)), needed, on_unavailable)


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
        signers=tuple(dict.fromkeys(one for demand in every for one in demand.signers)),
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


def verified(name: str) -> Outcome:
    return Outcome(Verdict.VERIFIED, None, "legacy signature by ECDSA P-256", signer(name), evidence())


def rejected(code: Code, name: str | None = None, detail: str = "as forged") -> Outcome:
    """What a piece of evidence came to for one signer, or, without a name, what was found wrong for all."""
    whose = signer(name) if name else None
    return failed(RejectedError(code, detail), signer=whose, evidence=evidence() if name else None)


def inconclusive(code: Code, name: str | None = None, detail: str = "it did not answer") -> Outcome:
    return failed(InconclusiveError(code, detail), signer=signer(name) if name else None)


def outcome(code: Code, name: str | None = None) -> Outcome:
    return inconclusive(code, name) if code in INCONCLUSIVE else rejected(code, name)


def evidence() -> Evidence:
    return Evidence(Form.LEGACY, DIGEST, Place.SIGNATURE_TAG, OTHER, OTHER, "application/json", {}, b"{}")


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
    return decide_image(
        reference=parsed,
        paths=(("spec.containers[0]", "api"),),
        digest=parsed.digest or digest,
        decisions=[
            decide_policy(
                selection, outcomes, blocked=blocked_keys(loaded), known=known, candidates_listed=candidates_listed
            )
            for selection in select(
                loaded, reference=parsed, digest=parsed.digest or digest, namespace=namespace, now=NOW
            )
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
