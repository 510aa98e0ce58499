"""Files read and written as wholes: what a link, a pipe, a size or a full folder may do to whoever reads them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from webhook import files
from webhook.errors import OperatorError


def test_a_regular_file_is_read_and_one_byte_more_tells_that_there_are_too_many(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert files.read(tmp_path / "file", 5) == b"12345"
    assert files.read(tmp_path / "file", 3) == b"1234"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        files.read(tmp_path / "pipe", 5)


def test_a_link_may_lead_within_the_folder_and_not_out_of_it(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "..data").mkdir(parents=True)
    (top / "..data" / "file").write_bytes(b"x")
    (top / "file").symlink_to("..data/file")
    (top / "out").symlink_to(tmp_path / "elsewhere")
    assert files.inside(top, "file") == top / "..data" / "file"
    with pytest.raises(OSError, match="out of the folder"):
        files.inside(top, "out")


def test_an_operator_may_name_a_pipe(tmp_path: Path) -> None:
    """As a shell makes one: `--fulcio <(…)`."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"pem",))
    writer.start()
    assert files.load(tmp_path / "pipe", 3) == b"pem"
    writer.join()


@pytest.mark.parametrize(("max_bytes", "said"), [(2, "larger than 2 bytes"), (3, "")])
def test_what_is_too_large_is_told(tmp_path: Path, max_bytes: int, said: str) -> None:
    (tmp_path / "file").write_bytes(b"123")
    if not said:
        assert files.load(tmp_path / "file", max_bytes) == b"123"
        return
    with pytest.raises(OperatorError, match=f"file: {said}"):
        files.load(tmp_path / "file", max_bytes)


def test_what_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="nowhere: cannot be read: No such file"):
        files.load(tmp_path / "nowhere", 1)
    with pytest.raises(OperatorError, match="nowhere/file: cannot be written: No such file"):
        files.save(tmp_path / "nowhere" / "file", b"x")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old and longer")
    files.save(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"
