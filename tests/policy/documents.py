"""TrustPolicy documents in pieces, and the folders in which they come, for the tests of document, lint and source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from webhook.policy import document
from webhook.policy.document import Mistake, PolicyErrors
from webhook.policy.model import PolicySet, TrustPolicy

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

KEY_A = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDiYPKthWJ4D9CuGMGAdeut7TXyvz
HOGmT3O1bPrmEBfNXNwJRyVNJINxK/DliI2bPramhJBjUwb4xW5RE6BiAw==
-----END PUBLIC KEY-----
"""
KEY_B = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzwn9nXY2cfFcd/jGbJqn/c81x+DS
AXRV72Zlhh5FgzwcuvrkVWj5SHqYb6e26cBtA0u3A752EI7pwFIXcLR9Zg==
-----END PUBLIC KEY-----
"""
KEY_C = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzEQSTDe1WJzfNe5ry68mtaO13SOZ
8eKsQt9dqh9GQHGQHuYI85j1+GAZo9W6sJRh5CEgCE/nG0gQZX6wUuTnDg==
-----END PUBLIC KEY-----
"""


def head(name: str = "production", mode: str = "enforce") -> str:
    """A document up to its first field after `mode`, which is line 7."""
    return f"""apiVersion: countersign.dev/v1
kind: TrustPolicy
metadata:
  name: {name}
spec:
  mode: {mode}
"""


def key(name: str, pem: str, *, after: str = "") -> str:
    """One entry of `trustedKeys`; `after` follows where the block scalar begins."""
    lines = "\n".join(f"        {line}" for line in pem.splitlines())
    return f"    - name: {name}\n      publicKey: |{after}\n{lines}\n"


KEYS = "  trustedKeys:\n" + key("release", KEY_A) + key("pipeline", KEY_B)


ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/acme/api/.github/workflows/release.yml@refs/heads/main"


def identity(name: str, more: str = "", *, issuer: str = ISSUER, subject: str = WORKFLOW) -> str:
    """One entry of `keyless`, of three lines, or with `more`."""
    return f"    - name: {name}\n      issuer: {issuer}\n      subject: {subject}\n{more}"


KEYLESS = "  keyless:\n" + identity("ci")


def policy(name: str = "production", *, mode: str = "enforce", more: str = KEYS) -> str:
    """A whole document; with `KEYS` it has 19 lines, and may go on."""
    return head(name, mode) + more


def parse(text: str | bytes, now: datetime = NOW) -> tuple[TrustPolicy, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    return document.parse(data, origin="production.yaml", now=now)


def parse_one(text: str, now: datetime = NOW) -> TrustPolicy:
    (parsed,) = parse(text, now)
    return parsed


def mistakes_of(text: str | bytes, now: datetime = NOW) -> tuple[Mistake, ...]:
    with pytest.raises(PolicyErrors) as caught:
        parse(text, now)
    return caught.value.mistakes


def refused(more: str) -> list[tuple[str, str]]:
    """Path and message of each mistake in a document that goes on with `more`.

    Each stands in a line with `#!`, or where there is none in that of `spec`.
    """
    text = head() + more
    lines = [number for number, line in enumerate(text.split("\n"), start=1) if "#!" in line] or [5]
    found = mistakes_of(text)
    assert [mistake.line for mistake in found] == (lines if len(lines) == len(found) else lines * len(found))
    return [(mistake.path, mistake.message) for mistake in found]


def policy_set(*texts: str, now: datetime = NOW) -> PolicySet:
    parsed = tuple(parse_one(text, now) for text in texts)
    return PolicySet(parsed, "", "here")


@contextmanager
def without_permission(path: Path) -> Iterator[None]:
    """`path` cannot be read; root, who reads everything, is somebody else meanwhile."""
    path.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        path.chmod(0o755)
