"""What a checkup found: subjects, each with the checks that were made of it, in the order in which they depend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a subject is."""

    IDENTITY = "identity"  # as which AWS is asked
    REGISTRY = "registry"
    IMAGE = "image"
    KEY = "key"  # in AWS KMS
    PROFILE = "profile"  # of AWS Signer


class Health(StrEnum):
    WELL = "well"
    WRONG = "wrong"
    NOT_TRIED = "not_tried"  # it makes no sense here, or nobody needs it


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. `action` is the permission that is missing, `remedy` what else to do about it."""

    name: str
    health: Health
    detail: str
    action: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """`name` as a policy, a setting or the command line has it."""

    kind: Kind
    name: str
    checks: tuple[Check, ...]

    @property
    def well(self) -> bool:
        return all(check.health is not Health.WRONG for check in self.checks)


def well(name: str, detail: str) -> Check:
    return Check(name, Health.WELL, detail)


def wrong(name: str, detail: str, *, action: str = "", remedy: str = "") -> Check:
    return Check(name, Health.WRONG, detail, action, remedy)


def not_tried(name: str, detail: str) -> Check:
    return Check(name, Health.NOT_TRIED, detail)
