"""Files of an operator's, read and written as wholes.

What is watched while a volume may be swapped under it (`inside`, `read`) tells its problems as `OSError`, for whoever
watches to keep what was good; what an operator names once (`load`, `save`) tells them as a mistake of the operator's.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from webhook.errors import OperatorError

SETTLED_NS = 2_000_000_000  # a file changed later than this before it was read may change again with the same stamp


def inside(directory: Path, name: str) -> Path:
    """The file itself, behind the links of a ConfigMap volume. Raises: OSError, where they lead out of the folder."""
    top, path = Path(os.path.realpath(directory)), Path(os.path.realpath(directory / name))
    if not path.is_relative_to(top):
        raise OSError("a link that leads out of the folder")
    return path


def read(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file, up to one more than `max_bytes`, by which too many are told. Raises: OSError."""
    # Not blocking, since opening a pipe would wait for its writer
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
        with open(handle, "rb", closefd=False) as file:
            return file.read(max_bytes + 1)
    finally:
        os.close(handle)


def load(path: Path, max_bytes: int) -> bytes:
    """All of a file, or of a pipe, of at most `max_bytes`. Raises: OperatorError."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise OperatorError(f"{path}: larger than {max_bytes} bytes")
    return data


def save(path: Path, content: bytes) -> None:
    """`path` holds `content`, as one step: who waits for the file never reads half of it. Raises: OperatorError."""
    try:
        draft = path.with_name(f".{path.name}.new")
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be written: {error.strerror}") from error
