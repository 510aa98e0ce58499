"""`countersign import`: what is written is accepted by `policy lint`, and what cannot be read is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.migration import test_code_signing as lambda_cases
from tests.migration.deciding import ROOT
from tests.migration.test_notation import valid
from tests.terminal.conftest import Commands

ALIAS = "arn:aws:kms:us-west-2:111122223333:alias/image-signing"


@pytest.fixture
def csc(tmp_path: Path) -> Path:
    path = tmp_path / "csc.json"
    path.write_text(json.dumps({"CodeSigningConfig": lambda_cases.configuration()}))
    return path


@pytest.fixture
def trust_policy(tmp_path: Path) -> Path:
    store = tmp_path / "truststore" / "x509" / "ca" / "acme"
    store.mkdir(parents=True)
    (store / "root.crt").write_text(ROOT.pem)
    path = tmp_path / "trustpolicy.json"
    path.write_text(json.dumps(valid()))
    return path


def test_a_lambda_configuration_is_written_to_stdout(commands: Commands, csc: Path, tmp_path: Path) -> None:
    told = commands.run("import", "lambda", csc)
    assert (told.code, told.err) == (0, "")
    (tmp_path / "policy.yaml").write_text(told.out)
    assert commands.run("policy", "lint", tmp_path / "policy.yaml").code == 0


def test_a_notation_document_is_written_to_a_file(commands: Commands, trust_policy: Path, tmp_path: Path) -> None:
    written = tmp_path / "policy.yaml"
    options = ("--trust-store", tmp_path / "truststore", "--output", written)
    told = commands.run("import", "notation", trust_policy, *options)
    assert (told.code, told.out, told.err) == (0, "", "")
    assert commands.run("policy", "lint", written).code == 0
    explained = commands.run("policy", "explain", "registry.example.com/app", "--policy", written)
    assert "one" in explained.out


def test_an_environment_is_read_from_a_file_or_is_the_own(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "verifier.env").write_text(f"COSIGN_KEY_ARN={ALIAS}\nDEBUG=1\n")
    told = commands.run("import", "ecs", tmp_path / "verifier.env")
    assert f"kms: awskms:///{ALIAS}" in told.out
    assert "left out: DEBUG" in told.out
    monkeypatch.setenv("COSIGN_KEY_ARN", ALIAS)
    own = commands.run("import", "ecs")
    assert f"kms: awskms:///{ALIAS}" in own.out
    assert "Not recognised" not in own.out
    (tmp_path / "policy.yaml").write_text(own.out)
    assert commands.run("policy", "lint", tmp_path / "policy.yaml").code == 0


def test_a_mistake_is_one_line_and_nothing_is_written(commands: Commands, trust_policy: Path, tmp_path: Path) -> None:
    for argv in (
        ("lambda", trust_policy),
        ("notation", trust_policy),  # its store is needed
        ("notation", tmp_path / "none.json"),
        ("ecs", trust_policy),
    ):
        told = commands.run("import", *argv, "--output", tmp_path / "policy.yaml")
        assert told.code == 2, argv
        assert told.err.startswith("error: ")
        assert told.err.count("\n") == 1
        assert told.out == ""
    assert not (tmp_path / "policy.yaml").exists()


def test_what_no_policy_can_hold_is_told(commands: Commands, tmp_path: Path) -> None:
    arn = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/p"
    statements = [
        valid(name=f"s{n}", registryScopes=[f"a.example/r{n}"], trustStores=["signingAuthority:aws"],
              trustedIdentities=[f"{arn}{n}"])["trustPolicies"][0]
        for n in range(400)
    ]  # fmt: skip
    (tmp_path / "large.json").write_text(json.dumps({"version": "1.0", "trustPolicies": statements}))
    told = commands.run("import", "notation", tmp_path / "large.json")
    assert told.code == 2
    assert "cannot be written as one policy" in told.err


def test_without_a_kind_the_help_is_shown(commands: Commands) -> None:
    told = commands.run("import")
    assert told.code == 2
    assert "lambda" in told.out
    assert "notation" in told.out
