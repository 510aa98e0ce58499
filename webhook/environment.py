"""Settings from outside: the variables `COUNTERSIGN_…`, the flags of `serve` that stand for them, the registries file.

Nothing else in the package is told what stands in the environment. A mistake is an `OperatorError` that names the
variable, the flag, or the place in the file. What a setting means, and its default, is written in `settings`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from webhook import files
from webhook.errors import OperatorError, quote
from webhook.settings import (
    AWS,
    KIB,
    MIB,
    Admission,
    Cache,
    Cluster,
    Crosscheck,
    Early,
    EventsIn,
    Network,
    NoMatch,
    Pin,
    Policy,
    PullSecrets,
    Registry,
    RegistryHost,
    Revocation,
    Server,
    Settings,
    Trust,
    Valkey,
    Verification,
)

PREFIX = "COUNTERSIGN_"
NO_FLAGS: Mapping[str, str] = MappingProxyType({})

_REGISTRIES_MAX_BYTES = MIB
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(:[0-9]{1,5})?")
_SERVICE_LINK = re.compile(r"\w*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_[0-9]+_(TCP|UDP)(_\w+)?)?)")
_OTHERS = frozenset({"COUNTERSIGN_REQUIRE_TOOLS"})  # read by the test suite

_Convert = Callable[[str], object]


class _ValueError(Exception):
    """What was expected of a value; who reads it knows its name."""


def read(variables: Mapping[str, str], flags: Mapping[str, str] = NO_FLAGS) -> Settings:
    """The settings that `variables` make, `flags` (by variable name too) over them; defaults for all else.

    Raises: OperatorError.
    """
    sections: dict[str, dict[str, Any]] = {}
    for variable, (section, name, convert) in _VARIABLES.items():
        label = flag_of(variable) if variable in flags else variable
        text = flags.get(variable, variables.get(variable, "")).strip()
        if text:
            sections.setdefault(section, {})[name] = _converted(label, text, convert)
    for name, conventional in _CONVENTIONAL.items():
        found = next((variables[variable] for variable in conventional if variables.get(variable)), "")
        if found:
            sections.setdefault("network", {}).setdefault(name, _list(found) if name == "no_proxy" else found)
    server = Server(**sections.get("server", {}))
    if (server.certificate_file is None) != (server.key_file is None):
        raise OperatorError("COUNTERSIGN_CERTIFICATE and COUNTERSIGN_KEY: both or neither expected")
    valkey = Valkey(**sections.get("valkey", {}))
    if valkey.url and valkey.key_file is None:
        raise OperatorError("COUNTERSIGN_VALKEY: COUNTERSIGN_VALKEY_KEY_FILE expected with it")
    cluster = Cluster(**sections.get("cluster", {}))
    if cluster.ca_secret and server.certificate_file:
        raise OperatorError("COUNTERSIGN_CA_SECRET and COUNTERSIGN_CERTIFICATE: one of them expected, not both")
    if cluster.ca_secret and not (cluster.namespace and cluster.webhook_configuration):
        more = "COUNTERSIGN_NAMESPACE and COUNTERSIGN_WEBHOOK_CONFIGURATION"
        raise OperatorError(f"COUNTERSIGN_CA_SECRET: {more} expected with it")
    return Settings(
        network=Network(**sections.get("network", {})),
        registry=Registry(**sections.get("registry", {})),
        cache=Cache(**sections.get("cache", {})),
        valkey=valkey,
        policy=Policy(**sections.get("policy", {})),
        trust=Trust(**sections.get("trust", {})),
        aws=AWS(**sections.get("aws", {})),
        revocation=Revocation(**sections.get("revocation", {})),
        verification=Verification(**sections.get("verification", {})),
        admission=Admission(**sections.get("admission", {})),
        cluster=cluster,
        pin=Pin(**sections.get("pin", {})),
        server=server,
    )


def flag_of(variable: str) -> str:
    """The flag that stands for `variable`: `--admission-port` for `COUNTERSIGN_ADMISSION_PORT`."""
    return "--" + variable.removeprefix(PREFIX).lower().replace("_", "-")


def unknown_variables(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Names that look like settings and are none: typing errors. Kubernetes' own (service links) are left out."""
    return tuple(
        sorted(
            name
            for name in variables
            if name.startswith(PREFIX)
            and name not in _VARIABLES
            and name not in _OTHERS
            and not _SERVICE_LINK.fullmatch(name)
        )
    )


