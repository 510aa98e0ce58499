"""The locks fit the project: every requirement is met by a pin, every file has its hash, and no index is named.

And the image keeps of the AWS SDK what the package calls.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import botocore
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("build", "runtime", "development")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = {
    "build": PROJECT["build-system"]["requires"],
    "runtime": PROJECT["project"]["dependencies"],
    "development": PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"],
}


def _pins(lock: str) -> dict[str, Version]:
    """Name and version of each package; the file is pip's form, one package and then its hashes."""
    lines = _text(lock).splitlines()
    pins = (re.fullmatch(r"([a-z0-9.-]+)==([^ ;]+).*", line) for line in lines if line[:1] not in ("", "#", " "))
    return {canonicalize_name(pin[1]): Version(pin[2]) for pin in pins if pin}


def _text(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_meets_every_requirement(lock: str) -> None:
    pins = _pins(lock)
    wanted = [Requirement(text) for text in WANTED[lock]]
    unmet = [str(need) for need in wanted if pins.get(canonicalize_name(need.name), Version("0")) not in need.specifier]
    assert unmet == [], "`make requirements` locks anew"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_a_hash_for_each_package_and_names_no_index(lock: str) -> None:
    text = _text(lock)
    packages = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(packages) == len(_pins(lock))
    assert [package for package in packages if "--hash=sha256:" not in package] == []
    assert "://" not in text
    assert re.findall(r"^\s*-.*(index|find-links|trusted-host)", text, flags=re.MULTILINE) == []


def test_runtime_and_development_agree() -> None:
    runtime, development = _pins("runtime"), _pins("development")
    assert {name: development.get(name) for name in runtime} == runtime


def test_the_image_knows_every_service_that_is_called() -> None:
    known = {path.name for path in (Path(botocore.__file__).parent / "data").iterdir() if path.is_dir()}
    kept = set(re.findall(r"! -name ([a-z-]+)", (ROOT / "Dockerfile").read_text()))
    sources = [path.read_text() for path in (ROOT / "webhook").rglob("*.py")]
    named = {word for text in sources for word in re.findall(r'(?:Client|Place|call)\(\s*"([a-z-]+)"', text)} & known
    assert {"ecr", "ecr-public", "kms", "signer-data", "sns", "sts"} <= named
    assert named - kept == set()
    assert kept - known == set()
