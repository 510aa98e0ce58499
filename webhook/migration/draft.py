"""A TrustPolicy as text that somebody will read: fields in their usual order, and comments on what they stand for.

A converter says what the policy holds and what must be told about it; here it becomes YAML that `policy.document`
reads. Comments may quote foreign text: whatever they hold, each stays a comment of printable lines. Whether the
policy can be loaded is for whoever writes it to try.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from webhook.policy.model import Mode

LINE_CHARS = 110
NAME_CHARS = 50  # of the 63 that a name may have: a number may follow
SECTIONS = (
    "trustedKeys", "signerProfiles", "certificates", "trustStores", "exemptRegistries", "rules", "deny",
)  # fmt: skip

WARN_SATISFIES_NOBODY = (
    "A policy that only warns satisfies nobody: of an image of which no other policy speaks, COUNTERSIGN_NO_MATCH "
    "decides, and its default denies. Set it to warn until this policy enforces."
)

Value = str | bool | Sequence["Value"] | Mapping[str, "Value"]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a list of `spec`; `comments` stand above it, each a paragraph."""

    value: Value
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """`sections` are lists of `spec` by their fields' names, as in `SECTIONS`; empty ones are left out."""

    name: str
    mode: Mode
    heading: tuple[str, ...]
    sections: Mapping[str, Sequence[Item]]
    about_mode: tuple[str, ...] = field(default=())


class Names:
    """Names of signers and trust stores, as a policy takes them, none twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, wanted: str) -> str:
        """A name like `wanted` that was not given out before."""
        plain = plain_name(wanted)
        name, number = plain, 1
        while name in self._taken:
            number += 1
            name = f"{plain}-{number}"
        self._taken.add(name)
        return name


def plain_name(wanted: str) -> str:
    """`wanted` with what no name may hold replaced."""
    return re.sub(r"[^a-z0-9]+", "-", wanted.lower())[:NAME_CHARS].strip("-") or "unnamed"


def render(draft: Draft) -> bytes:
    """The document, UTF-8."""
    lines = [
        *_comments(draft.heading, 0),
        "apiVersion: countersign.dev/v1",
        "kind: TrustPolicy",
        "metadata:",
        f"  name: {_dump(draft.name).strip()}",
        "spec:",
        *_comments(draft.about_mode, 2),
        f"  mode: {draft.mode}",
    ]
    for section in SECTIONS:
        items = draft.sections.get(section, ())
        if items:
            lines.append(f"  {section}:")
        for item in items:
            lines += _comments(item.comments, 4)
            lines.append(textwrap.indent(_dump([item.value]), " " * 4).rstrip("\n"))
    return ("\n".join(lines) + "\n").encode()


def _comments(paragraphs: Sequence[str], indent: int) -> list[str]:
    lines: list[str] = []
    for number, paragraph in enumerate(paragraphs):
        if number and not indent:
            lines.append("#")
        plain = "".join(character if character.isprintable() else "?" for character in paragraph)
        lines += [f"{' ' * indent}# {line}" for line in textwrap.wrap(plain, LINE_CHARS - indent - 2)]
    return lines


class _Dumper(yaml.SafeDumper):
    """Block style throughout, as people write it: text of several lines as it is, and nothing referred to."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _dump(value: Value) -> str:
    dumped: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=10_000)
    return dumped.removesuffix("...\n")
