"""What is asked of the world outside, joined from one `Settings`: registries, AWS, keys in KMS, revocation, Valkey.

The server and the command line have the same parts. Nothing is dialled before it is needed, and the SDK of AWS is not
even imported: `_load_sdk` is where it comes from, in a thread of the door's, when something of AWS is first asked for.
The client of Valkey is imported where there is one (`_open_shared`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webhook import files
from webhook.aws.calls import Caller
from webhook.aws.door import AWS
from webhook.aws.ecr import ECRLogin
from webhook.aws.kms import KMS
from webhook.aws.signer import SignerRevocation
from webhook.errors import OperatorError
from webhook.network import Network
from webhook.oci import docker_config
from webhook.oci.authn import CredentialSource
from webhook.oci.courtesy import CourtesyObserver
from webhook.oci.registry import Observer, Registry
from webhook.sealing import SECRET_MAX_BYTES, Sealer
from webhook.settings import Settings
from webhook.trust.keys import KeySource
from webhook.trust.notary.asking import Asking
from webhook.trust.notary.responders import Responders

if TYPE_CHECKING:
    from webhook.shared_cache import SharedCache

ECR_LOGIN = "ecr:GetAuthorizationToken"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Observers:
    """Who is told of each request: to a registry, of an answer about revocation, of a look at a key; of hosts that
    are not asked; and of what came of asking the cache that replicas share."""

    registry: Observer | None = None
    revocation: Callable[[str, str, float], None] = lambda kind, standing, seconds: None
    key: Callable[[str, str], None] = lambda uri, result: None
    courtesy: CourtesyObserver = lambda event, authority: None
    shared: Callable[[str], None] = lambda result: None


@dataclass(frozen=True, slots=True)
class Outside:
    """`sources` are those of credentials for registries, by what they are, in the order in which they are asked.

    `shared` is the cache that replicas share, where there is one.
    """

    network: Network
    aws: AWS
    sources: Mapping[str, CredentialSource]
    registry: Registry
    keys: KeySource
    asking: Asking
    shared: SharedCache | None
    _logins: ECRLogin
    _responders: Responders
    _signer: SignerRevocation

    async def close(self) -> None:
        """Nothing is asked any more, and connections are closed."""
        self.keys.close()
        for part in (self._signer, self._responders, self._logins, self.registry):
            await part.close()
        if self.shared is not None:
            await self.shared.close()
        self.aws.close()


def join(configured: Settings, observers: Observers = Observers()) -> Outside:
    """The parts that `configured` describes, each registry that it lists tried. Raises: OperatorError."""
    aws = AWS(lambda: _load_sdk(configured))
    network = Network(configured.network)
    logins = ECRLogin(aws, public=configured.aws.public_registry)
    sources = {**_docker_logins(configured), ECR_LOGIN: logins}
    shared = _open_shared(configured, observers.shared)
    registry = Registry(
        limits=configured.registry,
        network=network,
        credentials=tuple(sources.values()),
        observe=observers.registry,
        cache=configured.cache,
        shared=shared,
        told=observers.courtesy,
    )
    registry.check()
    responders = Responders(configured.revocation, network=network, observe=observers.revocation)
    signer = SignerRevocation(aws, configured.aws)
    return Outside(
        network=network,
        aws=aws,
        sources=sources,
        registry=registry,
        keys=KeySource(configured.aws, KMS(aws.call_blocking, configured.aws).fetch, observe=observers.key),
        asking=Asking(signer=signer.status, responders=responders.standing, observe=observers.revocation),
        shared=shared,
        _logins=logins,
        _responders=responders,
        _signer=signer,
    )


def _docker_logins(configured: Settings) -> Mapping[str, CredentialSource]:
    path = configured.registry.docker_config
    if path is None:
        return {}
    found = docker_config.load(path)
    for note in found.notes:
        log.warning("%s: %s", path, note)
    return {str(path): found}


def _load_sdk(configured: Settings) -> Caller:
    from webhook.aws.sdk import SDK

    return SDK(configured.aws)


def _open_shared(configured: Settings, observe: Callable[[str], None]) -> SharedCache | None:
    path = configured.valkey.key_file
    if not configured.valkey.url or path is None:
        return None
    from webhook.shared_cache import SharedCache
    from webhook.valkey import Store

    try:
        sealer = Sealer(files.load(path, SECRET_MAX_BYTES).strip())
    except OperatorError as error:
        raise OperatorError(f"COUNTERSIGN_VALKEY_KEY_FILE: {error}") from error
    return SharedCache(Store(configured.valkey), sealer, observe=observe)
