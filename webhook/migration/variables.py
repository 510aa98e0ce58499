"""Environment variables as people have them at hand: lines of a `.env` file, or JSON that AWS or Docker prints.

Of JSON, the first of these that is there: `Environment.Variables` of a Lambda function, `environment` of a container
definition (or of the only container in a task definition that has one), `Config.Env` of `docker inspect`, `Parameters`
of a CloudFormation stack, or an object of text alone. Values are not shown in errors: there are secrets among them.

spec: AWS Lambda API reference, EnvironmentResponse; Amazon ECS API reference, ContainerDefinition, KeyValuePair; AWS
CloudFormation API reference, Parameter; Docker Engine API, ContainerInspect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from webhook import untrusted
from webhook.errors import quote
from webhook.migration.reading import MAX_BYTES, wrong

MAX_VARIABLES = 2000
_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def parse(data: bytes) -> Mapping[str, str]:
    """The variables in `data`, by name. Raises: MalformedError."""
    if data.lstrip()[:1] in (b"{", b"["):
        found = _in_json(untrusted.parse_json(data, max_bytes=MAX_BYTES, what="the document"))
    else:
        found = dict(_assignments(data.decode("utf-8", "replace")))
    if len(found) > MAX_VARIABLES:
        raise wrong("the environment", f"at most {MAX_VARIABLES} variables expected, found {len(found)}")
    return found


def _in_json(value: object) -> Mapping[str, str]:
    if isinstance(value, list):
        if value and isinstance(value[0], dict) and "value" in value[0]:
            return _pairs(value, "environment", "name", "value")
        if len(value) != 1:
            raise wrong("the document", f"one container expected, found {len(value)}")
        return _in_json(value[0])
    document = untrusted.as_object(value, "the document")
    for name in ("Configuration", "taskDefinition"):  # what get-function and describe-task-definition put around it
        if name in document:
            return _in_json(document[name])
    if "Environment" in document:
        environment = untrusted.as_object(document["Environment"], "Environment")
        return _texts(environment.get("Variables"), "Environment.Variables")
    if "containerDefinitions" in document:
        return _in_json([one for one in _list(document, "containerDefinitions") if _has_environment(one)])
    if "environment" in document:
        return _pairs(_list(document, "environment"), "environment", "name", "value")
    if "Config" in document:
        lines = _list(untrusted.as_object(document["Config"], "Config"), "Env")
        return dict(text.partition("=")[::2] for text in (untrusted.as_string(line, "Config.Env") for line in lines))
    if "Stacks" in document:
        return _in_json(document["Stacks"])
    if "Parameters" in document:
        return _pairs(_list(document, "Parameters"), "Parameters", "ParameterKey", "ParameterValue")
    return _texts(document, "the document")


def _has_environment(container: object) -> bool:
    return bool(untrusted.as_object(container, "containerDefinitions").get("environment"))


def _list(document: Mapping[str, object], name: str) -> list[object]:
    return untrusted.as_array(document.get(name), name, max_items=MAX_VARIABLES)


def _pairs(entries: list[object], path: str, name: str, value: str) -> Mapping[str, str]:
    found = {}
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        fields = untrusted.as_object(entry, where)
        found[untrusted.as_string(fields.get(name), f"{where}.{name}")] = untrusted.as_string(
            fields.get(value), f"{where}.{value}"
        )
    return found


def _texts(value: object, path: str) -> Mapping[str, str]:
    return {
        name: untrusted.as_string(text, f"{path}.{quote(name, max_chars=60)[1:-1]}")
        for name, text in untrusted.as_object(value, path).items()
    }


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """`NAME=value`, one in each line; a value in quotation marks may go on over several, as PEM does."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ASSIGNMENT.fullmatch(line)
        if found is None:
            raise wrong(f"line {number}", "NAME=value expected")
        name, value = found[1], found[2].strip()
        mark = value[:1]
        if mark not in ('"', "'"):
            yield name, value
            continue
        parts = [value[1:]]
        while not parts[-1].rstrip().endswith(mark):
            _, further = next(lines, (0, None))
            if further is None:
                raise wrong(f"line {number}", f"the value of {name} ends with {mark} expected, and it does not end")
            parts.append(further)
        yield name, "\n".join(parts).rstrip()[:-1]
