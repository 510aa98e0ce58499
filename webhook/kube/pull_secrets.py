"""The credentials by which a pod's images are pulled, read from the Secrets that the pod names.

Promises: a Secret is read only where an operator opted in, only by name, only in the namespace under review, and only
when neither our own configuration nor a cloud identity has anything for a registry, or was refused there. What it holds
goes to the registry that its keys name. A denial is the same whether a Secret is missing, of another type, broken or
for other registries, since who reaches our port may name any; the log tells. What could not be read is told apart.

spec: Kubernetes, images, imagePullSecrets; Secret types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from webhook import settings, untrusted
from webhook.cache import Cache, Loaded
from webhook.errors import Code, MalformedError, quote
from webhook.kube import pulling
from webhook.kube.client import Kube, KubeError, Object
from webhook.kube.workload import Request
from webhook.oci import docker_config
from webhook.oci.authn import Credential
from webhook.oci.docker_config import DockerConfig
from webhook.oci.reference import Repository
from webhook.settings import PullSecrets

LIFETIME = 60.0  # seconds; kubernetes.md 12
GAP_LIFETIME = 5.0  # seconds for which what could not be used is not read again
READ_SECONDS = 2.0  # a review has few, and the API server is near
READ_MAX = 256  # Secrets kept; with what follows some 30 MiB, should tenants make the worst of each
SECRET_MAX_BYTES = 64 * settings.KIB  # real ones have few registries, and the longest tokens some KiB
REGISTRIES_MAX = 100  # in one Secret
_SHOWN = 3  # names in a message

_TYPES = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson", docker_config.parse),
    "kubernetes.io/dockercfg": (".dockercfg", docker_config.parse_dockercfg),
}
_Key = tuple[str, str]  # namespace, name

log = logging.getLogger(__name__)


class _Gap(Enum):
    """Why there is nothing of an object."""

    REFUSED = "refused"
    AWAY = "away"
    UNUSABLE = "unusable"  # missing, of another type, no docker config


class PullSecretSource:
    """Reads Secrets and ServiceAccounts once for all who ask at the same time, and keeps them for a minute at most."""

    def __init__(self, kube: Kube, limits: settings.Cluster, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._limits = kube, limits
        self._secrets: Cache[_Key, DockerConfig | _Gap] = Cache(max_entries=READ_MAX, clock=clock)
        self._accounts: Cache[_Key, tuple[str, ...] | _Gap] = Cache(max_entries=READ_MAX, clock=clock)

    def lend(self, request: Request) -> PodCredentials | None:
        """The credentials by which images of `request` are pulled; `None` where nothing may be read for it.

        Nothing was read yet.
        """
        names, account = request.pull_secrets, request.service_account
        if not (names or account) or not self._may_read(request.namespace):
            return None
        return PodCredentials(self, request.namespace, names, account)

    async def secret(self, namespace: str, name: str) -> DockerConfig | _Gap:
        """What the Secret of that name holds for registries, or why it holds nothing."""
        return await self._secrets.get_or_load((namespace, name), lambda: self._load_secret(namespace, name))

    async def account(self, namespace: str, name: str) -> tuple[str, ...] | _Gap:
        """The names of the Secrets that pods of this service account pull with."""
        return await self._accounts.get_or_load((namespace, name), lambda: self._load_account(namespace, name))

    async def close(self) -> None:
        """Nothing is read any more."""
        await self._secrets.close()
        await self._accounts.close()

    def _may_read(self, namespace: str) -> bool:
        match self._limits.pull_secrets:
            case PullSecrets.NONE:
                return False
            case PullSecrets.LISTED:
                return namespace in self._limits.pull_secret_namespaces
            case PullSecrets.CLUSTER:
                return pulling.is_namespace(namespace)

    async def _load_secret(self, namespace: str, name: str) -> Loaded[DockerConfig | _Gap]:
        found = await self._fetch("secrets", namespace, name)
        if isinstance(found, _Gap):
            return Loaded(found, GAP_LIFETIME)
        try:
            config = _parse(found)
        except MalformedError as error:
            log.warning("pull secret %s of namespace %s is not used: %s", name, namespace, error.detail)
            return Loaded(_Gap.UNUSABLE, GAP_LIFETIME)
        for note in config.notes[:_SHOWN]:
            log.warning("pull secret %s of namespace %s: %s", name, namespace, note)
        return Loaded(config, LIFETIME)

    async def _load_account(self, namespace: str, name: str) -> Loaded[tuple[str, ...] | _Gap]:
        found = await self._fetch("serviceaccounts", namespace, name)
        if isinstance(found, _Gap):
            return Loaded(found, GAP_LIFETIME)
        return Loaded(pulling.secrets_of(found), LIFETIME)

    async def _fetch(self, resource: str, namespace: str, name: str) -> Object | _Gap:
        """Both names are such as objects may have: see `pulling`."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._kube.get(f"/api/v1/namespaces/{namespace}/{resource}/{name}")
        except TimeoutError:
            gap, detail = _Gap.AWAY, f"no answer within {READ_SECONDS:g} s"
        except KubeError as error:
            gap, detail = _gap(error), error.detail
        log.warning("for pulling images, %s %s of namespace %s: %s", resource, name, namespace, detail)
        return gap


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of reading, each with how a message names it; `more` says that further Secrets were named."""

    found: tuple[tuple[str, DockerConfig | _Gap], ...]
    more: bool = False

    def without(self, gap: _Gap) -> str:
        """Those of which there is nothing for that reason, for a message; empty where there are none."""
        return _listed([shown for shown, one in self.found if one is gap])


class PodCredentials:
    """A `PrivateCredentials`: those of one pod, as its Secrets were when this review first needed them."""

    def __init__(self, source: PullSecretSource, namespace: str, names: tuple[str, ...], service_account: str) -> None:
        self._source, self._namespace = source, namespace
        self._names, self._service_account = names, service_account
        self._read: _Read | None = None
        self._lent: dict[Repository, tuple[Credential, ...]] = {}

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        """What may be tried for `repository`, Secret by Secret as the pod names them, none of it `refused`."""
        if repository not in self._lent:
            self._read = self._read or await self._read_all()
            self._lent[repository] = await _matching(self._read, repository)
        return tuple(credential for credential in self._lent[repository] if credential not in refused)

    def lent(self, repository: Repository) -> tuple[Credential, ...]:
        """What was handed out for `repository` so far."""
        return self._lent.get(repository, ())

    def unread(self, repository: Repository) -> str:
        """Why something that may be for `repository` could not be read now; empty where all was, or nobody asked."""
        if self._read is None or repository not in self._lent:
            return ""
        where, parts = f"of namespace {quote(self._namespace)}", []
        if refused := self._read.without(_Gap.REFUSED):
            parts.append(f"the webhook may not read Secrets {where} ({refused})")
        if away := self._read.without(_Gap.AWAY):
            parts.append(f"{away} {where} could not be read, as the Kubernetes API did not answer")
        return "; ".join(parts)

    def lacking(self, repository: Repository) -> str:
        """The same, and where nothing for `repository` was found."""
        unread = self.unread(repository)
        if unread or self._read is None or self._lent.get(repository) != ():
            return unread
        named = _listed([shown for shown, _ in self._read.found]) or _account(self._service_account)
        most = f", of which {pulling.SECRETS_MAX} are read at most" if self._read.more else ""
        where = f"{named} of namespace {quote(self._namespace)}{most}"
        return f"nothing for this registry was found in {where} (the log of the webhook says more)"

    async def _read_all(self) -> _Read:
        names = self._names
        if not names:
            listed = await self._source.account(self._namespace, self._service_account)
            if isinstance(listed, _Gap):
                return _Read(((_account(self._service_account), listed),))
            names = listed
        read = names[: pulling.SECRETS_MAX]
        found = await asyncio.gather(*(self._source.secret(self._namespace, name) for name in read))
        shown = (f"pull secret {quote(name, max_chars=63)}" for name in read)
        return _Read(tuple(zip(shown, found, strict=True)), more=len(names) > len(read))


async def _matching(read: _Read, repository: Repository) -> tuple[Credential, ...]:
    found: dict[Credential, None] = {}
    for _, config in read.found:
        if isinstance(config, DockerConfig):
            found |= dict.fromkeys(await config.credentials(repository))
    return tuple(found)[: docker_config.MAX_TRIED]


def _parse(secret: Object) -> DockerConfig:
    """What a Secret holds for registries. Raises: MalformedError, which shows nothing of it."""
    kind = str(secret.get("type"))
    if kind not in _TYPES:
        raise MalformedError(Code.UNSUPPORTED, f"it is of type {quote(kind, max_chars=80)}")
    key, parse = _TYPES[kind]
    text = untrusted.as_string(untrusted.as_object(secret.get("data") or {}, "`data`").get(key), f"`{key}`")
    if len(text) > SECRET_MAX_BYTES * 4 // 3 + 4:  # base64 of it
        raise MalformedError(Code.LIMIT_EXCEEDED, f"`{key}`: at most {SECRET_MAX_BYTES} bytes are read")
    try:
        content = untrusted.decode_base64(text, "")
    except MalformedError:  # which shows what stands there
        raise MalformedError(Code.MALFORMED, f"`{key}`: not base64") from None
    return parse(content, max_entries=REGISTRIES_MAX)


def _gap(error: KubeError) -> _Gap:
    if error.is_outage:
        return _Gap.AWAY
    return _Gap.UNUSABLE if error.status == 404 else _Gap.REFUSED


def _account(name: str) -> str:
    return f"service account {quote(name, max_chars=63)}"


def _listed(what: Sequence[str]) -> str:
    more = f" and {len(what) - _SHOWN} more" if len(what) > _SHOWN else ""
    return ", ".join(what[:_SHOWN]) + more
