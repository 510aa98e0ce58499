"""Whether one trust root may take the place of another of the same instance, judged by what they say.

Roots of one instance only grow, and end what is replaced: old signatures are verified by what was trusted then. That
tells a later root from an earlier one without a version in it, and a broken one from both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from cryptography.hazmat.primitives import hashes

from webhook.trust.root import Authority, Log, TrustRoot, Window

_Entries = Callable[[TrustRoot], tuple[Log, ...] | tuple[Authority, ...]]

_KINDS: Mapping[str, _Entries] = {
    "certificate authority": lambda one: one.certificate_authorities,
    "transparency log": lambda one: one.logs,
    "certificate transparency log": lambda one: one.ct_logs,
    "timestamp authority": lambda one: one.timestamp_authorities,
}


def follows(new: TrustRoot, old: TrustRoot) -> bool:
    """Whether `new` takes back nothing that `old` says: it has all its logs and authorities, and ends them no later."""
    return all(
        _ends_no_later(windows.get(identity), window)
        for entries in _KINDS.values()
        for windows in (_windows(entries(new)),)
        for identity, window in _windows(entries(old)).items()
    )


def shortfall(new: TrustRoot, old: TrustRoot | None) -> str:
    """What `new` lacks to be a whole root after `old`: anything at all, or a kind that `old` has; empty where nothing.

    Fewer of a kind are no shortfall: what was rotated may be gone.
    """
    if not any(entries(new) for entries in _KINDS.values()):
        return "it has neither an authority nor a log"
    lost = [kind for kind, entries in _KINDS.items() if old is not None and entries(old) and not entries(new)]
    return f"it has no {' and no '.join(lost)} left" if lost else ""


def changes(new: TrustRoot, old: TrustRoot) -> tuple[str, ...]:
    """What is different in `new`, a line for each log and authority."""
    lines = []
    for kind, entries in _KINDS.items():
        before, after = _windows(entries(old)), _windows(entries(new))
        names = {**_names(entries(old)), **_names(entries(new))}
        lines += [f"removed: {kind} {names[identity]}" for identity in before if identity not in after]
        lines += [f"added: {kind} {names[identity]}" for identity in after if identity not in before]
        lines += [
            f"changed: {kind} {names[identity]}: {_span(before[identity])}, now {_span(window)}"
            for identity, window in after.items()
            if identity in before and window != before[identity]
        ]
    return tuple(lines)


def _windows(entries: Iterable[Log | Authority]) -> dict[bytes, Window]:
    return {_identity(entry): entry.window for entry in entries}


def _names(entries: Iterable[Log | Authority]) -> dict[bytes, str]:
    return {_identity(entry): f"{entry.url or '(no URL)'} {_identity(entry).hex()[:12]}" for entry in entries}


def _identity(entry: Log | Authority) -> bytes:
    """The key of a log, not its id alone; the chain of an authority."""
    if isinstance(entry, Log):
        return entry.log_id + entry.key.spki
    return b"".join(certificate.fingerprint(hashes.SHA256()) for certificate in entry.chain)


def _ends_no_later(window: Window | None, before: Window) -> bool:
    return window is not None and (before.end is None or (window.end is not None and window.end <= before.end))


def _span(window: Window) -> str:
    def say(moment: datetime | None) -> str:
        return moment.isoformat() if moment else "open"

    return f"{say(window.start)} to {say(window.end)}"
