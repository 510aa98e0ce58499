"""Which names and addresses may be dialled: each that may stands beside those that may not."""

from __future__ import annotations

import ipaddress

import pytest

from webhook.addresses import check_name, refusal
from webhook.errors import Code, RejectedError

PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
LOOPBACK = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "fd12::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:a00:1::",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "fe80::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "100.100.100.200",
    "::ffff:100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "2001:db8::1",
    "2001::1",
    "fec0::1",
    "100::1",
]
BOUNDARIES = [("172.15.255.255", None), ("172.32.0.0", None), ("100.63.255.255", None), ("100.128.0.0", None)]


def judged(address: str, *, private: bool = False, loopback: bool = False) -> str | None:
    return refusal(ipaddress.ip_address(address), private=private, loopback=loopback)


@pytest.mark.parametrize("address", [*PUBLIC, *(address for address, _ in BOUNDARIES)])
def test_public_addresses_are_dialled(address: str) -> None:
    assert judged(address) is None


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_dialled_where_it_is_allowed(address: str) -> None:
    assert judged(address, loopback=True) is None
    assert "`loopback: true`" in (judged(address, private=True) or "")


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_dialled_where_they_are_allowed(address: str) -> None:
    assert judged(address, private=True) is None
    assert "`private: true`" in (judged(address, loopback=True) or "")


@pytest.mark.parametrize("address", NEVER)
def test_what_is_never_dialled(address: str) -> None:
    assert "no setting allows it" in (judged(address, private=True, loopback=True) or "")


@pytest.mark.parametrize(
    "name",
    [
        "ghcr.io",
        "GHCR.IO",
        "registry-1.docker.io",
        "a.b-c.example.com",
        "xn--bcher-kva.example",
        "my_registry.example.com",
    ],
)
def test_names_of_the_public_dns(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "registry",
        "registry.",
        "app.localhost",
        "registry.team.svc",
        "registry.team.svc.",
        "registry.team.SVC",
        "registry.team.svc.cluster.local",
        "metadata.google.internal",
        "printer.local",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "1.2.3.0x4",
        "::1",
        "fe80::1%eth0",
        "a..b.com",
        "-a.example.com",
        "a b.example.com",
        "a/b.example.com",
        "ex\u00e4mple.com",
        "exam\u212ale.com",
        "a" * 250 + ".com",
        "example.com\n",
    ],
)
def test_what_is_no_name_of_the_public_dns(name: str) -> None:
    with pytest.raises(RejectedError) as caught:
        check_name(name)
    assert caught.value.code is Code.HOST_REFUSED
    assert "registries" in caught.value.detail
