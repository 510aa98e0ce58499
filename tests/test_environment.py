"""Settings come from variables, flags and one file; every mistake names where it stands."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from webhook import environment, settings
from webhook.environment import load_registries
from webhook.errors import OperatorError
from webhook.settings import NoMatch, RegistryHost, Settings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "settings.md"


def test_without_variables_all_is_as_written() -> None:
    assert environment.read({}) == Settings()
    assert environment.read({"COUNTERSIGN_TIMEOUT": " ", "PATH": "/bin"}) == Settings()


TOPIC = "arn:aws-cn:sns:cn-north-1:111122223333:denials.fifo"
VALUES: dict[str, tuple[str, str, str, object]] = {
    "POLICIES": ("/p", "policy", "directory", Path("/p")),
    "NO_MATCH": ("warn", "policy", "no_match", NoMatch.WARN),
    "BASELINE_EXEMPT": ("registry.k8s.io, quay.io/x", "policy", "baseline_exempt", ("registry.k8s.io", "quay.io/x")),
    "POLICY_RELOAD_INTERVAL": ("0.5", "policy", "reload_interval", 0.5),
    "TRUST_ROOTS": ("/t", "trust", "directory", Path("/t")),
    "TRUST_REFRESH": ("3600", "trust", "refresh_interval", 3600.0),
    "TRUST_CACHE": ("/c", "trust", "cache", Path("/c")),
    "TUF_MIRROR": ("https://tuf.corp", "trust", "tuf_mirror", "https://tuf.corp"),
    "TUF_HOSTS": ("Tuf.corp:443, 10.0.0.1:8080", "trust", "tuf_hosts", ("tuf.corp", "10.0.0.1:8080")),
    "TUF_ROOT": ("/r.json", "trust", "tuf_root", Path("/r.json")),
    "REVOCATION_HOSTS": ("OCSP.corp:80 10.0.0.1:8080", "revocation", "hosts", ("ocsp.corp", "10.0.0.1:8080")),
    "KMS_ENDPOINTS": ("localhost:4566", "aws", "kms_endpoints", ("localhost:4566",)),
    "SIGNER_REGION": ("us-gov-west-1", "aws", "signer_region", "us-gov-west-1"),
    "SIGNER_CACHE": ("0", "aws", "signer_lifetime", 0.0),
    "SIGNER_STALE": ("0", "aws", "signer_stale", 0.0),
    "KMS_STALE": ("7200", "aws", "kms_stale", 7200.0),
    "PRESENCE_STALE": ("604800", "cache", "presence_stale", 604800.0),
    "WARM_START": ("0.5", "cluster", "warm_start", 0.5),
    "PUBLIC_ECR_LOGIN": ("true", "aws", "public_registry", True),
    "SNS_TOPIC": (TOPIC, "aws", "sns_topic", TOPIC),
    "DOCKER_CONFIG": ("/d.json", "registry", "docker_config", Path("/d.json")),
    "CA_FILE": ("/ca.pem", "network", "ca_file", Path("/ca.pem")),
    "HTTPS_PROXY": ("http://p:3128", "network", "https_proxy", "http://p:3128"),
    "NO_PROXY": (".svc,10.0.0.0/8", "network", "no_proxy", (".svc", "10.0.0.0/8")),
    "CONNECT_TIMEOUT": ("3s", "network", "connect_timeout", 3.0),
    "TIMEOUT": ("5", "admission", "timeout", 5.0),
    "VERIFICATIONS": ("8", "admission", "verifications", 8),
    "QUEUE_MAX": ("0", "admission", "queue_max", 0),
    "FAILS_OPEN": ("true", "admission", "fails_open", True),
    "PIN": ("true", "pin", "enabled", True),
    "PIN_EXCLUDE_OWNERS": ("Cluster.a.io, Job.batch", "pin", "exclude_owners", ("Cluster.a.io", "Job.batch")),
    "PIN_EXCLUDE_NAMESPACES": ("db", "pin", "exclude_namespaces", ("db",)),
    "ADDRESS": ("::", "server", "address", "::"),
    "ADMISSION_PORT": ("0", "server", "admission_port", 0),
    "NAMES": ("a.b.svc localhost", "server", "names", ("a.b.svc", "localhost")),
    "SHUTDOWN_DELAY": ("0", "server", "shutdown_delay", 0.0),
}


@pytest.mark.parametrize(
    ("name", "text", "section", "field", "expected"), [(k, *v) for k, v in VALUES.items()], ids=VALUES
)
def test_a_variable_sets_its_field(name: str, text: str, section: str, field: str, expected: object) -> None:
    variable = f"COUNTERSIGN_{name}"
    assert getattr(getattr(environment.read({variable: text}), section), field) == expected
    flagged = environment.read({variable: "never read"}, {variable: text})
    assert getattr(getattr(flagged, section), field) == expected, "a flag wins"


def test_refresh_can_be_off() -> None:
    assert environment.read({"COUNTERSIGN_TRUST_REFRESH": "off"}).trust.refresh_interval is None


MISTAKES = {
    "refresh-too-often": ("TRUST_REFRESH", "59", "`off`, or seconds from 60 to 604800, expected"),
    "refresh-not-said": ("TRUST_REFRESH", "never", "`off`, or seconds"),
    "mirror-without-scheme": ("TUF_MIRROR", "tuf.corp", "the https URL of a TUF repository expected"),
    "tuf-host-with-scheme": ("TUF_HOSTS", "a.corp https://tuf.corp", "`host` or `host:port` of TUF repositories"),
    "revocation-host-with-scheme": ("REVOCATION_HOSTS", "http://ocsp.corp", "`host` or `host:port` of OCSP responders"),
    "region": ("SIGNER_REGION", "us-west-2.evil.example", "a region, such as us-west-2, expected"),
    "topic-of-another-service": ("SNS_TOPIC", "arn:aws:sqs:us-west-2:111122223333:denials", "the ARN of an SNS topic"),
    "topic-name": ("SNS_TOPIC", "denials", "the ARN of an SNS topic expected"),
    "no-match": ("NO_MATCH", "maybe", "one of deny, warn, allow expected, found 'maybe'"),
    "boolean": ("FAILS_OPEN", "yes", "`true` or `false` expected"),
    "stale-before-it-is-asked-again": ("KMS_STALE", "599", "seconds from 600 to 86400 expected"),
    "rate": ("WARM_START", "2s", "a number from 0 to 100 expected, found '2s'"),
    "rate-too-high": ("WARM_START", "100.5", "a number from 0 to 100 expected"),
    "stale-too-long": ("SIGNER_STALE", "86401", "seconds from 0 to 86400 expected"),
    "port-too-large": ("ADMISSION_PORT", "65536", "a whole number from 0 to 65535 expected"),
    "port-text": ("OPERATIONS_PORT", "http", "a whole number"),
    "port-digits-of-another-script": ("OPERATIONS_PORT", "٨٠", "a whole number"),
    "negative": ("QUEUE_MAX", "-1", "a whole number"),
    "no-places": ("VERIFICATIONS", "0", "a whole number from 1"),
    "timeout-zero": ("TIMEOUT", "0", "seconds from 0.1 to 30"),
    "timeout-too-long": ("TIMEOUT", "31", "seconds from 0.1 to 30"),
    "not-a-number": ("TIMEOUT", "nan", "seconds"),
    "infinite": ("SHUTDOWN_DELAY", "inf", "seconds"),
    "newline": ("NO_MATCH", "de\nny", r".*found 'de\\nny'"),
}


@pytest.mark.parametrize(("name", "text", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_the_variable_or_the_flag(name: str, text: str, expected: str) -> None:
    variable = f"COUNTERSIGN_{name}"
    flag = "--" + name.lower().replace("_", "-")
    with pytest.raises(OperatorError, match=f"^{variable}: {expected}"):
        environment.read({variable: text})
    with pytest.raises(OperatorError, match=f"^{flag}: {expected}"):
        environment.read({}, {variable: text})


@pytest.mark.parametrize("name", ["CERTIFICATE", "KEY"])
def test_a_certificate_and_its_key_go_together(name: str) -> None:
    with pytest.raises(OperatorError, match="both or neither"):
        environment.read({f"COUNTERSIGN_{name}": "/x"})


CLUSTER = {"NAMESPACE": "cs", "CA_SECRET": "ca", "WEBHOOK_CONFIGURATION": "cs"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"CERTIFICATE": "/c", "KEY": "/k"}, "one of them expected, not both", id="files-too"),
        pytest.param({"NAMESPACE": ""}, "expected with it", id="no-namespace"),
        pytest.param({"WEBHOOK_CONFIGURATION": ""}, "expected with it", id="no-configuration"),
    ],
)
def test_a_shared_authority_goes_with_what_publishes_it(change: dict[str, str], expected: str) -> None:
    given = {f"COUNTERSIGN_{name}": text for name, text in CLUSTER.items()}
    assert environment.read(given).cluster.ca_secret == "ca"
    with pytest.raises(OperatorError, match=f"^COUNTERSIGN_CA_SECRET.*{expected}"):
        environment.read(given | {f"COUNTERSIGN_{name}": text for name, text in change.items()})


def test_a_proxy_is_taken_from_the_usual_variables_unless_ours_is_set() -> None:
    usual = {"HTTPS_PROXY": "http://usual:1", "no_proxy": "a,b", "HTTP_PROXY": "http://cgi:1"}
    assert environment.read(usual).network == settings.Network(https_proxy="http://usual:1", no_proxy=("a", "b"))
    ours = environment.read(usual | {"COUNTERSIGN_HTTPS_PROXY": "http://ours:1"})
    assert ours.network.https_proxy == "http://ours:1"


def test_typing_errors_are_found_and_service_links_are_none() -> None:
    variables = {
        "COUNTERSIGN_FAIL_OPEN": "true",
        "COUNTERSIGN_TIMEOUT": "5",
        "COUNTERSIGN_SERVICE_HOST": "10.0.0.1",
        "COUNTERSIGN_SERVICE_PORT_HTTPS": "443",
        "COUNTERSIGN_PORT": "tcp://10.0.0.1:443",
        "COUNTERSIGN_PORT_443_TCP_ADDR": "10.0.0.1",
        "COUNTERSIGN_WEBHOOK_SERVICE_HOST": "10.0.0.1",
        "OTHER": "x",
    }
    assert environment.unknown_variables(variables) == ("COUNTERSIGN_FAIL_OPEN",)


def registries(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "registries.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_registries_are_read_whole(tmp_path: Path) -> None:
    path = registries(
        tmp_path,
        """\
