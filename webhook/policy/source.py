"""Policies from a folder of YAML files, as a ConfigMap volume shows them: read again when they change, swapped as one.

Every file keeps its last good version: one that no longer parses, cannot be read, or takes a name that another file
has, is a problem that the set carries, and what it said before stays in force. A file that goes takes its policies
along; a folder that cannot be read takes nothing. What a file says is for `document`; here is only when it is read and
what holds. A `DirectorySource` belongs to one task: `load` and `watch` do not run at the same time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from webhook import files, settings
from webhook.errors import MalformedError, OperatorError, quote
from webhook.oci import reference
from webhook.oci.reference import Pattern
from webhook.policy import document, registries
from webhook.policy.model import PolicySet, TrustPolicy
from webhook.policy.syntax.mistakes import Mistake, PolicyErrors

log = logging.getLogger(__name__)

MAX_FILES = 200  # a ConfigMap holds about as many; a folder of more was named by mistake
ENDINGS = (".yaml", ".yml")

_Signature = tuple[tuple[str, ...], ...]


def load_files(paths: Sequence[Path], *, now: datetime | None = None, baseline: tuple[Pattern, ...] = ()) -> PolicySet:
    """The policies in `paths`, files or folders, for the command line; `now` is read from the clock where not given.

    Raises: PolicyErrors, with every mistake of all files; OperatorError, where one cannot be read.
    """
    moment, max_bytes = now or _utc_now(), settings.Policy().file_max_bytes
    listed = [file for path in paths for file in _expand(path)]
    unread: list[str] = []
    mistakes: list[Mistake] = []
    policies: list[TrustPolicy] = []
    for file in dict.fromkeys(listed):
        try:
            data = files.read(file, max_bytes)
            policies += document.parse(data, origin=str(file), now=moment, max_bytes=max_bytes)
        except OSError as error:
            unread.append(f"{file}: {_reason(error)}")
        except PolicyErrors as errors:
            mistakes += errors.mistakes
    if unread:
        raise OperatorError("; ".join(unread))
    if mistakes := [*mistakes, *_second_names(policies)]:
        raise PolicyErrors(mistakes)
    return PolicySet(tuple(policies), _revision(policies), ", ".join(str(path) for path in paths), baseline)


def parse_baseline(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns that are exempt in every policy. Raises: OperatorError."""
    return tuple(_parse_baseline(text) for text in texts)


