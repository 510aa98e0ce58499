from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.policy.documents import head
from tests.policy.notary_documents import ACME_AND_CLOCK, ARN, SUBJECT, VERSION, certificates, profiles
from tests.terminal.conftest import STRANGER, TRUSTED, Commands, policy
from webhook.trust.material import parse_public_key

FINGERPRINT = parse_public_key(TRUSTED.public_pem).fingerprint
DIGEST = "sha256:" + "ab" * 32
KMS = "awskms:///arn:aws:kms:us-west-2:111122223333:alias/image-signing"
SECRET = "secret: {name: release}, padding: pss"
CLOCK = {"trustStore": "clock", "verify": "afterCertExpiry"}
RULES = """
    - images: [ghcr.io/acme]
      signers: [release]"""
DENY = f"""
    - digest: {DIGEST}
      reason: CVE-2026-0001"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    documents = (
        policy(rules=RULES, deny=DENY, exemptRegistries="[registry.k8s.io]", namespaces="{include: [shop]}"),
        policy("trial", STRANGER, mode="warn"),
    )
    path = tmp_path / "policies.yaml"
    path.write_text("---\n".join(documents))
    return path


@pytest.mark.parametrize(
    ("image", "namespace", "said", "last"),
    [
        pytest.param(
            f"ghcr.io/acme/shop@{DIGEST[:-1]}0", "shop", "demands rules[0]: ghcr.io/acme matches",
            'UNDECIDED  signatures decide: "production" must be satisfied', id="rule",
        ),
        pytest.param(
            f"nginx@{DIGEST[:-1]}0", "shop", "demands signers: no rule matches this image",
            'UNDECIDED  signatures decide: "production" must be satisfied', id="no-rule",
        ),
        pytest.param(
            f"nginx@{DIGEST}", "shop", "denies  deny[0]: CVE-2026-0001", "DENIED  blocked: CVE-2026-0001", id="denied",
        ),
        pytest.param(
            "nginx", "shop", "the digest is looked up first",
            'UNDECIDED  signatures decide: "production" must be satisfied', id="digest-wanted",
        ),
        pytest.param(
            f"registry.k8s.io/pause@{DIGEST[:-1]}0", "shop", "admits  exemptRegistries: registry.k8s.io is exempt",
            '  whatever is missing for "trial" becomes a warning', id="exempt",
        ),
        pytest.param(
            f"nginx@{DIGEST[:-1]}0", "other", "silent  the namespace is not one of its namespaces",
            "  so the setting COUNTERSIGN_NO_MATCH decides: deny, warn or allow", id="silent",
        ),
        pytest.param(
            "registry.k8s.io/pause:3", "shop", "admits  exemptRegistries: registry.k8s.io is exempt",
            'UNDECIDED  the digest decides: "production" names digests', id="exempt-unless-its-digest-is-denied",
        ),
    ],
)  # fmt: skip
def test_says_which_policy_speaks_and_why(
    commands: Commands, policies: Path, image: str, namespace: str, said: str, last: str
) -> None:
    told = commands.run("policy", "explain", image, "--namespace", namespace, "--policy", policies)
    assert (told.code, told.err) == (0, "")
    assert said in told.out
    assert told.last == last


def test_names_are_shown_as_they_are_understood(commands: Commands, policies: Path) -> None:
    told = commands.run("policy", "explain", "nginx", "-n", "shop", "-p", policies)
    assert told.out.startswith('docker.io/library/nginx:latest  in namespace "shop"\n')


@pytest.mark.parametrize(
    ("no_match", "result", "code"), [("deny", "denied", "no_policy"), ("warn", "warned", "no_policy"),
                                     ("allow", "unmatched", None)],
)  # fmt: skip
def test_no_match_decides_where_no_enforcing_policy_speaks(
    commands: Commands, policies: Path, monkeypatch: pytest.MonkeyPatch, no_match: str, result: str, code: str | None
) -> None:
    monkeypatch.setenv("COUNTERSIGN_NO_MATCH", no_match)
    image = f"nginx@{DIGEST[:-1]}0"
    told = commands.run("policy", "explain", image, "-n", "other", "-p", policies, "-o", "json")
    document = json.loads(told.out)
    assert (document["result"], document["code"]) == (result, code)


def test_json_names_every_signer(commands: Commands, policies: Path) -> None:
    told = commands.run("policy", "explain", "ghcr.io/acme/x", "-n", "shop", "-p", policies, "-o", "json")
    document = json.loads(told.out)
    assert document["reference"] == "ghcr.io/acme/x:latest"
    assert document["result"] == "undecided"
    production, trial = document["policies"]
    assert (production["says"], production["rule"], production["wants"]) == (
        "demands", "rules[0]", "a signature by release",
    )  # fmt: skip
    assert (production["needs_digest"], trial["needs_digest"]) == (True, False)
    assert [signer["name"] for signer in production["signers"]] == ["release"]
    assert len(production["signers"][0]["fingerprint"]) == 64
    assert trial["mode"] == "warn"


def test_a_baseline_exemption_is_known(commands: Commands, policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_BASELINE_EXEMPT", "quay.io/cilium")
    image = f"quay.io/cilium/cilium@{DIGEST[:-1]}0"
    assert "admits  baselineExempt: " in commands.run("policy", "explain", image, "-n", "shop", "-p", policies).out


def test_a_bad_policy_is_told_with_all_its_mistakes(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(policy(foo="1", bar="2"))
    told = commands.run("policy", "explain", "nginx", "-p", path)
    assert (told.code, told.out) == (2, "")
    assert told.err.count("error: ") == told.err.count("\n") == 2


KEYLESS = """
    - name: ci
      issuer: https://token.actions.githubusercontent.com
      subjectGlob: https://github.com/acme/api/**
      extensions: {buildTrigger: push}
    - name: own
      issuer: https://oidc.example.com
      subject: bot@example.com
      trustRoot: internal"""
ROOTS = "[{name: internal, file: internal.json, requireSct: false, requireTimestamp: true}]"
DEMANDS = """
    - images: [ghcr.io/acme]
      signers: [ci, release]
      require: all
      annotations: {env: prod}
      maxAge: 90d
      attestations:
        - predicateType: vuln
          signers: [own]
          condition: |
            predicate.scanner.result
              == "clean"
          maxAge: 36h
          timeField: predicate.metadata.scanFinishedOn
        - predicateType: slsaprovenance1
          signers: [ci]
    - images: [quay.io/acme]
      require: none
      attestations: [{predicateType: spdx, signers: [ci], maxAge: 90m, pick: all}]"""


@pytest.fixture
def demanding(tmp_path: Path) -> Path:
    path = tmp_path / "demanding.yaml"
    path.write_text(policy(keyless=KEYLESS, trustRoots=ROOTS, rules=DEMANDS))
    return path


def test_all_that_a_rule_demands_is_told(commands: Commands, demanding: Path) -> None:
    told = commands.run("policy", "explain", "ghcr.io/acme/api", "-n", "shop", "-p", demanding)
    lines = [line.strip() for line in told.out.splitlines()]
    assert lines[5:] == [
        (
            "ci       subjectGlob 'https://github.com/acme/api/**', "
            "issuer 'https://token.actions.githubusercontent.com', buildTrigger 'push', "
            "trust root public-good (built-in; demands log, SCT)"
        ),
        f"release  ECDSA P-256 sha256:{FINGERPRINT}",
        (
            "own      subject 'bot@example.com', issuer 'https://oidc.example.com', "
            "trust root internal (file; demands log, timestamp)"
        ),
        "signed along: env=prod",
        "signed at most 90d ago",
        "rules[0].attestations[0]: https://cosign.sigstore.dev/attestation/vuln/v1 by own",
        'where predicate.scanner.result == "clean"',
        "at most 36h old, by predicate.metadata.scanFinishedOn too",
        "of several the newest counts",
        "rules[0].attestations[1]: https://slsa.dev/provenance/v1 by ci",
        "any one of several will do",
        "",
        'UNDECIDED  signatures and attestations decide: "production" must be satisfied',
    ]


def test_a_rule_without_signatures_is_told(commands: Commands, demanding: Path) -> None:
    told = commands.run("policy", "explain", "quay.io/acme/api", "-n", "shop", "-p", demanding)
    assert (told.code, told.err) == (0, "")
    assert "wants   attestations https://spdx.dev/Document (by ci)" in told.out
    assert "at most 90m old" in told.out
    assert "of several all must hold" in told.out


def test_a_key_whose_log_is_demanded_says_which(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "logged.yaml"
    path.write_text(policy() + "      requireLog: true\n")
    told = commands.run("policy", "explain", "nginx", "-p", path)
    assert f"sha256:{FINGERPRINT}, logged in public-good (built-in; demands log, SCT)" in told.out


@pytest.fixture
def notarized(tmp_path: Path) -> Path:
    path = tmp_path / "notarized.yaml"
    more = (
        profiles({}, {"name": "lax", "arn": VERSION, "revocation": "off"})
        + certificates(
            {"level": "audit", "override": {"revocation": "skip"}},
            {"name": "stamped", "subjects": [f"{SUBJECT}, CN=x"], "timestamp": CLOCK},
            {"name": "any", "subjects": None, "unsafeAnySubject": True},
        )
        + ACME_AND_CLOCK
        + f"  trustedKeys: [{{name: kms, kms: '{KMS}', hash: sha384, requireLog: true}}, {{name: stored, {SECRET}}}]\n"
    )
    path.write_text(head() + more)
    return path


def test_who_signs_for_the_notary_project_is_told(commands: Commands, notarized: Path) -> None:
    told = commands.run("policy", "explain", "ghcr.io/acme/api", "-p", notarized)
    lines = [line.strip() for line in told.out.splitlines()]
    assert lines[5:-2] == [
        f"kms      {KMS}, sha384, logged in public-good (built-in; demands log, SCT)",
        "stored   secret release/cosign.pub, pss",
        f"ecr      {ARN}, trust store aws-signer",
        f"lax      {VERSION}, trust store aws-signer; not checked: revocation",
        (
            f"acme     {SUBJECT} under ca:acme; only told: authenticity, authenticTimestamp, expiry; "
            "not checked: revocation"
        ),
        f"stamped  {SUBJECT}, CN=x under ca:acme; stamped by clock once a certificate has ended",
        "any      any subject under ca:acme",
    ]


def test_json_says_which_checks_refuse(commands: Commands, notarized: Path) -> None:
    told = commands.run("policy", "explain", "ghcr.io/acme/api", "-p", notarized, "-o", "json")
    key, stored, _, lax, acme, _, _ = json.loads(told.out)["policies"][0]["signers"]
    assert (key["kind"], key["identity"], key["fingerprint"], key["checks"]) == ("key", KMS, None, {})
    assert (key["requires"]["log"], key["requires"]["sct"]) == (True, False)
    assert (stored["kind"], stored["identity"]) == ("key", "secret release/cosign.pub")
    assert stored["requires"] == {"log": False, "sct": False, "timestamp": False}
    assert (lax["kind"], lax["identity"], lax["trust_stores"]) == ("profile", VERSION, ["signingAuthority:aws-signer"])
    assert (lax["trust_root"], lax["checks"]["revocation"], lax["checks"]["expiry"]) == (None, "skip", "enforce")
    assert acme["kind"] == "certificate"
    assert acme["checks"] == {
        "integrity": "enforce", "authenticity": "log", "authenticTimestamp": "log", "expiry": "log",
        "revocation": "skip",
    }  # fmt: skip


def test_json_holds_all_that_a_rule_demands(commands: Commands, demanding: Path) -> None:
    told = commands.run("policy", "explain", "ghcr.io/acme/api", "-n", "shop", "-p", demanding, "-o", "json")
    (found,) = json.loads(told.out)["policies"]
    ci, release, own = found["signers"]
    assert (ci["kind"], ci["fingerprint"], ci["algorithm"], ci["trust_root"]) == ("keyless", None, None, "public-good")
    assert ci["identity"].startswith("subjectGlob 'https://github.com/acme/api/**', issuer ")
    assert ci["requires"] == {"log": True, "sct": True, "timestamp": False}
    assert (release["kind"], release["fingerprint"], release["identity"]) == ("key", FINGERPRINT, None)
    assert release["requires"] == {"log": False, "sct": False, "timestamp": False}
    assert (own["trust_root"], own["requires"]["sct"]) == ("file internal.json", False)
    assert (found["needed"], found["annotations"], found["max_age_seconds"]) == (2, {"env": "prod"}, 90 * 24 * 3600)
    scan, provenance = found["attestations"]
    assert (scan["label"], scan["signers"], scan["pick"], scan["max_age_seconds"], scan["time_field"]) == (
        "rules[0].attestations[0]", ["own"], "newest", 36 * 3600, "predicate.metadata.scanFinishedOn",
    )  # fmt: skip
    assert provenance == {
        "label": "rules[0].attestations[1]",
        "predicate_type": "https://slsa.dev/provenance/v1",
        "signers": ["ci"],
        "condition": None,
        "pick": "any",
        "max_age_seconds": None,
        "time_field": None,
    }
