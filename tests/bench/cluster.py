"""The bench in a cluster: policies by the thousand, an installation, a thousand pods; as in docs/performance.md.

    python -m tests.bench.cluster                    everything, a quarter of an hour; needs root and `make tools`
    python -m tests.bench.cluster policies --short   a glance at one part of selection, policies, node, scale

Prints Markdown. What is measured lies in `cluster_policies` (a real API server without a node), `cluster_node` and
`cluster_scale` (a real node, in a directory of its own). `scale` also needs kwok:
`make -f tests/cluster/tools/Makefile BIN=.tools/bin $PWD/.tools/bin/kwok`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests import conftest
from tests.bench import cluster_node, cluster_policies, cluster_scale
from tests.bench.world import ROOT
from tests.cluster.cluster import Cluster

TOOLS = ROOT / ".tools/bin"
PARTS = ("selection", "policies", "node", "scale")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the webhook in a cluster on this machine.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all of them if none is named")
    parser.add_argument("--short", action="store_true", help="a tenth of everything")
    parser.add_argument("--dir", type=Path, default=ROOT / ".tools/bench-cluster", help="files of the node")
    options = parser.parse_args()
    parts = options.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part of this bench: {', '.join(sorted(unknown))}")
    short = options.short
    if "selection" in parts:
        _print_selection(100 if short else 1000)
    if "policies" in parts:
        scale = cluster_policies.Scale(100, 4) if short else cluster_policies.Scale()
        _print_table(cluster_policies.COLUMNS, (row.cells for row in cluster_policies.measure(TOOLS, scale)))
    if "node" in parts or "scale" in parts:
        archive = conftest.build_image()
        with Cluster(options.dir, TOOLS) as cluster:
            _print_node(cluster, archive, short=short)
            if "scale" in parts:
                rows = cluster_scale.measure(cluster, 100 if short else 1000)
                _print_table(cluster_scale.COLUMNS, (row.cells for row in rows))
    return 0


def _print_selection(policies: int) -> None:
    rows = ((title, f"{micros / 1e3:.3f}") for title, micros in cluster_policies.selection(policies))
    _print_table(("what an image is asked for", "ms"), rows)


def _print_node(cluster: Cluster, archive: Path, *, short: bool) -> None:
    for start in cluster_node.install(cluster, archive, 1 if short else 3):
        print(f"- `helm install --wait`: {start}")
    print(f"- a changed policy in force in both replicas, {cluster_node.in_force(cluster, 3 if short else 20)}\n")


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)
    print()


if __name__ == "__main__":
    sys.exit(main())
