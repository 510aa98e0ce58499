"""The door of the package: whatever comes in, an outcome comes out, and only the right thing is verified."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cryptography.exceptions import InternalError

from tests.cosign import made
from tests.cosign.made import SIGNATURE
from webhook.cosign import verifier
from webhook.demo import signing
from webhook.errors import Code
from webhook.evidence.model import Evidence, Form, Verdict
from webhook.trust.at_hand import Trust
from webhook.trust.material import PublicKey


@pytest.mark.parametrize("found", [made.legacy(), made.bundle()], ids=["legacy", "bundle"])
def test_an_outcome_names_evidence_and_signer(found: Evidence) -> None:
    good, bad = made.signer(), made.signer(made.public_key("p384"))

    verified, rejected = verifier.verify(found, (good, bad), predicates=frozenset(), trust=Trust(), now=made.NOW)

    assert (verified.verdict, verified.code) == (Verdict.VERIFIED, None)
    assert (rejected.verdict, rejected.code) == (Verdict.REJECTED, Code.SIGNATURE_INVALID)
    assert (verified.evidence, verified.signer, verified.place) == (found, good, found.place)
    assert (rejected.evidence, rejected.signer, rejected.place) == (found, bad, found.place)
    assert rejected.facts == {}


@pytest.mark.parametrize("found", [made.legacy(), made.bundle()], ids=["legacy", "bundle"])
def test_evidence_of_one_form_is_never_read_as_the_other(found: Evidence) -> None:
    other = Form.BUNDLE if found.form is Form.LEGACY else Form.LEGACY

    outcome = made.verify(made.evidence(other, found.payload, found.annotations))

    assert made.told(outcome) in {"unsupported", "malformed"}


def _crash(signature: bytes, data: bytes) -> None:
    raise InternalError("unknown OpenSSL error", [])


def test_a_crash_is_inconclusive_and_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    broken = PublicKey("00" * 32, "ECDSA P-256", ("sha256",), b"", (_crash,))

    outcome = made.verify(made.legacy(), made.signer(broken))

    assert (outcome.verdict, outcome.code) == (Verdict.INCONCLUSIVE, Code.INTERNAL_ERROR)
    assert outcome.detail == "unexpected InternalError while verifying"
    assert "OpenSSL" in caplog.text


def test_messages_never_hold_raw_foreign_text() -> None:
    hostile = "\x1b[31m\n" + "A" * 1000
    documents = (
        made.bundle(made.bundle_document(mediaType=hostile)),
        made.bundle(made.bundle_document({**made.envelope(), "payloadType": hostile})),
        made.bundle(made.bundle_document(made.envelope(made.statement(_type=hostile)))),
        made.bundle(made.bundle_document(made.envelope(made.statement(predicateType=hostile)))),
        made.bundle(made.bundle_document(made.envelope(made.statement(subject=[{"digest": {"sha256": hostile}}])))),
        made.legacy(made.simple_payload(type=hostile)),
        made.legacy(made.simple_payload(image={"docker-manifest-digest": hostile})),
        made.evidence(Form.LEGACY, b"", {SIGNATURE: hostile}),
    )
    for outcome in map(made.verify, documents):
        assert outcome.verdict is Verdict.REJECTED
        assert outcome.detail.isprintable()
        assert len(outcome.detail) < 400


# --- every member of every document replaced

DEEP: object = json.loads("[" * 900 + "]" * 900)
VALUES: dict[str, object] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "huge": 10**4000,
    "fraction": 1.5,
    "empty": "",
    "text": "x",
    "surrogate": "\ud800",
    "megabyte": "A" * (1 << 20),
    "array": [],
    "objects": [{}, {}],
    "object": {},
    "deep": DEEP,
}

Path = tuple[str | int, ...]


def paths(value: object, above: Path = ()) -> Iterator[Path]:
    """Where the members of a document are, itself first."""
    yield above
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from paths(member, (*above, name))


def replaced(value: object, path: Path, new: object) -> object:
    if not path:
        return new
    name, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {**value, name: replaced(value[name], rest, new)}
    assert isinstance(value, list)
    assert isinstance(name, int)
    return [*value[:name], replaced(value[name], rest, new), *value[name + 1 :]]


# Members that decide nothing, and the values that leave the document well-formed
PAYLOAD_FREE: dict[Path, set[str]] = {
    ("optional",): {"null", "object"},
    ("critical", "identity"): {"object"},
    ("critical", "identity", "docker-reference"): {"empty", "text"},
}
STATEMENT_FREE: dict[Path, set[str]] = {
    ("predicate",): {"null", "object"},
    ("subject", 0, "annotations"): {"null", "object"},
}
BUNDLE_FREE: dict[Path, set[str]] = {
    ("verificationMaterial", "publicKey"): {"object"},
    ("verificationMaterial", "publicKey", "hint"): set(VALUES) - {"surrogate"},
}


def expected(free: dict[Path, set[str]], path: Path, name: str) -> bool:
    return name in free.get(path, set())


@pytest.mark.parametrize("name", VALUES)
def test_any_member_of_a_payload_replaced(name: str) -> None:
    good = made.simple_payload()
    for path in paths(good):
        outcome = made.verify(made.legacy(made.as_bytes(replaced(good, path, VALUES[name]))))
        assert outcome.code is not Code.INTERNAL_ERROR, path
        assert (outcome.verdict is Verdict.VERIFIED) == expected(PAYLOAD_FREE, path, name), (path, outcome.detail)


@pytest.mark.parametrize("name", VALUES)
def test_any_member_of_a_statement_replaced(name: str) -> None:
    good = made.statement()
    for path in paths(good):
        sealed = made.envelope(made.as_bytes(replaced(good, path, VALUES[name])))
        outcome = made.verify(made.bundle(made.bundle_document(sealed)))
        assert outcome.code is not Code.INTERNAL_ERROR, path
        tolerated = expected(STATEMENT_FREE, path, name)
        assert (outcome.verdict is Verdict.VERIFIED) == tolerated, (path, outcome.detail)


@pytest.mark.parametrize("name", VALUES)
def test_any_member_of_a_bundle_replaced(name: str) -> None:
    good = made.bundle_document()
    for path in paths(good):
        outcome = made.verify(made.bundle(made.as_bytes(replaced(good, path, VALUES[name]))))
        assert outcome.code is not Code.INTERNAL_ERROR, path
        tolerated = expected(BUNDLE_FREE, path, name)
        assert (outcome.verdict is Verdict.VERIFIED) == tolerated, (path, outcome.detail)


@pytest.mark.parametrize("form", [Form.LEGACY, Form.DSSE, Form.BUNDLE])
@pytest.mark.parametrize("depth", [5_000, 100_000])
@pytest.mark.parametrize("brackets", [b"[", b'{"critical":', b'{"dsseEnvelope":[{"x":'])
def test_any_depth_is_only_malformed(form: Form, depth: int, brackets: bytes) -> None:
    payload = (brackets * depth)[: 60 << 10]
    signature = signing.base64_of(made.key_of("p256").sign(payload))

    outcome = made.verify(made.evidence(form, payload, {SIGNATURE: signature}))

    assert made.told(outcome) == "malformed"


@pytest.mark.parametrize("name", [name for name, value in VALUES.items() if isinstance(value, str)])
def test_any_annotation_replaced(name: str) -> None:
    good = made.legacy(annotations={f"dev.sigstore.cosign/{one}": "" for one in ("certificate", "chain", "bundle")})
    for annotation in good.annotations:
        changed = {**good.annotations, annotation: str(VALUES[name])}
        outcome = made.verify(made.evidence(Form.LEGACY, good.payload, changed))
        assert outcome.code is not Code.INTERNAL_ERROR, annotation
        decides = annotation == SIGNATURE or (annotation.endswith(("certificate", "bundle")) and name != "empty")
        assert (outcome.verdict is Verdict.VERIFIED) != decides, annotation
