"""OCSP responses and revocation lists, changed as whoever stands in between may, and as their issuer might.

What is accepted of the former says the same as its seed, to the second. What an issuer signs may say anything: it is
read, or it is `InconclusiveError`, and nothing else.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.doubles.responder import DAY, NOW, Authority, deltas, entry, lists, root
from tests.fuzz import mutants
from tests.fuzz.mutants import Mutant
from tests.fuzz.notary import der
from tests.fuzz.seeds import Judged, Seed
from webhook.errors import InconclusiveError
from webhook.trust.notary import crl
from webhook.trust.notary import ocsp as responses

LIST_URL = "http://lists.example/1.crl"


@dataclass(frozen=True, slots=True)
class _World:
    """An authority, a certificate by it, and whoever answers for it."""

    authority: Authority
    certificate: x509.Certificate
    delegate: Authority


@functools.cache
def _world() -> _World:
    authority = root()
    purposes = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False), (x509.OCSPNoCheck(), False)
    certificate = authority.issue("leaf", lists((LIST_URL,))).certificate
    return _World(authority, certificate, authority.issue("responder", *purposes))


@functools.cache
def seeds() -> tuple[Seed, ...]:
    """All of them. Each is believed as it is."""
    return (*(_seed("ocsp", *one) for one in _responses(_world())), *(_seed("crl", *one) for one in _lists(_world())))


def _responses(one: _World) -> Iterator[tuple[str, bytes]]:
    answer, revoked = partial(one.authority.response, one.certificate), ocsp.OCSPCertStatus.REVOKED
    yield "good", answer()
    yield "good, by a delegate", answer(signer=one.delegate)
    yield "revoked", answer(status=revoked, reason=x509.ReasonFlags.key_compromise)
    yield "without end", answer(until=None)
    yield "with a nonce", answer(extensions=((x509.OCSPNonce(b"12345678"), False),))


def _lists(one: _World) -> Iterator[tuple[str, bytes]]:
    make, revoked = one.authority.revocation_list, entry(one.certificate, x509.ReasonFlags.key_compromise)
    yield "empty", make()
    yield "revoked", make(entry(one.delegate.certificate), revoked)
    yield "invalid before", make(entry(one.certificate, invalid_from=NOW - 2 * DAY))
    yield "delta", make(revoked, number=9, base=7)
    yield "with deltas", make(extensions=(deltas("http://lists.example/1d.crl"),))


def _seed(what: str, name: str, payload: bytes) -> Seed:
    return Seed(f"{what} {name}", None, payload, {}, _READ[what], "", what=what)


def _judge(read: Callable[[bytes], object], payload: bytes, annotations: Mapping[str, str], subject: str) -> Judged:
    assert not annotations
    assert not subject
    try:
        return Judged(signed=read(payload))
    except InconclusiveError as error:  # another of ours would be a finding too
        return Judged(error.code, error.detail)


def _read_response(payload: bytes) -> object:
    return responses.read(payload, _world().certificate, _world().authority.certificate, NOW)


def _read_list(payload: bytes) -> object:
    names = frozenset({x509.UniformResourceIdentifier(LIST_URL)})
    return crl.read(payload, _world().certificate, _world().authority.certificate, names, NOW)


_READ = {"ocsp": partial(_judge, _read_response), "crl": partial(_judge, _read_list)}


# --- what becomes of them


def mutant_of(seed: Seed, others: tuple[Seed, ...], random: Random) -> Mutant:
    """`seed` with some bytes of it changed."""
    return mutants.change_bytes(seed, others, random)


def resigned() -> Iterator[tuple[Seed, Mutant]]:
    """Every seed with each bit and each part of what is signed changed, and signed again."""
    key = _world().authority.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    for seed in seeds():
        if "delegate" in seed.name:
            continue
        inner, wrap = _opened(seed.payload) if seed.what == "ocsp" else (seed.payload, _bare)
        whole = der.split(inner)
        flipped = ((f"bit {bit}", tbs) for bit, tbs in der.flips(whole.tbs))
        for how, tbs in itertools.chain(flipped, der.rewrites(whole.tbs)):
            yield seed, Mutant(f"signed again: {how}", wrap(whole.again(tbs, key)), {}, "", may_pass=True)


def _bare(data: bytes) -> bytes:
    return data


def _opened(response: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The basic response in `response`, and how it is wrapped. RFC 6960 4.2.1"""
    status, explicit = der.elements(der.content(response))
    kind, octets = der.elements(der.content(der.content(explicit)))

    def wrap(basic: bytes) -> bytes:
        inside = der.element(0x30, kind + der.element(octets[0], basic))
        return der.element(0x30, status + der.element(0xA0, inside))

    return der.content(octets), wrap
