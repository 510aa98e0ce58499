"""Which authority is dialled for a repository, a redirect or a token realm, with what an operator allowed for it.

An allowance belongs to the authority that is dialled, so that a pooled connection means the same whoever uses it; and
nobody is sent to a private or loopback authority by one that is not allowed there itself. Registries of Amazon ECR may
be private without being listed, as interface endpoints give their names private addresses; so may S3 where such a
registry sends us to it, and neither of them where anybody else does. See docs/registries.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from yarl import URL

from webhook import addresses, settings
from webhook.errors import Code, RejectedError, quote
from webhook.network import Network, Target
from webhook.oci import authn, ecr, reference
from webhook.oci.challenge import Challenge
from webhook.oci.reference import Repository

MAX_TARGETS = 1024  # hosts remembered; whoever creates pods chooses them

_TOKEN_HOSTS = {
    "docker.io": ("auth.docker.io",),
    "registry.gitlab.com": ("gitlab.com",),
    ecr.PUBLIC: (ecr.PUBLIC, ecr.PUBLIC_ALIAS),
}
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Hosts:
    """The registries that an operator listed, and every other as it is: public, on https."""

    def __init__(
        self, entries: tuple[settings.RegistryHost, ...], network: Network, *, allowed: Sequence[str] = ()
    ) -> None:
        """`allowed` are the only registries that may be asked; where it is empty, all are."""
        self._network = network
        self._allowed = frozenset(reference.matching_host(host) for host in allowed)
        self._named = {reference.matching_host(entry.host): entry for entry in entries}
        self._dialled = {_dialled(entry): entry for entry in entries}
        self._found: dict[str, tuple[Target, authn.Registry]] = {}

    def find(self, repository: Repository) -> tuple[Target, authn.Registry]:
        """Who is dialled for `repository`, and what the dialogue of credentials must know of it.

        Raises: RejectedError, `host_refused`; OperatorError.
        """
        found = self._found.get(repository.host)
        if found is None:
            self._check_allowed(repository.host)
            if len(self._found) >= MAX_TARGETS:
                self._found.clear()
            found = self._found[repository.host] = self._look_up(repository.host)
        return found

    def hop(self, url: URL, *, sender: Target) -> Target:
        """Who is dialled for `url`, which `sender` names as the place to go. Raises: RejectedError, `host_refused`."""
        host, port = (url.raw_host or "").removesuffix("."), url.port
        if url.scheme not in _DEFAULT_PORTS or not host or port is None:
            raise RejectedError(Code.HOST_REFUSED, f"{quote(sender.authority)} refers to a URL that is not https")
        if url.raw_user is not None or url.raw_password is not None:
            raise RejectedError(Code.HOST_REFUSED, f"{quote(sender.authority)} refers to a URL with a user name in it")
        host = host.lower()
        entry = self._dialled.get((host, port)) or self._by_name(host, port)
        private = sender.private and (is_at(url, sender) or _is_storage_of(sender, url.scheme, host, port))
        target = self._make(url.scheme, host, port, entry, private=private)
        if target.tls is None and _scheme(entry) != "http":
            raise RejectedError(
                Code.HOST_REFUSED,
                f"{quote(sender.authority)} refers to {quote(target.authority)} over plain http"
                " (setting `insecureHTTP: true` of that registry)",
            )
        if target.origin != sender.origin and (
            (target.private and not sender.private) or (target.loopback and not sender.loopback)
        ):
            raise RejectedError(
                Code.HOST_REFUSED,
                f"{quote(sender.authority)} refers to {quote(target.authority)}, which is listed as private or"
                " loopback; only a registry listed with the same allowance may",
            )
        return target

    def check(self) -> None:
        """Every registry, listed or not, can be dialled as the operator says. Raises: OperatorError."""
        self._network.tls(None)
        for scheme, port in _DEFAULT_PORTS.items():
            self._network.proxy(scheme, "registry.invalid", port)
        for name in self._named:
            self._look_up(name)

    def _check_allowed(self, host: str) -> None:
        if self._allowed and reference.matching_host(host) not in self._allowed:
            raise RejectedError(
                Code.HOST_REFUSED,
                f"{quote(host)} is none of the registries that may be asked (setting COUNTERSIGN_REGISTRIES_ALLOWED)",
            )

    def _look_up(self, host: str) -> tuple[Target, authn.Registry]:
        name = reference.matching_host(host)
        entry = self._named.get(name)
        scheme = _scheme(entry)
        dialled = _dialled(entry) if entry is not None and entry.endpoint else _network_host(host, scheme)
        target = self._make(scheme, *dialled, entry, private=_is_ecr(scheme, *dialled))
        trusted = _TOKEN_HOSTS.get(name, ()) + (entry.token_hosts if entry is not None else ())
        token_hosts = frozenset(((target.host, target.port), *(_split(text.lower(), 443) for text in trusted)))
        # ECR asks for Basic: it is spared to ask. Amazon ECR, private registry authentication
        challenge = Challenge("basic") if ecr.parse_host(host) is not None else None
        return target, authn.Registry(target.authority, token_hosts, plain=target.tls is None, challenge=challenge)

    def _by_name(self, host: str, port: int) -> settings.RegistryHost | None:
        name = host if port == _DEFAULT_PORTS["https"] else f"{host}:{port}"
        entry = self._named.get(reference.matching_host(name))
        return entry if entry is not None and not entry.endpoint else None

    def _make(self, scheme: str, host: str, port: int, entry: settings.RegistryHost | None, *, private: bool) -> Target:
        if entry is None:
            addresses.check_name(host)
        shown = f"[{host}]" if ":" in host else host
        private = private or (entry is not None and entry.private)
        loopback = entry is not None and entry.loopback
        ca_file = entry.ca_file if entry is not None else None
        return Target(
            origin=f"{scheme}://{shown}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{shown}:{port}",
            host=host,
            port=port,
            private=private,
            loopback=loopback,
            tls=self._network.tls(ca_file, private=private, loopback=loopback) if scheme == "https" else None,
            proxy=self._network.proxy(scheme, host, port),
        )


def is_at(url: URL, target: Target) -> bool:
    """Whether `url` stays at `target`: scheme, host and port. RFC 6454 5"""
    plain = url.scheme == "http"
    return (
        url.scheme in _DEFAULT_PORTS
        and plain == (target.tls is None)
        and (url.raw_host or "").lower() == target.host
        and url.port == target.port
    )


def _is_ecr(scheme: str, host: str, port: int) -> bool:
    return (scheme, port) == ("https", 443) and ecr.parse_host(host) is not None


def _is_storage_of(sender: Target, scheme: str, host: str, port: int) -> bool:
    """Whether this is where `sender`, being a registry of ECR, keeps its blobs."""
    registry = ecr.parse_host(sender.host) if sender.tls is not None and sender.port == 443 else None
    return (scheme, port) == ("https", 443) and registry is not None and ecr.is_storage_of(registry, host)


def _scheme(entry: settings.RegistryHost | None) -> str:
    return "http" if entry is not None and entry.insecure_http else "https"


def _dialled(entry: settings.RegistryHost) -> tuple[str, int]:
    return _network_host(entry.endpoint or entry.host, _scheme(entry))


def _network_host(host: str, scheme: str) -> tuple[str, int]:
    host = host.lower()
    return _split(reference.network_host(host), _DEFAULT_PORTS[scheme])


def _split(authority: str, default_port: int) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if colon and port.isascii() and port.isdecimal():
        return host.strip("[]"), int(port)
    return authority.strip("[]"), default_port
