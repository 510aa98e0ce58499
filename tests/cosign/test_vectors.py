"""Real signatures by other tools, kept unedited, each with its verdict and, where it is refused, the code.

Those in bundles go through the conformance entry, in every mode; those of images through the verifier, and once more as
images in a registry, from the reference to the decision. `tests/vectors/sigstore/index.json` says where each is from.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.conformance import cases, client
from tests.conformance.cases import CASES, Case
from tests.cosign import made
from tests.cosign.made import CERTIFICATE
from tests.doubles import verifying
from tests.doubles.verifying import NAME, Cluster
from tests.policy import build
from tests.private_sigstore import attach
from tests.private_sigstore.instance import Layer
from webhook.errors import CountersignError
from webhook.evidence.model import Evidence, Form
from webhook.oci import manifest
from webhook.oci.reference import Digest
from webhook.policy.model import OnUnavailable, Rule
from webhook.trust import material
from webhook.trust.material import PublicKey
from webhook.trust.root import TrustRoot

ROOT = Path(__file__).resolve().parents[2]
OF_IMAGES = [case for case in CASES.values() if case.is_layer or case.id.startswith("bundles/cosign3-sign")]
OF_FILES = [case for case in CASES.values() if case not in OF_IMAGES]


def named(some: Iterable[Case]) -> list[object]:
    return [pytest.param(case, id=case.id) for case in some]


def in_modes(some: Iterable[Case]) -> list[object]:
    return [pytest.param(case, mode, id=f"{case.id}-{mode}") for case in some for mode in case.modes]


def digest(text: str) -> Digest:
    algorithm, _, value = text.partition(":")
    return Digest(algorithm, value)


def layer(case: Case) -> Layer:
    return case.read("payload"), json.loads(case.read("annotations"))


def found(case: Case) -> Evidence:
    """What is handed to the verifier; evidence of a file as if it had been attached to an image with its digest."""
    if case.is_layer:
        payload, annotations = layer(case)
        return made.evidence(Form.LEGACY, payload, annotations, subject=digest(case.digest))
    subject = f"sha256:{case.artifact('digest').digests['sha256'].hex()}"
    return made.evidence(Form.BUNDLE, case.read("bundle"), {}, subject=digest(subject))


# --- through the conformance entry


@pytest.mark.parametrize(("case", "mode"), in_modes(cases.BUNDLES))
def test_bundles_have_their_verdict(case: Case, mode: str) -> None:
    assert case.root is not None
    assert told(case, mode, case.root) == case.code


def told(case: Case, mode: str, trusted: TrustRoot) -> str:
    try:
        client.verify_bundle(case.read("bundle"), case.artifact(mode), case.signer, trusted)
    except CountersignError as error:
        return error.code
    return ""


@pytest.mark.parametrize("case", named(case for case in cases.BUNDLES if "regex" not in case.id))
def test_command_line_tells_the_verdict(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["verify-bundle", "--bundle", path(case, "bundle"), *signer_arguments(case)]
    subject = case.digest or path(case, "artifact")

    status = client.main([*arguments, "--trusted-root", path(case, "trusted_root"), subject])

    assert status == (1 if case.code else 0)
    assert capsys.readouterr().err.partition(":")[0] == case.code


def test_command_line_runs_as_a_program() -> None:
    case = CASES["conformance/rekor2-happy-path"]
    arguments = ["verify-bundle", "--bundle", path(case, "bundle"), *signer_arguments(case)]
    root = ["--trusted-root", path(case, "trusted_root")]
    program = [sys.executable, "-m", "tests.conformance.client", *arguments, *root, path(case, "artifact")]
    done = subprocess.run(program, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "verified\n", "")


def signer_arguments(case: Case) -> list[str]:
    if "key" in case.files:
        return ["--key", path(case, "key")]
    assert not isinstance(case.signer, PublicKey)
    subject, issuer = case.signer.subject, case.signer.issuer
    assert subject, "the protocol knows no patterns"
    assert issuer
    return ["--certificate-identity", subject, "--certificate-oidc-issuer", issuer]


def path(case: Case, name: str) -> str:
    return str(cases.VECTORS / case.files[name])


def test_command_line_knows_the_public_good_root(capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES["conformance/happy-path-v0.1"]
    arguments = ["verify-bundle", "--bundle", path(case, "bundle"), *signer_arguments(case)]
    assert client.main([*arguments, path(case, "artifact")]) == 0
    assert client.main([*arguments, str(Path(client.__file__))]) == 1
    assert capsys.readouterr().err.startswith("subject_mismatch: ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sign-bundle", "--identity-token", "x", "--bundle", "b", "f"],
        ["verify", "--signature", "s", "--certificate", "c", "f"],
        ["verify-bundle", "--bundle", "b", "f"],
        ["verify-bundle", "--bundle", "b", "--certificate-identity", "x", "f"],
        ["verify-bundle", "--bundle", "b", "--certificate-identity", "x", "--certificate-oidc-issuer", "", "f"],
        ["verify-bundle", "--staging", "--bundle", "b", "--key", "k", "f"],
    ],
    ids=["nothing", "sign", "online", "nobody", "no-issuer", "empty-issuer", "staging-unknown"],
)
def test_command_line_that_is_wrong_verifies_nothing(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(client.STAGING_ROOT, raising=False)
    with pytest.raises(SystemExit) as caught:
        client.main(arguments)
    assert caught.value.code == 2
    capsys.readouterr()


def test_command_line_without_its_files_verifies_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main(["verify-bundle", "--bundle", "/nowhere", "--key", "/nowhere", "/nowhere"]) == 2
    assert capsys.readouterr().err == "/nowhere: No such file or directory\n"


# --- through the verifier


@pytest.mark.parametrize("case", named(OF_IMAGES))
def test_signatures_of_images_have_their_verdict(case: Case) -> None:
    outcome = made.verify(found(case), case.policy_signer())

    assert made.told(outcome) == (case.code or "verified")
    assert not outcome.tampered


@pytest.mark.parametrize("case", named(OF_FILES))
def test_signatures_of_files_sign_no_image(case: Case) -> None:
    outcome = made.verify(found(case), case.policy_signer())

    # attestations among them are of another type; whatever the envelope, its format is judged first
    assert outcome.proof is None
    assert made.told(outcome) in {"unsupported", "claim_mismatch", case.code}


# --- as images in a registry


@pytest.mark.parametrize("case", named(OF_IMAGES))
async def test_images_have_their_verdict(case: Case) -> None:
    async with verifying.opened() as cluster:
        push(cluster, case)
        signer = case.policy_signer()
        rule = Rule("signers", (), (signer,), 1, OnUnavailable.DENY)
        policies = build.policies(build.policy(default=rule))

        decision = await cluster.judge(f"@{case.digest}", policies)

    assert str(decision.code or "") == case.code
    assert decision.result.value == ("denied" if case.code else "verified")


def push(cluster: Cluster, case: Case) -> None:
    if not case.is_layer:
        subject: dict[str, object] = {"mediaType": manifest.OCI_MANIFEST, "digest": case.digest, "size": 1}
        attach.push(cluster.stored, NAME, attach.referrer(case.read("bundle"), subject))
        return
    pushed = cluster.stored.push_manifest(NAME, case.read("image_manifest"), manifest.OCI_MANIFEST)
    assert pushed == case.digest or case.id.endswith("+wrong-image")
    attach.signatures(cluster.stored, NAME, case.digest, [layer(case)])


# --- held against another signer than theirs


@pytest.mark.parametrize(
    ("case_id", "key", "expected"),
    [
        ("legacy/key-only", "legacy/cosign.pub", "verified"),
        ("legacy/key-only", "legacy/cosign2.pub", "signature_invalid"),
        ("legacy/key-rekor", "legacy/cosign2.pub", "verified"),
        ("legacy/keyless-rekor", "legacy/cosign.pub", "signature_invalid"),
        ("bundles/cosign3-sign-keyless", "legacy/cosign.pub", "unsupported"),
        ("conformance/managed-key-happy-path", "conformance/managed-key-happy-path/key.pub", "unsupported"),
        ("conformance/happy-path-v0.1", "legacy/cosign.pub", "unsupported"),
    ],
)
def test_key_without_log_or_trust_root(case_id: str, key: str, expected: str) -> None:
    public = material.parse_public_key((cases.VECTORS / key).read_bytes())

    assert made.told(made.verify(found(CASES[case_id]), made.signer(public))) == expected


def test_a_keyless_signature_verifies_with_the_bare_key_of_its_certificate() -> None:
    evidence = found(CASES["legacy/keyless-rekor"])
    leaf = x509.load_pem_x509_certificate(evidence.annotations[CERTIFICATE].encode())
    pem = leaf.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip

    outcome = made.verify(evidence, made.signer(material.parse_public_key(pem)))

    assert made.told(outcome) == "verified"


# --- the files


@pytest.mark.parametrize("path", cases.INDEX["files"])
def test_vectors_are_unedited(path: str) -> None:
    assert hashlib.sha256((cases.VECTORS / path).read_bytes()).hexdigest() == cases.INDEX["files"][path]["sha256"]


def test_every_case_is_here() -> None:
    assert len(CASES) == 51
    assert all(case.modes for case in CASES.values())
