"""The vectors of Notary Project signatures as values of ours: evidence, signers, and what is expected of them.

A statement of a Notation trust policy becomes signers: one certificate rule for `*` and `x509.subject` identities, one
signing profile for each ARN. Trust is whatever the case lists as its stores, read by `stores.parse`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.evidence.model import Evidence, Form, Place, Signer, SignerKind
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor, Manifest
from webhook.oci.reference import Digest
from webhook.trust.notary import levels, stores, subject
from webhook.trust.notary.levels import Action, CertificateRule, Check, Level, VerifyTimestamp
from webhook.trust.notary.profile import ProfileARN, SigningProfile
from webhook.trust.notary.stores import StoreKind, TrustStore

VECTORS = Path(__file__).parent.parent / "vectors"
NOTATION, AWS = VECTORS / "notation", VECTORS / "aws-signer" / "generated"
CERTIFICATES = NOTATION / "certs"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

# specs of the Notary Project name some things otherwise than cosign does, whose names are ours
CODES = {
    "envelope_unsupported": "unsupported",
    "envelope_malformed": "malformed",
    "not_trusted": "untrusted_material",
    "timestamp_invalid": "time_invalid",
}

Case = Mapping[str, Any]


def cases(folder: Path, *kinds: str) -> list[Case]:
    listed: list[Case] = json.loads((folder / "index.json").read_bytes())["cases"]
    return [case for case in listed if case["kind"] in kinds]


def code(name: str) -> str:
    return CODES.get(name, name)


def time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def pem(*files: Path) -> str:
    """The certificates of `files`, which are PEM or DER, as a policy holds them."""
    return "".join(map(_pem, files))


def _pem(file: Path) -> str:
    data = file.read_bytes()
    if b"-----BEGIN" in data:
        return data.decode()
    return x509.load_der_x509_certificate(data).public_bytes(Encoding.PEM).decode()


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def descriptor(document: Mapping[str, Any]) -> Descriptor:
    return Descriptor(document["mediaType"], parse_digest(document["digest"]), document["size"], None, {}, None)


def parse_digest(text: str) -> Digest:
    algorithm, _, hexadecimal = text.partition(":")
    return Digest(algorithm, hexadecimal)


def evidence(payload: bytes, media_type: str, described: Descriptor) -> Evidence:
    """`payload` as found in a registry, among the referrers of what is `described`."""
    return Evidence(
        Form.NOTATION,
        described.digest,
        Place.REFERRERS,
        digest_of(b"manifest of " + payload),
        digest_of(payload),
        media_type,
        {},
        payload,
        described,
    )


def of_case(case: Case, folder: Path) -> Evidence:
    return evidence((folder / case["file"]).read_bytes(), case["mediaType"], descriptor(case["subject"]))


def of_layout(case: Case) -> list[Evidence]:
    """The signatures of one image in an OCI layout, as its manifests list them."""
    folder = NOTATION / case["dir"]
    index = json.loads((folder / "index.json").read_bytes())["manifests"]
    image = next(one for one in index if one.get("annotations", {}).get(REF_NAME) == case["tag"])
    listed = [one for one in index if one["mediaType"] == MANIFEST]
    found = [(one["digest"], _manifest(folder, one["digest"])) for one in listed]
    return [_layer(folder, digest, one) for digest, one in found if one.subject == descriptor(image)]


REF_NAME = "org.opencontainers.image.ref.name"


def _manifest(folder: Path, digest: str) -> Manifest:
    found = manifest.parse(_blob(folder, digest), media_type=MANIFEST, digest=parse_digest(digest), max_entries=10)
    assert isinstance(found, Manifest)
    return found


def _layer(folder: Path, digest: str, signature: Manifest) -> Evidence:
    (layer,) = signature.layers
    assert signature.subject is not None
    return Evidence(
        Form.NOTATION,
        signature.subject.digest,
        Place.REFERRERS,
        parse_digest(digest),
        layer.digest,
        layer.media_type,
        layer.annotations,
        _blob(folder, str(layer.digest)),
        signature.subject,
    )


def _blob(folder: Path, digest: str) -> bytes:
    data = (folder / "blobs" / Path(*digest.split(":"))).read_bytes()
    assert str(digest_of(data)) == digest
    return data


# --- signers


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement of a Notation trust policy says of signatures."""

    stores: tuple[TrustStore, ...]
    level: Level
    override: Mapping[Check, Action]
    verify_timestamp: VerifyTimestamp
    identities: tuple[str, ...]

    @classmethod
    def of_case(cls, case: Case, folder: Path) -> Statement:
        said = case["statement"]
        verification = said["signatureVerification"]
        return cls(
            tuple(_store(name, case, folder) for name in said["trustStores"]),
            Level(verification["level"]),
            {Check(check): Action(action) for check, action in verification.get("override", {}).items()},
            VerifyTimestamp(verification.get("verifyTimestamp", "always")),
            tuple(said["trustedIdentities"]),
        )

    def signers(self) -> list[Signer]:
        arns = [one for one in self.identities if one.startswith("arn:")]
        profiles = [
            Signer(f"profile-{number}", SignerKind.PROFILE, self._profile(arn)) for number, arn in enumerate(arns)
        ]
        rule = [Signer("rule", SignerKind.CERTIFICATE, self._rule())] if len(arns) < len(self.identities) else []
        return [*profiles, *rule]

    def _rule(self) -> CertificateRule:
        rules = [one.removeprefix("x509.subject:") for one in self.identities if one.startswith("x509.subject:")]
        return CertificateRule(
            tuple(store for store in self.stores if store.kind is not StoreKind.TSA),
            tuple(map(subject.parse, rules)),
            levels.actions_of(self.level, self.override),
            tuple(store for store in self.stores if store.kind is StoreKind.TSA),
            self.verify_timestamp,
        )

    def _profile(self, arn: str) -> SigningProfile:
        """A profile has no level: what becomes of revocation is all that a policy may say."""
        (store,) = self.stores
        actions = dict(levels.actions_of(self.level, self.override))
        return SigningProfile(ProfileARN.parse(arn), store, actions[Check.REVOCATION])


def _store(name: str, case: Case, folder: Path) -> TrustStore:
    kind, _, short = name.partition(":")
    files: Sequence[str] | None = case["trustStore"].get(name)
    if files is None:  # one that does not exist, which no policy of ours can name: as good as empty
        return TrustStore(short, StoreKind(kind), ())
    return stores.parse(short, StoreKind(kind), pem(*(folder / file for file in files)))
