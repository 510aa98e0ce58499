"""Which names and addresses may be dialled: the guard against whoever chooses a host for us (SSRF).

A name is judged as text before anything is resolved, an address where the socket to it is made, whatever a name led to
and however a literal was spelled. Loopback and private addresses take an operator's word for that host; metadata
services, link-local and reserved addresses are never dialled. specs: RFC 6890 and its registries; RFC 4291; RFC 6052.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from webhook.errors import Code, RejectedError, quote

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL_CHARS = 2048
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_METADATA = frozenset(
    (
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
        ipaddress.ip_address("168.63.129.16"),  # Azure; a public address
    )
)
_AWS_METADATA_V6 = ipaddress.ip_network("fd00:ec2::/32")
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_RESERVED = tuple(  # besides what `ipaddress` calls reserved; which of these it calls global differs between versions
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291 2.5.5.1, deprecated
_LOCAL_SUFFIXES = (".localhost", ".svc", ".cluster.local", ".internal", ".local")
_DNS_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)+")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")


def url_problem(text: str) -> str:
    """Why `text` is no address of a repository to be fetched from by https; empty where it is one.

    Only its form: `check_name` and the rules for addresses say whether its host may be dialled.
    """
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        return "not a URL"
    if len(text) > MAX_URL_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        return f"a URL of at most {MAX_URL_CHARS} characters of ASCII expected"
    if not host or url.username is not None or "?" in text or "#" in text:
        return "a URL with a host, and without a user, query or fragment expected"
    if url.scheme != "https" and not (url.scheme == "http" and host in _LOOPBACK_HOSTS):
        return "an https URL expected (http only for loopback)"
    return ""


def check_name(host: str) -> None:
    """`host` reads like a name of the public DNS; what it resolves to is judged when it is dialled.

    Raises: RejectedError, `host_refused`.
    """
    name = host.lower().removesuffix(".")
    if ":" in name or _NUMBER.fullmatch(name.rpartition(".")[2]):  # WHATWG URL: "ends in a number"
        reason = "is an IP address"
    elif name == "localhost" or "." not in name:
        reason = "is a name of one label"
    elif name.endswith(_LOCAL_SUFFIXES):
        reason = "is a name of the cluster or of a private network"
    elif len(name) > 253 or not host.isascii() or not _DNS_NAME.fullmatch(name):
        reason = "is no DNS name"
    else:
        return
    raise RejectedError(
        Code.HOST_REFUSED, f"host {quote(host)} {reason}: only registries that the operator lists may be that"
    )


def refusal(address: Address, *, private: bool, loopback: bool) -> str | None:
    """Why `address` may not be dialled, or None."""
    address = _embedded(address)
    if address.is_loopback:
        return None if loopback else "a loopback address (setting `loopback: true` of that registry)"
    if address.is_link_local:
        return "a link-local address, where clouds serve credentials; no setting allows it"
    if address in _METADATA or address in _AWS_METADATA_V6:
        return "the address of a cloud's metadata service; no setting allows it"
    if address.is_multicast or address.is_reserved or any(address in network for network in _RESERVED):
        return "an unspecified, multicast or reserved address; no setting allows it"
    if any(address in network for network in _PRIVATE):
        return None if private else "a private address (setting `private: true` of that registry)"
    return None if address.is_global else "a special-purpose address (RFC 6890); no setting allows it"


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where a kernel, a gateway or a relay would turn it into one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if mapped := address.ipv4_mapped or address.sixtofour:
        return mapped
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _IPV4_COMPATIBLE and int(address) > 1:  # :: and ::1 are themselves
        return ipaddress.IPv4Address(int(address))
    return address
