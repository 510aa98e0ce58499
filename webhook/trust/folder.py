"""One trusted_root.json in the folder of those that policies may name: read again when it changed.

A name is a plain one, and a link may lead to another place in the folder, as those of a ConfigMap volume do, but not
out of it. A file that is gone takes its root along; one that cannot be read or no longer parses leaves the last good
one in force and is a problem that is told.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from webhook import files
from webhook.errors import MalformedError, quote
from webhook.trust import root
from webhook.trust.root import MAX_ROOT_BYTES, PLAIN_NAME, TrustRoot

ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class File:
    """What is known of one file; `root` is in force."""

    root: TrustRoot | None = None
    problem: str = "not read yet"
    stamp: tuple[object, ...] = ()  # empty: to be read again, whatever it looks like
    content: str = ""  # SHA-256


def read(directory: Path, name: str, before: File) -> File:
    """The file as it is now, `before` being what was known of it; blocking."""
    if not PLAIN_NAME.fullmatch(name):
        return File(problem=f"a plain file name expected, found {quote(name, max_chars=60)}")
    missed: set[Path] = set()
    try:
        # A ConfigMap volume may be swapped, and its old files go, between a look at the link and one at the file:
        # then the link leads elsewhere
        while (path := files.inside(directory, name)) not in missed and len(missed) < ATTEMPTS:
            try:
                return _read_now(path, name, before)
            except FileNotFoundError:
                missed.add(path)
    except OSError as error:
        return replace(before, problem=f"file {name}: {(error.strerror or str(error)).lower()}", stamp=())
    return File(problem=f"there is no file {name} in {directory}")


def _read_now(path: Path, name: str, before: File) -> File:
    """Raises: OSError."""
    started = time.time_ns()
    stamp = _stamp(path)
    if stamp == before.stamp:
        return before
    data = files.read(path, MAX_ROOT_BYTES)
    content, settled = hashlib.sha256(data).hexdigest(), stamp if _is_settled(stamp, started) else ()
    if content == before.content:
        return replace(before, stamp=settled)
    try:
        return File(root.parse(data), "", settled, content)
    except MalformedError as error:
        return File(before.root, f"file {name}: {error.detail}", settled, content)


def _stamp(path: Path) -> tuple[object, ...]:
    found = path.stat()
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    return (changed, str(path), found.st_dev, found.st_ino, found.st_mode, found.st_size)


def _is_settled(stamp: tuple[object, ...], read_at: int) -> bool:
    changed = stamp[0]
    return isinstance(changed, int) and changed < read_at - files.SETTLED_NS
