"""What the Secret of the shared authority holds, and the steps by which one authority follows another.

Whoever trusts what is published never meets a certificate that it does not trust: a successor is published first, signs
only after a while, and what it follows stays published for as long as a certificate of it may be served. All of that
stands in the Secret, so any replica takes the next step where another died. Each step is one value that follows one
value; that it is written once only is left to `shared`. What is no such value is refused, and never replaced.

spec: kubernetes.md 13, self.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from webhook import settings
from webhook.errors import Code, MalformedError, quote
from webhook.tls import authority
from webhook.tls.authority import LEAF_LIFETIME, SKEW, Authority
from webhook.untrusted import as_string, decode_base64

OVERLAP = timedelta(minutes=5)  # API servers watch the configuration: seconds would do
REPLACED_AFTER = 4 / 5  # of its lifetime: a year is left
ITEM_MAX_BYTES = 16 * settings.KIB
YEARS = range(2000, 9000)  # with which it can be reckoned

CERTIFICATE, KEY = "ca.crt", "ca.key"
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"
PREVIOUS_CERTIFICATE = "previous.crt"
SINCE = "since"
ITEMS = (CERTIFICATE, KEY, NEXT_CERTIFICATE, NEXT_KEY, PREVIOUS_CERTIFICATE, SINCE)


@dataclass(frozen=True, slots=True)
class Held:
    """`since` is when `following` was published, or when `signing` took over from `previous`."""

    signing: Authority
    following: Authority | None = None
    previous: bytes = b""  # PEM
    since: datetime | None = None

    @property
    def bundle(self) -> bytes:
        """Whom an API server has to trust: PEM."""
        return self.previous + self.signing.pem + (self.following.pem if self.following else b"")

    @property
    def due(self) -> datetime:
        """When the next step may be taken."""
        if self.since is not None:
            return self.since + (OVERLAP if self.following else LEAF_LIFETIME + SKEW)
        begun = self.signing.not_before
        return begun + (self.signing.not_after - begun) * REPLACED_AFTER


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be held now, and what that means to whoever reads the log."""

    held: Held
    said: str


def first_step(now: datetime) -> Step:
    """There was no authority."""
    made = authority.make(now)
    return Step(Held(made), f"an authority for serving certificates was made; it expires {made.not_after.isoformat()}")


def next_step(held: Held, now: datetime, *, is_published: bool) -> Step | None:
    """What follows `held`, if it is due. `is_published`: every API server's configuration has `held.following`."""
    if now < held.due:
        return None
    moment = now.replace(microsecond=0)
    if held.following is not None:
        if not is_published:
            return None
        taken = Held(held.following, previous=held.signing.pem, since=moment)
        return Step(taken, f"the new authority issues; the one before stays published until {taken.due.isoformat()}")
    if held.previous:
        return Step(Held(held.signing), "the authority before is published no longer")
    begun = replace(held, following=authority.make(now), since=moment)
    return Step(begun, f"a new authority is published; it issues from {begun.due.isoformat()} on")


def parse(data: Mapping[str, object]) -> Held | None:
    """What the `data` of a Secret holds; `None` where that is nothing. Raises: MalformedError."""
    items = {name: _item(name, data[name]) for name in ITEMS if name in data}
    if not items:
        return None
    if CERTIFICATE not in items or KEY not in items:
        raise MalformedError(Code.MALFORMED, f"{CERTIFICATE} and {KEY} expected")
    if (NEXT_CERTIFICATE in items) != (NEXT_KEY in items):
        raise MalformedError(Code.MALFORMED, f"{NEXT_CERTIFICATE} and {NEXT_KEY}: both or neither expected")
    if NEXT_CERTIFICATE in items and PREVIOUS_CERTIFICATE in items:
        raise MalformedError(Code.MALFORMED, f"{NEXT_CERTIFICATE} or {PREVIOUS_CERTIFICATE} expected, not both")
    following = NEXT_CERTIFICATE in items
    if PREVIOUS_CERTIFICATE in items:
        authority.parse_certificate(items[PREVIOUS_CERTIFICATE], PREVIOUS_CERTIFICATE)
    return Held(
        signing=authority.parse(items[CERTIFICATE], items[KEY], CERTIFICATE),
        following=authority.parse(items[NEXT_CERTIFICATE], items[NEXT_KEY], NEXT_CERTIFICATE) if following else None,
        previous=items.get(PREVIOUS_CERTIFICATE, b""),
        since=_since(items) if following or PREVIOUS_CERTIFICATE in items else None,
    )


def to_data(held: Held) -> Mapping[str, str]:
    """The `data` of a Secret that holds `held`."""
    items = {CERTIFICATE: held.signing.pem, KEY: held.signing.key_pem}
    if held.following:
        items |= {NEXT_CERTIFICATE: held.following.pem, NEXT_KEY: held.following.key_pem}
    if held.previous:
        items[PREVIOUS_CERTIFICATE] = held.previous
    if held.since:
        items[SINCE] = held.since.isoformat().encode()
    return {name: base64.b64encode(item).decode() for name, item in items.items()}


def _item(name: str, value: object) -> bytes:
    text = as_string(value, name)
    if len(text) > ITEM_MAX_BYTES * 4 / 3:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{name}: larger than {ITEM_MAX_BYTES} bytes")
    return decode_base64(text, name)


def _since(items: Mapping[str, bytes]) -> datetime:
    text = items.get(SINCE, b"").decode(errors="replace")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or found.year not in YEARS:
        raise MalformedError(Code.MALFORMED, f"{SINCE}: a time with its zone expected, found {quote(text)}")
    return found.astimezone(UTC)
