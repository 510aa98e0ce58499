"""The signers of a policy document: made when the policy loads, or what is wrong with them.

Keys and identities, whose signatures are cosign's, are read here, the others in `notary`. Each has a name of its own
and is somebody of its own: the same key, profile or rule under two names could be counted twice, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from webhook.errors import MalformedError, quote
from webhook.evidence.model import Signer, SignerKind
from webhook.policy import notary, places, roots
from webhook.policy.roots import Roots
from webhook.policy.stores import Stores
from webhook.policy.syntax import models
from webhook.policy.syntax.mistakes import Path
from webhook.policy.syntax.sheet import SIGNERS, Sheet
from webhook.trust import kms, material
from webhook.trust.identity import Identity, IdentityError
from webhook.trust.kms import KMSKey
from webhook.trust.material import Hash, Padding, PublicKey
from webhook.trust.notary.levels import CertificateRule
from webhook.trust.notary.profile import SigningProfile
from webhook.trust.notary.stores import TrustStore
from webhook.trust.stored import StoredKey


def read(sheet: Sheet, known: Roots, stores: Stores) -> tuple[Signer, ...]:
    """Those signers of the document that are right, in its order; what is wrong goes to its mistakes."""
    found = [*_keys(sheet, known), *_identities(sheet, known), *notary.read(sheet, stores)]
    _check_names(sheet)
    _check_materials(sheet, found)
    return tuple(signer for _, signer in found)


def names(sheet: Sheet) -> set[str]:
    """The names of all signers, right or not."""
    return {name for field in SIGNERS for _, name in sheet.names(field)}


def _keys(sheet: Sheet, known: Roots) -> Iterator[tuple[Path, Signer]]:
    for path, entry in sheet.entries("trustedKeys", models.TrustedKey):
        key = _key(sheet, path, entry)
        source = known.named(sheet, path, entry.trust_root)
        if source is not None and (problem := roots.key_problem(source, require_log=entry.require_log)):
            sheet.mistakes.add((*path, "requireLog"), f"can never be met: {problem}")
        if key is not None and source is not None:
            yield path, Signer(entry.name, SignerKind.KEY, key, source, entry.require_log)


def _key(sheet: Sheet, path: Path, entry: models.TrustedKey) -> PublicKey | KMSKey | StoredKey | None:
    given = {"publicKey": entry.public_key, "kms": entry.kms, "secret": entry.secret}
    named = [field for field, value in given.items() if value is not None]
    if len(named) > 1:
        message = f"exactly one of publicKey, kms and secret expected, found {' and '.join(named)}"
        sheet.mistakes.add(path, message)
        return None
    if entry.kms is not None:
        return _kms_key(sheet, path, entry, entry.kms)
    if (place := places.entry_of(secret=entry.secret)) is not None:
        return StoredKey(place, _hash(entry), _padding(entry))
    if entry.public_key is None:
        message = (
            "required, and missing: one PEM block, -----BEGIN PUBLIC KEY-----; or kms, a key in AWS KMS; or secret"
        )
        sheet.mistakes.add((*path, "publicKey"), message)
        return None
    return _public_key(sheet, path, entry, entry.public_key)


def _public_key(sheet: Sheet, path: Path, entry: models.TrustedKey, pem: str) -> PublicKey | None:
    try:
        key = material.parse_public_key(pem, hash=_hash(entry), padding=_padding(entry) or Padding.PKCS1V15)
    except MalformedError as error:
        sheet.mistakes.add((*path, "publicKey"), error.detail.removeprefix("public key: "))
        return None
    if entry.padding is not None and not key.algorithm.startswith("RSA "):
        sheet.mistakes.add((*path, "padding"), f"for RSA keys only, and this is {key.algorithm}")
    return key


def _kms_key(sheet: Sheet, path: Path, entry: models.TrustedKey, uri: str) -> KMSKey | None:
    try:
        return kms.parse(uri, hash=_hash(entry), padding=_padding(entry))
    except MalformedError as error:
        sheet.mistakes.add((*path, "kms"), error.detail)
        return None


def _hash(entry: models.TrustedKey) -> Hash | None:
    return Hash(entry.hash) if entry.hash is not None else None


def _padding(entry: models.TrustedKey) -> Padding | None:
    return Padding(entry.padding) if entry.padding is not None else None


def _identities(sheet: Sheet, known: Roots) -> Iterator[tuple[Path, Signer]]:
    for path, entry in islice(sheet.entries("keyless", models.Keyless), models.MAX_KEYLESS):
        identity = _identity(sheet, path, entry)
        source = known.named(sheet, path, entry.trust_root)
        if source is not None and (problem := roots.identity_problem(source)):
            sheet.mistakes.add((*path, "trustRoot"), f"can never be met: {problem}")
        if identity is not None and source is not None:
            yield path, Signer(entry.name, SignerKind.KEYLESS, identity, source)


def _identity(sheet: Sheet, path: Path, entry: models.Keyless) -> Identity | None:
    try:
        return Identity(
            issuer=entry.issuer,
            issuer_regex=entry.issuer_regex,
            subject=entry.subject,
            subject_glob=entry.subject_glob,
            subject_regex=entry.subject_regex,
            extensions=tuple(entry.extensions.items()),
            unsafe_issuer_regex=entry.unsafe_issuer_regex,
            unsafe_subject_glob=entry.unsafe_subject_glob,
            unsafe_subject_regex=entry.unsafe_subject_regex,
        )
    except IdentityError as error:
        for field, problem in error.problems:
            sheet.mistakes.add((*path, *field.split(".", 1)), problem)
        return None


def _check_names(sheet: Sheet) -> None:
    named: dict[str, Path] = {}
    for field in SIGNERS:
        for path, name in sheet.names(field):
            if name in named:
                first = sheet.line(named[name])
                sheet.mistakes.add(path, f"a second signer named {quote(name, max_chars=80)}, first in line {first}")
            named.setdefault(name, path)


def _check_materials(sheet: Sheet, found: Iterable[tuple[Path, Signer]]) -> None:
    seen: dict[tuple[object, ...], tuple[str, Path]] = {}
    for path, signer in found:
        field, what = _FIELDS[type(signer.material)]
        key = (what, *_somebody(signer))
        if key in seen:
            name, first = seen[key]
            message = f"the same {what} as {name} in line {sheet.line(first)}: one {what} is one signer"
            sheet.mistakes.add((*path, field) if field else path, message)
        seen.setdefault(key, (signer.name, path))


_FIELDS: Mapping[type, tuple[str, str]] = {
    PublicKey: ("publicKey", "key"),
    KMSKey: ("kms", "key"),
    StoredKey: ("secret", "key"),
    Identity: ("", "identity"),
    SigningProfile: ("arn", "profile"),
    CertificateRule: ("", "rule about certificates"),
}


def _somebody(signer: Signer) -> tuple[object, ...]:
    """Who that is, whatever is demanded of a signature besides."""
    match signer.material:
        case PublicKey() as key:
            return (key.fingerprint,)
        case KMSKey() as key:
            return (key.endpoint, key.key_id)
        case StoredKey() as key:
            return (key.entry,)
        case Identity():  # somebody else under another root
            return signer.identity, signer.trust_root
        case SigningProfile() as profile:
            return (str(profile.arn).lower(),)
        case CertificateRule() as rule:  # which may hold one repository to another level than the rest
            held = frozenset((store.kind, one) for store in rule.stores for one in _held(store))
            clocks = frozenset(one for store in rule.timestamp_stores for one in _held(store))
            subjects = frozenset(frozenset(one.pairs) for one in rule.subjects)
            return held, subjects, rule.actions, clocks, rule.verify_timestamp


def _held(store: TrustStore) -> tuple[object, ...]:
    """What is in a store, or where that is."""
    return (store.place,) if store.place is not None else store.certificates
