"""Which version of Countersign this is, as its installation says."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "countersign"


def installed() -> str:
    """The version that is installed; `unknown` where a source tree runs without being installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
