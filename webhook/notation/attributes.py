"""What an envelope says of itself, the same in JWS and in COSE: a candidate, and the attributes that are signed.

`jws` and `cose` read their own notation and hand the members over; here stands which attributes there must be, which of
them must be marked critical, and how the times relate. An attribute that the specification does not name is kept as it
is: whether somebody understands it is for the verifier.

spec: Notary Project, signature specification, signature envelope, signed and unsigned attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography import x509

from webhook.errors import Code, MalformedError, quote

PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
SCHEME = "io.cncf.notary.signingScheme"
SIGNING_TIME = "io.cncf.notary.signingTime"
AUTHENTIC_SIGNING_TIME = "io.cncf.notary.authenticSigningTime"
EXPIRY = "io.cncf.notary.expiry"
PLUGIN = "io.cncf.notary.verificationPlugin"
PLUGIN_MIN_VERSION = "io.cncf.notary.verificationPluginMinVersion"
TIMESTAMP = "io.cncf.notary.timestampSignature"
SIGNING_AGENT = "io.cncf.notary.signingAgent"

MAX_PROTECTED_BYTES = 256 << 10  # real ones have 200 to 800 bytes
MAX_PAYLOAD_BYTES = 256 << 10
MAX_CRITICAL = 100  # entries; real lists have one to six

Label = str | int  # integers in COSE only


class Scheme(StrEnum):
    """Whose time counts: the signer's own claim, beside which a token may stand, or that of a service."""

    X509 = "notary.x509"
    SIGNING_AUTHORITY = "notary.x509.signingAuthority"


@dataclass(frozen=True, slots=True)
class Attributes:
    """The protected header of an envelope, in itself consistent. `algorithm` is a name of RFC 7518 3.1, or what stands
    there instead; `signed_at` is authentic for SIGNING_AUTHORITY and claimed for X509."""

    algorithm: str
    content_type: str
    scheme: Scheme
    signed_at: datetime  # aware, UTC
    expires_at: datetime | None
    extended: Mapping[Label, object]
    critical: frozenset[Label]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An envelope that keeps its own format, of which nothing is believed: no signature was verified, no chain.

    `chain` is leaf first, at least one certificate, and `ders` are the same as they came; `message` is what `signature`
    should be over. `payload` was not read yet. Not signed are `timestamp_token`, in DER, and `signing_agent`, which is
    empty where there is none.
    """

    media_type: str
    attributes: Attributes
    chain: tuple[x509.Certificate, ...]
    ders: tuple[bytes, ...] = field(repr=False)
    payload: bytes = field(repr=False)
    message: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    timestamp_token: bytes | None = field(repr=False)
    signing_agent: str


def parse(
    protected: Mapping[str, object] | Mapping[Label, object],
    *,
    algorithm: str,
    content_type: str,
    critical: object,
    registered: frozenset[Label],
    time_of: Callable[[object, str], datetime],
) -> Attributes:
    """The attributes in `protected`, of which `registered` are those that the envelope's own standard names.

    `critical` is the value of the list of critical headers; `time_of` reads a time and knows its name for errors.

    Raises: MalformedError.
    """
    scheme = _scheme(protected.get(SCHEME))
    times = {name: time_of(protected[name], name) for name in _TIMES if name in protected}
    signed_at = _signed_at(scheme, times)
    expires_at = times.get(EXPIRY)
    if expires_at is not None and expires_at <= signed_at:
        raise _malformed(f"{EXPIRY}: a time after that of signing expected")
    marked = _critical(critical, protected)
    # signed and unsigned attributes: those that must be understood by every verifier
    if missing := _must_be_critical(scheme, times) - marked:
        raise _malformed(f"{min(missing, key=str)} is not marked critical")
    extended = {name: value for name, value in protected.items() if name not in registered | _NAMED}
    return Attributes(algorithm, content_type, scheme, signed_at, expires_at, extended, marked)


_TIMES = (SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY)
_NAMED: frozenset[Label] = frozenset({SCHEME, *_TIMES})


def _scheme(value: object) -> Scheme:
    try:
        return Scheme(value)  # type: ignore[arg-type]  # a foreign value, which may be of any type
    except ValueError:
        found = quote(value, max_chars=60) if isinstance(value, str) else "no text"
        raise _malformed(f"{SCHEME}: {' or '.join(Scheme)} expected, found {found}") from None


def _signed_at(scheme: Scheme, times: Mapping[str, datetime]) -> datetime:
    authentic = scheme is Scheme.SIGNING_AUTHORITY
    wanted, forbidden = (AUTHENTIC_SIGNING_TIME, SIGNING_TIME) if authentic else (SIGNING_TIME, AUTHENTIC_SIGNING_TIME)
    if wanted not in times or forbidden in times:
        raise _malformed(f"{wanted} expected with the scheme {scheme}, and no {forbidden}")
    return times[wanted]


def _critical(value: object, protected: Container[object]) -> frozenset[Label]:
    """RFC 7515 4.1.11, RFC 9052 3.1: no name twice, and each of them stands there."""
    if not isinstance(value, list):
        raise _malformed("a list of critical headers expected")
    if len(value) > MAX_CRITICAL:
        raise MalformedError(
            Code.LIMIT_EXCEEDED, f"protected header: {len(value)} critical headers, at most {MAX_CRITICAL} are read"
        )
    if not all(isinstance(name, str | int) and not isinstance(name, bool) for name in value):
        raise _malformed("a critical header that is no name")
    marked: frozenset[Label] = frozenset(value)
    if len(marked) != len(value):
        raise _malformed("a header is marked critical twice")
    if absent := [name for name in value if name not in protected]:
        raise _malformed(f"{quote(str(absent[0]), max_chars=60)} is marked critical and not there")
    return marked


def _must_be_critical(scheme: Scheme, times: Mapping[str, datetime]) -> frozenset[Label]:
    names: set[Label] = {SCHEME}
    if scheme is Scheme.SIGNING_AUTHORITY:
        names.add(AUTHENTIC_SIGNING_TIME)
    if EXPIRY in times:
        names.add(EXPIRY)
    return frozenset(names)


def _malformed(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, f"protected header: {problem}")
