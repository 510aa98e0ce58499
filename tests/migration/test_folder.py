"""Trust stores are read from Notation's folder whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.migration.deciding import LEAF, OTHER_ROOT, ROOT
from webhook.errors import OperatorError
from webhook.migration import folder
from webhook.migration.notation import StoreName
from webhook.trust.notary.stores import StoreKind

ACME = StoreName(StoreKind.CA, "acme")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "x509" / "ca" / "acme"
    path.mkdir(parents=True)
    (path / "root.pem").write_text(ROOT.pem)
    return path


def test_every_file_of_a_store_is_read(tmp_path: Path, store: Path) -> None:
    (store / "other.CER").write_bytes(OTHER_ROOT.der)
    read = folder.load(tmp_path, [ACME])[ACME]
    assert read.certificates == (OTHER_ROOT.der, ROOT.der)
    assert (read.kind, read.name) == (StoreKind.CA, "acme")


def test_a_file_may_hold_several(tmp_path: Path, store: Path) -> None:
    (store / "root.pem").write_text(f"Acme's\n{ROOT.pem}{OTHER_ROOT.pem.strip()}")
    assert len(folder.load(tmp_path, [ACME])[ACME].certificates) == 2


def test_only_what_is_wanted_is_read(tmp_path: Path, store: Path) -> None:
    (tmp_path / "x509" / "ca" / "broken").write_text("x")
    assert list(folder.load(tmp_path, [ACME])) == [ACME]


def _linked(store: Path) -> None:
    (store / "a.pem").symlink_to(store / "root.pem")


def _linked_whole(store: Path) -> None:
    store.rename(store.with_name("elsewhere"))
    store.symlink_to(store.with_name("elsewhere"))


BREAK: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda store: (store / "root.pem").unlink(), "with 1 to 100 files expected"),
    "link": (_linked, "no links and no folders, found 'a.pem'"),
    "store-link": (_linked_whole, "a folder, no link"),
    "folder": (lambda store: (store / "a.pem").mkdir(), "no links and no folders, found 'a.pem'"),
    "other-file": (lambda store: (store / "README.md").write_text("x"), "found 'README.md'"),
    "empty-file": (lambda store: (store / "a.pem").write_text(""), "a certificate in PEM or DER expected"),
    "garbage": (lambda store: (store / "a.der").write_bytes(b"\x30\x03abc"), "a certificate in PEM or DER expected"),
    "trailing": (lambda store: (store / "a.der").write_bytes(ROOT.der + b"x"), "a certificate in PEM or DER expected"),
    "private-key": (
        lambda store: (store / "a.pem").write_text("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"),
        "there is a private key",
    ),
    "leaf": (lambda store: (store / "leaf.pem").write_text(LEAF.pem), "neither a CA nor self-signed"),
    "large": (lambda store: (store / "a.pem").write_bytes(b"x" * 300_000), "larger than"),
}


@pytest.mark.parametrize(("make", "said"), BREAK.values(), ids=BREAK)
def test_a_store_that_is_not_as_notation_has_it_is_refused(
    tmp_path: Path, store: Path, make: Callable[[Path], object], said: str
) -> None:
    assert folder.load(tmp_path, [ACME])
    make(store)
    with pytest.raises(OperatorError) as caught:
        folder.load(tmp_path, [ACME])
    assert said in str(caught.value)
    assert str(store) in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path, store: Path) -> None:
    with pytest.raises(OperatorError, match="tsa:acme is trusted"):
        folder.load(tmp_path, [StoreName(StoreKind.TSA, "acme")])
    with pytest.raises(OperatorError, match="Notation's folder `truststore` expected"):
        folder.load(store, [ACME])