def load_registries(path: Path) -> tuple[RegistryHost, ...]:
    """What the YAML file at `path` says of registries. Raises: OperatorError."""
    try:
        document = yaml.safe_load(files.load(path, _REGISTRIES_MAX_BYTES))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise OperatorError(f"{path}: not YAML as expected: {' '.join(str(error).split())[:200]}") from error
    if document is None:
        return ()
    if (
        not isinstance(document, dict)
        or set(document) != {"registries"}
        or not isinstance(document["registries"], list)
    ):
        raise OperatorError(f"{path}: one key `registries` with a list expected")
    hosts = tuple(
        _registry(entry, f"{path}: registries[{index}]") for index, entry in enumerate(document["registries"])
    )
    names = [host.host for host in hosts]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise OperatorError(f"{path}: {quote(repeated[0])} stands twice")
    return hosts


def _registry(entry: object, where: str) -> RegistryHost:
    if not isinstance(entry, dict) or "host" not in entry:
        raise OperatorError(f"{where}: an entry with `host` expected")
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in _REGISTRY_FIELDS:
            raise OperatorError(f"{where}: unknown field {quote(str(key))}; known are {', '.join(_REGISTRY_FIELDS)}")
        name, convert = _REGISTRY_FIELDS[key]
        try:
            values[name] = convert(value)
        except _ValueError as error:
            raise OperatorError(f"{where}.{key}: {error}") from None
    return RegistryHost(**values)


def _converted(label: str, text: str, convert: _Convert) -> object:
    try:
        return convert(text)
    except _ValueError as error:
        raise OperatorError(f"{label}: {error}, found {quote(text, max_chars=80)}") from None


def _expect(expected: str) -> NoReturn:
    raise _ValueError(f"{expected} expected")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not low <= int(text) <= high:
            _expect(f"a whole number from {low} to {high}")
        return int(text)

    return convert


