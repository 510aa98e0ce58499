"""Which Secrets a PodSpec names for pulling its images, and whose are used where it names none.

The names come from whoever writes pods and end in paths of the Kubernetes API, so only what can be the name of an
object is handed on, and no more of them than are ever read. Whatever else stands there names nothing: nothing is
opened by a mistake here. spec: Kubernetes core/v1 PodSpec, imagePullSecrets, serviceAccountName; RFC 1123.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

SECRETS_MAX = 10  # of one pod; real ones name one or two
DEFAULT_ACCOUNT = "default"

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)  # RFC 1123 2.1, label
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")  # RFC 1123 2.1, subdomain
_NAME_MAX_CHARS = 253


def of_pod(pod: object) -> tuple[str, ...]:
    """The Secrets by which the images of a Pod under review are pulled.

    Those of its service account stand in it by then: the API server's own admission has written them there.
    """
    return secrets_of(_below(pod, ("spec",)))


def of_template(obj: object, pod_spec: Sequence[object]) -> tuple[tuple[str, ...], str]:
    """The Secrets by which pods of a template are pulled, and else the service account that has them.

    `pod_spec` is the path to its PodSpec; neither is told where that is not one place.
    """
    if not all(isinstance(step, str) for step in pod_spec):
        return (), ""
    spec = _below(obj, pod_spec)
    names = secrets_of(spec)
    return names, "" if names else _account_of(spec)


def secrets_of(spec: Mapping[str, object]) -> tuple[str, ...]:
    """The distinct names in `imagePullSecrets` of a PodSpec or ServiceAccount: at most one more than `SECRETS_MAX`."""
    listed = spec.get("imagePullSecrets")
    names: dict[str, None] = {}
    for entry in listed if isinstance(listed, list) else ():
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and is_name(name):
            names[name] = None
        if len(names) > SECRETS_MAX:
            break
    return tuple(names)


def is_name(text: str) -> bool:
    """Whether a Secret or ServiceAccount may have this name."""
    return len(text) <= _NAME_MAX_CHARS and _NAME.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    """Whether a namespace may have this name."""
    return _NAMESPACE.fullmatch(text) is not None


def _account_of(spec: Mapping[str, object]) -> str:
    name = spec.get("serviceAccountName") or DEFAULT_ACCOUNT
    return name if isinstance(name, str) and is_name(name) else ""


def _below(value: object, steps: Sequence[object]) -> Mapping[str, object]:
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
