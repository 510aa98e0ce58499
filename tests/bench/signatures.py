"""What one signature costs, ours beside the oracle's, in one process and one run; milliseconds of CPU, medians.

    python -m tests.bench.signatures

The signatures are real ones, made by other tools: `tests/vectors/sigstore`. An attestation is made here, and judged
with a condition and without one; the cross-check is what the second implementation takes on top. Those of the Notary
Project are in `notary`.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import notary
from tests.bench.costs import Cost, both, median, table
from tests.oracle import engine
from tests.private_sigstore.instance import PrivateSigstore
from webhook import judging
from webhook.evidence.model import Evidence, Form, Place, Signer, SignerKind, Verdict, Wants
from webhook.judging import Question
from webhook.oci.reference import Digest
from webhook.policy import condition
from webhook.policy.model import AttestationDemand
from webhook.settings import Crosscheck
from webhook.trust import root as trust_root
from webhook.trust import timestamp
from webhook.trust.at_hand import Trust
from webhook.trust.identity import Identity
from webhook.trust.root import PUBLIC_GOOD

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "sigstore"
CASES = {case["id"]: case for case in json.loads((VECTORS / "index.json").read_text())["cases"]}
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SLSA = "https://slsa.dev/provenance/v1"
CONDITION = 'predicate.runDetails.builder.id == "https://builder.example" && predicate.materials.all(m, m.uri != "")'
ROUNDS = 200


def measure(rounds: int = ROUNDS) -> list[Cost]:
    """Every case; each is verified once before, so that a wrong answer costs no figure."""
    sigstore = [_legacy(rounds), _bundle(rounds), _timestamp(rounds), *_attestation(rounds), _crosscheck(rounds)]
    return sigstore + notary.measure(rounds)


def _legacy(rounds: int) -> Cost:
    case = CASES["legacy/keyless-rekor"]
    payload, annotations = _read(case, "payload"), json.loads(_read(case, "annotations"))
    ours = _judging(_evidence(Form.LEGACY, payload, case["digest"], annotations), _question(case))
    policy, root = _oracle(case)
    return Cost("legacy keyless: certificate, SET, SCT", *both(rounds, ours, lambda: engine.verify_legacy_signature(
        payload, annotations, case["digest"], policy, root)))  # fmt: skip


def _bundle(rounds: int) -> Cost:
    case = CASES["bundles/cosign3-sign-keyless"]
    data = _read(case, "bundle")
    ours = _judging(_evidence(Form.BUNDLE, data, case["digest"]), _question(case))
    policy, root = _oracle(case)
    return Cost("bundle keyless: certificate, SET, proof, timestamp, SCT", *both(
        rounds, ours, lambda: engine.verify_bundle(data, policy, root, digest=case["digest"])))  # fmt: skip


def _timestamp(rounds: int) -> Cost:
    case = CASES["bundles/cosign3-sign-keyless"]
    document = json.loads(_read(case, "bundle"))
    [stamp] = document["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    token = base64.b64decode(stamp["signedTimestamp"])
    signature = base64.b64decode(document["dsseEnvelope"]["signatures"][0]["sig"])
    [authority] = trust_root.parse(_read(case, "trusted_root")).timestamp_authorities
    leaf, *between, root = authority.chain
    _, oracles = _oracle(case)

    def ours() -> None:
        timestamp.verify(timestamp.parse_response(token), signature, roots=[root], intermediates=between, signer=leaf)

    return Cost("timestamp token", *both(rounds, ours, lambda: engine.verify_timestamp(token, signature, oracles)))


def _attestation(rounds: int) -> list[Cost]:
    sigstore, digest = PrivateSigstore(), f"sha256:{'ab' * 32}"
    materials = [{"uri": f"git+https://example.com/{n}", "digest": {"sha1": "0" * 40}} for n in range(40)]
    predicate = {"runDetails": {"builder": {"id": "https://builder.example"}}, "materials": materials}
    layer, annotations = sigstore.legacy_attestation(digest, predicate_type=SLSA, predicate=predicate)
    found = _evidence(Form.DSSE, layer, digest, annotations)
    trust = Trust({PUBLIC_GOOD.key: trust_root.parse(sigstore.trusted_root())})
    who = Signer("dev", SignerKind.KEYLESS, Identity(issuer="https://issuer.example.com", subject="dev@example.com"),
                 PUBLIC_GOOD)  # fmt: skip
    demand = AttestationDemand("attestations[0]", SLSA, (who,), condition.parse(CONDITION))
    bare = Question((who,), (), Wants(predicates=frozenset({SLSA})), trust, {"digest": digest}, NOW)
    asked = replace(bare, demands=(demand,))
    [weighed] = judging.judge(found, asked).weighed
    assert weighed.code is None, weighed.detail
    costs = [median(rounds, lambda question=question: judging.judge(found, question)) for question in (bare, asked)]  # type: ignore[misc]
    title = f".att keyless, {len(layer) // 1024} KiB"
    return [Cost(title, costs[0]), Cost(f"{title}, with a condition", costs[1])]


def _crosscheck(rounds: int) -> Cost:
    case = CASES["bundles/cosign3-sign-keyless"]
    question = replace(_question(case), crosscheck=Crosscheck.REPORT)
    found = _evidence(Form.BUNDLE, _read(case, "bundle"), case["digest"])
    [outcome] = judging.judge(found, question).outcomes
    assert outcome.facts[judging.CROSSCHECK] == judging.AGREED, outcome
    return Cost("bundle keyless, cross-checked", median(rounds, lambda: judging.judge(found, question)))


def _read(case: dict[str, dict[str, str]], name: str) -> bytes:
    return (VECTORS / case["files"][name]).read_bytes()


def _question(case: dict[str, dict[str, dict[str, str]]]) -> Question:
    wanted = case["policy"]["identity"]
    who = Identity(issuer=wanted["issuer"], subject=wanted["subject"])
    trust = Trust({PUBLIC_GOOD.key: trust_root.parse(_read(case, "trusted_root"))})  # type: ignore[arg-type]
    return Question((Signer("who", SignerKind.KEYLESS, who, PUBLIC_GOOD),), (), Wants(), trust, {}, NOW)


def _oracle(case: dict[str, dict[str, dict[str, str]]]) -> tuple[engine.Policy, engine.TrustRoot]:
    wanted = case["policy"]["identity"]
    policy = engine.Policy(identities=(engine.Identity(issuer=wanted["issuer"], subject=wanted["subject"]),))
    return policy, engine.TrustRoot.from_json(_read(case, "trusted_root"))  # type: ignore[arg-type]


def _evidence(form: Form, payload: bytes, digest: str, annotations: dict[str, str] | None = None) -> Evidence:
    algorithm, _, value = digest.partition(":")
    subject = Digest(algorithm, value)
    return Evidence(form, subject, Place.REFERRERS, subject, subject, "", annotations or {}, payload)


def _judging(found: Evidence, question: Question) -> Callable[[], object]:
    [outcome] = judging.judge(found, question).outcomes
    assert outcome.verdict is Verdict.VERIFIED, outcome
    return lambda: judging.judge(found, question)


def main() -> int:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(table(measure()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
