"""What docs/migration.md shows is what is made of what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.migration.deciding import ROOT
from tests.migration.test_statements import built_in
from webhook.migration import code_signing, ecs, notation, statements, variables
from webhook.migration.draft import Draft, render
from webhook.migration.notation import StoreName
from webhook.trust.notary.stores import StoreKind

TEXT = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def section(title: str) -> tuple[bytes, str]:
    """What goes in, and what comes out."""
    text = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    given, shown = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return given.encode(), shown


def from_notation(data: bytes) -> Draft:
    held = {StoreName(StoreKind.CA, "acme"): ROOT.store("acme", StoreKind.CA), **built_in()}
    return statements.convert(notation.parse(data), held, origin="trustpolicy.json")


SECTIONS: Mapping[str, Callable[[bytes], Draft]] = {
    "AWS Lambda, code signing": lambda data: code_signing.convert(data, origin="csc.json"),
    "Notation": from_notation,
    "Verifiers for Amazon ECS": lambda data: ecs.convert(variables.parse(data), origin="verifier.env"),
}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_document_shows_what_is_written(title: str) -> None:
    given, shown = section(title)
    made = PEM.sub("PEM", render(SECTIONS[title](given)).decode())
    assert yaml.safe_load(made)["spec"] == yaml.safe_load(PEM.sub("PEM", shown))["spec"]
    comments = [line.strip() for line in shown.splitlines() if line.strip().startswith("#")]
    assert [line for line in comments if line not in made and "until 20" not in line] == []
