"""A file of extractors, YAML, to the values of `kube/extractors`, or every mistake in it with its path and line.

It says for custom resources where PodSpecs or references of images stand, so that early feedback can be given on them.
Read as strictly as a policy, since a typo would look like an object without images; what an extractor finds is never
the last word, pods are judged whatever it says. spec: kubernetes.md 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from webhook.errors import MalformedError
from webhook.kube import extractors
from webhook.kube.extractors import Extractor
from webhook.policy.syntax import markup
from webhook.policy.syntax.fields import found
from webhook.policy.syntax.mistakes import Mistakes, Path

EXTRACTORS_MAX = 200  # of one file
PATHS_MAX = 64  # of one extractor; Argo's templates have 25

_FIELDS = ("apiGroup", "version", "resource", "podSpecs", "images")
_GROUP = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_VERSION = re.compile(r"v[1-9][0-9]{0,3}((alpha|beta)[1-9][0-9]{0,3})?")
_RESOURCE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_TEXTS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "apiGroup": (_GROUP, "an API group such as argoproj.io"),
    "version": (_VERSION, "an API version such as v1alpha1"),  # for the webhook's rule: others are converted to it
    "resource": (_RESOURCE, "the plural name of a resource, such as rollouts,"),
}
_BUILT_IN_GROUPS = frozenset(group for group, _ in extractors.BUILT_IN if group)


def parse(data: bytes, *, origin: str) -> tuple[Extractor, ...]:
    """The extractors in `data`, at least one; `origin` names the file in what is said of it.

    Raises: PolicyErrors, with all mistakes.
    """
    mistakes = Mistakes(origin)
    values = markup.read(data, mistakes)
    if not values:
        mistakes.raise_any()
        mistakes.add((), "a mapping with `extractors` expected: the file is empty", mark=(1, 1))
    made = [one for number, value in values.items() for one in _read(value, (number,), mistakes)]
    mistakes.raise_any()
    return tuple(made)


def _read(value: markup.Value, path: Path, mistakes: Mistakes) -> Iterator[Extractor]:
    """The extractors of one document that are right."""
    entries = value.get("extractors") if isinstance(value, dict) and set(value) == {"extractors"} else None
    if not isinstance(entries, list) or not 0 < len(entries) <= EXTRACTORS_MAX:
        if not mistakes.at_or_below(path):
            mistakes.add(path, f"one field `extractors` with a list of 1 to {EXTRACTORS_MAX} expected")
        return
    for index, entry in enumerate(entries):
        place = (*path, "extractors", index)
        if isinstance(entry, dict):
            yield from _extractor(entry, place, mistakes)
        elif not mistakes.at(place):
            mistakes.add(place, f"a mapping of {', '.join(_FIELDS)} expected, found {found(entry)}")


def _extractor(entry: dict[str, markup.Value], place: Path, mistakes: Mistakes) -> Iterator[Extractor]:
    for name in entry:
        if name not in _FIELDS:
            mistakes.add((*place, name), f"unknown field; known are {', '.join(_FIELDS)}")
    for name, (pattern, expected) in _TEXTS.items():
        value = entry.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            mistakes.add((*place, name), f"{expected} expected, found {found(value)}")
    if entry.get("apiGroup") in _BUILT_IN_GROUPS:
        mistakes.add((*place, "apiGroup"), "resources of Kubernetes itself need no extractor")
    if not any(name in entry for name in ("podSpecs", "images")):
        mistakes.add(place, "leads nowhere: podSpecs or images expected")
    pod_specs = _paths(entry, place, "podSpecs", mistakes)
    images = _paths(entry, place, "images", mistakes)
    if not mistakes.at_or_below(place):
        yield Extractor(str(entry["apiGroup"]), str(entry["resource"]), pod_specs, images)


def _paths(entry: dict[str, markup.Value], place: Path, name: str, mistakes: Mistakes) -> tuple[extractors.Path, ...]:
    """The paths of a list that are right; none where it was left out."""
    if name not in entry:
        return ()
    listed = entry[name]
    if not isinstance(listed, list) or not 0 < len(listed) <= PATHS_MAX:
        if not mistakes.at_or_below((*place, name)):
            mistakes.add((*place, name), f"a list of 1 to {PATHS_MAX} paths expected")
        return ()
    paths: list[extractors.Path] = []
    for index, text in enumerate(listed):
        try:
            if not isinstance(text, str):
                mistakes.add((*place, name, index), f"a path expected, found {found(text)}")
                continue
            paths.append(extractors.parse_path(text))
        except MalformedError as error:
            mistakes.add((*place, name, index), error.detail)
    return tuple(paths)