def _number(low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not low <= float(text) <= high:
            _expect(f"a number from {low:g} to {high:g}")
        return float(text)

    return convert


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = float(text.removesuffix("s"))
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            _expect(f"seconds from {low:g} to {high:g}")
        return value

    return convert


def _seconds_or_off(low: float, high: float) -> Callable[[str], float | None]:
    def convert(text: str) -> float | None:
        try:
            return None if text == "off" else _seconds(low, high)(text)
        except _ValueError:
            _expect(f"`off`, or seconds from {low:g} to {high:g},")

    return convert


def _mirror(text: str) -> str:
    if not text.startswith(("https://", "http://")):  # whoever dials it looks closer
        _expect("the https URL of a TUF repository")
    return text


def _authorities(what: str, default_port: int) -> Callable[[str], tuple[str, ...]]:
    def convert(text: str) -> tuple[str, ...]:
        hosts = tuple(entry.lower().removesuffix(f":{default_port}") for entry in _list(text))
        if not all(map(_HOST.fullmatch, hosts)):
            _expect(f"`host` or `host:port` of {what}")
        return hosts

    return convert


def _networks(text: str) -> tuple[str, ...]:
    networks = tuple(_list(text))
    try:
        for network in networks:
            ipaddress.ip_network(network)
    except ValueError:
        _expect("networks such as 10.0.0.0/16")
    return networks


def _valkey(text: str) -> str:
    if not re.fullmatch(
        r"valkeys?://([A-Za-z0-9._-]+@)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[0-9]{1,3})?", text
    ):
        _expect("`valkeys://[user@]host[:port][/database]`, without a password,")
    return text


def _region(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,}(-[a-z0-9]+)+", text):
        _expect("a region, such as us-west-2,")
    return text


def _label(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        _expect("the name of a namespace")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", text):
        _expect("the name of a Kubernetes object")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(_name(name) for name in _list(text))


def _topic(text: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z]{2,}(-[a-z0-9]+)+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?", text):
        _expect("the ARN of an SNS topic")
    return text


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        _expect("`true` or `false`")
    return text == "true"


def _word(words: type[StrEnum]) -> Callable[[str], StrEnum]:
    def convert(text: str) -> StrEnum:
        try:
            return words(text)
        except ValueError:
            _expect(f"one of {', '.join(words)}")

    return convert


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", text) if part)


def _host(value: object) -> str:
    if not isinstance(value, str) or not _HOST.fullmatch(value.lower()):
        _expect("a registry's `host` or `host:port`, as it stands in references,")
    return value.lower()


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        _expect("a list of hosts")
    return tuple(_host(entry) for entry in value)


def _registry_host(value: object) -> str:
    return _host(value).removesuffix(":443")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        _expect("true or false")
    return value


def _file(value: object) -> Path:
    if not isinstance(value, str) or not value:
        _expect("a file's path")
    return Path(value)


_REGISTRY_FIELDS: Mapping[str, tuple[str, Callable[[object], object]]] = {
    "host": ("host", _registry_host),
    "endpoint": ("endpoint", _host),
    "insecureHTTP": ("insecure_http", _flag),
    "private": ("private", _flag),
    "loopback": ("loopback", _flag),
    "caFile": ("ca_file", _file),
    "tokenHosts": ("token_hosts", _hosts),
}

_VARIABLES: Mapping[str, tuple[str, str, _Convert]] = {
    "COUNTERSIGN_POLICIES": ("policy", "directory", Path),
    "COUNTERSIGN_NO_MATCH": ("policy", "no_match", _word(NoMatch)),
    "COUNTERSIGN_BASELINE_EXEMPT": ("policy", "baseline_exempt", _list),
    "COUNTERSIGN_POLICY_RELOAD_INTERVAL": ("policy", "reload_interval", _seconds(0.05, 3600)),
    "COUNTERSIGN_WORKERS": ("verification", "workers", _integer(0, 64)),
    "COUNTERSIGN_CROSSCHECK": ("verification", "crosscheck", _word(Crosscheck)),
    "COUNTERSIGN_TRUST_ROOTS": ("trust", "directory", Path),
    "COUNTERSIGN_TRUST_REFRESH": ("trust", "refresh_interval", _seconds_or_off(60, 7 * 24 * 3600)),
    "COUNTERSIGN_TRUST_CACHE": ("trust", "cache", Path),
    "COUNTERSIGN_TUF_MIRROR": ("trust", "tuf_mirror", _mirror),
    "COUNTERSIGN_TUF_ROOT": ("trust", "tuf_root", Path),
    "COUNTERSIGN_TUF_HOSTS": ("trust", "tuf_hosts", _authorities("TUF repositories", 443)),
    "COUNTERSIGN_REVOCATION_HOSTS": ("revocation", "hosts", _authorities("OCSP responders and CRL servers", 80)),
    "COUNTERSIGN_KMS_ENDPOINTS": ("aws", "kms_endpoints", _authorities("KMS endpoints", 443)),
    "COUNTERSIGN_SIGNER_REGION": ("aws", "signer_region", _region),
    "COUNTERSIGN_SIGNER_CACHE": ("aws", "signer_lifetime", _seconds(0, 3600)),
    "COUNTERSIGN_SIGNER_STALE": ("aws", "signer_stale", _seconds(0, 24 * 3600)),
    "COUNTERSIGN_KMS_STALE": ("aws", "kms_stale", _seconds(600, 24 * 3600)),
    "COUNTERSIGN_PUBLIC_ECR_LOGIN": ("aws", "public_registry", _boolean),
    "COUNTERSIGN_SNS_TOPIC": ("aws", "sns_topic", _topic),
    "COUNTERSIGN_REGISTRIES": ("registry", "hosts", lambda text: load_registries(Path(text))),
    "COUNTERSIGN_REGISTRIES_ALLOWED": ("registry", "allowed", _authorities("registries", 443)),
    "COUNTERSIGN_DOCKER_CONFIG": ("registry", "docker_config", Path),
    "COUNTERSIGN_CACHE_LIFETIME": ("cache", "findings_lifetime", _seconds(0, 3600)),
    "COUNTERSIGN_CACHE_BYTES": ("cache", "findings_max_bytes", _integer(64 * KIB, 1024 * MIB)),
    "COUNTERSIGN_PRESENCE_STALE": ("cache", "presence_stale", _seconds(0, 7 * 24 * 3600)),
    "COUNTERSIGN_TAG_CACHE": ("cache", "tag_lifetime", _seconds(0, 3600)),
    "COUNTERSIGN_VALKEY": ("valkey", "url", _valkey),
    "COUNTERSIGN_VALKEY_PASSWORD_FILE": ("valkey", "password_file", Path),
    "COUNTERSIGN_VALKEY_CA_FILE": ("valkey", "ca_file", Path),
    "COUNTERSIGN_VALKEY_KEY_FILE": ("valkey", "key_file", Path),
    "COUNTERSIGN_VALKEY_TIMEOUT": ("valkey", "timeout", _seconds(0.001, 1)),
    "COUNTERSIGN_CA_FILE": ("network", "ca_file", Path),
    "COUNTERSIGN_HTTPS_PROXY": ("network", "https_proxy", str),
    "COUNTERSIGN_HTTP_PROXY": ("network", "http_proxy", str),
    "COUNTERSIGN_NO_PROXY": ("network", "no_proxy", _list),
    "COUNTERSIGN_CONNECT_TIMEOUT": ("network", "connect_timeout", _seconds(0.05, 30)),
    "COUNTERSIGN_READ_TIMEOUT": ("network", "read_timeout", _seconds(0.05, 30)),
    "COUNTERSIGN_TIMEOUT": ("admission", "timeout", _seconds(0.1, 30)),
    "COUNTERSIGN_BODY_MAX_BYTES": ("admission", "body_max_bytes", _integer(64 * KIB, 64 * MIB)),
    "COUNTERSIGN_REFERENCES_MAX": ("admission", "references_max", _integer(1, 10_000)),
    "COUNTERSIGN_VERIFICATIONS": ("admission", "verifications", _integer(1, 1024)),
    "COUNTERSIGN_QUEUE_MAX": ("admission", "queue_max", _integer(0, 10_000)),
    "COUNTERSIGN_FAILS_OPEN": ("admission", "fails_open", _boolean),
    "COUNTERSIGN_WORKLOADS": ("admission", "workloads", _word(Early)),
    "COUNTERSIGN_NAMESPACE": ("cluster", "namespace", _label),
    "COUNTERSIGN_POD": ("cluster", "pod", str),
    "COUNTERSIGN_KUBECONFIG": ("cluster", "kubeconfig", Path),
    "COUNTERSIGN_WEBHOOK_CONFIGURATION": ("cluster", "webhook_configuration", _name),
    "COUNTERSIGN_CA_SECRET": ("cluster", "ca_secret", _name),
    "COUNTERSIGN_LAST_GOOD": ("cluster", "last_good", _name),
    "COUNTERSIGN_POLICY_WRITERS": ("cluster", "policy_writers", _list),
    "COUNTERSIGN_TRUST_SECRETS": ("cluster", "trust_secrets", _names),
    "COUNTERSIGN_PULL_SECRETS": ("cluster", "pull_secrets", _word(PullSecrets)),
    "COUNTERSIGN_PULL_SECRET_NAMESPACES": ("cluster", "pull_secret_namespaces", _names),
    "COUNTERSIGN_WARM_START": ("cluster", "warm_start", _number(0, 100)),
    "COUNTERSIGN_EVENTS": ("cluster", "events", _word(EventsIn)),
    "COUNTERSIGN_PIN": ("pin", "enabled", _boolean),
    "COUNTERSIGN_PIN_EXCLUDE_NAMESPACES": ("pin", "exclude_namespaces", _names),
    "COUNTERSIGN_PIN_EXCLUDE_OWNERS": ("pin", "exclude_owners", _list),
    "COUNTERSIGN_ADDRESS": ("server", "address", str),
    "COUNTERSIGN_ADMISSION_PORT": ("server", "admission_port", _integer(0, 65535)),
    "COUNTERSIGN_OPERATIONS_PORT": ("server", "operations_port", _integer(0, 65535)),
    "COUNTERSIGN_CERTIFICATE": ("server", "certificate_file", Path),
    "COUNTERSIGN_KEY": ("server", "key_file", Path),
    "COUNTERSIGN_NAMES": ("server", "names", _list),
    "COUNTERSIGN_CA_OUT": ("server", "ca_out_file", Path),
    "COUNTERSIGN_CLIENT_CA": ("server", "client_ca_file", Path),
    "COUNTERSIGN_CALLERS": ("server", "callers", _networks),
    "COUNTERSIGN_TLS_RELOAD_INTERVAL": ("server", "reload_interval", _seconds(0.05, 3600)),
    "COUNTERSIGN_KEEP_ALIVE": ("server", "keep_alive", _seconds(1, 3600)),
    "COUNTERSIGN_SHUTDOWN_DELAY": ("server", "shutdown_delay", _seconds(0, 300)),
    "COUNTERSIGN_SHUTDOWN_GRACE": ("server", "shutdown_grace", _seconds(0, 300)),
}

# What other programs read too; ours come first. Upper case of `http_proxy` is left out: a CGI could be made to set it.
_CONVENTIONAL: Mapping[str, tuple[str, ...]] = {
    "https_proxy": ("HTTPS_PROXY", "https_proxy"),
    "http_proxy": ("http_proxy",),
    "no_proxy": ("NO_PROXY", "no_proxy"),
}
