"""What is found out of one piece of evidence once, though several signers ask: values, and errors too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from webhook.errors import CountersignError

_Found = TypeVar("_Found")


class Once:
    """Remembers by name. A defect is not remembered: it is found again by whoever asks next."""

    def __init__(self) -> None:
        self._found: dict[object, object] = {}

    def __call__(self, name: object, find: Callable[[], _Found]) -> _Found:
        """What `find` found when it was first asked by this `name`. Raises: the CountersignError that it raised."""
        if name not in self._found:
            try:
                self._found[name] = find()
            except CountersignError as error:
                self._found[name] = error
        found = self._found[name]
        if isinstance(found, CountersignError):
            raise found
        return found  # type: ignore[return-value]  # what `find` of this name gave
