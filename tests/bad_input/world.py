"""A registry and a verifier, and all that is asked about revocation beside them: AWS Signer, responders, lists.

What asks is the product's own, from the SDK of AWS to the client of responders; who answers is on loopback. A row gets
at them by `around`, to say what is revoked or to let somebody fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from tests.doubles import aws, responder
from tests.doubles.registry import FixedResolver, HostileRegistry, raw, running
from tests.doubles.signer import FakeSigner
from tests.doubles.verifying import Cluster, Shelf, opened
from webhook import settings
from webhook.aws.door import AWS
from webhook.aws.sdk import SDK
from webhook.aws.signer import SignerRevocation
from webhook.network import Network
from webhook.settings import NoMatch
from webhook.trust.notary.asking import Asking
from webhook.trust.notary.responders import Responders

SOON = settings.AWS(attempts=1, read_timeout=1.0)  # that whoever hangs is given up within a test's patience
PATIENCE = settings.Revocation(ocsp_timeout=1.0)
PRIVATE_NAME = "ocsp.example.com"
NAMES = FixedResolver({PRIVATE_NAME: ("10.0.0.1",)})


@dataclass(kw_only=True)
class World(Cluster):
    """`silent_host` takes whatever it is sent and never answers; `environment` is what the SDK of AWS sees."""

    signer: FakeSigner
    responder: responder.Server
    responder_host: str
    silent_host: str
    environment: pytest.MonkeyPatch

    @property
    def asked(self) -> int:
        """How often anybody was asked whether something was revoked."""
        return len(self.signer.requests) + len(self.responder.seen)


def around(shelf: Shelf) -> World:
    """The world in which `shelf` stands."""
    assert isinstance(shelf, World)
    return shelf


@contextlib.asynccontextmanager
async def surrounded(configured: settings.AWS = SOON) -> AsyncIterator[World]:
    """A world in which nothing is revoked."""
    server = responder.Server()
    async with running(server) as host, raw(_never) as silent:
        limits = replace(PATIENCE, hosts=(host, silent))
        responders = Responders(
            limits, network=Network(settings.Network(), resolver=NAMES), observe=_ignore, clock=lambda: responder.NOW
        )
        door = AWS(lambda: SDK(configured))
        revocation = SignerRevocation(door, configured)
        asking = Asking(signer=revocation.status, responders=responders.standing, observe=_ignore)
        with FakeSigner() as signer, pytest.MonkeyPatch.context() as environment:
            for name, value in aws.variables(signer_data=signer.url).items():
                environment.setenv(name, value)
            async with opened(NoMatch.ALLOW, stored=HostileRegistry(), revocation=asking.standing) as cluster:
                world = World(
                    cluster.host, cluster.stored, cluster.verifier,
                    signer=signer, responder=server, responder_host=host, silent_host=silent, environment=environment,
                )  # fmt: skip
                try:
                    yield world
                finally:
                    signer.release()
                    for part in (revocation, responders):
                        await part.close()
                    door.close()


async def _never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


def _ignore(kind: str, standing: str, seconds: float) -> None:
    pass
