"""Which addresses may be dialled, by which trust in TLS, through which proxy."""

from __future__ import annotations


class Network:
    pass
