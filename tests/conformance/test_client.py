"""The command line as the conformance suite calls it: a program in a folder of its own, told all by arguments."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import cases, client
from tests.conformance.cases import CASES
from webhook.trust.identity import Identity

ROOT = Path(__file__).resolve().parents[2]
ZEROS = f"sha256:{64 * '0'}"
KEYLESS, MANAGED = CASES["conformance/happy-path-v0.1"], CASES["conformance/managed-key-happy-path"]
FILES = {
    "BUNDLE": cases.VECTORS / KEYLESS.files["bundle"],
    "ARTIFACT": cases.VECTORS / KEYLESS.files["artifact"],
    "ROOT": cases.VECTORS / KEYLESS.files["trusted_root"],
    "KEY_BUNDLE": cases.VECTORS / MANAGED.files["bundle"],
    "KEY": cases.VECTORS / MANAGED.files["key"],
    "KEY_ROOT": cases.VECTORS / MANAGED.files["trusted_root"],
}


def arguments(text: str) -> list[str]:
    """A command line, in which words in capitals stand for what belongs to the two cases."""
    signer = KEYLESS.signer
    assert isinstance(signer, Identity)
    assert signer.subject
    assert signer.issuer
    said = {name: str(path) for name, path in FILES.items()} | {
        "BY": f"--certificate-identity\n{signer.subject}\n--certificate-oidc-issuer\n{signer.issuer}",
        "SUBJECT": signer.subject,
        "DIGEST": f"sha256:{KEYLESS.artifact('digest').digests['sha256'].hex()}",
        "KEY_DIGEST": f"sha256:{MANAGED.artifact('digest').digests['sha256'].hex()}",
        "ZEROS": ZEROS,
    }
    return "\n".join(said.get(word, word) for word in text.split()).split("\n")


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("verify-bundle --bundle BUNDLE BY ARTIFACT", 0, ""),
        ("verify-bundle --staging --bundle BUNDLE BY DIGEST", 0, ""),
        ("verify-bundle --bundle KEY_BUNDLE --key KEY --trusted-root KEY_ROOT KEY_DIGEST", 0, ""),
        ("verify-bundle --bundle BUNDLE BY ZEROS", 1, "subject_mismatch: "),
        ("verify-bundle --bundle BUNDLE BY nowhere", 2, "nowhere: No such file"),
    ],
    ids=["file", "staging, digest", "key, digest", "another digest", "no such file"],
)
def test_as_a_program(text: str, status: int, told: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), client.STAGING_ROOT: str(FILES["ROOT"])}
    program = [sys.executable, "-m", "tests.conformance.client", *arguments(text)]
    done = subprocess.run(
        program, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stdout) == (status, "" if status else "verified\n")
    assert done.stderr.startswith(told)


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("verify-bundle --bundle KEY_BUNDLE --key KEY --trusted-root KEY_ROOT KEY_DIGEST", 0, ""),
        ("verify-bundle --bundle KEY_BUNDLE --key KEY BY --trusted-root KEY_ROOT KEY_DIGEST", 2, "usage: "),
        ("verify-bundle --bundle KEY_BUNDLE --key KEY --certificate-identity SUBJECT KEY_DIGEST", 2, "usage: "),
        ("verify-bundle --bundle BUNDLE --key KEY ARTIFACT", 1, "unsupported: "),
        ("verify-bundle --bundle BUNDLE --key ARTIFACT ARTIFACT", 1, "malformed: "),
        ("verify-bundle --bundle BUNDLE BY --trusted-root ARTIFACT ARTIFACT", 1, "malformed: "),
        ("verify-bundle --bundle BUNDLE BY --trusted-root KEY_ROOT --staging ARTIFACT", 0, ""),
        ("verify-bundle --staging --bundle BUNDLE BY ARTIFACT", 2, "/nowhere: "),
        ("verify-bundle --bundle / BY ARTIFACT", 2, "/: "),
        ("verify-bundle --bund BUNDLE BY ARTIFACT", 2, "usage: "),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_no_success(
    text: str, status: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(client.STAGING_ROOT, "/nowhere")
    assert status_of(arguments(text)) == status
    assert capsys.readouterr().err.startswith(told)


def status_of(command: list[str]) -> object:
    try:
        return client.main(command)
    except SystemExit as ended:
        return ended.code


def test_a_file_that_is_named_like_a_digest_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = arguments("verify-bundle --bundle BUNDLE BY ZEROS")
    assert client.main(command) == 1
    shutil.copy(FILES["ARTIFACT"], tmp_path / ZEROS)
    assert client.main(command) == 0


def test_a_detached_signature_has_nobody_to_say_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All else is right: the same signature and certificate verify in their bundle."""
    material = json.loads(FILES["BUNDLE"].read_bytes())
    chain = material["verificationMaterial"]["x509CertificateChain"]["certificates"]
    files = {"signature": material["messageSignature"]["signature"]}
    files["certificate"] = ssl.DER_cert_to_PEM_cert(base64.b64decode(chain[0]["rawBytes"]))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    given = [word for name in files for word in (f"--{name}", str(tmp_path / name))]

    assert client.main(["verify", *given, *arguments("BY --trusted-root ROOT ARTIFACT")]) == 1
    assert capsys.readouterr().err.startswith("tlog_invalid: ")
    assert client.main(["verify", *given, *arguments("BY --trusted-root ROOT nowhere")]) == 2
