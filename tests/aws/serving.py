"""The real webhook with its policy, before images in a registry on loopback, and AWS as far as it can be played.

Images are signed by AWS Signer's like, by certificates and by keys of cosign's, a minute ago by the real clock, which
is the webhook's. Where the SDK asks, moto or a fake, is for a test to say by `aws.variables`.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.admission.checker import Answer
from tests.doubles import ecr
from tests.doubles.registry import HostileRegistry, running
from tests.doubles.verifying import Shelf
from tests.notation.aws_like import DAY, AWSLikeSigner, Node, issue
from tests.notation.aws_like import sign as sign_notary
from tests.web.serving import Serving, listed, review, serving
from webhook import settings
from webhook.demo.content import as_json, descriptor
from webhook.demo.registry import Receive, Scope, Send
from webhook.demo.signing import EMPTY, SignedLayer, base64_of, legacy_manifest, simple_payload
from webhook.evidence.model import JWS_ENVELOPE, NOTARY_SIGNATURE
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor
from webhook.oci.reference import Digest
from webhook.settings import NoMatch

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)  # when all was signed
SIGNER = AWSLikeSigner()
ONCE = settings.AWS(attempts=1)  # nobody waits for a second attempt
LEAF = SIGNER.new_leaf(NOW - DAY, NOW + DAY)
ACME = issue("C=US,ST=WA,O=Acme,CN=acme.example", start=NOW - DAY, end=NOW + 365 * DAY)
CI = issue("C=US,ST=WA,O=Acme,CN=ci", ACME, start=NOW - DAY, end=NOW + DAY)


class Gated(HostileRegistry):
    """Blobs wait where the gate is closed, and say so; whoever waits holds up nobody else."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.reached = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "/blobs/" in scope.get("path", ""):
            self.reached.set()
            await self.gate.wait()
        await super().__call__(scope, receive, send)


@dataclass
class Shop(Shelf):
    """Images that are signed, and the webhook that is asked about them."""

    stored: Gated
    webhook: Serving = field(init=False)

    def sign_by_profile(
        self,
        image: str,
        by: AWSLikeSigner = SIGNER,
        *,
        expires_at: datetime = NOW + 365 * DAY,
        change: Callable[[bytes], bytes] = lambda envelope: envelope,
    ) -> None:
        envelope = by.sign(at=NOW, leaf=LEAF, image=self._described(image), expires_at=expires_at)
        self.refer(image, change(envelope))

    def sign_by_certificate(self, image: str, leaf: Node = CI) -> None:
        self.refer(image, sign_notary(leaf, at=NOW, image=self._described(image)))

    def sign_by_kms(self, image: str, sign: Callable[[bytes], bytes]) -> None:
        payload = simple_payload(image, self.name)
        annotations = {"dev.cosignproject.cosign/signature": base64_of(sign(payload))}
        self.attach(image, legacy_manifest(image, (SignedLayer(payload, annotations),)))

    def refer(self, image: str, envelope: bytes) -> None:
        """`envelope` is attached to `image`, as notation does."""
        subject = self._described(image)
        document = {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "artifactType": NOTARY_SIGNATURE,
            "config": descriptor(EMPTY, b"{}"),
            "layers": [descriptor(JWS_ENVELOPE, envelope)],
            "subject": {"mediaType": subject.media_type, "digest": image, "size": subject.size},
        }
        self.stored.push_blob(self.name, envelope)
        self.stored.push_manifest(self.name, as_json(document), manifest.OCI_MANIFEST)

    def signed(self, text: str = "an image") -> str:
        """A new image that AWS Signer's like has signed in a job of its own, as pods name it."""
        image = self.image(text)
        self.sign_by_profile(image, SIGNER.another(job=str(uuid.uuid4())))
        return self.named(image)

    def named(self, image: str) -> str:
        return f"{self.host}/{self.name}@{image}"

    async def ask(self, *images: str, seconds: float = 10.0) -> Answer:
        return await self.webhook.ask(review(*images), query=f"?timeout={seconds}s")

    async def notes(self, prefix: str) -> dict[str, str]:
        """What is said to whoever looks closer."""
        told = (await self.webhook.operations.get("/readyz?verbose")).json()["notes"]
        return {name: str(text) for name, text in told.items() if name.startswith(prefix)}

    def _described(self, image: str) -> Descriptor:
        size = len(self.stored.repository(self.name).manifests[image].data)
        return Descriptor(manifest.OCI_MANIFEST, Digest("sha256", image.partition(":")[2]), size, None, {}, None)


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    spec: Mapping[str, object],
    *,
    host: str = "",
    workers: int = 0,
    no_match: NoMatch = NoMatch.DENY,
    asking: settings.AWS = ONCE,
) -> AsyncIterator[Shop]:
    """The webhook serves under one policy of `spec`, and asks AWS as `asking` says; `host` is the name of the registry
    on loopback, where it has one."""
    folder.mkdir(exist_ok=True)
    stored = Gated()
    async with running(stored) as address:
        entry = ecr.entry(address, host) if host else listed(address).registry.hosts[0]
        shop = Shop(host or address, stored)
        whole = replace(
            listed(address),
            registry=settings.Registry(hosts=(entry,)),
            cache=settings.NOTHING_KEPT,
            verification=settings.Verification(workers=workers, time_limit=60.0),
            policy=settings.Policy(no_match=no_match, reload_interval=0.05),
            aws=asking,
        )
        async with serving(folder, whole, spec={"mode": "enforce", **spec}) as webhook:
            shop.webhook = webhook
            yield shop


def by_profile(arn: str = SIGNER.arn, **fields: object) -> dict[str, object]:
    """A policy of one signing profile, whose root stands in the place of AWS Signer's."""
    store = {"name": "aws-signer", "type": "signingAuthority", "certificates": SIGNER.root.pem}
    return {"signerProfiles": [{"name": "ecr", "arn": arn, **fields}], "trustStores": [store]}


def by_certificate() -> dict[str, object]:
    """A policy of one certificate, about whose revocation nobody is asked."""
    rule = {"name": "ci", "trustStore": "acme", "subjects": ["C=US, ST=WA, O=Acme, CN=ci"]}
    store = {"name": "acme", "type": "ca", "certificates": ACME.pem}
    return {"certificates": [{**rule, "override": {"revocation": "skip"}}], "trustStores": [store]}
