"""What a server and its workers say to each other, in pickles: one program on both ends, and nobody else between them.

What is large and the same for most evidence is told each worker once, and counted on from then on.
"""

from __future__ import annotations

import io
import pickle  # between two processes of one program
import struct
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from webhook.evidence.model import Evidence
from webhook.judging import Question
from webhook.trust.at_hand import Trust

TOLD_MAX = 1000  # signers, demands and states of trust that a worker remembers, and we with it: then all anew
LENGTH = struct.Struct("!Q")  # before each pickle
_NO_TRUST = Trust()


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of evidence, and what it is asked. Trust, signers and demands are numbers of what a worker was told:
    they are large, and the same for most evidence. `known` of what it was told before counts on, and is followed by
    what is `new`."""

    evidence: Evidence
    question: Question  # without what has a number
    known: int
    new: tuple[Any, ...]
    trust: int
    signers: tuple[int, ...]
    demands: tuple[int, ...]


class Told:
    """What one worker was told, in its order."""

    def __init__(self) -> None:
        self._kept: list[object] = []  # so that nothing else gets their identity
        self._numbers: dict[int, int] = {}

    def task(self, evidence: Evidence, question: Question) -> Task:
        if len(self._kept) > TOLD_MAX:
            self._kept.clear()
            self._numbers.clear()
        known = len(self._kept)
        trust = self._number(question.trust)
        signers, demands = tuple(map(self._number, question.signers)), tuple(map(self._number, question.demands))
        rest = replace(question, trust=_NO_TRUST, signers=(), demands=())
        return Task(evidence, rest, known, tuple(self._kept[known:]), trust, signers, demands)

    def _number(self, one: object) -> int:
        number = self._numbers.setdefault(id(one), len(self._kept))
        if number == len(self._kept):
            self._kept.append(one)
        return number


class Heard:
    """The same at the worker's end."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def question(self, task: Task) -> Question:
        self._kept[task.known :] = task.new
        return replace(
            task.question,
            trust=self._kept[task.trust],
            signers=tuple(self._kept[number] for number in task.signers),
            demands=tuple(self._kept[number] for number in task.demands),
        )


class Writer(pickle.Pickler):
    """Writes a judgement without what the asker has: evidence, signers and demands are named by their place."""

    def __init__(self, file: BinaryIO, evidence: Evidence, question: Question) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        known = (evidence, *question.signers, *question.demands)
        self._places = {id(one): place for place, one in enumerate(known)}

    def persistent_id(self, obj: object) -> int | None:
        return self._places.get(id(obj))


class Reader(pickle.Unpickler):  # of our own process
    def __init__(self, data: bytes, evidence: Evidence, question: Question) -> None:
        super().__init__(io.BytesIO(data))
        self._known = (evidence, *question.signers, *question.demands)

    def persistent_load(self, pid: int) -> object:
        return self._known[pid]
