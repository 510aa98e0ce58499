"""Commands run in-process, away from the user's own settings, against images in a registry on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles.registry import running
from webhook.demo import images, signing
from webhook.demo.images import Case
from webhook.demo.registry import MemoryRegistry
from webhook.terminal import app

TRUSTED, STRANGER = signing.new_key(), signing.new_key()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("COUNTERSIGN_") or name.lower().endswith("_proxy") or name in ("FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@dataclass(frozen=True, slots=True)
class Told:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.splitlines()[-1]


class Commands:
    """Runs commands and keeps what they say."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *argv: object) -> Told:
        code = app.run([str(argument) for argument in argv])
        out, err = self._capsys.readouterr()
        return Told(code, out, err)


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A registry with the demo's images, and the key that signed the good ones."""

    host: str
    cases: Mapping[str, Case]
    key: Path
    stored: MemoryRegistry
    commands: Commands

    async def verify(self, image: str, *options: object) -> Told:
        """`countersign verify` in a thread: the registry lives in this one."""
        named = self.cases[image].reference if image in self.cases else image
        argv = ("verify", named, "--insecure-registry", self.host, *options)
        return await asyncio.to_thread(self.commands.run, *argv)


@pytest.fixture
async def shelf(tmp_path: Path, commands: Commands) -> AsyncIterator[Shelf]:
    key = tmp_path / "release.pub"
    key.write_text(TRUSTED.public_pem)
    stored = MemoryRegistry()
    async with running(stored) as host:
        cases = await asyncio.to_thread(images.make, host, trusted=TRUSTED, stranger=STRANGER)
        yield Shelf(host, {case.name: case for case in cases}, key, stored, commands)


def is_documented(field: str) -> bool:
    """Whether docs/verify.md speaks of that field of the document."""
    text = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
    return f"`{field}`" in text or f"`{field}[]`" in text


def policy(name: str = "production", key: signing.SigningKey = TRUSTED, **fields: str) -> str:
    """A policy that trusts `key` under the name release; `fields` are further lines of its spec."""
    lines = "".join(f"  {field}: {value}\n" for field, value in ({"mode": "enforce"} | fields).items())
    pem = key.public_pem.strip().replace("\n", "\n        ")
    return f"""\
apiVersion: countersign.dev/v1
kind: TrustPolicy
metadata:
  name: {name}
spec:
{lines}  trustedKeys:
    - name: release
      publicKey: |
        {pem}
"""
