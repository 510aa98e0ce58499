"""A cache that replicas share, by the chart: what is made for it, who gets which secret, and what upgrades keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509

from tests.chart.releases import Release, get, left
from tests.chart.rendering import NAMESPACE, Object, Values, render
from tests.conftest import API_SERVER, ROOT
from tests.conftest import CHART as TOOLS_OF_CHART
from tests.kube.apiserver import Server
from webhook import environment, sealing

pytestmark = pytest.mark.tools(*TOOLS_OF_CHART)

ON: Values = {"valkey": {"enabled": True}}
GIVEN: Values = {"valkey": {"enabled": True, "existingSecret": "server"}, "sharedCache": {"existingSecret": "client"}}
ELSEWHERE: Values = {"sharedCache": {"url": "valkeys://cache.example.com:6380/1", "existingSecret": "cache"}}
SERVER, CLIENT = "countersign-valkey", "countersign-valkey-client"
HOST = "countersign-valkey.countersign.svc"
MOUNTED = "/etc/countersign/shared-cache"
PORT = "6379"
OWN = f"valkeys://countersign@{HOST}:{PORT}"


# --- what is rendered


def test_it_is_off_by_default_and_nothing_of_it_is_there() -> None:
    off, on = (set(map(name, render(values).objects)) for values in ({}, ON))
    more = {("Secret", SERVER), ("Secret", CLIENT), ("Deployment", SERVER), ("Service", SERVER)}
    assert on - off == more
    assert off <= on
    assert not [variable for variable in render().environment if "VALKEY" in variable]
    assert "shared-cache" not in json.dumps(render().pod)


def name(found: Object) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


@pytest.mark.parametrize(
    ("values", "url", "secret", "files"),
    [
        (ON, OWN, CLIENT, {"key": "key", "password": "password", "ca": "ca.crt"}),
        (GIVEN, OWN, "client", {"key": "key", "password": "password", "ca": "ca.crt"}),
        (ELSEWHERE, "valkeys://cache.example.com:6380/1", "cache", {"key": "key", "password": "password"}),
        ({"sharedCache": {**ELSEWHERE["sharedCache"], "passwordKey": "", "caKey": "ca.pem"}},
         "valkeys://cache.example.com:6380/1", "cache", {"key": "key", "ca": "ca.pem"}),
    ],
    ids=["chart's own", "own, given Secrets", "elsewhere", "elsewhere, no password"],
)  # fmt: skip
def test_replicas_are_told_where_it_is_and_get_the_files(
    values: Values, url: str, secret: str, files: Mapping[str, str]
) -> None:
    rendered = render(values)
    found = environment.read({**rendered.environment, "COUNTERSIGN_NAMESPACE": NAMESPACE}).valkey
    named = {"key": found.key_file, "password": found.password_file, "ca": found.ca_file}
    assert found.url == url
    assert named == {file: Path(MOUNTED, file) if file in files else None for file in named}
    [volume] = [one["secret"] for one in rendered.pod["spec"]["volumes"] if one["name"] == "shared-cache"]
    assert (volume["secretName"], {one["path"]: one["key"] for one in volume["items"]}) == (secret, files)
    assert {"name": "shared-cache", "mountPath": MOUNTED, "readOnly": True} in rendered.container["volumeMounts"]


def test_secrets_that_are_given_are_not_made() -> None:
    rendered = render(GIVEN)
    assert [found["metadata"]["name"] for found in rendered.all("Secret")] == ["countersign-ca"]
    [volume] = [one["secret"] for one in rendered.cache_pod["spec"]["volumes"] if "secret" in one]
    assert volume["secretName"] == "server"


def test_valkey_gets_neither_the_key_nor_the_password() -> None:
    rendered = render(ON)
    server, client = rendered.secret(SERVER), rendered.secret(CLIENT)
    assert set(server) == {"tls.crt", "tls.key", "users.acl"}
    assert set(client) == {"key", "password", "ca.crt"}
    assert len(client["key"]) == 64 > sealing.SECRET_MIN_BYTES
    assert len(client["password"]) == 48
    for kept in (client["key"], client["password"]):
        assert kept not in b"".join(server.values())
    assert f"#{hashlib.sha256(client['password']).hexdigest()} ".encode() in server["users.acl"]
    assert CLIENT not in json.dumps(rendered.cache_pod)
    assert f'"{SERVER}"' not in json.dumps(rendered.pod)


def test_its_certificate_is_for_its_name_by_an_authority_of_its_own() -> None:
    rendered = render(ON)
    certificate = x509.load_pem_x509_certificate(rendered.secret(SERVER)["tls.crt"])
    authority = x509.load_pem_x509_certificate(rendered.secret(CLIENT)["ca.crt"])
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]


def test_without_a_cluster_each_rendering_makes_other_secrets() -> None:
    one, other = (render(ON).secret(CLIENT) for _ in range(2))
    assert not [key for key in one if one[key] == other[key]]


def test_it_keeps_nothing_and_needs_nothing_of_the_cluster() -> None:
    spec = render(ON).cache_pod["spec"]
    arguments = spec["containers"][0]["args"]
    assert dict(zip(arguments[::2], arguments[1::2], strict=True)) == {
        "--port": "0", "--tls-port": PORT, "--tls-cert-file": "/etc/valkey/tls.crt",
        "--tls-key-file": "/etc/valkey/tls.key", "--tls-auth-clients": "no", "--tls-protocols": "TLSv1.3",
        "--aclfile": "/etc/valkey/users.acl", "--save": "", "--appendonly": "no",
        "--maxmemory": "64mb", "--maxmemory-policy": "allkeys-lru", "--maxmemory-clients": "32mb",
    }  # fmt: skip
    assert spec["automountServiceAccountToken"] is False
    assert {next(iter(set(one) - {"name"})) for one in spec["volumes"]} == {"emptyDir", "secret"}


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "docker.io/valkey/valkey:8.1.11"),
        ({"valkey": {"image": {"tag": "8.1"}}}, "docker.io/valkey/valkey:8.1"),
        ({"valkey": {"image": {"digest": f"sha256:{'a' * 64}"}}}, f"docker.io/valkey/valkey@sha256:{'a' * 64}"),
        ({"global": {"imageRegistry": "mirror:5000"}}, "mirror:5000/valkey/valkey:8.1.11"),
    ],
)
def test_its_image_is_named(values: Values, image: str) -> None:
    given = {**values, "valkey": {**values.get("valkey", {}), "enabled": True}}
    assert render(given).cache_pod["spec"]["containers"][0]["image"] == image


def test_a_cluster_may_choose_its_user() -> None:
    context = render({"valkey": {"enabled": True, "runAsUser": None}}).cache_pod["spec"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


# --- network policies


def test_only_replicas_reach_it_and_it_reaches_nobody() -> None:
    rendered = render({**ON, "networkPolicy": {"enabled": True}})
    its, ours = (rendered.one("NetworkPolicy", called)["spec"] for called in (SERVER, "countersign"))
    assert its["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in its
    assert its["podSelector"]["matchLabels"].items() <= rendered.cache_pod["metadata"]["labels"].items()
    [way_in] = its["ingress"]
    assert way_in == {"ports": [{"port": 6379, "protocol": "TCP"}], "from": [{"podSelector": ours["podSelector"]}]}
    assert {"ports": way_in["ports"], "to": [{"podSelector": its["podSelector"]}]} in ours["egress"]


def test_replicas_on_their_nodes_network_are_let_in_by_port() -> None:
    """No label selects them there."""
    rendered = render({**ON, "networkPolicy": {"enabled": True}, "hostNetwork": True})
    assert rendered.one("NetworkPolicy", SERVER)["spec"]["ingress"] == [{"ports": [{"port": 6379, "protocol": "TCP"}]}]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("valkeys://cache.example.com", 6379),
        ("valkeys://cache.example.com:6380", 6380),
        ("valkeys://user@cache.example.com:6380/15", 6380),
        ("valkeys://[2001:db8::6380]/2", 6379),
        ("valkeys://[2001:db8::1]:443", 443),
    ],
)
def test_replicas_are_let_out_to_one_elsewhere(url: str, port: int) -> None:
    values = {"networkPolicy": {"enabled": True}, "sharedCache": {"url": url, "existingSecret": "a"}}
    [policy] = render(values).all("NetworkPolicy")
    ports = [one["port"] for one in policy["spec"]["egress"][1]["ports"]]
    assert ports == sorted({80, 443, 6443, port}, key=[80, 443, 6443, port].index)


def test_there_is_no_network_policy_that_nobody_asked_for() -> None:
    assert not render(ON).all("NetworkPolicy")


# --- Helm on an API server


@pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART)
@pytest.mark.parametrize("helm", ["helm", "helm4"])
def test_secrets_survive_upgrades_and_go_with_the_release(api_server: Server, tmp_path: Path, helm: str) -> None:
    namespace = api_server.namespace(f"cache-{helm}")
    call = Release(api_server, tmp_path, helm, namespace)
    call("install", values=ON)
    made = secrets(api_server, namespace)
    call("upgrade", values={**ON, "replicas": 3})
    assert secrets(api_server, namespace) == made
    api_server.kubectl("delete", "secret/life-valkey", f"-n={namespace}")
    call("upgrade", values=ON)
    renewed = secrets(api_server, namespace)
    kept = {key for key, value in renewed.items() if made[key] == value}
    assert kept == {"life-valkey-client key", "life-valkey-client password", "life-valkey users.acl"}
    call("upgrade", values={"valkey": {"enabled": False}})
    assert not left(api_server, "secrets,deployments,services", "life,app.kubernetes.io/component=cache")
    call("uninstall", "--no-hooks")


def secrets(server: Server, namespace: str) -> dict[str, str]:
    """All that lies in both, by name and key."""
    found = {
        called: get(server, f"secret/{called}", namespace)["data"] for called in ("life-valkey", "life-valkey-client")
    }
    return {f"{called} {key}": value for called, data in found.items() for key, value in data.items()}


@pytest.mark.tools(*API_SERVER, *TOOLS_OF_CHART)
def test_the_api_server_takes_what_is_made_for_it(api_server: Server) -> None:
    api_server.namespace(NAMESPACE)
    objects = render({**ON, "networkPolicy": {"enabled": True}}).objects
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    done = api_server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed)
    assert len(done.stdout.splitlines()) == len(objects)
    assert "Warning" not in done.stderr


def test_what_is_granted_elsewhere_is_what_is_granted_here() -> None:
    *_, granted = render(ON).secret(SERVER)["users.acl"].decode().partition("~")
    assert f"on >the-password ~{granted}" in (ROOT / "docs/cache.md").read_text()
