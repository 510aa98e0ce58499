"""Envelopes in JWS, the flattened JSON serialization: bytes to a candidate, nothing believed.

Exactly the four members of that form, each in the one spelling that its content has. Keys that an envelope names or
carries (`jwk`, `jku`, `kid`, `x5u`) are never looked at, and a payload that is not base64url (`b64`) is refused.

spec: RFC 7515 7.2.2; Notary Project, signature specification, JWS envelope.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from webhook import untrusted
from webhook.errors import Code, MalformedError, quote
from webhook.notation import attributes, chain, document
from webhook.notation.attributes import (
    MAX_PAYLOAD_BYTES,
    MAX_PROTECTED_BYTES,
    SIGNING_AGENT,
    TIMESTAMP,
    Attributes,
    Candidate,
    Label,
)
from webhook.trust.material import MAX_SIGNATURE_BYTES

MEDIA_TYPE = "application/jose+json"
OLD_SIGNING_AGENT = "io.cncf.notary.SigningAgent"  # as the first signers wrote it

_MEMBERS = frozenset({"payload", "protected", "header", "signature"})
_REGISTERED: frozenset[str] = frozenset({"alg", "cty", "crit"})
_PROTECTED = _REGISTERED | {
    "b64",
    attributes.SCHEME,
    attributes.SIGNING_TIME,
    attributes.AUTHENTIC_SIGNING_TIME,
    attributes.EXPIRY,
    attributes.PLUGIN,
    attributes.PLUGIN_MIN_VERSION,
}
_UNPROTECTED = frozenset({"b64", "x5c", TIMESTAMP, SIGNING_AGENT, OLD_SIGNING_AGENT})
_NEVER_CRITICAL: frozenset[Label] = frozenset({*_REGISTERED, attributes.SIGNING_TIME})


def parse(data: bytes, *, max_bytes: int) -> Candidate:
    """The candidate in `data`, an envelope of at most `max_bytes`. Raises: MalformedError."""
    envelope = document.parse_object(data, names=_MEMBERS, max_bytes=max_bytes, what="envelope")
    if envelope.keys() != _MEMBERS:
        raise _malformed("payload, protected, header and signature expected, and nothing else")
    protected_text, payload_text, signature_text = (
        untrusted.as_string(envelope[name], name) for name in ("protected", "payload", "signature")
    )
    protected = document.parse_object(
        _decode(protected_text, MAX_PROTECTED_BYTES, "protected"),
        names=_PROTECTED,
        max_bytes=MAX_PROTECTED_BYTES,
        what="protected header",
    )
    header = untrusted.as_object(envelope["header"], "header")
    _check_header(header, protected)
    agent = header.get(SIGNING_AGENT, header.get(OLD_SIGNING_AGENT, ""))
    ders = _certificates(header)
    return Candidate(
        media_type=MEDIA_TYPE,
        attributes=_attributes(protected),
        chain=chain.parse(ders),
        ders=ders,
        payload=_decode(payload_text, MAX_PAYLOAD_BYTES, "payload"),
        message=f"{protected_text}.{payload_text}".encode("ascii"),  # RFC 7515 5.2, as received
        signature=_decode(signature_text, MAX_SIGNATURE_BYTES, "signature"),
        timestamp_token=untrusted.as_bytes(header[TIMESTAMP], f"header.{TIMESTAMP}") if TIMESTAMP in header else None,
        signing_agent=untrusted.as_string(agent, f"header.{SIGNING_AGENT}"),
    )


def _check_header(header: Mapping[str, object], protected: Mapping[str, object]) -> None:
    document.check_names(header, _UNPROTECTED, "header")
    if "b64" in header or "b64" in protected:  # RFC 7797
        raise _malformed("the header b64 is not supported")
    if both := header.keys() & protected.keys():  # RFC 7515 7.2.1
        raise _malformed(f"the header {quote(min(both), max_chars=60)} stands both protected and unprotected")


def _attributes(protected: Mapping[str, object]) -> Attributes:
    found = attributes.parse(
        protected,
        algorithm=untrusted.as_string(protected.get("alg"), "protected header: alg"),
        content_type=untrusted.as_string(protected.get("cty"), "protected header: cty"),
        critical=protected.get("crit"),
        registered=_REGISTERED,
        time_of=_time,
    )
    if wrong := found.critical & _NEVER_CRITICAL:  # RFC 7515 4.1.11
        raise _malformed(f"the header {quote(str(min(wrong, key=str)))} cannot be critical")
    return found


def _certificates(header: Mapping[str, object]) -> tuple[bytes, ...]:
    listed = untrusted.as_array(header.get("x5c"), "header.x5c", max_items=chain.MAX_CERTIFICATES)
    return tuple(untrusted.as_bytes(one, f"header.x5c[{index}]") for index, one in enumerate(listed))


_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_TO_BASE64 = str.maketrans("-_", "+/")


def _decode(text: str, max_bytes: int, what: str) -> bytes:
    """RFC 7515 2: base64url, no padding, no white space; and here, the canonical one of its content."""
    if len(text) * 3 // 4 > max_bytes:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: at most {max_bytes} bytes are read")
    if not _BASE64URL.fullmatch(text):
        raise _malformed(f"{what}: base64url without padding expected, and not empty")
    return untrusted.decode_base64(text.translate(_TO_BASE64) + "=" * (-len(text) % 4), what)


# RFC 3339 5.6, with upper-case letters; a fraction of a second may be longer than what a datetime holds
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6})[0-9]{0,3})?(Z|[+-][0-9]{2}:[0-5][0-9])"
)


def _time(value: object, name: str) -> datetime:
    text = untrusted.as_string(value, f"protected header: {name}")
    match = _TIME.fullmatch(text)
    try:
        if match is not None:
            micros = (match[2] or "").ljust(6, "0")
            return datetime.fromisoformat(f"{match[1]}.{micros}{match[3]}").astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _malformed(f"{name}: a time of RFC 3339 expected, found {quote(text, max_chars=40)}")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, f"envelope: {problem}")
