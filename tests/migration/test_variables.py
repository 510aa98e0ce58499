"""Variables are found wherever people have them at hand, and their values stay out of what is said."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import MalformedError
from webhook.migration import variables

PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"
FOUND = {"COSIGN_KEY_ARN": "arn:x", "SNS_TOPIC_ARN": "arn:y"}
PAIRS = [{"name": name, "value": value} for name, value in FOUND.items()]
TASK = {"containerDefinitions": [{"name": "log-router"}, {"name": "verifier", "environment": PAIRS}]}

JSON: Mapping[str, object] = {
    "plain": FOUND,
    "get-function-configuration": {"FunctionName": "f", "Environment": {"Variables": FOUND}},
    "get-function": {"Configuration": {"Environment": {"Variables": FOUND}}, "Code": {}},
    "environment": PAIRS,
    "container-definition": {"name": "verifier", "environment": PAIRS, "secrets": []},
    "task-definition": TASK,
    "describe-task-definition": {"taskDefinition": TASK},
    "docker-inspect": [{"Id": "x", "Config": {"Env": [f"{name}={value}" for name, value in FOUND.items()]}}],
    "stack": {
        "Stacks": [{"Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in FOUND.items()]}]
    },
}


@pytest.mark.parametrize("value", JSON.values(), ids=JSON)
def test_json_of_many_tools_is_read(value: object) -> None:
    assert variables.parse(json.dumps(value).encode()) == FOUND


LINES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "plain": ("COSIGN_KEY_ARN=arn:x\nSNS_TOPIC_ARN=arn:y\n", FOUND),
    "export": ("export A=b\n", {"A": "b"}),
    "comment": ("# A=b\n\n  # C=d\nE=f # g", {"E": "f # g"}),
    "quoted": ("A=\"b c\"\nB='d'\n", {"A": "b c", "B": "d"}),
    "pem": (f'KEY_PEM="{PEM}"\nB=c', {"KEY_PEM": PEM, "B": "c"}),
    "equals": ("A=b=c", {"A": "b=c"}),
    "empty": ("A=", {"A": ""}),
    "crlf": ("A=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
}


@pytest.mark.parametrize(("text", "found"), LINES.values(), ids=LINES)
def test_lines_are_read(text: str, found: Mapping[str, str]) -> None:
    assert variables.parse(text.encode()) == found


BAD: Mapping[str, tuple[str, str]] = {
    "no-assignment": ("A=b\nhunter2", "line 2: NAME=value expected"),
    "open-quote": ('A="hunter2\nB=c', "line 1: the value of A"),
    "number": ('{"A": 1}', "A: a string expected, found a number"),
    "null": ('{"Environment": {"Variables": null}}', "Environment.Variables: an object expected"),
    "two-containers": ('[{"Config": {"Env": []}}, {"Config": {"Env": []}}]', "one container expected, found 2"),
    "two-environments": (
        json.dumps({"containerDefinitions": [{"environment": PAIRS}, {"environment": PAIRS}]}),
        "one container expected, found 2",
    ),
    "broken": ('{"A": hunter2', "not JSON as expected"),
    "many": ("\n".join(f"A{number}=b" for number in range(2001)), "at most 2000 variables"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_told_without_its_values(text: str, said: str) -> None:
    with pytest.raises(MalformedError) as caught:
        variables.parse(text.encode())
    assert said in caught.value.detail
    assert "hunter2" not in caught.value.detail


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert all(isinstance(value, str) for value in variables.parse(data).values())


NAMES = st.sampled_from(["Environment", "Variables", "environment", "Config", "Env", "containerDefinitions", "name"])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_json_is_read_or_refused(value: object) -> None:
    with contextlib.suppress(MalformedError):
        variables.parse(json.dumps(value).encode())