class DirectorySource:
    """The policies of one folder. Until `load` was called, what they demand counts as unknown."""

    def __init__(
        self,
        configured: settings.Policy,
        *,
        before: Callable[[PolicySet], object] = lambda policies: None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """`before` is called with each new set before it is in force, in the thread that loads."""
        self._configured = configured
        self._before = before
        self._clock = clock or _utc_now
        self._baseline = parse_baseline(configured.baseline_exempt)
        self._files: dict[str, _File] = {}
        self._signature: _Signature | None = None
        self._current = self._make_set({str(configured.directory): "not read yet"}, [str(configured.directory)])

    @property
    def current(self) -> PolicySet:
        """The policies in force: one value that never changes, replaced as a whole."""
        return self._current

    def load(self) -> PolicySet:
        """Whatever changed in the folder is in force, as far as it can be; blocking."""
        for _ in range(3):  # a ConfigMap that is swapped meanwhile would be half old and half new
            started = time.time_ns()
            try:
                names, signature = _look(self._configured.directory)
            except OSError as error:
                return self._keep_all(_reason(error))
            if signature == self._signature:
                return self._current
            found = self._read_files(names)
            if _look_again(self._configured.directory) == signature:
                break
        self._files = found
        problems = {name: file.problem for name, file in found.items() if file.problem}
        new = self._swap(self._make_set(problems, [name for name, file in found.items() if file.good is None]))
        self._signature = signature if _is_settled(signature, started) else None  # last: what failed is tried again
        return new

    async def watch(self) -> None:
        """Loads again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._configured.reload_interval)
            try:
                await asyncio.to_thread(self.load)
            except Exception:
                log.exception("policies in %s could not be looked at; those in force stay", self._configured.directory)

    def _read_files(self, names: Sequence[str]) -> dict[str, _File]:
        taken: dict[str, str] = {}
        found: dict[str, _File] = {}
        for name in names:
            file = self._read_file(name, self._files.get(name, _File()))
            if file.read and (clash := _first_clash(file.read, taken)):
                file = replace(file, problem=f"the policy {clash} is in {taken[clash]} already")
            elif file.read:
                file = replace(file, good=file.read)
            taken.update((policy.name, name) for policy in file.good or ())
            found[name] = file
        return found

    def _read_file(self, name: str, before: _File) -> _File:
        """The file as it is now; `read` is what it says, where that can be had."""
        max_bytes = self._configured.file_max_bytes
        try:
            data = files.read(files.inside(self._configured.directory, name), max_bytes)
        except OSError as error:
            return _File(before.good, None, "", _reason(error))
        content = hashlib.sha256(data).hexdigest()
        if content == before.content and before.read:
            return replace(before, problem="")
        try:
            policies = document.parse(data, origin=name, now=self._clock(), max_bytes=max_bytes)
        except PolicyErrors as errors:
            return _File(before.good, None, content, _summary(errors))
        return _File(before.good, policies, content, "")

    def _keep_all(self, reason: str) -> PolicySet:
        directory = str(self._configured.directory)
        self._signature = None
        known = any(file.good is not None for file in self._files.values())
        problems = {directory: reason, **{name: file.problem for name, file in self._files.items() if file.problem}}
        broken = [name for name, file in self._files.items() if file.good is None]
        return self._swap(self._make_set(problems, broken if known else [directory, *broken]))

    def _make_set(self, problems: Mapping[str, str], broken: Sequence[str]) -> PolicySet:
        policies = tuple(policy for file in self._files.values() for policy in file.good or ())
        searched = str(self._configured.directory)
        return PolicySet(policies, _revision(policies), searched, self._baseline, dict(problems), tuple(broken))

    def _swap(self, new: PolicySet) -> PolicySet:
        self._before(new)
        old, self._current = self._current, new
        if new.revision != old.revision:
            log.info("policies in force: %d, revision %s", len(new.policies), new.revision)
        for name, problem in new.problems.items():
            if old.problems.get(name) != problem:
                state = "it was never good" if name in new.broken else "its last good version stays in force"
                log.warning("policy file %s: %s (%s)", quote(name), problem, state)
        return new


@dataclass(frozen=True, slots=True)
class _File:
    """`good` is in force, `read` is what the file says now; `None` where it never could be used, or cannot be now."""

    good: tuple[TrustPolicy, ...] | None = None
    read: tuple[TrustPolicy, ...] | None = None
    content: str = ""  # SHA-256
    problem: str = ""


def _first_clash(policies: Iterable[TrustPolicy], taken: Mapping[str, str]) -> str | None:
    return next((policy.name for policy in policies if policy.name in taken), None)


def _look(directory: Path) -> tuple[list[str], _Signature]:
    """The names of the folder's policy files, sorted, and what changes when one of them does. Raises: OSError."""
    names: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(ENDINGS) and not entry.name.startswith("."):
                names.append(entry.name)
                if len(names) > MAX_FILES:
                    raise OSError(f"more than {MAX_FILES} policy files")
    names.sort()
    return names, tuple((name, *_stamp(directory, name)) for name in names)


def _look_again(directory: Path) -> _Signature | None:
    try:
        return _look(directory)[1]
    except OSError:
        return None


def _stamp(directory: Path, name: str) -> tuple[str, ...]:
    path = directory / name
    try:
        found = path.stat()
    except OSError as error:
        return (_reason(error),)
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    where = os.path.realpath(path)  # of a ConfigMap, which is swapped by a link above its files
    return (str(changed), where, f"{found.st_dev}:{found.st_ino}:{found.st_mode}:{found.st_size}:{found.st_mtime_ns}")


def _is_settled(signature: _Signature, read_at: int) -> bool:
    return all(stamp[1].isdecimal() and int(stamp[1]) < read_at - files.SETTLED_NS for stamp in signature)


def _expand(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        names, _ = _look(path)
    except OSError as error:
        raise OperatorError(f"{path}: {_reason(error)}") from error
    if not names:
        raise OperatorError(f"{path}: no file in it ends in {' or '.join(ENDINGS)}")
    return [path / name for name in names]


def _second_names(policies: Sequence[TrustPolicy]) -> list[Mistake]:
    first: dict[str, TrustPolicy] = {}
    mistakes: list[Mistake] = []
    for policy in policies:
        other = first.setdefault(policy.name, policy)
        if other is not policy:
            path = "metadata.name"
            origin, message = policy.origin.rpartition(":")[0], f"the policy {policy.name} is in {other.origin} already"
            mistakes.append(Mistake(origin, policy.lines.get(path, 1), 1, path, message))
    return mistakes


def _parse_baseline(text: str) -> Pattern:
    try:
        pattern = reference.parse_pattern(text)
    except MalformedError as error:
        raise OperatorError(f"baseline exemptions: {error.detail}") from error
    if problem := registries.exempt_problem(pattern):
        raise OperatorError(f"baseline exemptions: {problem}")
    return pattern


def _summary(errors: PolicyErrors) -> str:
    first, *more = errors.mistakes
    return f"{first}; and {len(more)} more" if more else str(first)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _revision(policies: Iterable[TrustPolicy]) -> str:
    text = "\n".join(f"{policy.name} {policy.revision}" for policy in policies)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _utc_now() -> datetime:
    return datetime.now(UTC)
