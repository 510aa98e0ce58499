"""A terminal on the cluster's node, and all that was typed and shown in it, as a document.

What is shown is what the programs wrote, unedited. `settled` is such a document without what no two runs have in
common: digests, names that a controller makes up, times. Nothing else is left out of a comparison.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.conftest import ROOT

# In this order; each takes what the one before it left.
_UNSETTLED: tuple[tuple[str, str], ...] = (
    (r"-----BEGIN PUBLIC KEY-----\n( *)(?s:.*?)-----END", r"-----BEGIN PUBLIC KEY-----\n\1KEY\n\1-----END"),
    (r"sha256:[0-9a-f]{64}", "DIGEST"),
    (r"@sha256:[0-9a-f]{4}…[0-9a-f]{2}", "@DIGEST"),
    (r"\((rev|revision) [0-9a-f]{7,12}\)", r"(\1 REVISION)"),
    (r'"revision":"[0-9a-f]{12}"', '"revision":"REVISION"'),
    (r"-[0-9a-f]{6,10}(-[0-9a-z]{5})?\b", "-REPLICA"),
    (r"(?m)^(LAST DEPLOYED: ).*$", r"\1TIME"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*Z?", "TIME"),
    (r"\b\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\b", "TIME"),
    (r"<invalid>|\b(?:\d+m)?\d+s\b|\b\d+m\b", "AGE"),
    (r"\bv\d+(?:\.\d+)+\b", "VERSION"),
    (r" {2,}", "  "),  # columns are as wide as what stands in them
)


class Terminal:
    """Commands run in `directory`, which the node sees, and where the repository's `charts` are."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster, self._directory = cluster, directory
        self._parts: list[str] = []
        self._path = f"{ROOT / '.venv/bin'}:{cluster.node.environment['PATH']}"
        (directory / "charts").symlink_to(ROOT / "charts")

    @property
    def document(self) -> str:
        """All of it so far, as Markdown."""
        return "\n".join(self._parts)

    def say(self, text: str) -> None:
        """`text` stands between what is shown."""
        self._parts.append(f"{text.strip()}\n")

    def file(self, name: str, text: str) -> None:
        """The file lies in the directory, and is shown under its name."""
        (self._directory / name).write_text(text)
        self._parts.append(f"`{name}`:\n\n```yaml\n{text.strip()}\n```\n")

    def type(self, *commands: str, status: int = 0) -> str:
        """Each of `commands` was typed, and what it wrote is shown, in one block; the last one's output.

        Raises: AssertionError where the last does not end with `status`, or one before it with an error.
        """
        shown, written = "", ""
        for command in commands:
            environment = (f"PATH={self._path}", "COLUMNS=100", "NO_COLOR=1")
            typed = ("env", f"--chdir={self._directory}", *environment, "sh", "-c", f"exec 2>&1; {command}")
            done = self._cluster.run(*typed, seconds=260, check=False)
            written = done.stdout
            assert done.returncode == (status if command == commands[-1] else 0), (
                f"{command}: status {done.returncode}\n{written}"
            )
            lines = "\n".join(line.rstrip() for line in written.splitlines())
            shown += f"$ {command}\n{lines}\n" if lines else f"$ {command}\n"
        self._parts.append(f"```console\n{shown}```\n")
        return written


def settled(document: str) -> str:
    """`document` as any other run would have written it."""
    for pattern, instead in _UNSETTLED:
        document = re.sub(pattern, instead, document)
    return document
