"""The real signatures in `tests/vectors/sigstore`, each with what it is held against and the verdict it must have.

`index.json` there names where each file comes from, and which code the refusal has.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import client
from tests.conformance.client import Artifact
from webhook.evidence.model import Signer, SignerKind
from webhook.trust import material, root
from webhook.trust.identity import Identity
from webhook.trust.material import PublicKey
from webhook.trust.root import RootKind, RootSource, TrustRoot

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "sigstore"
INDEX = json.loads((VECTORS / "index.json").read_text())

# A key is held against the signature before any log entry is: what somebody else signed was logged by somebody else,
# and says nothing of an attack
OTHER_CODES: Mapping[str, str] = {"legacy/key-rekor+wrong-key": "signature_invalid"}


@dataclass(frozen=True, slots=True)
class Case:
    """`code` is empty where it verifies. `digest` is that of the image, or of the artifact where there is none here."""

    id: str
    files: Mapping[str, str]
    modes: tuple[str, ...]
    code: str
    signer: Identity | PublicKey
    require_log: bool
    digest: str = ""

    def read(self, name: str) -> bytes:
        return (VECTORS / self.files[name]).read_bytes()

    @property
    def root(self) -> TrustRoot | None:
        return trust_root(self.files["trusted_root"]) if "trusted_root" in self.files else None

    @property
    def is_layer(self) -> bool:
        return "payload" in self.files

    def artifact(self, mode: str) -> Artifact:
        if self.digest:
            return client.artifact_named(self.digest)
        whole = client.artifact_of(self.read("artifact"))
        return whole if mode == "artifact" else client.artifact_named(f"sha256:{whole.digests['sha256'].hex()}")

    def policy_signer(self) -> Signer:
        """Whom a policy would name to ask the same."""
        kind = SignerKind.KEY if isinstance(self.signer, PublicKey) else SignerKind.KEYLESS
        trusted = self.root
        source = None
        if trusted is not None:
            name = self.files["trusted_root"]
            source = RootSource(name, RootKind.INLINE, f"inline {trusted.fingerprint}", inline=trusted)
        elif self.require_log:
            # a log is demanded, and none is known
            source = RootSource("empty", RootKind.INLINE, "inline empty", inline=TrustRoot("empty"))
        return Signer("signer", kind, self.signer, source, require_log=self.require_log)


@functools.cache
def trust_root(path: str) -> TrustRoot:
    return root.parse((VECTORS / path).read_bytes())


def _case(entry: Mapping[str, object]) -> Case:
    files, policy, modes = entry["files"], entry["policy"], entry.get("modes", ["digest"])
    assert isinstance(files, dict)
    assert isinstance(policy, dict)
    assert isinstance(modes, list)
    name = str(entry["id"])
    code = "" if entry["expect"] == "pass" else str(entry["reference_reason"])
    return Case(
        id=name,
        files=files,
        modes=tuple(modes),
        code=OTHER_CODES.get(name, code),
        signer=Identity(**policy["identity"])
        if "identity" in policy
        else material.parse_public_key((VECTORS / files["key"]).read_bytes()),
        require_log=bool(policy.get("require_tlog", True)),
        digest=str(entry.get("digest", "")),
    )


CASES: Mapping[str, Case] = {str(entry["id"]): _case(entry) for entry in INDEX["cases"]}
BUNDLES = tuple(case for case in CASES.values() if not case.is_layer)
LAYERS = tuple(case for case in CASES.values() if case.is_layer)
