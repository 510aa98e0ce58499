"""What a DSSE signature is over, and which statements are read."""

from __future__ import annotations

import pytest

from tests.cosign import made
from webhook.cosign import attestation
from webhook.cosign.attestation import Envelope
from webhook.errors import Code, CountersignError


@pytest.mark.parametrize(
    ("kind", "payload", "signed"),
    [
        # the example of the specification: DSSE 1.0, protocol
        ("http://example.com/HelloWorld", b"hello world", b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
        ("", b"", b"DSSEv1 0  0 "),
        ("\u00e9", b"\xff", b"DSSEv1 2 \xc3\xa9 1 \xff"),
    ],
    ids=["example", "empty", "lengths in bytes"],
)
def test_the_signed_bytes(kind: str, payload: bytes, signed: bytes) -> None:
    assert Envelope(kind, payload, b"").signed_bytes == signed


def test_type_and_payload_cannot_trade_bytes() -> None:
    assert Envelope("a", b"b 1 c", b"").signed_bytes != Envelope("a 1 b", b"c", b"").signed_bytes


def test_a_statement_keeps_its_type_and_its_digests() -> None:
    statement = attestation.parse_statement(made.as_bytes(made.statement(predicateType="https://spdx.dev/Document")))

    assert statement.predicate_type == "https://spdx.dev/Document"
    assert [subject.digests for subject in statement.subjects] == [{"sha256": made.IMAGE.hex}]


def test_another_subject_is_named() -> None:
    statement = attestation.parse_statement(made.as_bytes(made.statement()))

    with pytest.raises(CountersignError, match=f"of another image: '{made.IMAGE}'$") as caught:
        attestation.verify_subject(statement, made.OTHER_IMAGE)

    assert caught.value.code is Code.SUBJECT_MISMATCH


@pytest.mark.parametrize(
    ("digests", "said"),
    [
        pytest.param([{"sha256": "ab"}, {"sha256": "cd"}, {"sha256": "ef"}], "'sha256:ab' and 2 more", id="three"),
        pytest.param([{"sha512": "ab"}, {"sha256": "cd"}], "'sha256:cd'", id="another algorithm first"),
        pytest.param([{"sha512": "ab"}], "no sha256 digest is named", id="another algorithm only"),
    ],
)
def test_other_subjects_are_counted(digests: list[dict[str, str]], said: str) -> None:
    subjects = [{"name": "", "digest": digest} for digest in digests]
    statement = attestation.parse_statement(made.as_bytes(made.statement(subject=subjects)))

    with pytest.raises(CountersignError) as caught:
        attestation.verify_subject(statement, made.OTHER_IMAGE)

    assert caught.value.detail == f"a valid signature, but of another image: {said}"
