"""Whether one certificate was revoked: whom to ask, in which order, and what the answers come to.

    responders that the certificate names, in turn, until one answers what may be believed
    else its revocation lists, all of them, with the delta list that each names

Asking is another's: `examine` yields questions and is sent answers. It raises nothing; whatever is wrong with an answer
is a reason why nothing is known. Addresses are those of certificates whose chain is trusted already, else anybody could
have us ask anywhere; only plain http is asked, since what comes is signed, and TLS would have to be looked up in turn.

spec: Notary Project, signature specification, revocation; RFC 6960; RFC 5280 4.2.1.13, 5.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from webhook.errors import InconclusiveError, quote
from webhook.trust import path
from webhook.trust.certificates import UNREADABLE, extension
from webhook.trust.notary import crl, ocsp
from webhook.trust.notary.inquiry import Standing, Status
from webhook.trust.notary.revoked import Revocation, unusable

MAX_RESPONDERS = 3  # asked about one certificate; real ones name one
MAX_LISTS = 5  # of one certificate, besides their delta lists; real ones name one or two
MAX_PROBLEMS_SAID = 3  # of one certificate: a denial must stay readable


class Kind(StrEnum):
    """Of whom something is asked, as metrics count it."""

    OCSP = "ocsp"
    CRL = "crl"


@dataclass(frozen=True, slots=True)
class Question:
    """`request` is what is sent to a responder, DER; a list is only fetched."""

    kind: Kind
    url: str
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one certificate. `problem` says why that may not be all; empty where it is.

    It holds `until`, where the answers say so, and rests on those of `kind`; `None` where there was nobody to ask.
    """

    subject: str  # the certificate, for messages
    kind: Kind | None = None
    revocations: tuple[Revocation, ...] = ()
    problem: str = ""
    until: datetime | None = None

    @property
    def is_final(self) -> bool:
        """Whether it is revoked for whatever it signed."""
        return any(one.invalid_from is None for one in self.revocations)

    def status(self, signed_at: datetime | None) -> Status:
        """What it means for what was authentically signed at `signed_at`; `None` where nobody vouches for a time."""
        for one in self.revocations:
            if one.counts(signed_at):
                reason = f" ({one.reason.value})" if one.reason is not None else ""
                return Status(Standing.REVOKED, f"{self.subject} was revoked on {one.at:%Y-%m-%d}{reason}")
        if self.problem:
            detail = f"whether {self.subject} was revoked could not be found out: {self.problem}"
            return Status(Standing.UNKNOWN, detail)
        return Status(Standing.GOOD)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came, and when, aware: an answer may be younger than the question."""

    body: bytes = field(repr=False)
    at: datetime


Dialogue = Generator[Question, Reply, Finding]


def weigh(statuses: Iterable[Status]) -> Status:
    """Of a chain, by its certificates: revoked if one is, else unknown if one is. Notary Project, revocation."""
    by_standing = {status.standing: status for status in reversed(list(statuses))}
    found = by_standing.get(Standing.REVOKED) or by_standing.get(Standing.UNKNOWN)
    return found or Status(Standing.GOOD)


def examine(certificate: bytes, issuer: bytes) -> Dialogue:
    """What is known of `certificate`, which `issuer` issued; both DER.

    A question is answered with what came, or by throwing the `InconclusiveError` that nothing did.
    """
    try:
        pair = _Pair(x509.load_der_x509_certificate(certificate), x509.load_der_x509_certificate(issuer))
        subject = f"certificate {path.name_of(pair.certificate)}"
        addresses, request = _addresses(pair.certificate), ocsp.request(pair.certificate, pair.issuer)
    except UNREADABLE as error:
        return Finding("a certificate", problem=f"it cannot be read ({type(error).__name__})")
    problems: list[str] = []
    if addresses.has_responders:
        standing = yield from _ask_responders(addresses, request, pair, problems)
        if standing is not None:
            found = (standing.revocation,) if standing.revocation is not None else ()
            return Finding(subject, Kind.OCSP, found, until=standing.until)
    if not addresses.has_lists:
        return Finding(subject, Kind.OCSP if problems else None, problem=_said(problems))
    return (yield from _ask_lists(addresses, pair, subject, problems))


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    issuer: x509.Certificate


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where a certificate says that its revocation would be told; `responders` and `lists` are those by http.

    `lists_problem` says why `lists` cannot tell all, even if each of them is there. `names` are all that its
    distribution points are called by.
    """

    has_responders: bool
    responders: tuple[str, ...]
    has_lists: bool
    lists: tuple[str, ...]
    lists_problem: str
    has_deltas: bool
    names: frozenset[x509.GeneralName]


