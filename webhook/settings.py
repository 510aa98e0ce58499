"""Every setting of Countersign, its default and its unit, in one frozen section per component.

`from_environment` reads the variables `COUNTERSIGN_…`, the flags of `serve` that stand for them, and the registries
file where one is named. Nothing else in the package reads the environment. Durations are seconds as `float`, sizes
are bytes. A mistake is an `OperatorError` that names the variable, the flag, or the place in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from webhook.errors import OperatorError, quote

KIB = 1024
MIB = 1024 * KIB
PREFIX = "COUNTERSIGN_"


class NoMatch(StrEnum):
    """What becomes of an image about which no enforcing policy speaks."""

    DENY = "deny"
    WARN = "warn"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """What an operator says of one registry; without an entry a registry is public, on https, on a public address."""

    host: str  # as it stands in references, matching form: lower case, no default port
    endpoint: str | None = None  # `host[:port]` to dial instead
    insecure_http: bool = False
    private: bool = False  # may resolve to RFC 1918, RFC 6598 or ULA addresses
    loopback: bool = False  # may resolve to a loopback address
    ca_file: Path | None = None
    token_hosts: tuple[str, ...] = ()  # besides the registry itself, who may be sent its credentials for a token


@dataclass(frozen=True, slots=True)
class Network:
    ca_file: Path | None = None  # besides the system's authorities, for every registry
    https_proxy: str | None = None
    http_proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    request_timeout: float = 15.0  # one exchange in all: whoever sends a byte now and then ends here


@dataclass(frozen=True, slots=True)
class Registry:
    """Limits of specs/oci-registry.md 3: they protect memory and time against whoever controls a repository."""

    hosts: tuple[RegistryHost, ...] = ()
    docker_config: Path | None = None
    manifest_max_bytes: int = 4 * MIB
    manifest_max_entries: int = 1000  # layers of a manifest, manifests of an index
    token_max_bytes: int = 64 * KIB
    error_max_bytes: int = 8 * KIB
    referrers_max: int = 500
    referrers_max_pages: int = 10
    redirects_max: int = 3
    attempts: int = 3
    backoff: float = 0.1  # tripled at each further attempt, with jitter
    connections_per_host: int = 16


@dataclass(frozen=True, slots=True)
class Evidence:
    """Limits of specs/cosign.md 6.1."""

    candidates_max: int = 50  # per place asked, so that one place never hides another
    layers_max: int = 1000
    payload_max_bytes: int = 64 * KIB
    bundle_max_bytes: int = 4 * MIB
    image_max_bytes: int = 64 * MIB
    parallel: int = 8
    hints_max: int = 20_000  # repositories of which the form that satisfied last is remembered


@dataclass(frozen=True, slots=True)
class Policy:
    directory: Path = Path("/etc/countersign/policies")
    no_match: NoMatch = NoMatch.DENY
    baseline_exempt: tuple[str, ...] = ()  # patterns, joined to every policy's exemptRegistries
    reload_interval: float = 2.0
    file_max_bytes: int = MIB
    known_max: int = 10_000  # digests remembered for `onUnavailable: known`
    known_lifetime: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Admission:
    timeout: float = 10.0
    body_max_bytes: int = 12 * MIB  # an object of 3 MiB stands in a review twice, with options
    references_max: int = 500
    verifications: int = 64  # images examined at once
    queue_max: int = 256  # reviews that wait for a place
    fails_open: bool = False  # the webhook's entry says `failurePolicy: Ignore`: refusals must be well-formed denials


@dataclass(frozen=True, slots=True)
class Server:
    address: str = "0.0.0.0"  # noqa: S104 - a pod's only address
    admission_port: int = 9443
    operations_port: int = 8080
    certificate_file: Path | None = None  # with `key_file`; without both, a certificate is issued at start
    key_file: Path | None = None
    names: tuple[str, ...] = ("countersign.countersign.svc", "localhost")  # of the certificate issued at start
    ca_out_file: Path | None = None  # where the authority of a self-issued certificate is written
    reload_interval: float = 30.0
    keep_alive: float = 120.0  # the API server keeps idle connections for 90 s and does not repeat a POST
    shutdown_delay: float = 15.0  # endpoints are removed asynchronously
    shutdown_grace: float = 25.0


@dataclass(frozen=True, slots=True)
class Settings:
    network: Network = field(default_factory=Network)
    registry: Registry = field(default_factory=Registry)
    evidence: Evidence = field(default_factory=Evidence)
    policy: Policy = field(default_factory=Policy)
    admission: Admission = field(default_factory=Admission)
    server: Server = field(default_factory=Server)


NO_FLAGS: Mapping[str, str] = MappingProxyType({})

_REGISTRIES_MAX_BYTES = MIB
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(:[0-9]{1,5})?")
_SERVICE_LINK = re.compile(r"\w*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_[0-9]+_(TCP|UDP)(_\w+)?)?)")
_OTHERS = frozenset({"COUNTERSIGN_REQUIRE_TOOLS"})  # read by the test suite

_Convert = Callable[[str], object]


class _ValueError(Exception):
    """What was expected of a value; who reads it knows its name."""


def from_environment(environment: Mapping[str, str], flags: Mapping[str, str] = NO_FLAGS) -> Settings:
    """The settings that `environment` makes, `flags` (by variable name too) over it; defaults for all else.

    Raises: OperatorError.
    """
    sections: dict[str, dict[str, Any]] = {}
    for variable, (section, name, convert) in _VARIABLES.items():
        label = flag_of(variable) if variable in flags else variable
        text = flags.get(variable, environment.get(variable, "")).strip()
        if text:
            sections.setdefault(section, {})[name] = _converted(label, text, convert)
    for name, conventional in _CONVENTIONAL.items():
        found = next((environment[variable] for variable in conventional if environment.get(variable)), "")
        if found:
            sections.setdefault("network", {}).setdefault(name, _list(found) if name == "no_proxy" else found)
    server = Server(**sections.get("server", {}))
    if (server.certificate_file is None) != (server.key_file is None):
        raise OperatorError("COUNTERSIGN_CERTIFICATE and COUNTERSIGN_KEY: both or neither expected")
    return Settings(
        network=Network(**sections.get("network", {})),
        registry=Registry(**sections.get("registry", {})),
        policy=Policy(**sections.get("policy", {})),
        admission=Admission(**sections.get("admission", {})),
        server=server,
    )


def flag_of(variable: str) -> str:
    """The flag that stands for `variable`: `--admission-port` for `COUNTERSIGN_ADMISSION_PORT`."""
    return "--" + variable.removeprefix(PREFIX).lower().replace("_", "-")


def unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names that look like settings and are none: typing errors. Kubernetes' own (service links) are left out."""
    return tuple(
        sorted(
            name
            for name in environment
            if name.startswith(PREFIX)
            and name not in _VARIABLES
            and name not in _OTHERS
            and not _SERVICE_LINK.fullmatch(name)
        )
    )


