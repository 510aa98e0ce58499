"""Verification plug-ins that a signature asks for: which are done here, and which critical attributes they cover.

The Notary Project's own verifiers start a program that the signature names. Nothing is started here: what a plug-in
would do is part of this package, or the signature is refused, whatever a policy's level. So is one with a critical
attribute that nobody processes; the specification's own verifier forgets that where no plug-in is named.

spec: Notary Project, plugin extensibility; Semantic Versioning 2.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from webhook.errors import Code, RejectedError, quote
from webhook.notation.attributes import PLUGIN, PLUGIN_MIN_VERSION
from webhook.notation.envelope import Envelope

MAX_VERSION_CHARS = 128  # Python reads no number of more than 4300 digits, and no release has one of ten


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in whose work is done here; `version` is the release that ours equals."""

    name: str
    version: str
    processed: frozenset[str]  # the critical attributes that it looks at


def required(envelope: Envelope, plugins: Mapping[str, Plugin]) -> Plugin | None:
    """The one of `plugins` that `envelope` asks for, recent enough; `None` where it asks for none. Whichever it is, no
    critical attribute is left that nobody looks at.

    Raises: RejectedError: `verification_plugin_unavailable`, `critical_attribute_unprocessed`.
    """
    plugin = _named(envelope, plugins)
    processed = plugin.processed if plugin else frozenset()
    for name in envelope.critical:
        if name in envelope.extended and name not in (PLUGIN, PLUGIN_MIN_VERSION) and name not in processed:
            known = f"{plugin.name} {plugin.version}" if plugin else "the specification"
            raise RejectedError(
                Code.CRITICAL_ATTRIBUTE_UNPROCESSED,
                f"the attribute {quote(str(name), max_chars=80)} is critical, and none that {known} knows",
            )
    return plugin


def _named(envelope: Envelope, plugins: Mapping[str, Plugin]) -> Plugin | None:
    if PLUGIN not in envelope.extended:
        if PLUGIN_MIN_VERSION in envelope.extended:
            raise _unavailable(f"{PLUGIN_MIN_VERSION} is there without {PLUGIN}")
        return None
    name = _text(envelope, PLUGIN)
    plugin = plugins.get(name)
    if plugin is None:
        raise _unavailable(f"the signature asks for the plug-in {quote(name, max_chars=80)}, which is not built in")
    if PLUGIN_MIN_VERSION in envelope.extended and _rank(plugin.version) < _rank(
        wanted := _text(envelope, PLUGIN_MIN_VERSION)
    ):
        raise _unavailable(f"the signature asks for {name} {quote(wanted)} or later, and {plugin.version} is built in")
    return plugin


def _text(envelope: Envelope, attribute: str) -> str:
    value = envelope.extended[attribute]
    if not isinstance(value, str) or not value.strip():
        raise _unavailable(f"{attribute}: text expected")
    if attribute not in envelope.critical:
        raise _unavailable(f"{attribute} is not marked as critical")
    return value


# Semantic Versioning 2.0.0, 2, 9 and 10
_NUMBER = "0|[1-9][0-9]*"
_IDENTIFIER = f"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_Rank = tuple[int, int, int, bool, list[tuple[bool, int, str]]]


def _rank(version: str) -> _Rank:
    """Semantic Versioning 2.0.0, 11: versions have the order of these; what is behind a + has no part in it."""
    found = _VERSION.fullmatch(version) if len(version) <= MAX_VERSION_CHARS else None
    if found is None:
        raise _unavailable(f"{PLUGIN_MIN_VERSION}: a semantic version expected, found {quote(version, max_chars=60)}")
    identifiers = (found[4] or "").split(".")
    # Numbers before words, fewer identifiers before more
    ranked = [(False, int(one), "") if one.isdigit() else (True, 0, one) for one in identifiers]
    return int(found[1]), int(found[2]), int(found[3]), found[4] is None, ranked


def _unavailable(problem: str) -> RejectedError:
    return RejectedError(Code.VERIFICATION_PLUGIN_UNAVAILABLE, problem)
