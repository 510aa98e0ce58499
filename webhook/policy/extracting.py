"""The extractors in force: what Kubernetes itself needs, and those of the ConfigMaps that are watched, swapped as one.

Every key of a ConfigMap keeps its last good version: one that no longer parses is a problem, and what it said before
stays. A ConfigMap that goes takes its extractors along. Files are bounded in number and size, read in a thread, and
only where they changed. Reading one is `extractors`'; watching is the caller's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from webhook import settings
from webhook.errors import OperatorError
from webhook.kube import extractors as kube_extractors
from webhook.kube.extractors import Extractor, Extractors
from webhook.kube.watching import Objects
from webhook.policy import extractors

FILES_MAX = 200  # keys of all ConfigMaps; a chart has one for each project
FILE_MAX_CHARS = 128 * settings.KIB  # Argo's, the longest known, has 5 KiB
ENDING = ".yaml"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    """`good` is what the last version that could be read says; `problem` is why `text` could not."""

    text: str
    good: tuple[Extractor, ...]
    problem: str = ""


class ExtractorSource:
    """`current` is one value that never changes, replaced as a whole; `problems` are by `ConfigMap/key`."""

    def __init__(self) -> None:
        self.current: Extractors = kube_extractors.join(())
        self.problems: Mapping[str, str] = {}
        self._files: Mapping[str, _File] = {}

    async def changed(self, objects: Objects) -> None:
        """`objects`, ConfigMaps by name, are in force, as far as they can be. One call at a time."""
        found = _files(objects)
        files = await asyncio.to_thread(_read_all, found[:FILES_MAX], self._files)
        problems = {name: file.problem for name, file in files.items() if file.problem}
        for name, _ in found[FILES_MAX:]:
            problems[name] = f"{name}: left out: at most {FILES_MAX} files of extractors are read"
        for name, problem in problems.items():
            if self.problems.get(name) != problem:
                log.warning("extractors: %s", problem)
        self._files, self.problems = files, problems
        self.current = kube_extractors.join(one for file in files.values() for one in file.good)


def _read_all(found: list[tuple[str, str]], before: Mapping[str, _File]) -> Mapping[str, _File]:
    return {name: _read(name, text, before.get(name)) for name, text in found}


def _read(name: str, text: str, before: _File | None) -> _File:
    if before and before.text == text:
        return before
    good = before.good if before else ()
    if len(text) > FILE_MAX_CHARS:
        return _File(text, good, f"{name}: not read: more than {FILE_MAX_CHARS} characters")
    try:
        return _File(text, extractors.parse(text.encode(errors="surrogatepass"), origin=name))
    except OperatorError as error:
        return _File(text, good, str(error))


def _files(objects: Objects) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in sorted(objects):
        data = objects[name].get("data")
        for key, text in sorted(data.items()) if isinstance(data, dict) else ():
            if key.endswith(ENDING) and isinstance(text, str):
                found.append((f"{name}/{key}", text))
    return found
