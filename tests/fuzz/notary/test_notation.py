"""Envelopes that are wrong in one thing, before the real `notation verify` and before us: what it refuses, we refuse.

What it accepts and we do not is listed, with the reason why we are stricter. The command uses the clock of the machine,
so all of it is signed now.

spec: Notary Project, signature specification; specs of notation-go, where it is more lenient.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.doubles.registry import running
from tests.fuzz.notary.seeds import Judging
from tests.notation import aws_like, made
from tests.notation.made import DELETED, Spec
from webhook.demo.content import digest_of
from webhook.demo.registry import MemoryRegistry
from webhook.evidence.model import COSE_ENVELOPE, JWS_ENVELOPE, NOTARY_SIGNATURE, Signer, SignerKind
from webhook.notation.attributes import AUTHENTIC_SIGNING_TIME, EXPIRY, PLUGIN, SCHEME, SIGNING_TIME
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import parse_digest
from webhook.trust.notary import levels
from webhook.trust.notary.levels import CertificateRule, Level
from webhook.trust.notary.stores import StoreKind, TrustStore

TOOLS = Path(__file__).resolve().parents[3] / ".tools" / "bin"
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
OCI = "application/vnd.oci.image.manifest.v1+json"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
AT_ONCE = 2  # commands; each takes a tenth of a second


def issue(name: str, issuer: made.Node | None = None, **how: object) -> made.Node:
    key = how.pop("key", None) or ec.generate_private_key(ec.SECP256R1())
    parent = aws_like.Node(issuer.certificate, issuer.key) if issuer is not None else None  # type: ignore[arg-type]
    subject = f"C=US,ST=WA,O=acme.example,CN={name}"
    node = aws_like.issue(subject, parent, start=NOW - DAY, end=NOW + 30 * DAY, key=key, **how)  # type: ignore[arg-type]
    return made.Node(node.certificate, node.key, issuer)


ROOT = issue("root")
CA = issue("ca", ROOT, ca=True, path_length=0)
LEAF = issue("leaf", CA)
STRANGER = issue("leaf", issue("ca", issue("root"), ca=True))
PLAIN = Spec(signed_at=NOW - timedelta(minutes=1), expires_at=NOW + DAY)
IMAGE = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": EMPTY, "layers": [EMPTY]}).encode()
SUBJECT = {"mediaType": OCI, "digest": digest_of(IMAGE), "size": len(IMAGE)}


def payload(**members: object) -> bytes:
    return made.payload_of(**{**SUBJECT, **members})


SPEC = replace(PLAIN, payload=payload())
Members = Mapping[str, object]


def jws(spec: Spec = SPEC, leaf: made.Node = LEAF, **changes: Members | bytes) -> bytes:
    return made.sign_jws(spec, leaf, **changes)  # type: ignore[arg-type]


def cose(spec: Spec = SPEC, leaf: made.Node = LEAF, **changes: Mapping[int | str, object]) -> bytes:
    return made.sign_cose(spec, leaf, **changes)


def about(**members: object) -> Spec:
    return replace(SPEC, payload=payload(**members))


def marked(*more: object, without: str = "") -> list[object]:
    return [name for name in (*SPEC.all_critical, *more) if name != without]


def edited(change: Callable[[dict[str, object]], object]) -> bytes:
    """A good envelope in JWS whose text is what `change` makes of it."""
    document = json.loads(jws())
    changed = change(document)
    return changed if isinstance(changed, bytes) else json.dumps(changed).encode()


def rebuilt(change: Callable[[list[object]], object]) -> bytes:
    """A good envelope in COSE, of other parts."""
    return cbor2.dumps(change(list(cbor2.loads(cose()).value)))


def chain(*nodes: made.Node) -> list[str]:
    return [base64.b64encode(der).decode() for node in nodes for der in made.der_of([node.certificate])]


def der_signature(document: dict[str, object]) -> dict[str, object]:
    raw = base64.urlsafe_b64decode(f"{document['signature']}==")
    pair = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    return {**document, "signature": made.base64url(pair)}


def protected_text(change: Callable[[str], str]) -> bytes:
    """A good protected header whose text is what `change` makes of it."""
    straight = json.loads(jws())["protected"]
    return change(base64.urlsafe_b64decode(f"{straight}==").decode()).encode()


@dataclass(frozen=True, slots=True)
class Case:
    """`code` is ours; empty where we accept. `stricter` says why, where the command accepts it."""

    name: str
    envelope: bytes
    code: str = ""
    stricter: str = ""
    media_type: str = JWS_ENVELOPE

    def __str__(self) -> str:
        return self.name


def _in_cose(name: str, envelope: bytes, code: str = "", stricter: str = "") -> Case:
    return Case(f"cose {name}", envelope, code, stricter, COSE_ENVELOPE)


NOTE = "com.example.note"
NO_PLUGIN = "verification_plugin_unavailable"
BAD, WRONG, UNPROCESSED = "malformed", "cert_chain_invalid", "critical_attribute_unprocessed"
CASES = (
    Case("good", jws()),
    Case("never expires", jws(replace(SPEC, expires_at=None))),
    Case("annotated", jws(about(annotations={"env": "prod"}))),
    Case("unknown attribute", jws(protected={NOTE: 1})),
    Case("alone", jws(leaf=STRANGER), "untrusted_material"),
    Case("unknown critical attribute", jws(protected={NOTE: 1, "crit": marked(NOTE)}), UNPROCESSED, "nobody knows it"),
    Case("plugin", jws(protected={PLUGIN: "x", "crit": marked(PLUGIN)}), NO_PLUGIN),
    Case("plugin not critical", jws(protected={PLUGIN: "x"}), NO_PLUGIN),
    Case("scheme not critical", jws(protected={"crit": marked(without=SCHEME)}), BAD),
    Case("expiry not critical", jws(protected={"crit": marked(without=EXPIRY)}), BAD),
    Case("critical twice", jws(protected={"crit": marked(EXPIRY)}), BAD),
    Case("critical and absent", jws(protected={"crit": marked(NOTE)}), BAD),
    Case("alg critical", jws(protected={"crit": marked("alg")}), BAD),
    Case("other scheme", jws(protected={SCHEME: "notary.x510"}), BAD),
    Case("both times", jws(protected={AUTHENTIC_SIGNING_TIME: "2026-11-20T08:30:00Z"}), BAD),
    Case("no time", jws(protected={SIGNING_TIME: DELETED}), BAD),
    Case("expired", jws(replace(SPEC, signed_at=NOW - DAY, expires_at=NOW - timedelta(hours=1))), "signature_expired"),
    Case("expiry before", jws(replace(SPEC, expires_at=SPEC.signed_at)), BAD),
    Case("other content", jws(replace(SPEC, content_type="application/json")), "unsupported"),
    Case("other algorithm", jws(protected={"alg": "ES384"}), "signature_invalid"),
    Case("no algorithm", jws(protected={"alg": "none"}), "signature_invalid"),
    Case("b64", jws(protected={"b64": True}), BAD, "a payload that is no base64url, RFC 7797, is not supported"),
    Case("name twice", jws(protected=protected_text(lambda text: f'{{"cty": "x", {text[1:]}')), BAD, "no name twice"),
    Case("name in capitals", jws(protected=protected_text(lambda text: text.replace('"alg"', '"ALG"'))), BAD),
    Case("other digest", jws(about(digest=digest_of(b"x"))), "subject_mismatch"),
    Case("other size", jws(about(size=len(IMAGE) + 1)), "subject_mismatch"),
    Case("other media type", jws(about(mediaType="application/vnd.docker.distribution.manifest.v2+json")),
         "subject_mismatch"),
    Case("size as text", jws(about(size=str(len(IMAGE)))), BAD),
    Case("annotation as number", jws(about(annotations={"a": 1})), BAD),
    Case("target in capitals", jws(replace(SPEC, payload=payload().replace(b"targetArtifact", b"TargetArtifact"))), BAD,
         "names in one spelling only"),
    Case("bytes behind the payload", jws(replace(SPEC, payload=payload() + b"x")), BAD),
    Case("signature in DER", edited(der_signature), "signature_invalid"),
    Case("padding", edited(lambda one: {**one, "signature": f"{one['signature']}=="}), BAD),
    Case("line end in base64", edited(lambda one: {**one, "signature": f"{one['signature']}\n"}), BAD,
         "base64url in one form only"),
    Case("no chain", edited(lambda one: {**one, "header": {}}), BAD),
    Case("more members", edited(lambda one: {**one, "signatures": []}), BAD, "four members and no others"),
    Case("chain upside down", jws(header={"x5c": chain(ROOT, CA, LEAF)}), "signature_invalid"),
    Case("chain without root", jws(header={"x5c": chain(LEAF, CA)}), WRONG),
    Case("chain without CA", jws(header={"x5c": chain(LEAF, ROOT)}), WRONG),
    Case("root twice", jws(header={"x5c": chain(LEAF, CA, ROOT, ROOT)}), WRONG),
    Case("leaf for servers", jws(leaf=issue("x", CA, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])), WRONG),
    Case("leaf is a CA", jws(leaf=issue("x", ROOT, ca=True)), WRONG),
    Case("too long a path", jws(leaf=issue("x", issue("y", CA, ca=True))), WRONG),
    Case("leaf is no CA and issues", jws(leaf=issue("x", LEAF)), WRONG),
    _in_cose("good", cose()),
    _in_cose("unknown attribute", cose(protected={NOTE: 1})),
    _in_cose("critical and absent", cose(protected={2: marked(NOTE)}), BAD),
    _in_cose("without critical", cose(protected={2: DELETED}), BAD),
    _in_cose("scheme not critical", cose(protected={2: marked(without=SCHEME)}), BAD),
    _in_cose("time as text", cose(protected={SIGNING_TIME: "2026-11-20T08:30:00Z"}), BAD),
    _in_cose("time without tag", cose(protected={SIGNING_TIME: int(NOW.timestamp())}), BAD),
    _in_cose("time as nil", cose(protected={EXPIRY: None, 2: marked()}), BAD),
    _in_cose("other algorithm", cose(protected={1: -35}), "signature_invalid"),
    _in_cose("one certificate, no list", cose(header={33: made.der_of([LEAF.certificate])[0]}), BAD),
    _in_cose("no tag", rebuilt(lambda parts: parts), BAD),
    _in_cose("detached", rebuilt(lambda parts: cbor2.CBORTag(18, [*parts[:2], None, parts[3]])), BAD),
    _in_cose("five parts", rebuilt(lambda parts: cbor2.CBORTag(18, [*parts, b"x"])), BAD),
    _in_cose("bytes behind", cose() + b"\0", BAD),
    _in_cose("algorithm not protected", cose(header={1: -7}), BAD, "nobody chooses the algorithm unsigned"),
    _in_cose("chain without root", cose(header={33: made.der_of([LEAF.certificate, CA.certificate])}), WRONG),
)  # fmt: skip


def ours(case: Case) -> str:
    store = TrustStore("acme", StoreKind.CA, tuple(made.der_of([ROOT.certificate])))
    rule = CertificateRule((store,), (), levels.actions_of(Level.STRICT))
    described = Descriptor(OCI, parse_digest(digest_of(IMAGE)), len(IMAGE), None, {}, None)
    judging = Judging(Signer("acme", SignerKind.CERTIFICATE, rule), case.media_type, described, datetime.now(UTC))
    return judging.ours(case.envelope, {}, digest_of(IMAGE)).code


@pytest.mark.parametrize("case", CASES, ids=str)
def test_verdict_of_ours(case: Case) -> None:
    assert ours(case) == case.code


@pytest.mark.tools("notation")
async def test_what_notation_refuses_we_refuse(tmp_path: Path) -> None:
    home = _configured(tmp_path)
    registry, limit = MemoryRegistry(), asyncio.Semaphore(AT_ONCE)
    async with running(registry) as host:
        for number, case in enumerate(CASES):
            _push(registry, f"case/{number}", case)
        said = await asyncio.gather(
            *(_verify(home, f"{host}/case/{number}@{digest_of(IMAGE)}", limit) for number in range(len(CASES)))
        )
    accepted = {case.name for case, output in zip(CASES, said, strict=True) if not output}
    told = {case.name: output for case, output in zip(CASES, said, strict=True)}
    assert {case.name for case in CASES if not case.code} <= accepted, told
    assert {case.name for case in CASES if case.code and case.name in accepted} == {
        case.name for case in CASES if case.stricter
    }


def _configured(folder: Path) -> Path:
    """A home of the command in which the root is trusted, for whoever signs."""
    config = folder / "config"
    store = config / "truststore" / "x509" / "ca" / "acme"
    store.mkdir(parents=True)
    (store / "root.der").write_bytes(made.der_of([ROOT.certificate])[0])
    statement = {
        "name": "all",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:acme"],
        "trustedIdentities": ["*"],
    }
    (config / "trustpolicy.json").write_text(json.dumps({"version": "1.0", "trustPolicies": [statement]}))
    return folder


def _push(registry: MemoryRegistry, name: str, case: Case) -> None:
    for blob in (b"{}", case.envelope):
        registry.push_blob(name, blob)
    registry.push_manifest(name, IMAGE, OCI)
    layer = {"mediaType": case.media_type, "digest": digest_of(case.envelope), "size": len(case.envelope)}
    signature = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "artifactType": NOTARY_SIGNATURE,
        "config": EMPTY,
        "layers": [layer],
        "subject": SUBJECT,
        "annotations": {"io.cncf.notary.x509chain.thumbprint#S256": "[]"},
    }
    registry.push_manifest(name, json.dumps(signature).encode(), OCI)


async def _verify(home: Path, reference: str, limit: asyncio.Semaphore) -> str:
    """What the command says against it; empty where it accepts."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NOTATION_CONFIG": str(home / "config")}
    command = (TOOLS / "notation", "verify", "--insecure-registry", reference)
    async with limit, asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
    return output.decode() if process.returncode else ""