def load_registries(path: Path) -> tuple[RegistryHost, ...]:
    """What the YAML file at `path` says of registries. Raises: OperatorError."""
    try:
        with path.open("rb") as file:
            data = file.read(_REGISTRIES_MAX_BYTES + 1)
        if len(data) > _REGISTRIES_MAX_BYTES:
            raise OperatorError(f"{path}: larger than {_REGISTRIES_MAX_BYTES} bytes")
        document = yaml.safe_load(data)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}") from error
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


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        _expect("`true` or `false`")
    return text == "true"


def _no_match(text: str) -> NoMatch:
    try:
        return NoMatch(text)
    except ValueError:
        _expect(f"one of {', '.join(NoMatch)}")


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
    "COUNTERSIGN_NO_MATCH": ("policy", "no_match", _no_match),
    "COUNTERSIGN_BASELINE_EXEMPT": ("policy", "baseline_exempt", _list),
    "COUNTERSIGN_POLICY_RELOAD_INTERVAL": ("policy", "reload_interval", _seconds(0.05, 3600)),
    "COUNTERSIGN_REGISTRIES": ("registry", "hosts", lambda text: load_registries(Path(text))),
    "COUNTERSIGN_DOCKER_CONFIG": ("registry", "docker_config", Path),
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
    "COUNTERSIGN_ADDRESS": ("server", "address", str),
    "COUNTERSIGN_ADMISSION_PORT": ("server", "admission_port", _integer(0, 65535)),
    "COUNTERSIGN_OPERATIONS_PORT": ("server", "operations_port", _integer(0, 65535)),
    "COUNTERSIGN_CERTIFICATE": ("server", "certificate_file", Path),
    "COUNTERSIGN_KEY": ("server", "key_file", Path),
    "COUNTERSIGN_NAMES": ("server", "names", _list),
    "COUNTERSIGN_CA_OUT": ("server", "ca_out_file", Path),
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
