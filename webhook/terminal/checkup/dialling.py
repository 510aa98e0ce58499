"""Where a name leads from here, and whether the rules of this program let that be dialled."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from webhook import addresses
from webhook.errors import quote
from webhook.network import Target
from webhook.terminal.checkup.model import Check, well, wrong

SHOWN_MAX = 4  # addresses of one name


async def check_target(target: Target, *, remedy: str) -> Check:
    """The addresses behind a registry's `target`, each held against the rules for what may be dialled."""
    if target.proxy is not None:
        return well("address", f"through the proxy {target.proxy.host}:{target.proxy.port}, which chooses the address")
    try:
        found = await resolve(target.host, target.port)
    except (OSError, UnicodeError) as error:
        return _unknown(target.host, error)
    for address in found:
        reason = addresses.refusal(address, private=target.private, loopback=target.loopback)
        if reason is not None:
            return wrong("address", f"{address} is {reason}", remedy=remedy)
    return well("address", told(found, target.port))


async def check_host(host: str, port: int) -> Check:
    """The addresses behind a service of AWS, which its SDK dials: none of our rules stands in between."""
    try:
        return well("address", f"{host}: {told(await resolve(host, port), port)}")
    except (OSError, UnicodeError) as error:
        return _unknown(host, error)


async def resolve(host: str, port: int) -> list[addresses.Address]:
    """The addresses of `host`, each once, as they would be tried. Raises: OSError; UnicodeError, for no name of DNS."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def told(found: list[addresses.Address], port: int) -> str:
    """`found` for people, and what kind of address they are where that is not the usual one."""
    listed = ", ".join(map(str, found[:SHOWN_MAX])) + (", …" if len(found) > SHOWN_MAX else "")
    kind = ", loopback" if any(one.is_loopback for one in found) else ""
    kind = kind or (", private" if any(one.is_private for one in found) else "")
    return f"{listed}, port {port}{kind}"


def _unknown(host: str, error: Exception) -> Check:
    later = ": it could not be resolved now" if getattr(error, "errno", None) == socket.EAI_AGAIN else ""
    return wrong("address", f"no address is known of the name {quote(host)}{later}")
