"""One trusted_root.json in the folder of those that policies may name: read again when it changed.

A name is a plain one, and a link may lead to another place in the folder, as those of a ConfigMap volume do, but not
out of it. A file that is gone takes its root along; one that cannot be read or no longer parses leaves the last good
one in force and is a problem that is told.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path

from webhook.errors import MalformedError, quote
from webhook.trust import root
from webhook.trust.root import MAX_ROOT_BYTES, TrustRoot

SETTLED_NS = 2_000_000_000  # a file changed later than this before it was read may change again with the same stamp
ATTEMPTS = 100
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


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
        while (path := _inside(directory, name)) not in missed and len(missed) < ATTEMPTS:
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
    data = _read(path)
    content, settled = hashlib.sha256(data).hexdigest(), stamp if _is_settled(stamp, started) else ()
    if content == before.content:
        return replace(before, stamp=settled)
    try:
        return File(root.parse(data), "", settled, content)
    except MalformedError as error:
        return File(before.root, f"file {name}: {error.detail}", settled, content)


def _inside(directory: Path, name: str) -> Path:
    top, path = Path(os.path.realpath(directory)), Path(os.path.realpath(directory / name))
    if not path.is_relative_to(top):
        raise OSError("a link that leads out of the folder")
    return path


def _stamp(path: Path) -> tuple[object, ...]:
    found = path.stat()
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    return (changed, str(path), found.st_dev, found.st_ino, found.st_mode, found.st_size)


def _is_settled(stamp: tuple[object, ...], read_at: int) -> bool:
    changed = stamp[0]
    return isinstance(changed, int) and changed < read_at - SETTLED_NS


def _read(path: Path) -> bytes:
    # Not blocking, since opening a pipe would wait for its writer
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
        with open(handle, "rb", closefd=False) as file:
            return file.read(MAX_ROOT_BYTES + 1)
    finally:
        os.close(handle)
