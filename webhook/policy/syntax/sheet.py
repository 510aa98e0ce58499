"""One document of a policy file as it was written, and what of it is right so far.

Whoever reads a part of it takes only entries without mistakes from here, and adds what several fields say wrongly
together: so everything is told at once, and nothing is built on a value that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter

from webhook.oci.reference import Pattern
from webhook.policy.syntax import markup
from webhook.policy.syntax.fields import ImagePattern
from webhook.policy.syntax.mistakes import Mistakes, Path

COSIGN_SIGNERS = ("trustedKeys", "keyless")
NOTATION_SIGNERS = ("signerProfiles", "certificates")
SIGNERS = (*COSIGN_SIGNERS, *NOTATION_SIGNERS)

_Entry = TypeVar("_Entry", bound=BaseModel)
_PATTERN: TypeAdapter[Pattern] = TypeAdapter(ImagePattern)


@dataclass(frozen=True, slots=True)
class Sheet:
    """`now` is what the document's moments are held against."""

    number: int
    value: markup.Value
    mistakes: Mistakes
    now: datetime

    def path(self, *steps: str | int) -> Path:
        return (self.number, *steps)

    def spec(self, field: str) -> markup.Value:
        """`spec.<field>` as it was written; `None` where it was not."""
        spec = self.value.get("spec") if isinstance(self.value, dict) else None
        return spec.get(field) if isinstance(spec, dict) else None

    def items(self, field: str) -> Sequence[markup.Value]:
        """The entries of the list `spec.<field>` as they were written."""
        value = self.spec(field)
        return value if isinstance(value, list) else ()

    def entries(self, field: str, model: type[_Entry]) -> Iterator[tuple[Path, _Entry]]:
        """Those of the list's entries whose fields are right."""
        for index, value in enumerate(self.items(field)):
            path = self.path("spec", field, index)
            if not self.mistakes.at_or_below(path):
                yield path, model.model_validate(value)

    def patterns(self, field: str) -> Iterator[tuple[Path, Pattern]]:
        """Those of the list's patterns that are patterns."""
        for index, value in enumerate(self.items(field)):
            path = self.path("spec", field, index)
            if not self.mistakes.at_or_below(path):
                yield path, _PATTERN.validate_python(value)

    def names(self, field: str) -> Iterator[tuple[Path, str]]:
        """The names of a list's entries, whether or not the rest of them is right."""
        for index, value in enumerate(self.items(field)):
            name = value.get("name") if isinstance(value, dict) else None
            if isinstance(name, str):
                yield self.path("spec", field, index, "name"), name

    def line(self, path: Path) -> int:
        return self.mistakes.position(path)[0]
