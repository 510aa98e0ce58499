"""What the documents say is true of the code: links, anchors, policies, fields, findings, metrics, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.notation.aws_like import issue
from tests.private_sigstore.instance import PrivateSigstore, key_of
from webhook.audit.sinks import Metrics
from webhook.demo import signing
from webhook.policy import document, lint, source
from webhook.policy.finding import FindingCode
from webhook.policy.model import PolicySet
from webhook.policy.reasons import short_type
from webhook.policy.syntax import schema, sheet
from webhook.terminal import app
from webhook.trust.identity import EXTENSIONS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "policies").glob("*.md")])
NOW = datetime(2026, 1, 20, tzinfo=UTC)
HEAD = "apiVersion: countersign.dev/v1\nkind: TrustPolicy\nmetadata: {name: example}\n"
SIGNERS = ("pipeline", "scanner", "release")  # whom fragments name without saying who they are
SIGSTORE = PrivateSigstore()
ROOT_CA = issue("C=US,ST=WA,O=acme.example,CN=root").pem
PEM = re.compile(r"^( *)-----BEGIN (PUBLIC KEY|CERTIFICATE)-----$.*?-----END \2-----$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORT_NAMES = ("slsaprovenance", "slsaprovenance02", "slsaprovenance1", "spdx", "spdxjson", "cyclonedx", "vuln",
               "openvex", "link", "custom")  # fmt: skip


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def prose(text: str) -> str:
    """`text` without its blocks of code, in which a `#` is no heading."""
    return BLOCK.sub("", text)


# --- links


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of the headings in a document."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path.read_text()), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(slug)
    return found


def links() -> Iterator[tuple[Path, str]]:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
            if not re.match(r"[a-z]+:", target):
                yield path, target


@pytest.mark.parametrize(("path", "target"), list(links()), ids=lambda value: getattr(value, "name", value))
def test_a_link_leads_somewhere(path: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    there = (path.parent / name).resolve() if name else path
    assert there.exists()
    assert not anchor or anchor in anchors(there)


def test_every_document_can_be_reached_from_the_first() -> None:
    linked = {
        (path.parent / target.partition("#")[0]).resolve() for path, target in links() if path.name == "README.md"
    }
    assert [path.name for path in (ROOT / "docs").glob("*.md") if path not in linked] == []


def test_what_the_program_links_to_is_there() -> None:
    for path in (ROOT / "webhook").rglob("*.py"):
        for name, anchor in re.findall(r"docs/(\w[\w-]*\.md)(?:#([\w-]+))?", path.read_text()):
            there = ROOT / "docs" / name
            assert there.exists(), path
            assert not anchor or anchor in anchors(there), path


# --- policies


PARTS: Mapping[str, Any] = schema.json_schema()["$defs"]
SPEC = PARTS["Spec"]["properties"]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        for number, (said, text) in enumerate(BLOCK.findall(path.read_text())):
            if said == language:
                yield f"{path.name}-{number}", text


def policies() -> Iterator[tuple[str, str]]:
    for name, text in blocks("yaml"):
        if (whole := as_policy(text)) is not None:
            yield name, whole


def as_policy(text: str) -> str | None:
    """A whole policy, made of what a document shows of one; `None` where it shows something else."""
    key = key_of("rsa2048" if "padding:" in text else "p256")
    certificate = ROOT_CA if "trustStores:" in text else SIGSTORE.ca_pem
    real = {"CERTIFICATE": certificate, "PUBLIC KEY": key.public_pem}
    text = PEM.sub(lambda shown: indent(real[shown[2]].strip(), shown[1]), text)
    first = re.split(r"[:\s]", text.strip(), maxsplit=1)[0]
    if "kind: TrustPolicy" in text:
        return text
    if first == "spec":
        return HEAD + (text if "mode:" in text else text.replace("spec:", "spec:\n  mode: enforce", 1))
    if text.startswith("- predicateType"):
        text = f"rules:\n  - images: [registry.example.com]\n    attestations:\n{indent(text, '      ')}"
        first = "rules"
    if first in SPEC:
        return f"{HEAD}spec:\n  mode: enforce\n{indent(text, '  ')}{known_signers(text)}"
    return None


def known_signers(text: str) -> str:
    if any(f"{field}:" in text for field in sheet.SIGNERS):
        return ""
    entries = "".join(
        f"    - name: {name}\n      publicKey: |\n{indent(signing.new_key().public_pem.strip(), '        ')}\n"
        for name in SIGNERS
    )
    return f"  trustedKeys:\n{entries}"


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in policies()])
def test_a_policy_that_is_shown_loads(text: str) -> None:
    (policy,) = document.parse(text.encode(), origin="document", now=NOW)
    assert policy.signers or policy.exempt or policy.deny


def test_policies_are_shown() -> None:
    assert {name.rpartition("-")[0] for name, _ in policies()} == {
        "README.md", "attestations.md", "aws.md", "cookbook.md", "keyless.md", "keys.md", "migration.md", "notary.md",
        "policy.md", "tour.md", "trust-roots.md",
    }  # fmt: skip


def recipes() -> list[tuple[str, str]]:
    """Each numbered section of the cookbook, with its policy."""
    sections = re.findall(r"^## \d+\. (.+?)$(.*?)(?=^## |\Z)", text_of("docs/cookbook.md"), re.MULTILINE | re.DOTALL)
    return [(title, as_policy(BLOCK.findall(section)[0][1]) or "") for title, section in sections]


@pytest.mark.parametrize("text", [pytest.param(text, id=title) for title, text in recipes()])
def test_a_recipe_is_whole_and_means_what_it_says(text: str) -> None:
    assert "kind: TrustPolicy" in text
    policies = PolicySet(document.parse(text.encode(), origin="recipe", now=NOW), "", "")
    found = {finding.code for finding in lint.lint(policies, now=NOW)}
    assert found <= {FindingCode.TAGS_ALLOWED}  # where nothing is pinned, the cookbook says so


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_field_of_a_policy_is_documented(part: str) -> None:
    text = text_of("docs/policy.md")
    missing = [
        field
        for field in PARTS[part].get("properties", {})
        if not re.search(rf"`(?:[\w\[\].]*\.)?{field}(?:\[\])?`", text)
    ]
    assert missing == []


def test_every_extension_is_documented() -> None:
    assert [name for name in EXTENSIONS if f"`{name}`" not in text_of("docs/keyless.md")] == []


@pytest.mark.parametrize("name", SHORT_NAMES)
def test_every_short_name_of_a_predicate_type_is_documented(name: str) -> None:
    assert f"`{name}`" in text_of("docs/policy.md")
    shown = f"{HEAD}spec:\n  mode: enforce\n  rules:\n    - images: [a.example]\n      attestations: [{{predicateType: "
    (policy,) = document.parse(f"{shown}{name}}}]\n{known_signers('')}".encode(), origin="document", now=NOW)
    assert short_type(policy.rules[0].attestations[0].predicate_type).startswith(name[:4])


def test_every_finding_is_documented_and_no_other() -> None:
    table = text_of("docs/policy.md").partition("## Findings")[2]
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]
    assert {code for row in rows for code in row} == set(FindingCode)


def test_every_example_is_listed_and_no_other() -> None:
    listed = re.findall(r"^\| `([\w-]+\.yaml)`", text_of("policies/README.md"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "policies").glob("*.yaml"))
    assert len(source.load_files([ROOT / "policies"], now=NOW).policies) == len(listed)


# --- the chart


VALUES: Mapping[str, Any] = yaml.safe_load(text_of("charts/countersign/values.yaml"))


def paths(values: Mapping[str, Any], known: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, bool]]:
    """Each path in `values`, and whether the chart knows it; what the chart leaves to its user is not looked into."""
    for name, value in values.items():
        yield f"{before}{name}", name in known
        if isinstance(value, dict) and known.get(name):
            yield from paths(value, known[name], f"{before}{name}.")


def values_shown() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, text in blocks("yaml"):
        if text.startswith("# values\n"):
            yield name, yaml.safe_load(text)
    for path in DOCUMENTS:
        for given in re.findall(r"--set '?([\w.]+)=", path.read_text()):
            value: Any = None
            for part in reversed(given.split(".")):
                value = {part: value}
            yield f"{path.name}-{given}", value


@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in values_shown()])
def test_values_that_are_shown_are_values_of_the_chart(values: Mapping[str, Any]) -> None:
    assert [path for path, known in paths(values, VALUES) if not known] == []


# --- names


def test_every_metric_is_documented_and_no_other() -> None:
    metrics, policies = Metrics(hosts={}, version="1"), PolicySet((), "", "")
    metrics.watch(policies=lambda: policies, certificate_expiry=lambda: 0)
    metrics.watch_cluster(
        policies=lambda: policies,
        unheard={"policies": lambda: 0},
        fails_open=lambda: True,
        authority_expiry=lambda: 0,
    )
    named = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in metrics.registry.collect()
    }
    told = set(re.findall(r"`(countersign_\w+)`", text_of("docs/operations.md").partition("## Metrics")[2]))
    assert {name for name in named if name.startswith("countersign_")} == told


def documented_settings() -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        for name in re.findall(r"COUNTERSIGN_[A-Z_]+", path.read_text()):
            yield path.name, name


def test_every_setting_that_is_named_exists() -> None:
    listed = set(re.findall(r"^\| `(COUNTERSIGN_[A-Z_]+)`", text_of("docs/settings.md"), re.MULTILINE))
    of_the_tests = {"COUNTERSIGN_REQUIRE_TOOLS"}
    assert {(path, name) for path, name in documented_settings() if name not in listed | of_the_tests} == set()


def commands_shown() -> Iterator[tuple[str, str]]:
    """Every `countersign …` in a block of code, its lines that go on joined."""
    for path in DOCUMENTS:
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"^(?:    |\$ )?(?:\S+=\S+ )*(countersign [a-z].*)$", text, re.MULTILINE):
            yield path.name, line


@pytest.mark.parametrize(("name", "line"), list(commands_shown()))
def test_a_command_that_is_shown_exists(name: str, line: str) -> None:
    _, *words = re.split(r"\s{2,}|;", line, maxsplit=1)[0].split()
    command: Any = get_command(app.app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    if command.name != "serve":
        assert {word for word in re.findall(r"(?<!\S)--?[a-z-]+", " ".join(words)) if word not in known} == set()
