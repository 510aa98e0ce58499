"""Where the images of workloads stand: paths into an object, for the kinds of Kubernetes itself and for others.

An `Extractor` knows the resource and the paths; `images_of` finds what stands there, with the place of each, and which
of them an update left alone. Everything here serves early feedback: pods are judged whatever is found. So nothing that
an API server stores is an error: what is missing, empty or of another type names no image and is passed over, and only
an object with too many values is left unread. Extractors are written in YAML, which `policy/extractors` reads.
spec: kubernetes.md 4 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from webhook.errors import Code, MalformedError, quote
from webhook.kube.workload import Image, Images

VISITS_MAX = 50_000  # values looked at in one object: some 30 ms; a Deployment needs 20
STEPS_MAX = 24  # of one path; the longest known has 12
PATH_MAX_CHARS = 300

_NAME = r"[A-Za-z0-9_-]{1,63}"
_STEP = re.compile(rf"({_NAME}|\*)((?:\[\*\])*)")
_PLAIN_NAME = re.compile(_NAME)
# What the templates of Argo and Tekton put in for the pods: no reference before that.
_EXPRESSION = re.compile(r"\$\(|\{\{")


class Every(Enum):
    """A step to more than one value."""

    ENTRY = "[*]"  # of a list
    MEMBER = "*"  # of a mapping


Path = tuple[str | Every, ...]

# Kubernetes core/v1 PodSpec: every place that starts an image.
_POD_SPEC: tuple[Path, ...] = (
    ("containers", Every.ENTRY, "image"),
    ("initContainers", Every.ENTRY, "image"),
    ("ephemeralContainers", Every.ENTRY, "image"),
    ("volumes", Every.ENTRY, "image", "reference"),
)


@dataclass(frozen=True, slots=True)
class Extractor:
    """`pod_specs` lead to PodSpecs, `images` to the text of a reference. `literal`: texts hold no expressions."""

    group: str
    resource: str
    pod_specs: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()
    literal: bool = False


Extractors = Mapping[tuple[str, str], Extractor]  # by group and resource


def parse_path(text: str) -> Path:
    """The path that is written as `spec.templates[*].container.image`; `*` alone is every member of a mapping.

    Raises: MalformedError.
    """
    if len(text) > PATH_MAX_CHARS:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"a path of at most {PATH_MAX_CHARS} characters expected")
    steps: list[str | Every] = []
    for part in text.split("."):
        found = _STEP.fullmatch(part)
        if found is None:
            expected = "names with dots between them, `[*]` for every entry, `*` for every member"
            raise MalformedError(Code.MALFORMED, f"a path expected ({expected}), found {quote(text, max_chars=80)}")
        steps.append(Every.MEMBER if found[1] == "*" else found[1])
        steps += [Every.ENTRY] * (len(found[2]) // len(Every.ENTRY.value))
    if len(steps) > STEPS_MAX:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"a path of at most {STEPS_MAX} steps expected")
    return tuple(steps)


def join(extractors: Iterable[Extractor]) -> Extractors:
    """Those of Kubernetes itself and `extractors`; what several say of one resource holds together."""
    joined = dict(BUILT_IN)
    for one in extractors:
        other = joined.get((one.group, one.resource))
        if other is not None:
            pod_specs, images = _distinct(other.pod_specs, one.pod_specs), _distinct(other.images, one.images)
            one = Extractor(one.group, one.resource, pod_specs, images, literal=other.literal)
        joined[one.group, one.resource] = one
    return joined


def images_of(extractor: Extractor, operation: str, obj: object, old_object: object, *, max_images: int) -> Images:
    """The images of `obj`, one more than `max_images` to be judged at most, and those that an update left alone.

    Raises: MalformedError (`limit_exceeded`), where the object has more values than are looked at.
    """
    budget = _Budget()
    # A CREATE has no old object, whatever stands there.
    known = {key for key, _ in _found(extractor, old_object, budget)} if operation == "UPDATE" else frozenset()
    judged: list[Image] = []
    kept: list[Image] = []
    for key, image in _found(extractor, obj, budget):
        if key not in known:
            judged.append(image)
        elif len(kept) < max_images:
            kept.append(image)
        if len(judged) > max_images:
            break
    return Images(tuple(judged), tuple(kept))


class _Budget:
    """How many values may still be looked at."""

    def __init__(self) -> None:
        self._left = VISITS_MAX

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise MalformedError(Code.LIMIT_EXCEEDED, f"at most {VISITS_MAX} values of one object are looked at")


_Key = tuple[Path, str, str]  # which path led there, whose name stands nearest, the text


def _found(extractor: Extractor, obj: object, budget: _Budget) -> Iterator[tuple[_Key, Image]]:
    for path, in_pod_spec in _paths(extractor):
        for shown, name, text in _walk(obj, path, "", "", budget):
            if extractor.literal or not _EXPRESSION.search(text):
                # Of a PodSpec the container is named, as for pods: `spec.containers[0]`, `spec.volumes[2].image`.
                place = shown.rpartition(".")[0] if in_pod_spec else shown
                yield (path, name, text), Image(place, name, text)


def _paths(extractor: Extractor) -> Iterator[tuple[Path, bool]]:
    for start in extractor.pod_specs:
        for rest in _POD_SPEC:
            yield (*start, *rest), True
    for path in extractor.images:
        yield path, False


def _walk(value: object, steps: Path, shown: str, name: str, budget: _Budget) -> Iterator[tuple[str, str, str]]:
    """Each text to which `steps` lead: its path, the nearest `name` around it, and the text. As deep as `steps`."""
    budget.spend()
    if not steps:
        if isinstance(value, str) and value:
            yield shown, name, value
        return
    step, rest = steps[0], steps[1:]
    if step is Every.ENTRY:
        for index, entry in enumerate(value if isinstance(value, list) else ()):
            yield from _walk(entry, rest, f"{shown}[{index}]", name, budget)
    elif isinstance(value, dict):
        own = value.get("name")
        name = own if isinstance(own, str) and own else name
        for member in value if step is Every.MEMBER else (step,) if step in value else ():
            yield from _walk(value[member], rest, _below(shown, member), name, budget)


def _below(shown: str, member: str) -> str:
    if not _PLAIN_NAME.fullmatch(member):
        return f"{shown}[{quote(member, max_chars=60)}]"
    return f"{shown}.{member}" if shown else member


def _distinct(first: tuple[Path, ...], second: tuple[Path, ...]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _built_in(group: str, resource: str, path: str) -> tuple[tuple[str, str], Extractor]:
    return (group, resource), Extractor(group, resource, pod_specs=(parse_path(path),), literal=True)


BUILT_IN: Extractors = dict(
    (
        _built_in("", "podtemplates", "template.spec"),
        _built_in("", "replicationcontrollers", "spec.template.spec"),
        _built_in("apps", "deployments", "spec.template.spec"),
        _built_in("apps", "replicasets", "spec.template.spec"),
        _built_in("apps", "statefulsets", "spec.template.spec"),
        _built_in("apps", "daemonsets", "spec.template.spec"),
        _built_in("batch", "jobs", "spec.template.spec"),
        _built_in("batch", "cronjobs", "spec.jobTemplate.spec.template.spec"),
    )
)