def _addresses(certificate: x509.Certificate) -> _Addresses:
    access = extension(certificate, x509.AuthorityInformationAccess)
    responders = [
        one.access_location
        for one in (access.value if access is not None else ())
        if one.access_method == AuthorityInformationAccessOID.OCSP
    ]
    found = extension(certificate, x509.CRLDistributionPoints)
    points = tuple(found.value) if found is not None else ()
    lists = _by_http(name for point in points for name in point.full_name or ())
    has_deltas = extension(certificate, x509.FreshestCRL) is not None
    return _Addresses(
        has_responders=bool(responders),
        responders=_by_http(responders)[:MAX_RESPONDERS],
        has_lists=found is not None or has_deltas,
        lists=lists[:MAX_LISTS],
        lists_problem=_lists_problem(points, lists),
        has_deltas=has_deltas,
        names=frozenset(name for point in points for name in point.full_name or ()),
    )


def _by_http(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    """Each address once. Whether it is one that may be dialled is for who does."""
    urls = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return tuple(dict.fromkeys(url for url in urls if url[:7].lower() == "http://"))


def _lists_problem(points: Sequence[x509.DistributionPoint], lists: Sequence[str]) -> str:
    # RFC 5280 4.2.1.13: names of one point are of one list, but each point may have other revocations to tell
    if any(point.crl_issuer for point in points):
        return "it names a list by another authority than its issuer, which is not supported"
    if not points or not all(_by_http(point.full_name or ()) for point in points):
        return "it names a list that no http address leads to"
    return f"it names over {MAX_LISTS} lists" if len(lists) > MAX_LISTS else ""


def _ask_responders(
    addresses: _Addresses, request: bytes, pair: _Pair, problems: list[str]
) -> Generator[Question, Reply, ocsp.Standing | None]:
    if not addresses.responders:
        problems.append("OCSP: it names no responder that an http address leads to")
    for url in addresses.responders:
        try:
            reply = yield Question(Kind.OCSP, url, request)
            return ocsp.read(reply.body, pair.certificate, pair.issuer, reply.at)
        except InconclusiveError as error:
            problems.append(f"OCSP {_shown(url)}: {error.detail}")
    return None


@dataclass(frozen=True, slots=True)
class _Told:
    """What one list and its delta list say of the certificate, for what reasons it would stand there, and how long."""

    revocations: tuple[Revocation, ...]
    reasons: Set[x509.ReasonFlags]
    until: datetime


def _ask_lists(addresses: _Addresses, pair: _Pair, subject: str, before: list[str]) -> Dialogue:
    problems = [f"CRL: {addresses.lists_problem}"] if addresses.lists_problem else []
    told: list[_Told] = []
    for url in addresses.lists:
        try:
            told.append((yield from _ask_list(url, addresses, pair)))
        except InconclusiveError as error:
            problems.append(f"CRL {_shown(url)}: {error.detail}")
    if not problems and frozenset().union(*(one.reasons for one in told)) != crl.ALL_REASONS:  # RFC 5280 6.3.3
        problems.append("CRL: its lists are for some reasons of revocation only")
    return Finding(
        subject,
        Kind.CRL,
        tuple(revocation for one in told for revocation in one.revocations),
        _said(before + problems) if problems else "",
        min((one.until for one in told), default=None),
    )


def _ask_list(url: str, addresses: _Addresses, pair: _Pair) -> Generator[Question, Reply, _Told]:
    base = yield from _read_list(url, addresses, pair)
    if not base.deltas:
        if addresses.has_deltas:
            raise unusable("the list names no delta list, which the certificate does")
        return _Told(crl.revocations(base), base.reasons, base.until)
    urls = _by_http(name for point in base.deltas for name in point.full_name or ())
    if len(urls) != 1:
        raise unusable(f"one http address of its delta list is expected, found {len(urls)}")
    try:
        delta = yield from _read_list(urls[0], addresses, pair)
        return _Told(crl.revocations(base, delta), base.reasons, min(base.until, delta.until))
    except InconclusiveError as error:
        raise unusable(f"its delta list {_shown(urls[0])}: {error.detail}") from None


def _read_list(url: str, addresses: _Addresses, pair: _Pair) -> Generator[Question, Reply, crl.RevocationList]:
    reply = yield Question(Kind.CRL, url)
    return crl.read(reply.body, pair.certificate, pair.issuer, addresses.names, reply.at)


def _shown(url: str) -> str:
    return quote(url, max_chars=80)


def _said(problems: Sequence[str]) -> str:
    more = len(problems) - MAX_PROBLEMS_SAID
    return "; ".join((*problems[:MAX_PROBLEMS_SAID], *([f"{more} more"] if more > 0 else ())))
