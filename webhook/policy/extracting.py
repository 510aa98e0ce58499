"""The extractors in force: what Kubernetes itself needs, and those of the ConfigMaps that are watched, swapped as one.

Every key of a ConfigMap keeps its last good version: one that no longer parses is a problem, and what it said before
stays. A ConfigMap that goes takes its extractors along. Reading one is `extractors`'; watching is the caller's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from webhook.errors import OperatorError
from webhook.kube import extractors as kube_extractors
from webhook.kube.extractors import Extractor, Extractors
from webhook.kube.watching import Objects
from webhook.policy import extractors

FILES_MAX = 200  # keys of all ConfigMaps; a chart has one for each project
ENDING = ".yaml"

log = logging.getLogger(__name__)


class ExtractorSource:
    """`current` is one value that never changes, replaced as a whole; `problems` are by `ConfigMap/key`."""

    def __init__(self) -> None:
        self.current: Extractors = kube_extractors.join(())
        self.problems: Mapping[str, str] = {}
        self._good: dict[str, tuple[Extractor, ...]] = {}

    async def changed(self, objects: Objects) -> None:
        """`objects`, ConfigMaps by name, are in force, as far as they can be."""
        good: dict[str, tuple[Extractor, ...]] = {}
        problems: dict[str, str] = {}
        files = _files(objects)
        for file, text in files[:FILES_MAX]:
            try:
                good[file] = extractors.parse(text.encode(errors="surrogatepass"), origin=file)
            except OperatorError as error:
                problems[file] = str(error)
                good[file] = self._good.get(file, ())
        for file, _ in files[FILES_MAX:]:
            problems[file] = f"{file}: left out: at most {FILES_MAX} files of extractors are read"
        for file, problem in problems.items():
            if self.problems.get(file) != problem:
                log.warning("extractors: %s", problem)
        self._good, self.problems = good, problems
        self.current = kube_extractors.join(one for made in good.values() for one in made)


def _files(objects: Objects) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in sorted(objects):
        data = objects[name].get("data")
        for key, text in sorted(data.items()) if isinstance(data, dict) else ():
            if key.endswith(ENDING) and isinstance(text, str):
                found.append((f"{name}/{key}", text))
    return found
