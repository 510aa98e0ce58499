"""The stage of the demo: registry, images, keys, policy and the real server, on loopback and in one temporary folder.

Every port is chosen by the system, so that nothing on the machine is in the way. The folder holds what a reader needs
for tries of his own: the policy, which may be edited, the public key, the server's authority, and one AdmissionReview
per image. It is gone when the stage closes.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from webhook import composition, runtime, settings
from webhook.demo import apiserver, images, signing
from webhook.demo.apiserver import Answer, APIServer
from webhook.demo.images import Case
from webhook.demo.registry import MemoryRegistry
from webhook.demo.signing import SigningKey
from webhook.settings import NoMatch, RegistryHost, Settings
from webhook.web import server

NAMESPACE = "shop"
LOOPBACK = "127.0.0.1"
RELOAD_SECONDS = 0.1
AUDIT = "audit.jsonl"
POLICY = """\
apiVersion: countersign.dev/v1
kind: TrustPolicy
metadata:
  name: demo
spec:
  mode: {mode}             # enforce (deny) | warn (admit, and say what would have been denied)
  trustedKeys:
    - name: release
      publicKey: |
{key}
  help: the release key is held by the people who wrote this policy
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """All that stands on it. `registry` is its host as it stands in references."""

    folder: Path
    registry: str
    cases: tuple[Case, ...]
    key: SigningKey
    port: int
    api_server: APIServer

    @property
    def policy_file(self) -> Path:
        return self.folder / "policies" / "demo.yaml"

    @property
    def key_file(self) -> Path:
        return self.folder / "release.pub"

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def webhook(self) -> str:
        return f"https://localhost:{self.port}/validate"

    async def create_pod(self, case: Case) -> Answer:
        """The webhook's answer to a pod with this image."""
        document = apiserver.review(case.name, case.reference, namespace=NAMESPACE)
        return await asyncio.to_thread(self.api_server.post, document)

    @contextmanager
    def policy_edited(self, *, mode: str) -> Iterator[None]:
        """The policy file says `mode`, and what it said before when the block ends."""
        before = self.policy_file.read_text()
        write_policy(self.policy_file, self.key, mode=mode)
        try:
            yield
        finally:
            _replace(self.policy_file, before)

    @property
    def audit_file(self) -> Path:
        """One line of JSON per review."""
        return self.folder / AUDIT

    def review_file(self, case: Case) -> Path:
        """An AdmissionReview for a pod with this image."""
        return self.folder / f"{case.name}.json"

    def curl(self, case: Case) -> tuple[str, ...]:
        """A command that posts that review, in parts."""
        return (
            f"curl {self.webhook}",
            f"--cacert {self.ca_file}",
            f"-H 'Content-Type: application/json' -d @{self.review_file(case)}",
        )


@asynccontextmanager
async def opened() -> AsyncIterator[Stage]:
    """A stage that is ready: every image is pushed, and the server answers."""
    with tempfile.TemporaryDirectory(prefix="countersign-demo-") as name:
        folder = Path(name)
        key, stranger = signing.new_key(), signing.new_key()
        (folder / "release.pub").write_text(key.public_pem)
        (folder / "policies").mkdir()
        write_policy(folder / "policies" / "demo.yaml", key, mode="enforce")
        async with _registry() as host:
            cases = await asyncio.to_thread(images.make, host, trusted=key, stranger=stranger)
            async with _server(folder, host) as port:
                api_server = APIServer(port=port, ca_file=folder / "ca.crt")
                stage = Stage(folder, host, cases, key, port, api_server)
                _write_reviews(stage)
                try:
                    yield stage
                finally:
                    api_server.close()


def write_policy(path: Path, key: SigningKey, *, mode: str) -> None:
    """The demo's policy is at `path`."""
    indented = "\n".join(f"        {line}" for line in key.public_pem.strip().splitlines())
    _replace(path, POLICY.format(mode=mode, key=indented))


def _replace(path: Path, text: str) -> None:
    """As one step: the server may look at any time."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


def _write_reviews(stage: Stage) -> None:
    for case in stage.cases:
        document = apiserver.review(case.name, case.reference, namespace=NAMESPACE)
        stage.review_file(case).write_text(json.dumps(document, indent=2))


@asynccontextmanager
async def _registry() -> AsyncIterator[str]:
    """The embedded registry listens at the host that is yielded."""
    listener = server.listen(LOOPBACK, 0, "the embedded registry")
    async with server.running(server.make(MemoryRegistry(), settings.Server(), None), listener):
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"


@asynccontextmanager
async def _server(folder: Path, registry: str) -> AsyncIterator[int]:
    """The real server answers reviews at the port that is yielded."""
    with (folder / AUDIT).open("wb") as audit:
        service = runtime.Service(composition.build(_settings(folder, registry), audit_descriptor=audit.fileno()))
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(service.run(stop, ready=ready.set))
        running.add_done_callback(lambda _: ready.set())  # one that fails at start says so where it is awaited
        try:
            await ready.wait()
            yield service.admission_port
        finally:
            stop.set()
            await running


def _settings(folder: Path, registry: str) -> Settings:
    return Settings(
        registry=settings.Registry(hosts=(RegistryHost(registry, insecure_http=True, loopback=True),)),
        trust=settings.Trust(refresh_interval=None),
        policy=settings.Policy(directory=folder / "policies", no_match=NoMatch.WARN, reload_interval=RELOAD_SECONDS),
        server=settings.Server(
            address=LOOPBACK,
            admission_port=0,
            operations_port=0,
            names=("localhost", LOOPBACK),
            ca_out_file=folder / "ca.crt",
            shutdown_delay=0.0,
            shutdown_grace=2.0,
        ),
    )
