from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.policy.build import attested
from webhook.errors import Code
from webhook.policy import attestations, document, source
from webhook.policy.decision import Weighed
from webhook.policy.lint import lint
from webhook.policy.model import AttestationDemand, OnUnavailable, Pick, PolicySet, TrustPolicy
from webhook.policy.syntax import schema
from webhook.trust.identity import Claims, Identity

FOLDER = Path(__file__).resolve().parents[2] / "policies"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))
NOW = datetime(2026, 1, 20, tzinfo=UTC)  # while the exception holds

EXPECTED_FINDINGS = {
    "aws-signer.yaml": ["tags_allowed"],
    "blocked-and-excepted.yaml": ["tags_allowed"],
    "cluster-add-ons.yaml": [],
    "digest-only.yaml": [],
    "github-attestation.yaml": ["tags_allowed"],
    "keyless.yaml": ["tags_allowed"],
    "kms.yaml": ["tags_allowed"],
    "mixed.yaml": ["tags_allowed"],
    "notary-certificates.yaml": ["tags_allowed"],
    "private-sigstore.yaml": ["tags_allowed"],
    "sbom.yaml": ["tags_allowed"],
    "slsa-provenance.yaml": ["tags_allowed"],
    "smallest.yaml": ["tags_allowed"],
    "teams.yaml": ["tags_allowed"],
    "vex.yaml": ["tags_allowed"],
    "vulnerability-scan.yaml": ["tags_allowed"],
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


SLSA = "https://slsa.dev/provenance/v1"
VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"
IMAGE = {
    "registry": "registry.example.com",
    "repository": "pay/api",
    "reference": "registry.example.com/pay/api:1.4",
    "tag": "1.4",
    "digest": "sha256:" + "ab" * 32,
}

PROVENANCE: dict[str, Any] = {
    "buildDefinition": {
        "buildType": "https://ci.example.com/buildtypes/container@v1",
        "externalParameters": {
            "workflow": {"repository": "https://git.example.com/pay/api", "ref": "refs/heads/main", "path": "build.yml"}
        },
        "internalParameters": {},
        "resolvedDependencies": [
            {"uri": "pkg:docker/library/python@3.11?platform=linux%2Famd64", "digest": {"sha256": "cd" * 32}},
            {"uri": "git+https://git.example.com/pay/api@refs/heads/main", "digest": {"gitCommit": "ef" * 20}},
        ],
    },
    "runDetails": {
        "builder": {"id": "https://ci.example.com/builders/container@v2"},
        "metadata": {"invocationId": "https://ci.example.com/runs/4711", "startedOn": "2026-01-19T22:14:03Z"},
    },
}
BY_GITHUB: dict[str, Any] = {
    "buildDefinition": {
        "buildType": "https://actions.github.io/buildtypes/workflow/v1",
        "externalParameters": {
            "workflow": {
                "ref": "refs/heads/main",
                "repository": "https://github.com/example-org/api",
                "path": ".github/workflows/release.yml",
            }
        },
        "internalParameters": {
            "github": {
                "event_name": "push",
                "repository_id": "712345678",
                "repository_owner_id": "12345678",
                "runner_environment": "github-hosted",
            }
        },
        "resolvedDependencies": [
            {"uri": "git+https://github.com/example-org/api@refs/heads/main", "digest": {"gitCommit": "ab" * 20}}
        ],
    },
    "runDetails": {
        "builder": {"id": "https://github.com/example-org/api/.github/workflows/release.yml@refs/heads/main"},
        "metadata": {"invocationId": "https://github.com/example-org/api/actions/runs/12345678901/attempts/1"},
    },
}
SPDX: dict[str, Any] = {
    "spdxVersion": "SPDX-2.3",
    "dataLicense": "CC0-1.0",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": "registry.example.com/pay/api",
    "creationInfo": {"created": "2026-01-19T22:20:00Z", "creators": ["Tool: syft-1.20.0"]},
    "packages": [
        {
            "name": "libc6",
            "SPDXID": "SPDXRef-Package-deb-libc6",
            "versionInfo": "2.41-12",
            "licenseDeclared": "LGPL-2.1-or-later AND GPL-2.0-only",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": "pkg:deb/debian/libc6@2.41-12?arch=amd64",
                }
            ],
        },
        {"name": "registry.example.com/pay/api", "SPDXID": "SPDXRef-DocumentRoot", "versionInfo": "1.4"},
    ],
    "relationships": [],
}
CYCLONEDX: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
    "version": 1,
    "components": [{"type": "library", "name": "libc6", "version": "2.41-12", "purl": "pkg:deb/debian/libc6@2.41-12"}],
}
SCAN: dict[str, Any] = {
    "invocation": {"parameters": None, "uri": "", "event_id": "", "builder.id": ""},
    "scanner": {
        "uri": "pkg:github/aquasecurity/trivy@0.68.1",
        "version": "0.68.1",
        "db": {"uri": "", "version": ""},
        "result": {
            "SchemaVersion": 2,
            "ArtifactName": "registry.example.com/pay/api:1.4",
            "ArtifactType": "container_image",
            "Results": [
                {
                    "Target": "registry.example.com/pay/api:1.4 (debian 13.2)",
                    "Class": "os-pkgs",
                    "Type": "debian",
                    "Vulnerabilities": [
                        {"VulnerabilityID": "CVE-2026-0001", "PkgName": "libc6", "Severity": "LOW"},
                        {"VulnerabilityID": "CVE-2026-0002", "PkgName": "openssl", "Severity": "HIGH"},
                    ],
                },
                {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg"},
            ],
        },
    },
    "metadata": {"scanStartedOn": "2026-01-19T06:00:00Z", "scanFinishedOn": "2026-01-19T06:00:09.123456789Z"},
}
VEX: dict[str, Any] = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://openvex.dev/docs/public/vex-9fb3463de1b57",
    "author": "security@example.com",
    "timestamp": "2026-01-18T10:00:00Z",
    "version": 1,
    "statements": [
        {
            "vulnerability": {"name": "CVE-2026-0001"},
            "products": [{"@id": "pkg:oci/api?repository_url=registry.example.com/pay"}],
            "status": "not_affected",
            "justification": "vulnerable_code_not_in_execute_path",
        },
        {"vulnerability": {"name": "CVE-2026-0002"}, "status": "fixed"},
    ],
}


