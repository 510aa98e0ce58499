"""A TUF repository of a private Sigstore, made with python-tuf and served on loopback.

    repository = TUFRepository()
    repository.publish(trusted_root)
    with serving(repository) as url: ...

`files` are what it serves, by path: a test that wants something broken changes one of them, or asks for it by name.
Nothing here is secret or kept.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api._payload import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.metadata import Metadata

ROLES = ("root", "targets", "snapshot", "timestamp")
TARGET = "trusted_root.json"
YEAR = timedelta(days=365)


class TUFRepository:
    """`root` is the root.json with which trust in it begins."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.version = 0
        self._root = Root(expires=datetime.now(UTC) + YEAR, consistent_snapshot=True)
        for role, signer in self.signers.items():
            self._root.add_key(signer.public_key, role)
        self.root = self._publish_root([self.signers["root"]])

    def publish(
        self, target: bytes | None, *, expires: timedelta = YEAR, version: int | None = None, name: str = TARGET
    ) -> None:
        """`target` is what it vouches for from now on; `None`: it has no such target."""
        self.version = version or self.version + 1
        until = datetime.now(UTC) + expires
        targets = Targets(version=self.version, expires=datetime.now(UTC) + YEAR)
        if target is not None:
            file = TargetFile.from_data(name, target, ["sha256"])
            targets.targets[name] = file
            self.files[f"/targets/{file.hashes['sha256']}.{name}"] = target
        self._sign("targets", Metadata(targets), f"/{self.version}.targets.json")
        snapshot = Snapshot(version=self.version, expires=datetime.now(UTC) + YEAR)
        snapshot.meta["targets.json"] = MetaFile(self.version)
        self._sign("snapshot", Metadata(snapshot), f"/{self.version}.snapshot.json")
        timestamp = Timestamp(version=self.version, expires=until, snapshot_meta=MetaFile(self.version))
        self._sign("timestamp", Metadata(timestamp), "/timestamp.json")

    def rotate(self, role: str) -> None:
        """`role` has a new key, in a new root; what it signed before is not signed again."""
        before, fresh = self.signers[role], CryptoSigner.generate_ed25519()
        self._root.revoke_key(before.public_key.keyid, role)
        self._root.add_key(fresh.public_key, role)
        self.signers[role] = fresh
        self._root.version += 1
        self._publish_root([before, fresh] if role == "root" else [self.signers["root"]])

    def target_path(self) -> str:
        """Where the target is served."""
        return next(path for path in reversed(self.files) if path.startswith("/targets/"))

    def _publish_root(self, signers: list[CryptoSigner]) -> bytes:
        metadata = Metadata(self._root)
        for signer in signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        self.files[f"/{self._root.version}.root.json"] = data
        return data

    def _sign(self, role: str, metadata: Metadata[Any], path: str) -> None:
        metadata.sign(self.signers[role])
        self.files[path] = metadata.to_bytes()


@contextmanager
def serving(
    repository: TUFRepository,
    *,
    stall: threading.Event | None = None,
    asked: threading.Event | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """The URL under which `repository` is served; with `stall` nothing is answered until it is set.

    `asked` is set when the first request has arrived.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.set()
            if stall is not None:
                stall.wait(30)
            found = repository.files.get(self.path)
            self.send_response(404 if found is None else 302 if found.startswith(b"http") else 200)
            if found is not None and found.startswith(b"http"):
                self.send_header("Location", found.decode())
                found = b""
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        if stall is not None:
            stall.set()
        server.shutdown()
        thread.join()
        server.server_close()
