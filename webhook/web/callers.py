"""Who may ask: callers from the networks of the API servers, where an operator names them.

Whoever reaches the port may send a review, so that one whose caller proved nothing is recorded as such. A certificate
is asked for by TLS, before anything of this sees the connection. spec: kubernetes.md 7 and 17.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

from webhook import settings
from webhook.audit.record import UNAUTHENTICATED

ADDRESSES_MAX = 4096  # remembered; an API server has one

_MAPPED = ipaddress.ip_network("::ffff:0:0/96")


class Callers:
    """`word` is what records say of how a caller is known."""

    def __init__(self, options: settings.Server) -> None:
        self._networks = tuple(ipaddress.ip_network(text) for text in options.callers)
        self.word = UNAUTHENTICATED
        if self._networks:
            self.word = "listed network"
        if options.client_ca_file:
            self.word = "client certificate"
        self._is_listed = functools.lru_cache(ADDRESSES_MAX)(self._look_up)

    def allow(self, scope: Scope) -> bool:
        """Whether the peer of this connection may ask."""
        if not self._networks:
            return True
        client: Sequence[object] | None = scope.get("client")
        return client is not None and self._is_listed(str(client[0]))

    def _look_up(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if address.version == 6 and address in _MAPPED:  # of a listener for both families
            address = address.ipv4_mapped or address
        return any(address in network for network in self._networks)