registries:
  - host: Registry.Internal:5000
    endpoint: 10.0.0.5:5000
    private: true
    caFile: /etc/ca.pem
    tokenHosts: [auth.internal]
  - host: localhost:5001
    insecureHTTP: true
    loopback: true
  - host: ghcr.io:443
""",
    )
    expected = (
        RegistryHost(
            "registry.internal:5000",
            endpoint="10.0.0.5:5000",
            private=True,
            ca_file=Path("/etc/ca.pem"),
            token_hosts=("auth.internal",),
        ),
        RegistryHost("localhost:5001", insecure_http=True, loopback=True),
        RegistryHost("ghcr.io"),
    )
    assert load_registries(path) == expected
    assert environment.read({"COUNTERSIGN_REGISTRIES": str(path)}).registry.hosts == expected


@pytest.mark.parametrize("text", ["", "registries: []", "# nothing\n"], ids=["empty", "empty-list", "comment"])
def test_a_file_may_list_none(tmp_path: Path, text: str) -> None:
    assert load_registries(registries(tmp_path, text)) == ()


BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "not-yaml": ("registries: [", "not YAML"),
    "tab": ("registries:\n\t- host: a.b", "not YAML"),
    "not-utf8": (b"registries:\n  - host: \xff\xfe\xff", "not YAML"),
    "depth-10000": ("[" * 10_000, "not YAML"),
    "object-tag": ("registries: !!python/object/apply:os.system [id]", "not YAML"),
    "list": ("- host: a.b", "one key `registries`"),
    "another-key": ("registries: []\nextra: 1", "one key `registries`"),
    "no-list": ("registries: {}", "one key `registries`"),
    "no-host": ("registries: [{private: true}]", r"registries\[0\]: an entry with `host`"),
    "unknown-field": ("registries: [{host: a.b, insecure: true}]", r"registries\[0\]: unknown field 'insecure'"),
    "host-with-path": ("registries: [{host: a.b/c}]", r"registries\[0\].host: a registry's `host`"),
    "host-with-scheme": ("registries: [{host: 'https://a.b'}]", r"registries\[0\].host"),
    "host-number": ("registries: [{host: 5}]", r"registries\[0\].host"),
    "flag-text": ("registries: [{host: a.b, private: 'yes'}]", r"registries\[0\].private: true or false"),
    "token-hosts-text": ("registries: [{host: a.b, tokenHosts: a.c}]", r"registries\[0\].tokenHosts: a list"),
    "twice": ("registries: [{host: a.b}, {host: A.B}]", "'a.b' stands twice"),
    "too-large": ("#" * (1024 * 1024 + 1), "larger than"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_mistake_in_the_file_names_its_place(tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = registries(tmp_path, text)
    with pytest.raises(
        OperatorError, match=f"^{re.escape(str(path))}: .*{expected}|^{re.escape(str(path))}: {expected}"
    ):
        load_registries(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be read"):
        load_registries(tmp_path / "none.yaml")


def test_every_setting_is_documented() -> None:
    text = DOCUMENT.read_text()
    documented = set(re.findall(r"`(COUNTERSIGN_\w+)`", text))
    assert documented == set(environment._VARIABLES)
    fields = {field for section in dataclasses.fields(RegistryHost) for field in [section.name]}
    known: Any = environment._REGISTRY_FIELDS
    assert {name for name, _ in known.values()} == fields
    assert all(f"`{name}`" in text for name in known)
