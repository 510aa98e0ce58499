"""How a registry wants to be asked: the header WWW-Authenticate, parsed tolerantly and bounded.

No input raises; what makes no sense ends the header there. spec: RFC 9110 11.2, 11.6.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHALLENGES = 8
MAX_CHARS = 8192

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_TOKEN68 = re.compile(r"[0-9A-Za-z._~+/-]+=*(?=[ \t]*(?:,|$))")  # RFC 9110 11.2
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BLANK = re.compile(r"[ \t]*")
_SEPARATOR = re.compile(r"[ \t,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a registry wants to be asked: `basic`, or `bearer` with a token of `realm`."""

    scheme: str
    realm: str = ""
    service: str = ""


def select(headers: tuple[str, ...]) -> Challenge | None:
    """The challenge of WWW-Authenticate that we can answer, bearer before basic; None where there is none."""
    challenges = [challenge for header in headers for challenge in parse_challenges(header)]
    bearer = next((found for found in challenges if found.scheme == "bearer" and found.realm), None)
    return bearer or next((found for found in challenges if found.scheme == "basic"), None)


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges in one header line, up to where it stops making sense."""
    text, at = header[:MAX_CHARS], 0
    found: list[Challenge] = []
    while len(found) < MAX_CHALLENGES:
        at = _end(_SEPARATOR, text, at)
        scheme = _TOKEN.match(text, at)
        if scheme is None:
            break
        parameters, at = _parse_parameters(text, scheme.end())
        found.append(
            Challenge(
                scheme=scheme[0].lower(),
                realm=parameters.get("realm", ""),
                service=parameters.get("service", ""),
            )
        )
    return found


def _parse_parameters(text: str, at: int) -> tuple[dict[str, str], int]:
    """`name=value` pairs up to the next scheme; a comma inside of quotes parts nothing."""
    parameters: dict[str, str] = {}
    opaque = _TOKEN68.match(text, _end(_BLANK, text, at))
    if opaque is not None and at != _end(_BLANK, text, at):
        return parameters, opaque.end()
    while True:
        start = _end(_SEPARATOR, text, at)
        name = _TOKEN.match(text, start)
        equals = _end(_BLANK, text, name.end()) if name is not None else len(text)
        if name is None or text[equals : equals + 1] != "=":
            return parameters, at
        value, at = _parse_value(text, _end(_BLANK, text, equals + 1))
        parameters.setdefault(name[0].lower(), value)


def _parse_value(text: str, at: int) -> tuple[str, int]:
    if quoted := _QUOTED.match(text, at):
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    if bare := _TOKEN.match(text, at):
        return bare[0], bare.end()
    return "", len(text)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match is not None else at
