"""One Notary Project envelope held against signers: the door to this package.

Whatever the envelope holds, the answer is one outcome for each signer: a bad candidate can neither end a review nor
hide a good one. What is verified but for revocation is `Unsettled`, with what has to be asked. What several signers ask
of one envelope is found out once. Pure: bytes and values in, values out.

The order: the envelope is whole, is about this image, and can be processed; whose it is; whether it has expired; when
it was signed; and only then the questions, so that nobody is asked about an envelope that fails without an answer.

spec: Notary Project, trust store and trust policy specification, signature verification.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError, RejectedError
from webhook.evidence import model
from webhook.evidence.model import Evidence, Outcome, Proof, SignedTime, Signer, Verdict
from webhook.evidence.once import Once
from webhook.evidence.unsettled import Ask, Unsettled
from webhook.notation import authenticity, signature, signer, signing_time
from webhook.notation.authenticity import Rule
from webhook.notation.envelope import Envelope, Scheme, open_envelope
from webhook.notation.plugin import Plugin
from webhook.notation.signature import Signature
from webhook.notation.signing_time import Clock, Told
from webhook.trust.at_hand import Trust
from webhook.trust.notary.inquiry import Inquiry
from webhook.trust.notary.levels import Action, CertificateRule, Check
from webhook.trust.notary.stores import TrustStore

PLUGINS: Mapping[str, Plugin] = {signer.PLUGIN.name: signer.PLUGIN}
_OF_POLICIES_ALONE = Trust()

_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")


def verify(
    evidence: Evidence,
    signers: Sequence[Signer],
    *,
    trust: Trust = _OF_POLICIES_ALONE,
    now: datetime,
    plugins: Mapping[str, Plugin] = PLUGINS,
) -> tuple[Outcome | Unsettled, ...]:
    """What `evidence` proves for each of `signers`, in their order; `trust` has what trust stores hold that stand
    outside of policies, and `plugins` are those whose work is done here.

    Never raises.
    """
    examined = _Examined(evidence, trust, now, plugins)
    return tuple(examined.outcome(one) for one in signers)


@dataclass(slots=True)
class _Report:
    """What the checks said for one signer: all of it in `facts`, what failed and is only told in `notes` too."""

    actions: Mapping[Check, Action] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)

    def enforce(self, check: Check, find: Callable[[], _Found]) -> _Found:
        """What `find` finds. Raises: CountersignError."""
        try:
            found = find()
        except CountersignError as error:
            self.facts[check.value] = f"{error.code}: {error.detail}"
            raise
        self.facts[check.value] = "ok"
        return found

    def make(self, check: Check, find: Callable[[], _Found]) -> _Found | None:
        """What `find` finds; `None` where that fails, and is only told. Raises: CountersignError."""
        try:
            return self.enforce(check, find)
        except CountersignError:
            if self.actions[check] is Action.ENFORCE:
                raise
            self.notes.append(self.facts[check.value])
            return None

    def ask(self, check: Check, inquiry: Inquiry, store: TrustStore | None) -> None:
        """Whether `check` passes is for whoever has the answer. Raises: RejectedError: nobody may be asked."""
        if store is not None:
            self.asks.append(Ask(check, self.actions[check], inquiry))
        elif self.actions[check] is Action.ENFORCE:
            # Certificates of strangers would have us fetch whatever they like
            problem = f"{check} is enforced, and nobody is asked about a chain that is not trusted"
            raise RejectedError(Code.UNTRUSTED_MATERIAL, problem)
        else:
            self.facts[check.value] = "not asked: the chain is not trusted"


class _Examined:
    """One piece of evidence, and what was found out about it so far, errors too: none is asked for twice."""

    def __init__(self, evidence: Evidence, trust: Trust, now: datetime, plugins: Mapping[str, Plugin]) -> None:
        self._evidence, self._trust, self._now, self._plugins = evidence, trust, now, plugins
        self._once = Once()

    def outcome(self, one: Signer) -> Outcome | Unsettled:
        evidence, report = self._evidence, _Report()
        problem: CountersignError
        try:
            return self._verify(one, report)
        except CountersignError as error:
            problem = error
        except Exception as error:  # noqa: BLE001  # one candidate that we cannot cope with must not hide the others
            _log.exception("unexpected error in layer %s of manifest %s", evidence.layer, evidence.manifest)
            problem = InconclusiveError(Code.INTERNAL_ERROR, f"unexpected {type(error).__name__} while verifying")
        failed = model.failed(problem, signer=one, evidence=evidence, place=evidence.place)
        return replace(failed, facts=report.facts)

    def _verify(self, one: Signer, report: _Report) -> Outcome | Unsettled:
        named = one.material
        if not isinstance(named, Rule):
            raise MalformedError(Code.UNSUPPORTED, "a Notary Project signature, and this signer makes cosign's")
        report.actions = dict(named.actions)
        envelope = report.enforce(Check.INTEGRITY, lambda: self._once("envelope", self._open))
        found = self._once("signature", lambda: signature.read(envelope, self._evidence, self._plugins))
        report.enforce(Check.AUTHENTICITY, lambda: authenticity.check_kind(found, named))
        # Whatever the level: a store that is not at hand says nothing of this signature, good or bad
        rule = report.enforce(Check.AUTHENTICITY, lambda: named.with_stores(self._trust.store_of))
        store = report.make(Check.AUTHENTICITY, lambda: authenticity.verify(found, rule))
        report.make(Check.EXPIRY, lambda: _check_expiry(envelope, self._now))
        told = report.make(Check.AUTHENTIC_TIMESTAMP, lambda: self._time(found, _clock(rule)))
        _ask(found, told, report, store)
        times, until = _times(told, report, store), _valid_until(envelope, self._now)
        proof = replace(self._once("proof", found.proof), times=times, valid_until=until)
        return self._verified(one, found, proof, report)

    def _open(self) -> Envelope:
        return open_envelope(self._evidence.payload, self._evidence.media_type)

    def _time(self, found: Signature, clock: Clock) -> Told:
        return self._once(clock, lambda: signing_time.verify(found, clock, now=self._now))

    def _verified(self, one: Signer, found: Signature, proof: Proof, report: _Report) -> Outcome | Unsettled:
        evidence = self._evidence
        outcome = Outcome(
            Verdict.VERIFIED,
            None,
            f"{evidence.form} signature by {found.whom}",
            one,
            evidence,
            evidence.place,
            {**_facts(evidence, found, proof), **report.facts},
            proof=proof,
            notes=tuple(report.notes),
        )
        return Unsettled(outcome, tuple(report.asks)) if report.asks else outcome


def _clock(rule: Rule) -> Clock:
    """AWS Signer says itself when it signed."""
    return Clock(rule.timestamp_stores, rule.verify_timestamp) if isinstance(rule, CertificateRule) else Clock()


def _check_expiry(envelope: Envelope, now: datetime) -> None:
    """Notary Project, signature verification, expiry: from that very moment on."""
    if envelope.expires_at is not None and now >= envelope.expires_at:
        raise RejectedError(Code.SIGNATURE_EXPIRED, f"the signature expired at {_written(envelope.expires_at)}")


def _valid_until(envelope: Envelope, now: datetime) -> datetime | None:
    """When a check comes to another result than `now`, at the earliest: what expires next of envelope and chain."""
    ends = [envelope.expires_at, *(certificate.not_valid_after_utc for certificate in envelope.chain)]
    return min((end for end in ends if end is not None and end > now), default=None)


def _ask(found: Signature, told: Told | None, report: _Report, store: TrustStore | None) -> None:
    """What has to be asked before it counts. Raises: RejectedError."""
    if told is not None and told.inquiry is not None:
        # Notary Project, authentic timestamp: enforced with the timestamp, also where revocation is skipped
        report.ask(Check.AUTHENTIC_TIMESTAMP, told.inquiry, store)
    if report.actions[Check.REVOCATION] is Action.SKIP:
        report.facts[Check.REVOCATION.value] = "skipped"
        return
    is_authentic = told is not None and found.envelope.scheme is Scheme.SIGNING_AUTHORITY
    signed_at = found.envelope.signed_at if is_authentic else None
    report.ask(Check.REVOCATION, found.inquiry(signed_at), store)


def _times(told: Told | None, report: _Report, store: TrustStore | None) -> tuple[SignedTime, ...]:
    """The time that was told, by a clock that is believed: not one that may have been revoked, and is only noted."""
    if told is None or told.time is None or store is None:
        return ()
    is_certain = told.inquiry is None or report.actions[Check.AUTHENTIC_TIMESTAMP] is Action.ENFORCE
    return (told.time,) if is_certain else ()


def _facts(evidence: Evidence, found: Signature, proof: Proof) -> dict[str, str]:
    envelope, signing = found.envelope, found.signing
    # The signing time of the other scheme is nobody's but the signer's
    is_authentic = envelope.scheme is Scheme.SIGNING_AUTHORITY
    facts = {
        "form": evidence.form.value,
        "candidate": str(evidence.layer),
        "manifest": str(evidence.manifest),
        "place": evidence.place.value,
        "fingerprint": proof.key_fingerprint,
        "scheme": envelope.scheme.value,
        "signed_at" if is_authentic else "claimed_signed_at": _written(envelope.signed_at),
    }
    if envelope.expires_at is not None:
        facts["expires_at"] = _written(envelope.expires_at)
    if signing is not None:
        facts |= {"plugin": signer.PLUGIN.name, "profile_version": str(signing.profile), "job": signing.job}
    return facts


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