def demand(name: str, predicate_type: str) -> AttestationDemand:
    (found,) = (one for one in load(name).rules[0].attestations if one.predicate_type == predicate_type)
    return found


def weigh(
    wanted: AttestationDemand, predicate: dict[str, Any], *, kind: str = "", at: datetime | None = None
) -> Weighed:
    outcome = attested(wanted.signers[0], kind=kind or wanted.predicate_type, at=at, predicate=predicate)
    (found,) = attestations.weigh([outcome], [wanted], image=IMAGE, now=NOW)
    return found


def changed(predicate: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with another value at one place, `a.0.b`; without that place where the value is `...`."""
    copied = copy.deepcopy(predicate)
    *above, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
    place: Any = copied
    for step in above:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copied


ACCEPTED = [
    ("slsa-provenance.yaml", SLSA, PROVENANCE),
    ("github-attestation.yaml", SLSA, BY_GITHUB),
    ("sbom.yaml", "https://spdx.dev/Document", SPDX),
    ("sbom.yaml", "https://cyclonedx.org/bom", CYCLONEDX),
    ("vulnerability-scan.yaml", VULN, SCAN),
    ("vex.yaml", "https://openvex.dev/ns", VEX),
]


@pytest.mark.parametrize(("name", "kind", "predicate"), ACCEPTED, ids=[f"{case[0]} {case[1]}" for case in ACCEPTED])
def test_condition_accepts_what_the_tool_makes(name: str, kind: str, predicate: dict[str, Any]) -> None:
    found = weigh(demand(name, kind), predicate)
    assert found.code is None
    assert found.saw


FALSE, ERROR, OLD = Code.CLAIM_MISMATCH, Code.CONDITION_ERROR, Code.TIME_INVALID
WORKFLOW = "buildDefinition.externalParameters.workflow"
FINDINGS = "scanner.result.Results.0.Vulnerabilities"


@pytest.mark.parametrize(
    ("accepted", "path", "value", "code", "told"),
    [
        (0, "runDetails.builder.id", "https://ci.example.com/builders/container@v1", FALSE, "container@v1"),
        (0, f"{WORKFLOW}.repository", "https://git.example.com/pay/api-fork", FALSE, "api-fork"),
        (0, f"{WORKFLOW}.ref", "refs/heads/wip", FALSE, "refs/heads/wip"),
        (
            0,
            "buildDefinition.resolvedDependencies.1.uri",
            "git+https://git.example.com/pay/api@refs/heads/wip",
            FALSE,
            "uri",
        ),
        (0, "buildDefinition.resolvedDependencies.1.digest", {"sha1": "ef" * 20}, FALSE, "resolvedDependencies"),
        (0, "buildDefinition.resolvedDependencies", [], FALSE, "a list of 0"),
        (0, "runDetails.builder", ..., ERROR, "no such key: 'builder' in predicate.runDetails"),
        (1, f"{WORKFLOW}.repository", "https://github.com/example-org/api2", FALSE, "example-org/api2"),
        (1, f"{WORKFLOW}.path", ".github/workflows/pull-request.yml", FALSE, "pull-request.yml"),
        (1, "buildDefinition.buildType", "https://example.com/buildtypes/workflow/v1", FALSE, "buildType"),
        (
            1,
            "buildDefinition.internalParameters.github.event_name",
            "pull_request_target",
            FALSE,
            "pull_request_target",
        ),
        (1, "buildDefinition.internalParameters.github", ..., ERROR, "no such key: 'github'"),
        (2, "packages", [], FALSE, "a list of 0"),
        (2, "spdxVersion", "SPDX-3.0", FALSE, "SPDX-3.0"),
        (2, "packages.1.licenseDeclared", "AGPL-3.0-only", FALSE, "AGPL-3.0-only"),
        (2, "packages", ..., ERROR, "no such key: 'packages' in predicate"),
        (3, "components", [], FALSE, "a list of 0"),
        (3, "bomFormat", "SPDX", FALSE, "'SPDX'"),
        (3, "specVersion", "1.3", FALSE, "'1.3'"),
        (4, f"{FINDINGS}.1.Severity", "CRITICAL", FALSE, "Vulnerabilities[1].Severity was 'CRITICAL'"),
        (4, f"{FINDINGS}.1.Severity", ..., ERROR, "no such key: 'Severity'"),
        (4, "scanner.uri", "pkg:github/someone/else@1", FALSE, "someone/else"),
        (4, "scanner.result.Results", ..., ERROR, "no such key: 'Results'"),
        (4, "scanner.result.Results", None, ERROR, "predicate.scanner.result.Results = null"),
        (4, "metadata.scanFinishedOn", "2026-01-18T23:59:59Z", OLD, ""),
        (4, "metadata.scanFinishedOn", "yesterday", ERROR, "timeField"),
        (4, "metadata.scanFinishedOn", ..., ERROR, "timeField"),
        (5, "statements.1.status", "affected", FALSE, "statements[1].status was 'affected'"),
        (5, "statements.1.status", "unknown", FALSE, "'unknown'"),
        (5, "statements.1.status", ..., ERROR, "no such key: 'status' in predicate.statements[1]"),
        (5, "@context", "https://example.com/vex", FALSE, "https://example.com/vex"),
    ],
)
def test_condition_refuses_the_near_miss(accepted: int, path: str, value: object, code: Code, told: str) -> None:
    name, kind, predicate = ACCEPTED[accepted]
    found = weigh(demand(name, kind), changed(predicate, path, value))
    assert found.code is code
    assert told in found.detail


def test_another_version_of_a_predicate_is_not_weighed() -> None:
    wanted = demand("slsa-provenance.yaml", SLSA)
    older = attested(wanted.signers[0], kind="https://slsa.dev/provenance/v0.2", predicate=PROVENANCE)
    assert attestations.weigh([older], [wanted], image=IMAGE, now=NOW) == []


def test_trusted_time_of_a_scan_counts_where_it_is_the_earlier() -> None:
    wanted = demand("vulnerability-scan.yaml", VULN)
    now_scanned = changed(SCAN, "metadata.scanFinishedOn", "2026-01-20T00:00:00Z")
    assert weigh(wanted, now_scanned, at=NOW - timedelta(hours=23)).code is None
    assert weigh(wanted, now_scanned, at=NOW - timedelta(hours=25)).code is OLD


@pytest.mark.parametrize(
    ("name", "needed", "demands", "pick"),
    [
        ("slsa-provenance.yaml", 1, 1, Pick.ANY),
        ("github-attestation.yaml", 0, 1, Pick.ANY),
        ("sbom.yaml", 1, 2, Pick.ANY),
        ("vulnerability-scan.yaml", 1, 1, Pick.NEWEST),
        ("vex.yaml", 1, 1, Pick.ALL),
    ],
)
def test_example_demands_what_it_claims(name: str, needed: int, demands: int, pick: Pick) -> None:
    (rule,) = load(name).rules
    assert (rule.needed, len(rule.attestations)) == (needed, demands)
    assert {one.pick for one in rule.attestations} == {pick}


GITHUB = "https://token.actions.githubusercontent.com"
RELEASE = "https://github.com/example-org/api/.github/workflows/release.yml@refs/heads/main"
TOOLS = "https://github.com/example-org/tools/.github/workflows/release.yml@refs/tags/v1.10.2"
PUSHED = {"buildTrigger": "push", "runnerEnvironment": "github-hosted"}


@pytest.mark.parametrize(
    ("signer", "issuer", "subject", "extensions", "accepted"),
    [
        ("github-release", GITHUB, RELEASE, PUSHED, True),
        ("github-release", "https://token.actions.githubusercontent.com.example.com", RELEASE, PUSHED, False),
        ("github-release", GITHUB, RELEASE.replace("heads/main", "heads/main2"), PUSHED, False),
        ("github-release", GITHUB, RELEASE.replace("release.yml", "test.yml"), PUSHED, False),
        ("github-release", GITHUB, RELEASE, PUSHED | {"runnerEnvironment": "self-hosted"}, False),
        ("github-release", GITHUB, RELEASE, {"buildTrigger": "push"}, False),
        ("github-tags", GITHUB, TOOLS, {}, True),
        ("github-tags", GITHUB, f"{TOOLS}-rc1", {}, False),
        ("github-tags", GITHUB, TOOLS.replace("example-org/tools", "example-orgxtools"), {}, False),
        (
            "gitlab",
            "https://gitlab.com",
            "https://gitlab.com/example-group/api//.gitlab-ci.yml@refs/heads/main",
            {"sourceRepositoryURI": "https://gitlab.com/example-group/api"},
            True,
        ),
        (
            "gitlab",
            "https://gitlab.com",
            "https://gitlab.com/example-group/api//.gitlab-ci.yml@refs/heads/main",
            {"sourceRepositoryURI": "https://gitlab.com/other/api"},
            False,
        ),
        (
            "google-build",
            "https://accounts.google.com",
            "image-signer@example-project.iam.gserviceaccount.com",
            {},
            True,
        ),
        (
            "google-build",
            "https://accounts.google.com",
            "image-signer@example-project2.iam.gserviceaccount.com",
            {},
            False,
        ),
    ],
)
def test_keyless_lets_in_whom_it_names(
    signer: str, issuer: str, subject: str, extensions: dict[str, str], *, accepted: bool
) -> None:
    (found,) = (one for one in load("keyless.yaml").signers if one.name == signer)
    assert isinstance(found.material, Identity)
    kind = "uri" if "://" in subject else "email"
    mismatch = found.material.mismatch(Claims(issuer, ((kind, subject),), extensions))
    assert (mismatch == "") is accepted


def test_github_attestation_is_of_one_workflow() -> None:
    (signer,) = load("github-attestation.yaml").signers
    assert isinstance(signer.material, Identity)
    said = {"sourceRepositoryURI": "https://github.com/example-org/api", "runnerEnvironment": "github-hosted"}
    assert not signer.material.mismatch(Claims(GITHUB, (("uri", RELEASE),), said))
    forked = said | {"sourceRepositoryURI": "https://github.com/someone/api"}
    assert signer.material.mismatch(Claims(GITHUB, (("uri", RELEASE),), forked))


def test_every_example_is_in_the_read_me() -> None:
    text = (FOLDER / "README.md").read_text()
    assert [path.name for path in EXAMPLES if f"`{path.name}`" not in text] == []


def test_schema_file_is_current() -> None:
    written = json.loads((FOLDER / "trustpolicy.schema.json").read_text())
    assert written == schema.json_schema(), "run: make schema"


def test_schema_names_every_field_that_is_read_and_no_other() -> None:
    text = json.dumps(schema.json_schema())
    for field in ("trustedKeys", "kms", "keyless", "signerProfiles", "certificates", "trustStores", "attestations",
                  "condition", "maxAge", "exemptRegistries", "enforceIn", "secret", "configMap"):  # fmt: skip
        assert f'"{field}"' in text
    for field in ("integrity", "null"):
        assert f'"{field}"' not in text
