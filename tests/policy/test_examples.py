from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from webhook.policy import document, source
from webhook.policy.lint import lint
from webhook.policy.model import OnUnavailable, PolicySet, TrustPolicy
from webhook.policy.syntax import schema

FOLDER = Path(__file__).resolve().parents[2] / "policies"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))
NOW = datetime(2026, 1, 20, tzinfo=UTC)  # while the exception holds

EXPECTED_FINDINGS = {
    "blocked-and-excepted.yaml": ["tags_allowed"],
    "cluster-add-ons.yaml": [],
    "digest-only.yaml": [],
    "smallest.yaml": ["tags_allowed"],
    "teams.yaml": ["tags_allowed"],
    "warn-first.yaml": ["tags_allowed"],
}


def load(name: str) -> TrustPolicy:
    (policy,) = document.parse((FOLDER / name).read_bytes(), origin=name, now=NOW)
    return policy


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_loads_and_is_named_after_its_file(path: Path) -> None:
    assert load(path.name).name == path.stem


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_has_no_finding_but_those_it_is_about(path: Path) -> None:
    findings = lint(PolicySet((load(path.name),), "", str(FOLDER)), now=NOW)
    assert [finding.code for finding in findings] == EXPECTED_FINDINGS[path.name]


def test_examples_load_together() -> None:
    assert len(source.load_files([FOLDER], now=NOW).policies) == len(EXAMPLES) == len(EXPECTED_FINDINGS)


def test_teams_says_what_it_claims() -> None:
    policy = load("teams.yaml")
    assert [(rule.needed, len(rule.signers), rule.on_unavailable) for rule in policy.rules] == [
        (2, 2, OnUnavailable.DENY), (2, 3, OnUnavailable.KNOWN), (1, 2, OnUnavailable.ALLOW),
    ]  # fmt: skip


def test_every_example_is_in_the_read_me() -> None:
    text = (FOLDER / "README.md").read_text()
    assert [path.name for path in EXAMPLES if f"`{path.name}`" not in text] == []


def test_schema_file_is_current() -> None:
    written = json.loads((FOLDER / "trustpolicy.schema.json").read_text())
    assert written == schema.json_schema(), "run: make schema"


def test_schema_names_every_field_that_is_read_and_no_other() -> None:
    text = json.dumps(schema.json_schema())
    for field in ("trustedKeys", "exemptRegistries", "onUnavailable", "keyFingerprint", "enforceIn"):
        assert f'"{field}"' in text
    for field in ("signerProfiles", "kms", "attestations", "maxAge", "null"):
        assert f'"{field}"' not in text
