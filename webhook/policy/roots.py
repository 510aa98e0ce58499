"""The trust roots of a policy document: each parsed when the policy loads, or what is wrong with it.

A root that is written in the policy is read whole; of one in a file, an object of the cluster or a TUF repository only
its address is, and whether it is at hand is found out later. `public-good` is always there, and no policy can put
another in its place.

spec: sigstore protobuf-specs, TrustedRoot; The Update Framework 1.0, root.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from webhook import untrusted
from webhook.errors import Code, MalformedError, quote
from webhook.policy import places
from webhook.policy.syntax import models
from webhook.policy.syntax.mistakes import Path
from webhook.policy.syntax.sheet import Sheet
from webhook.trust import byhand, root
from webhook.trust.byhand import LogKey
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource, TrustRoot
from webhook.trust.stored import StoredRoot

MAX_TUF_ROOT_BYTES = 512 << 10


@dataclass(frozen=True, slots=True)
class Roots:
    """`names` are all that the document lists and `public-good`; `sources` those of them that are right."""

    names: frozenset[str]
    sources: Mapping[str, RootSource]

    @property
    def own(self) -> tuple[RootSource, ...]:
        """Those that the document lists, in its order."""
        return tuple(source for source in self.sources.values() if source is not PUBLIC_GOOD)

    def named(self, sheet: Sheet, path: Path, name: str | None) -> RootSource | None:
        """The root that an entry at `path` names, `public-good` where it names none; `None` where it is not right."""
        if name is not None and name not in self.names:
            known = ", ".join(sorted(self.names))[:200]
            sheet.mistakes.add((*path, "trustRoot"), f"no trust root is named {name}; there are {known}")
        return self.sources.get(name or PUBLIC_GOOD.name)


def read(sheet: Sheet) -> Roots:
    """The trust roots of the document; what is wrong goes to its mistakes."""
    sources = {PUBLIC_GOOD.name: PUBLIC_GOOD}
    for path, entry in islice(sheet.entries("trustRoots", models.TrustRoot), models.MAX_TRUST_ROOTS):
        source = _source(sheet, path, entry)
        if source is not None:
            sources.setdefault(entry.name, source)
    return Roots(frozenset({PUBLIC_GOOD.name, *_names(sheet)}), sources)


def _names(sheet: Sheet) -> Sequence[str]:
    first: dict[str, Path] = {}
    for path, name in sheet.names("trustRoots"):
        if name == PUBLIC_GOOD.name:
            sheet.mistakes.add(path, f"{name} is the public instance of Sigstore: choose another name")
        elif name in first:
            shown, line = quote(name, max_chars=80), sheet.line(first[name])
            sheet.mistakes.add(path, f"a second trust root named {shown}, first in line {line}")
        first.setdefault(name, path)
    return tuple(first)


def _source(sheet: Sheet, path: Path, entry: models.TrustRoot) -> RootSource | None:
    given = {
        "trustedRoot": entry.trusted_root,
        "file": entry.file,
        "tuf": entry.tuf,
        "material": entry.material,
        "secret": entry.secret,
        "configMap": entry.config_map,
    }
    named = [field for field, value in given.items() if value is not None]
    if len(named) != 1:
        *most, last = given
        found = " and ".join(named) or "none"
        sheet.mistakes.add(path, f"exactly one of {', '.join(most)} and {last} expected, found {found}")
        return None
    if not entry.require_log and not entry.require_timestamp:
        message = "without a log entry or a timestamp no time is proved: requireLog or requireTimestamp must be true"
        sheet.mistakes.add((*path, "requireLog"), message)
    try:
        return _read(entry)
    except MalformedError as error:
        where = (*path, "tuf", "root") if entry.tuf is not None else (*path, named[0])
        sheet.mistakes.add(where, error.detail.removeprefix("trust root: "))
        return None


def _read(entry: models.TrustRoot) -> RootSource:
    """Raises: MalformedError."""
    if entry.trusted_root is not None:
        return _inline(entry, root.parse(entry.trusted_root.encode()))
    if entry.material is not None:
        return _inline(entry, _by_hand(entry.material))
    if entry.tuf is not None:
        return _repository(entry, entry.tuf)
    if (place := places.entry_of(secret=entry.secret, config_map=entry.config_map)) is not None:
        return _make(entry, RootKind.OBJECT, str(place), place=StoredRoot(place))
    return _make(entry, RootKind.FILE, f"file {entry.file}")


def _inline(entry: models.TrustRoot, inline: TrustRoot) -> RootSource:
    return _make(entry, RootKind.INLINE, f"inline sha256:{inline.fingerprint}", inline=inline)


def _by_hand(material: models.Material) -> TrustRoot:
    if not material.model_fields_set:
        raise MalformedError(Code.MALFORMED, "chains or keys expected, found none")
    return byhand.from_material(
        certificate_authorities=material.certificate_authorities,
        transparency_logs=_logs(material.transparency_logs),
        ct_logs=_logs(material.ct_logs),
        timestamp_authorities=material.timestamp_authorities,
    )


def _logs(entries: Sequence[models.LogKey]) -> Sequence[LogKey]:
    return [LogKey(entry.public_key, entry.url or "", entry.origin or "") for entry in entries]


def _repository(entry: models.TrustRoot, tuf: models.TUFRepository) -> RootSource:
    data = tuf.root.encode()
    document = untrusted.as_object(untrusted.parse_json(data, max_bytes=MAX_TUF_ROOT_BYTES, what="root"), "root")
    signed = untrusted.as_object(document.get("signed"), "root.signed")
    if untrusted.as_string(signed.get("_type"), "root.signed._type") != "root":
        raise MalformedError(Code.MALFORMED, "root.signed._type: root expected, the first role of a TUF repository")
    key = f"tuf {tuf.mirror} sha256:{hashlib.sha256(data).hexdigest()}"
    return _make(entry, RootKind.TUF, key, url=tuf.mirror, tuf_root=data)


def _make(
    entry: models.TrustRoot,
    kind: RootKind,
    key: str,
    *,
    inline: TrustRoot | None = None,
    url: str = "",
    tuf_root: bytes = b"",
    place: StoredRoot | None = None,
) -> RootSource:
    return RootSource(
        name=entry.name,
        kind=kind,
        key=key,
        require_log=entry.require_log,
        require_sct=entry.require_sct,
        require_timestamp=entry.require_timestamp,
        inline=inline,
        url=url,
        tuf_root=tuf_root,
        place=place,
    )


def identity_problem(source: RootSource) -> str:
    """Why no certificate can ever be believed under `source`, as far as it is known; or nothing."""
    inline = source.inline
    if inline is None:
        return ""
    wanting = [
        what
        for what, wanted, there in (
            ("certificate authority", True, inline.certificate_authorities),
            ("CT log (requireSct)", source.require_sct, inline.ct_logs),
            ("transparency log (requireLog)", source.require_log, inline.logs),
            ("timestamp authority (requireTimestamp)", source.require_timestamp, inline.timestamp_authorities),
        )
        if wanted and not there
    ]
    return f"the trust root {source.name} has no {' and no '.join(wanting)}" if wanting else ""


def key_problem(source: RootSource, *, require_log: bool) -> str:
    """Why a key's log entry can never be believed under `source`, as far as it is known; or nothing."""
    if require_log and source.inline is not None and not source.inline.logs:
        return f"the trust root {source.name} has no transparency log"
    return ""
