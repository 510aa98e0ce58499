"""Signers of Notary Project signatures in a policy document: profiles of AWS Signer, and rules about certificates.

Both are made when the policy loads, or what is wrong with them is told. Every signature by AWS Signer has the same
subject under the same root, whoever ordered it: so a profile is named by its ARN, and no rule about certificates is
taken for one. Which failed checks refuse a signature is fixed here, by level and override.

spec: Notary Project, trust store and trust policy specification, trust policy; AWS Signer, signing profiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from webhook.errors import MalformedError
from webhook.evidence.model import Signer, SignerKind
from webhook.policy import stores
from webhook.policy.stores import Stores
from webhook.policy.syntax import models
from webhook.policy.syntax.mistakes import Path, show_path
from webhook.policy.syntax.sheet import Sheet
from webhook.trust.notary import levels, profile, subject
from webhook.trust.notary.levels import Action, CertificateRule, Check, Level, VerifyTimestamp
from webhook.trust.notary.profile import ProfileARN, SigningProfile
from webhook.trust.notary.stores import BUILT_IN, StoreKind, TrustStore
from webhook.trust.notary.subject import Subject

RESERVED_PREFIX = "io.cncf.notary"  # Notary Project, signature specification, payload: of signed annotations
_REVOCATION = {"enforce": Action.ENFORCE, "warn": Action.LOG, "off": Action.SKIP}


def read(sheet: Sheet, known: Stores) -> Iterator[tuple[Path, Signer]]:
    """Those of these signers that are right, and where each stands; what is wrong goes to the document's mistakes."""
    for path, entry in islice(sheet.entries("signerProfiles", models.SignerProfile), models.MAX_PROFILES):
        if found := _profile(sheet, path, entry, known):
            yield path, Signer(entry.name, SignerKind.PROFILE, found)
    for path, rule in islice(sheet.entries("certificates", models.CertificateRule), models.MAX_CERTIFICATE_RULES):
        if made := _rule(sheet, path, rule, known):
            yield path, Signer(rule.name, SignerKind.CERTIFICATE, made)


def idle_overrides(sheet: Sheet) -> tuple[str, ...]:
    """Where an override says what its level does anyway."""
    return tuple(
        show_path((*path, "override", check))
        for path, entry in sheet.entries("certificates", models.CertificateRule)
        for check, action in _override(entry).items()
        if dict(levels.actions_of(Level(entry.level)))[check] is action
    )


def _profile(sheet: Sheet, path: Path, entry: models.SignerProfile, known: Stores) -> SigningProfile | None:
    try:
        arn = ProfileARN.parse(entry.arn)
    except MalformedError as error:
        sheet.mistakes.add((*path, "arn"), error.detail.removeprefix("signing profile: "))
        return None
    store = _signing_authority(sheet, (*path, "trustStore"), entry.trust_store, arn, known)
    return SigningProfile(arn, store, _REVOCATION[entry.revocation]) if store else None


def _signing_authority(
    sheet: Sheet, path: Path, named: str | None, arn: ProfileARN, known: Stores
) -> TrustStore | None:
    name = named or BUILT_IN.get(arn.partition)
    if name is None:
        message = f"required, and missing: no root of AWS Signer is built in for the partition {arn.partition}"
        sheet.mistakes.add(path, message)
        return None
    store = known.named(sheet, path, name, (StoreKind.SIGNING_AUTHORITY,))
    # What signs in one partition of AWS is not believed in another
    if store is not None and (problem := profile.store_problem(arn, store)):
        sheet.mistakes.add(path, f"can never be met: {problem}")
        return None
    return store


def _rule(sheet: Sheet, path: Path, entry: models.CertificateRule, known: Stores) -> CertificateRule | None:
    store = _vouching(sheet, (*path, "trustStore"), entry.trust_store, known)
    clock = _clock(sheet, (*path, "timestamp", "trustStore"), entry.timestamp, known)
    subjects = _subjects(sheet, path, entry)
    if entry.override is not None and not entry.override.model_fields_set:
        sheet.mistakes.add((*path, "override"), "an empty mapping says nothing: leave the field out")
    if store is None or subjects is None:
        return None
    return CertificateRule(
        stores=(store,),
        subjects=subjects,
        actions=levels.actions_of(Level(entry.level), _override(entry)),
        timestamp_stores=(clock,) if clock else (),
        verify_timestamp=VerifyTimestamp(entry.timestamp.verify if entry.timestamp else "always"),
    )


def _vouching(sheet: Sheet, path: Path, name: str, known: Stores) -> TrustStore | None:
    store = known.named(sheet, path, name, (StoreKind.CA, StoreKind.SIGNING_AUTHORITY))
    if store is not None and stores.is_of_aws(store):
        message = "every customer of AWS Signer signs by the same subject: name your profile, under signerProfiles"
        sheet.mistakes.add(path, message)
        return None
    return store


def _clock(sheet: Sheet, path: Path, entry: models.Timestamp | None, known: Stores) -> TrustStore | None:
    return None if entry is None else known.named(sheet, path, entry.trust_store, (StoreKind.TSA,))


def _subjects(sheet: Sheet, path: Path, entry: models.CertificateRule) -> tuple[Subject, ...] | None:
    """`None` where one of them is wrong, or where they and `unsafeAnySubject` do not say one thing together."""
    if bool(entry.subjects) is entry.unsafe_any_subject:
        found = "both" if entry.subjects else "neither"
        sheet.mistakes.add(path, f"either subjects or unsafeAnySubject: true expected, found {found}")
        return None
    parsed = [_subject(sheet, (*path, "subjects", index), text) for index, text in enumerate(entry.subjects)]
    right = {index: one for index, one in enumerate(parsed) if one is not None}
    _check_overlap(sheet, (*path, "subjects"), right)
    return tuple(right.values()) if len(right) == len(parsed) else None


def _subject(sheet: Sheet, path: Path, text: str) -> Subject | None:
    if text.strip() == "*":
        sheet.mistakes.add(path, "for any subject of the trust store write unsafeAnySubject: true, and no subjects")
        return None
    try:
        return subject.parse(text)
    except MalformedError as error:
        sheet.mistakes.add(path, error.detail)
        return None


def _check_overlap(sheet: Sheet, path: Path, subjects: Mapping[int, Subject]) -> None:
    # Notary Project, trust policy: no identity may be contained in another
    for index, one in subjects.items():
        for earlier, other in subjects.items():
            if earlier < index and (one.matches(other) or other.matches(one)):
                line = sheet.line((*path, earlier))
                sheet.mistakes.add((*path, index), f"one of this and the subject in line {line} contains the other")
                break


def _override(entry: models.CertificateRule) -> Mapping[Check, Action]:
    given = entry.override.model_dump(by_alias=True, exclude_none=True) if entry.override else {}
    return {Check(check): Action(action) for check, action in given.items()}
