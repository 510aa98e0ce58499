"""Who may ask: networks that are listed, certificates that are demanded, and what records say of it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.certificates import Authority
from tests.web.serving import EXEMPT, review, serving
from webhook import settings
from webhook.errors import OperatorError
from webhook.settings import Settings
from webhook.tls.certificate import ServingCertificate
from webhook.web.callers import Callers


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        pytest.param((), "203.0.113.9", True, id="nobody is listed"),
        pytest.param(("10.0.0.0/16",), "10.0.255.255", True, id="in the network"),
        pytest.param(("10.0.0.0/16",), "10.1.0.0", False, id="beside it"),
        pytest.param(("10.0.0.0/16", "192.0.2.7/32"), "192.0.2.7", True, id="in the second"),
        pytest.param(("10.0.0.0/16",), "::ffff:10.0.0.1", True, id="IPv4 on a listener for both"),
        pytest.param(("10.0.0.0/16",), "::ffff:10.1.0.1", False, id="IPv4 beside it on a listener for both"),
        pytest.param(("2001:db8::/32",), "2001:db8::1", True, id="IPv6"),
        pytest.param(("2001:db8::/32",), "2001:db9::1", False, id="IPv6 beside it"),
        pytest.param(("10.0.0.0/16",), "not an address", False, id="no address"),
        pytest.param(("0.0.0.0/0",), "2001:db8::1", False, id="all of the other family"),
    ],
)
def test_networks(networks: tuple[str, ...], address: str, allowed: bool) -> None:
    callers = Callers(settings.Server(callers=networks))
    assert callers.allow({"type": "http", "client": (address, 4711)}) is allowed
    assert callers.allow({"type": "http"}) is (networks == ())  # nobody knows who it is


@pytest.mark.parametrize(
    ("networks", "word"), [((), "unauthenticated"), (("127.0.0.0/8", "::1/128"), "listed network")]
)
async def test_a_record_says_how_the_caller_is_known(tmp_path: Path, networks: tuple[str, ...], word: str) -> None:
    async with serving(tmp_path, _settings(callers=networks)) as webhook:
        asked = review(EXEMPT)
        assert (await webhook.ask(asked)).allowed
        assert (await webhook.record(asked))["caller"] == word


async def test_others_are_told_so_before_anything_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path, _settings(callers=("192.0.2.0/24",))) as webhook:
        answer = await webhook.post(b"not even JSON")
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
        assert (await webhook.client.get("/nowhere")).status_code == 403
        assert (await webhook.operations.get("/healthz")).status_code == 200  # the kubelet is another caller


async def test_a_certificate_that_is_demanded(tmp_path: Path) -> None:
    trusted, stranger = Authority(tmp_path / "trusted"), Authority(tmp_path / "stranger")
    async with serving(tmp_path, _settings(client_ca_file=trusted.certificate)) as webhook:
        url = str(webhook.client.base_url)
        for authority in (stranger, None, trusted):
            context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
            if authority is not None:
                context.load_cert_chain(*authority.issue("client", common_name="kube-apiserver"))
            async with httpx.AsyncClient(base_url=url, verify=context) as client:
                asked = review(EXEMPT)
                if authority is trusted:
                    assert (await client.post("/validate", json=asked)).status_code == 200
                    assert (await webhook.record(asked))["caller"] == "client certificate"
                else:
                    with pytest.raises(httpx.TransportError):
                        await client.post("/validate", json=asked)


@pytest.mark.parametrize("content", [b"", b"no PEM", b"\xff"])
def test_authorities_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "client-ca.pem"
    path.write_bytes(content)
    with pytest.raises(OperatorError, match="client-ca"):
        ServingCertificate(settings.Server(client_ca_file=path), now=datetime.now(UTC))


def _settings(**server: Any) -> Settings:
    return Settings(server=settings.Server(**server), trust=settings.Trust(refresh_interval=None))
