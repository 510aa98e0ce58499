"""Policies from a folder of YAML files, as a ConfigMap volume shows them: read again when they change, swapped as one.

Every file keeps its last good version, see `shelf`; also one that cannot be read. A file that goes takes its policies
along; a folder that cannot be read takes nothing. What a file says is for `document`; here is only when it is read.
A `DirectorySource` belongs to one task: `load` and `watch` do not run at the same time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from webhook import files, settings
from webhook.errors import MalformedError, OperatorError, quote
from webhook.oci import reference
from webhook.oci.reference import Pattern
from webhook.policy import document, registries, shelf
from webhook.policy.model import PolicySet, TrustPolicy
from webhook.policy.shelf import Place, Reading
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
    if mistakes := [*mistakes, *shelf.second_names(policies)]:
        raise PolicyErrors(mistakes)
    return PolicySet(tuple(policies), shelf.revision(policies), ", ".join(str(path) for path in paths), baseline)


def parse_baseline(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns that are exempt in every policy. Raises: OperatorError."""
    return tuple(_parse_baseline(text) for text in texts)


def log_changes(old: PolicySet, new: PolicySet) -> None:
    """The log says what another set is in force, and which problems it has that the old one had not."""
    if new.revision != old.revision:
        log.info("policies in force: %d, revision %s", len(new.policies), new.revision)
    for name, problem in new.problems.items():
        if old.problems.get(name) != problem:
            state = "it was never good" if name in new.broken else "its last good version stays in force"
            log.warning("policies in %s: %s (%s)", quote(name), problem, state)


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
        self._places: Mapping[str, Place] = {}
        self._signature: _Signature | None = None
        self._current = self._make_set("not read yet", (str(configured.directory),))

    @property
    def current(self) -> PolicySet:
        """The policies in force: one value that never changes, replaced as a whole."""
        return self._current

    @property
    def problems(self) -> Mapping[str, str]:
        """Why reviews should not be sent here now."""
        policies = self._current
        if policies.searched not in policies.broken:
            return {}
        return {"policies": f"{policies.searched}: {policies.problems.get(policies.searched, 'not read')}"}

    @property
    def notes(self) -> Mapping[str, str]:
        """What an operator should know besides: nothing that the set does not say."""
        return {}

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
            found = {name: self._read_file(name) for name in names}
            if _look_again(self._configured.directory) == signature:
                break
        self._places = shelf.shelve(found, {name: place.good for name, place in self._places.items() if place.good})
        new = self._swap(self._make_set())
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

    def _read_file(self, name: str) -> Reading:
        """What the file says now."""
        max_bytes = self._configured.file_max_bytes
        try:
            data = files.read(files.inside(self._configured.directory, name), max_bytes)
        except OSError as error:
            return Reading(None, "", (_reason(error),))
        content = hashlib.sha256(data).hexdigest()
        before = self._places[name].now if name in self._places else None
        if before and before.content == content and before.policies:
            return before
        try:
            return Reading(document.parse(data, origin=name, now=self._clock(), max_bytes=max_bytes), content)
        except PolicyErrors as errors:
            return shelf.misread(errors, content)

    def _keep_all(self, reason: str) -> PolicySet:
        self._signature = None
        known = any(place.good for place in self._places.values())
        return self._swap(self._make_set(reason, () if known else (str(self._configured.directory),)))

    def _make_set(self, unseen: str = "", broken: Sequence[str] = ()) -> PolicySet:
        searched = str(self._configured.directory)
        return shelf.make_set(self._places, searched=searched, baseline=self._baseline, unseen=unseen, broken=broken)

    def _swap(self, new: PolicySet) -> PolicySet:
        self._before(new)
        old, self._current = self._current, new
        log_changes(old, new)
        return new


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


def _parse_baseline(text: str) -> Pattern:
    try:
        pattern = reference.parse_pattern(text)
    except MalformedError as error:
        raise OperatorError(f"baseline exemptions: {error.detail}") from error
    if problem := registries.exempt_problem(pattern):
        raise OperatorError(f"baseline exemptions: {problem}")
    return pattern


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _utc_now() -> datetime:
    return datetime.now(UTC)
