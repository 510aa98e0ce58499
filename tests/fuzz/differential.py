"""The same mutants of real bundles through our modules and through sigstore-python: do both say the same?

That we accept what it rejects is a finding, unless it is on the list below. The other way round is not: we demand more.
sigstore-python judges bundles that were made with a certificate of a P-256 key and that hold exactly one log entry.

spec: sigstore-python 4.5, `sigstore.verify`.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sigstore.hashes import Hashed
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy
from sigstore_models.common.v1 import HashAlgorithm

from tests.conformance import cases, client
from tests.conformance.cases import CASES, Case
from tests.fuzz.mutants import ODD
from tests.private_sigstore import documents
from tests.private_sigstore.documents import Path
from webhook.errors import Code, CountersignError
from webhook.evidence.model import IN_TOTO
from webhook.trust.identity import Identity

BUNDLES = (
    "bundles/cosign3-sign-keyless",
    "conformance/rekor2-happy-path",
    "conformance/rekor2-dsse-happy-path",
    "conformance/rekor2-timestamp-with-embedded-cert",
    "conformance/happy-path-v0.1",
    "conformance/happy-path-v0.3-new-mediaType",
    "conformance/happy-path-intoto-in-dsse-v3",
    "conformance/bundle-with-sct-with-extensions",
)

_PROOF = ("verificationMaterial", "tlogEntries", 0, "inclusionProof")
_STAMPS = ("verificationMaterial", "timestampVerificationData")


@dataclass(frozen=True, slots=True)
class Compared:
    """One mutant and both verdicts; empty is accepted."""

    case: str
    path: Path
    value: str
    ours: str
    theirs: str

    @property
    def is_finding(self) -> bool:
        return not self.ours and bool(self.theirs) and not self.is_expected

    @property
    def is_expected(self) -> bool:
        """Where we accept on purpose what sigstore-python refuses."""
        # protobuf-specs, Bundle: in version 0.1 the promise counts, and a proof only with its checkpoint
        without_checkpoint = (_PROOF, (*_PROOF, "checkpoint"), (*_PROOF, "checkpoint", "envelope"))
        if self.case == "conformance/happy-path-v0.1" and self.path in without_checkpoint:
            return True
        # ProtoJSON: null is absent, and members that nobody knows are passed over
        return (self.path, self.value) in (((*_STAMPS, "rfc3161Timestamps"), "None"), (_STAMPS, "{'a': []}"))

    def __str__(self) -> str:
        ours, theirs = self.ours or "accepted", self.theirs or "accepted"
        return f"{self.case} at {'/'.join(map(str, self.path))} := {self.value}: we {ours}, sigstore-python {theirs}"


@dataclass(slots=True)
class Differences:
    """How many had which verdicts (ours, theirs), and what must not be."""

    counts: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    findings: list[Compared] = field(default_factory=list)
    expected: list[Compared] = field(default_factory=list)

    def __str__(self) -> str:
        words = {True: "accept", False: "refuse"}
        lines = [f"{count:9,}  we {words[a]}, sigstore-python {words[b]}" for (a, b), count in self.counts.items()]
        return "\n".join([*lines, *(f"FINDING {finding}" for finding in self.findings)])


def mutations() -> Iterator[tuple[str, Path, object]]:
    """Every value of every bundle, with every odd one."""
    for name in BUNDLES:
        document = json.loads(CASES[name].read("bundle"))
        for path in documents.paths(document):
            for odd in ODD if path else ODD[:-1]:
                yield name, path, odd


def compare(some: Iterable[tuple[str, Path, object]]) -> Differences:
    found = Differences()
    for name, path, odd in some:
        case = CASES[name]
        data = documents.edit(case.read("bundle"), path, odd)
        one = Compared(name, path, repr(odd)[:40], ours(case, data), theirs(case, data))
        found.counts[not one.ours, not one.theirs] += 1
        if one.is_finding:
            found.findings.append(one)
        elif not one.ours and one.theirs:
            found.expected.append(one)
    return found


def ours(case: Case, data: bytes) -> str:
    """Empty where we accept it, else our code. Raises whatever is no error of ours."""
    assert case.root is not None
    try:
        client.verify_bundle(data, case.artifact(case.modes[-1]), case.signer, case.root)
    except CountersignError as error:
        return str(error.code)
    return ""


def theirs(case: Case, data: bytes) -> str:
    """Empty where sigstore-python accepts it, else the error. It leaks errors of many kinds."""
    try:
        accepted = _theirs(case, data)
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:100]}"
    return "" if accepted else Code.SUBJECT_MISMATCH


def _theirs(case: Case, data: bytes) -> bool:
    signer, digest = case.signer, case.artifact("digest").digests["sha256"]
    assert isinstance(signer, Identity)
    wanted = policy.Identity(identity=signer.subject or "", issuer=signer.issuer)
    bundle, verifier = Bundle.from_json(data), _verifier(case.files["trusted_root"])
    if "dsseEnvelope" not in json.loads(data):
        verifier.verify_artifact(Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest), bundle, wanted)
        return True
    kind, payload = verifier.verify_dsse(bundle, wanted)
    subjects = json.loads(payload)["subject"]
    return kind == IN_TOTO and any(subject["digest"].get("sha256") == digest.hex() for subject in subjects)


@functools.cache
def _verifier(path: str) -> Verifier:
    return Verifier(trusted_root=TrustedRoot.from_file(str(cases.VECTORS / path)))
