"""The tour in docs/tour.md is what a terminal on a real cluster shows today."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster
from tests.conftest import ROOT, TOOLS
from tests.e2e.terminal import settled
from tests.e2e.tour import Tour

DOCUMENT, WRITTEN = ROOT / "docs/tour.md", TOOLS / "tour.md"  # `make tour` copies the latter to the former
SHOWN = """\
registry.test/shop/app:1 @sha256:4635…80
  policy "production" (rev 2fd6d9c) wants a signature by release
LAST DEPLOYED: Sat Nov 21 23:25:13 2026
STATUS: deployed
pod/bad-84b9b48f4b-5wr6h   1/1   10s
"""
ANOTHER_RUN = """\
registry.test/shop/app:1 @sha256:ab12…ff
  policy "production" (rev 0123456) wants a signature by release
LAST DEPLOYED: Sun Nov 22 00:05:01 2026
STATUS: deployed
pod/bad-6bf7c9d5d8-x2x2x     1/1   2m3s
"""


@pytest.mark.cluster
def test_the_tour_is_what_a_terminal_shows_today(vacant_cluster: Cluster) -> None:
    WRITTEN.unlink(missing_ok=True)
    directory = vacant_cluster.node.root / "tests/tour"
    directory.mkdir(parents=True)
    WRITTEN.write_text(Tour(vacant_cluster, directory).take())
    assert settled(WRITTEN.read_text()) == settled(DOCUMENT.read_text())


def test_two_runs_are_told_alike() -> None:
    assert settled(SHOWN) == settled(ANOTHER_RUN)


@pytest.mark.parametrize(
    ("was", "became"),
    [("app:1", "app:2"), ("release", "nobody"), ("deployed", "failed"), ("1/1", "0/1"), ("…80\n", "…80\n  denied\n")],
)
def test_whatever_else_differs_is_told(was: str, became: str) -> None:
    assert settled(SHOWN.replace(was, became)) != settled(ANOTHER_RUN)
