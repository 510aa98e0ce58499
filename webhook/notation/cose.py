"""Envelopes in COSE, a tagged COSE_Sign1: bytes to a candidate, nothing believed.

What decides how the signature is checked counts only where it is protected. The chain may stand in either header, and
not in both. Other unprotected headers (key identifiers, countersignatures) are not looked at.

spec: RFC 9052 4; RFC 9360; Notary Project, signature specification, COSE envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from webhook.errors import Code, MalformedError
from webhook.notation import attributes, cbor, chain
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

MEDIA_TYPE = "application/cose"

ALGORITHM, CRITICAL, CONTENT_TYPE, X5CHAIN = 1, 2, 3, 33  # RFC 9052 3.1, RFC 9360 2
ALGORITHMS = {-37: "PS256", -38: "PS384", -39: "PS512", -7: "ES256", -35: "ES384", -36: "ES512"}  # RFC 8230, RFC 9053

_SIGN1 = b"\xd2\x84"  # RFC 9052 2: tag 18, and an array of four
_EPOCH_TAG = 1  # RFC 8949 3.4.2
_REGISTERED: frozenset[Label] = frozenset({ALGORITHM, CRITICAL, CONTENT_TYPE, X5CHAIN})


def parse(data: bytes, *, max_bytes: int) -> Candidate:
    """The candidate in `data`, an envelope of at most `max_bytes`. Raises: MalformedError."""
    _check_size(data, max_bytes, "envelope")
    protected_bytes, unprotected, payload, signature = _parts(data)
    _check_size(protected_bytes, MAX_PROTECTED_BYTES, "protected header")
    _check_size(payload, MAX_PAYLOAD_BYTES, "payload")
    _check_size(signature, MAX_SIGNATURE_BYTES, "signature")
    protected = _members(
        cbor.decode(protected_bytes, tags=frozenset({_EPOCH_TAG}), what="protected header"), "protected header"
    )
    if misplaced := unprotected.keys() & {ALGORITHM, CRITICAL, CONTENT_TYPE}:
        raise _malformed(f"the header {min(misplaced, key=str)} is not protected")
    ders = _certificates(protected, unprotected)
    return Candidate(
        media_type=MEDIA_TYPE,
        attributes=_attributes(protected),
        chain=chain.parse(ders),
        ders=ders,
        payload=payload,
        message=_message(protected_bytes, payload),
        signature=signature,
        timestamp_token=_bytes(unprotected[TIMESTAMP], TIMESTAMP) if TIMESTAMP in unprotected else None,
        signing_agent=_text(unprotected.get(SIGNING_AGENT, ""), SIGNING_AGENT),
    )


def _parts(data: bytes) -> tuple[bytes, Mapping[Label, object], bytes, bytes]:
    if not data.startswith(_SIGN1):
        raise _malformed("a COSE_Sign1 with its tag expected")
    value = cbor.decode(data[1:], what="envelope")
    assert isinstance(value, list), "as its first byte says"
    protected, unprotected, payload, signature = value
    return (
        _bytes(protected, "the protected header"),
        _members(unprotected, "unprotected header"),
        _bytes(payload, "the payload"),  # RFC 9052 2: nil where it is detached, and here there is no other place
        _bytes(signature, "the signature"),
    )


def _attributes(protected: Mapping[Label, object]) -> Attributes:
    number = protected.get(ALGORITHM)
    if not isinstance(number, int) or isinstance(number, bool):
        raise _malformed(f"the header {ALGORITHM}: an algorithm's number expected")
    return attributes.parse(
        protected,
        algorithm=ALGORITHMS.get(number, str(number)),
        content_type=_text(protected.get(CONTENT_TYPE), f"the header {CONTENT_TYPE}"),
        critical=protected.get(CRITICAL),
        registered=_REGISTERED,
        time_of=_time,
    )


def _certificates(protected: Mapping[Label, object], unprotected: Mapping[Label, object]) -> tuple[bytes, ...]:
    if X5CHAIN in protected and X5CHAIN in unprotected:
        raise _malformed("the chain of certificates stands in both headers")
    listed = protected.get(X5CHAIN, unprotected.get(X5CHAIN))
    if not isinstance(listed, list):  # RFC 9360 2 has one certificate without an array, and no signer writes it
        raise _malformed("an array of certificates expected")
    return tuple(_bytes(one, f"certificate {index}") for index, one in enumerate(listed))


def _message(protected: bytes, payload: bytes) -> bytes:
    """RFC 9052 4.4: the Sig_structure, without external data."""
    return b"\x84\x6aSignature1" + cbor.encode_bytes(protected) + b"\x40" + cbor.encode_bytes(payload)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _time(value: object, name: str) -> datetime:
    try:
        if isinstance(value, cbor.Tagged) and type(value.value) is int:
            return _EPOCH + timedelta(seconds=value.value)
    except OverflowError:
        pass
    raise _malformed(f"{name}: a time in whole seconds, with the tag {_EPOCH_TAG}, expected")


def _members(value: object, what: str) -> Mapping[Label, object]:
    if not isinstance(value, dict):
        raise _malformed(f"the {what}: a map expected")
    return value


def _bytes(value: object, what: str) -> bytes:
    if not isinstance(value, bytes) or not value:
        raise _malformed(f"{what}: bytes expected")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{what}: text expected")
    return value


def _check_size(data: bytes, max_bytes: int, what: str) -> None:
    if len(data) > max_bytes:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: {len(data)} bytes, at most {max_bytes} are read")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, f"envelope: {problem}")
