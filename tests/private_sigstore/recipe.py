"""How one signature of a private Sigstore is made: by whom, when, where it is logged, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypedDict

from cryptography import x509

from tests.private_sigstore.authority import Leaf
from tests.private_sigstore.documents import Change, Document
from tests.private_sigstore.entries import Verifier
from webhook.demo.signing import SigningKey

TO_LOG = timedelta(seconds=5)  # from the beginning of the certificate
TO_STAMP = timedelta(seconds=7)

LogName = Literal["v1", "v2", "none"]
EntryKind = Literal["dsse", "intoto 0.0.1", "intoto 0.0.2", "hashedrekord"]  # in Rekor 1, of an envelope


def same(document: Document) -> object:
    return document


def _same_bytes(data: bytes) -> bytes:
    return data


def _same_verifier(verifier: Verifier) -> Verifier:
    return verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Twist:
    """What is otherwise than it should be, each as a function of what is right.

    All that comes after is done well: a log promises and proves the twisted `body`.
    """

    payload: Change = same  # what is signed: a document, or bytes instead
    signed: Callable[[bytes], bytes] = _same_bytes  # the bytes that the signature is over, and nothing else is
    signature: Callable[[bytes], bytes] = _same_bytes
    verifier: Callable[[Verifier], Verifier] = _same_verifier  # whom the log entry names
    body: Change = same  # of the log entry
    logged: Change = same  # the entry as a bundle holds it, promise and proof included
    stamped: Callable[[bytes], bytes] = _same_bytes  # what the clock sees
    stamp: Callable[[bytes], bytes] = _same_bytes  # the clock's answer


STRAIGHT = Twist()


class How(TypedDict, total=False):
    """By whom and how something is signed; what is not given is right, and `at` is the instance's own."""

    key: SigningKey
    certificate: x509.Certificate  # instead of one that is issued
    subject: str  # these two in the certificate, where `leaf` does not say it all
    issuer: str
    leaf: Leaf
    at: datetime  # when the certificate begins
    log: LogName
    entry: EntryKind
    promise: bool
    proof: bool
    logged_at: datetime  # a few seconds after `at`
    timestamp: bool  # whether the clock stamps: only where Rekor 2 logs, since that gives no time
    embed: bool  # the clock's certificate in its token
    stamped_at: datetime  # a few seconds after `at`
    twist: Twist


class Said(TypedDict, total=False):
    """What a statement says of an image."""

    predicate_type: str
    predicate: object
    annotations: Mapping[str, str]
    kind: str  # of statement


class HowSaid(How, Said, total=False):
    """Both."""


def statement_of(said: HowSaid) -> Said:
    """The part of it that the statement says."""
    return {name: said[name] for name in Said.__annotations__ if name in said}  # type: ignore[literal-required,return-value]
