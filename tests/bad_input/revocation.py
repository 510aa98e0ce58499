"""Certificates that were revoked, and responders and lists that are bad: asked by the product's own client."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.x509 import ocsp

from tests.bad_input.envelopes import BETWEEN, ROOT, jws, row
from tests.bad_input.makers import Row
from tests.bad_input.world import PRIVATE_NAME, World, around
from tests.doubles import responder
from tests.doubles.responder import NOW, Authority, entry, large_list, lists, responders
from tests.doubles.verifying import Shelf
from tests.notation import made
from tests.notation.made import CA, LEAF, Node
from tests.private_sigstore.images import Attach
from webhook.demo.registry import Outgoing
from webhook.errors import Code
from webhook.settings import KIB, MIB

Answer = Callable[[Authority, x509.Certificate], Outgoing | bytes]

_NUMBERS = itertools.count(1)
REVOKED, HOUR = ocsp.OCSPCertStatus.REVOKED, timedelta(hours=1)
PRIVATE = (("location", "http://10.0.0.1/ocsp"),)
METADATA = "http://169.254.169.254/latest/meta-data"
OTHERS = responder.root("others")
OTHER = Authority(BETWEEN.certificate, BETWEEN.key).issue("another").certificate  # type: ignore[arg-type]  # of a curve


def by_ocsp(answer: Answer, *, at: str = "") -> Attach:
    """Signed with a certificate of its own, about which a responder says `answer`; or whoever is `at` that URL."""
    return _told(answer, lambda url: responders(at or url))


def by_list(answer: Answer, *, at: str = "") -> Attach:
    """The same with a revocation list."""
    return _told(answer, lambda url: lists((at or url,)))


def silent(extension: Callable[[str], tuple[x509.ExtensionType, bool]]) -> Attach:
    """Signed with a certificate whose responder, or server of lists, never says anything."""

    def put_beside(shelf: Shelf, image: str) -> None:
        url = f"http://{around(shelf).silent_host}/{next(_NUMBERS)}"
        jws(leaf=_leaf(BETWEEN, extension(url)))(shelf, image)

    return put_beside


def below(answer: Answer) -> Attach:
    """Signed under an authority of its own, about which a list says `answer`; about the leaf there is nobody to ask."""

    def put_beside(shelf: Shelf, image: str) -> None:
        path, url = _place(around(shelf))
        authority = made.issue("between", ROOT, replace(CA, others=[lists((url,))]))
        around(shelf).responder.answers[path] = answer(_authority(ROOT), authority.certificate)
        jws(leaf=made.issue("leaf", authority))(shelf, image)

    return put_beside


def _told(answer: Answer, extension: Callable[[str], tuple[x509.ExtensionType, bool]]) -> Attach:
    def put_beside(shelf: Shelf, image: str) -> None:
        path, url = _place(around(shelf))
        leaf = _leaf(BETWEEN, extension(url))
        around(shelf).responder.answers[path] = answer(_authority(BETWEEN), leaf.certificate)
        jws(leaf=leaf)(shelf, image)

    return put_beside


def _place(world: World) -> tuple[str, str]:
    path = f"/{next(_NUMBERS)}"
    return path, f"http://{world.responder_host}{path}"


def _leaf(issuer: Node, extension: tuple[x509.ExtensionType, bool]) -> Node:
    name = f"leaf {next(_NUMBERS)}"  # or it would be the one about which an answer is kept
    return made.issue(name, issuer, replace(LEAF, others=[extension]))


def _authority(node: Node) -> Authority:
    return Authority(node.certificate, node.key)  # type: ignore[arg-type]  # of a curve, as all here


def response(**how: object) -> Answer:
    return lambda issuer, certificate: issuer.response(certificate, **how)  # type: ignore[arg-type]


def revocation_list(*, of: bool = False, **how: object) -> Answer:
    """A list in which the certificate stands, or does not."""
    return lambda issuer, certificate: issuer.revocation_list(
        *([entry(certificate)] if of else []),
        **how,  # type: ignore[arg-type]
    )


def always(answer: Outgoing | bytes) -> Answer:
    return lambda issuer, certificate: answer


GOOD, LISTED = by_ocsp(response()), by_list(revocation_list())


def unknown(bad: Attach, words: str, good: Attach = GOOD) -> Row:
    return row(Code.REVOCATION_UNKNOWN, bad, words, good=good, status=503)


REVOCATION: Mapping[str, Row] = {
    "notary: revoked": row(
        Code.REVOKED, by_ocsp(response(status=REVOKED)), "was revoked on 2026-11-01", good=GOOD
    ),
    "notary: revoked: in a list": row(
        Code.REVOKED, by_list(revocation_list(of=True)), "was revoked on 2026-11-01", good=LISTED
    ),
    "notary: revoked: an authority above a leaf that names nobody": row(
        Code.REVOKED, below(revocation_list(of=True)), "CN=between,", good=below(revocation_list())
    ),
    "notary: revocation_unknown: the responder does not know it": unknown(
        by_ocsp(response(status=ocsp.OCSPCertStatus.UNKNOWN)), "does not know the certificate"
    ),
    "notary: OCSP answer of another certificate": unknown(
        by_ocsp(lambda issuer, certificate: issuer.response(OTHER)), "another certificate"
    ),
    "notary: OCSP answer by another authority": unknown(
        by_ocsp(lambda issuer, certificate: OTHERS.response(certificate)), "its signature is not the issuer's"
    ),
    "notary: OCSP answer that has ended": unknown(
        by_ocsp(response(since=NOW - 2 * HOUR, until=NOW - HOUR)), "held until 2026-11-02 11:00:00Z"
    ),
    "notary: OCSP answer of more than 20 KiB": unknown(
        by_ocsp(always(Outgoing(200, (("content-type", "application/ocsp-response"),), bytes(20 * KIB + 1)))),
        "more than 20480 bytes",
    ),
    "notary: responder that answers garbage": unknown(
        by_ocsp(always(Outgoing(200, (("content-type", "application/ocsp-response"),), b"\0garbage"))), "cannot be read"
    ),
    "notary: responder that answers a page": unknown(
        by_ocsp(always(Outgoing(200, (("content-type", "text/html"),), b"<html>"))), "answered 'text/html'"
    ),
    "notary: responder that fails": unknown(by_ocsp(always(Outgoing(500))), "it answered 500"),
    "notary: responder that redirects to a private address": unknown(
        by_ocsp(always(Outgoing(302, PRIVATE))), "redirects to 'http://10.0.0.1/ocsp', and redirects are not followed"
    ),
    "notary: responder at a private address": unknown(
        by_ocsp(response(), at="http://10.0.0.1/ocsp"), "COUNTERSIGN_REVOCATION_HOSTS"
    ),
    "notary: responder at the metadata service": unknown(
        by_ocsp(response(), at=METADATA), "COUNTERSIGN_REVOCATION_HOSTS"
    ),
    "notary: responder whose name leads to a private address": unknown(
        by_ocsp(response(), at=f"http://{PRIVATE_NAME}/ocsp"), "address may not be dialled"
    ),
    "notary: responder of the cluster": unknown(
        by_ocsp(response(), at="http://kubernetes.default.svc/ocsp"), "no name of the public DNS"
    ),
    "notary: responder that hangs": unknown(silent(responders), "no whole answer within 1 s"),
    "notary: expired CRL": unknown(
        by_list(revocation_list(until=NOW - HOUR)), "held until 2026-11-02 11:00:00Z", LISTED
    ),
    "notary: CRL by another authority": unknown(
        by_list(lambda issuer, certificate: OTHERS.revocation_list()), "by another issuer", LISTED
    ),
    "notary: CRL of 33 MiB, where one of 20 MiB is read": unknown(
        by_list(lambda issuer, certificate: bytes(33 * MIB)), "more than 33554432 bytes",
        by_list(lambda issuer, certificate: large_list(issuer, 20 * MIB)),
    ),
    "notary: CRL that is garbage": unknown(by_list(always(b"-----BEGIN X509 CRL-----")), "neither DER nor PEM", LISTED),
    "notary: CRL that is not there": unknown(by_list(always(Outgoing(404))), "it answered 404", LISTED),
    "notary: CRL at a private address": unknown(
        by_list(revocation_list(), at=f"http://{PRIVATE_NAME}/list.crl"), "address may not be dialled", LISTED
    ),
    "notary: CRL that redirects to a private address": unknown(
        by_list(always(Outgoing(307, PRIVATE))), "redirects are not followed", LISTED
    ),
    "notary: CRL that hangs": unknown(silent(lambda url: lists((url,))), "no whole answer within 5 s", LISTED),
}  # fmt: skip
