"""The command line of the sigstore-conformance protocol, upon our own modules: exit 0 only when a bundle was verified.

    client.py verify-bundle [--staging] --bundle FILE (--certificate-identity SUBJECT --certificate-oidc-issuer ISSUER |
                            --key PEM) [--trusted-root FILE] FILE_OR_DIGEST
    client.py verify [--staging] --signature FILE --certificate FILE --certificate-identity SUBJECT
                     --certificate-oidc-issuer ISSUER [--trusted-root FILE] FILE_OR_DIGEST

Exit 1 with the reason's code on standard error where it was refused, 2 where the command line is wrong. Bundles with a
message signature are verified here and nowhere else: they sign the bytes of a file, which no image is. `verify`, the
older form, has a signature and a certificate alone: clients that pass ask a log online when it was signed. We
never do, so nothing vouches for it, and it is always `tlog_invalid`. Nothing signs here, so there is no `sign-bundle`.

spec: sigstore-conformance, docs/cli_protocol.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from webhook import untrusted
from webhook.cosign import attestation, bundle, certificate, material
from webhook.cosign.attestation import Envelope
from webhook.cosign.bundle import Bundle, MessageSignature
from webhook.cosign.candidate import Candidate
from webhook.cosign.certificate import Leaf
from webhook.cosign.entry import Logged
from webhook.errors import Code, CountersignError, MalformedError, RejectedError
from webhook.oci.reference import Digest
from webhook.trust import material as keys
from webhook.trust import root
from webhook.trust.identity import Identity
from webhook.trust.material import PublicKey
from webhook.trust.root import TrustRoot

STAGING_ROOT = "SIGSTORE_STAGING_TRUSTED_ROOT"  # names the file that --staging means
PRODUCTION_ROOT = Path(root.__file__).parent / "data" / "trusted_root.json"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ALGORITHMS = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}  # protobuf-specs, HashAlgorithm


@dataclass(frozen=True, slots=True)
class Artifact:
    """What was signed: `data` is `None` where only its SHA-256 is known."""

    digests: dict[str, bytes]
    data: bytes | None = field(default=None, repr=False)


def artifact_of(data: bytes) -> Artifact:
    return Artifact({name: hashlib.new(name, data).digest() for name in _ALGORITHMS.values()}, data)


def artifact_named(digest: str) -> Artifact:
    """By its digest alone: `sha256:<hex>`."""
    return Artifact({"sha256": bytes.fromhex(digest.removeprefix("sha256:"))})


def verify_bundle(data: bytes, artifact: Artifact, signer: Identity | PublicKey, trusted: TrustRoot) -> None:
    """`signer` signed `artifact`, as the bundle in `data` says and `trusted` vouches for. Raises: CountersignError."""
    verify(bundle.parse(data), artifact, signer, trusted)


def verify(parsed: Bundle, artifact: Artifact, signer: Identity | PublicKey, trusted: TrustRoot) -> None:
    """The same of a bundle that was parsed, or put together. Raises: CountersignError."""
    key = _key_of(parsed, signer)
    candidate, logged = _candidate(parsed, key, artifact)
    vouched = material.verify(candidate, trusted, logged, require_log=True, require_timestamp=False)
    if parsed.leaf is not None:
        times = [time.at for time in vouched.times]
        certificate.verify(parsed.leaf, trusted, times, require_sct=True)
        _verify_identity(parsed.leaf, signer)
    if parsed.envelope is not None:
        _verify_envelope(parsed.envelope, key, artifact)
    else:
        _verify_signature(candidate.signature, key, artifact)


def _key_of(parsed: Bundle, signer: Identity | PublicKey) -> PublicKey:
    by_key = isinstance(signer, PublicKey)
    if by_key == (parsed.leaf is not None):
        made, asked = ("certificate", "key") if by_key else ("key", "certificate")
        raise MalformedError(Code.UNSUPPORTED, f"a bundle made with a {made}, where a {asked} is asked for")
    if isinstance(signer, PublicKey):
        return signer
    assert parsed.leaf is not None
    return parsed.leaf.key


def _verify_identity(leaf: Leaf, signer: Identity | PublicKey) -> None:
    assert isinstance(signer, Identity)
    if mismatch := signer.mismatch(certificate.claims_of(leaf)):
        raise RejectedError(Code.IDENTITY_MISMATCH, mismatch)


def _candidate(parsed: Bundle, key: PublicKey, artifact: Artifact) -> tuple[Candidate, Logged]:
    if parsed.message is not None:
        return _message_candidate(parsed, parsed.message, key, artifact)
    envelope = parsed.envelope
    assert envelope is not None
    candidate = Candidate(
        signature=envelope.signature,
        message=envelope.signed_bytes,
        leaf=parsed.leaf,
        entries=parsed.entries,
        timestamps=parsed.timestamps,
        payload=envelope.payload,
    )
    return candidate, candidate.logged_by(key if parsed.leaf is None else None)


def _message_candidate(
    parsed: Bundle, message: MessageSignature, key: PublicKey, artifact: Artifact
) -> tuple[Candidate, Logged]:
    _verify_claimed_digest(message, artifact)
    candidate = Candidate(
        signature=message.signature,
        message=artifact.data or b"",
        leaf=parsed.leaf,
        entries=parsed.entries,
        timestamps=parsed.timestamps,
    )
    logged = Logged(
        signature=message.signature,
        verifier=key.spki if parsed.leaf is None else parsed.leaf.der,
        by_certificate=parsed.leaf is not None,
        key=key,
        digests=artifact.digests,
    )
    return candidate, logged


def _verify_claimed_digest(message: MessageSignature, artifact: Artifact) -> None:
    """Only whether the bundle is consistent: a digest that nobody signed."""
    claimed = message.algorithm or message.digest
    if claimed and artifact.digests.get(_ALGORITHMS.get(message.algorithm, "")) != message.digest:
        raise RejectedError(Code.SUBJECT_MISMATCH, "messageDigest: not that of the artifact")


def _verify_envelope(envelope: Envelope, key: PublicKey, artifact: Artifact) -> None:
    key.verify(envelope.signature, envelope.signed_bytes)
    statement = attestation.parse_statement(envelope.payload)
    attestation.verify_subject(statement, Digest("sha256", artifact.digests["sha256"].hex()))


def _verify_signature(signature: bytes, key: PublicKey, artifact: Artifact) -> None:
    if artifact.data is not None:
        key.verify(signature, artifact.data)
        return
    digest, prehashed = artifact.digests["sha256"], Prehashed(hashes.SHA256())
    try:
        match serialization.load_der_public_key(key.spki):
            case ec.EllipticCurvePublicKey() as curve:
                curve.verify(signature, digest, ec.ECDSA(prehashed))
            case rsa.RSAPublicKey() as number:
                number.verify(signature, digest, padding.PKCS1v15(), prehashed)
            case _:
                raise MalformedError(Code.UNSUPPORTED, f"a {key} signs the artifact, and only its digest is known")
    except InvalidSignature:
        raise RejectedError(Code.SIGNATURE_INVALID, f"the signature does not verify with the {key}") from None


# --- command line


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    try:
        trusted = root.parse(_root_file(given).read_bytes())
        parsed = bundle.parse(Path(given.bundle).read_bytes()) if given.bundle else _detached(given)
        verify(parsed, _artifact(given.artifact), _signer(given), trusted)
    except CountersignError as error:
        print(f"{error.code}: {error.detail}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print("verified")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="client.py", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    bundled = commands.add_parser("verify-bundle", allow_abbrev=False)
    bundled.add_argument("--bundle", required=True)
    bundled.add_argument("--key", help="a public key in PEM, instead of identity and issuer")
    detached = commands.add_parser("verify", allow_abbrev=False)
    detached.add_argument("--signature", required=True, help="in base64")
    detached.add_argument("--certificate", required=True, help="in PEM")
    detached.set_defaults(bundle="", key="")
    for command in (bundled, detached):
        command.add_argument("--staging", action="store_true", help=f"the root in the file that {STAGING_ROOT} names")
        command.add_argument("--certificate-identity")
        command.add_argument("--certificate-oidc-issuer")
        command.add_argument("--trusted-root")
        command.add_argument("artifact", metavar="FILE_OR_DIGEST")
    given = parser.parse_args(arguments)
    identity = given.certificate_identity, given.certificate_oidc_issuer
    if any(identity) if given.key else not all(identity):
        wanted = "--certificate-identity and --certificate-oidc-issuer"
        bundled.error(f"{wanted}, or --key, are needed") if given.bundle else detached.error(f"{wanted} are needed")
    if given.staging and not given.trusted_root and STAGING_ROOT not in os.environ:
        parser.error(f"--staging: {STAGING_ROOT} must name the trusted_root.json of that instance")
    return given


def _detached(given: argparse.Namespace) -> Bundle:
    """What a bundle would hold of it: neither a log entry nor a timestamp."""
    signature = untrusted.decode_base64(Path(given.signature).read_text().strip(), "signature")
    try:
        [found] = x509.load_pem_x509_certificates(Path(given.certificate).read_bytes())
    except ValueError as error:
        raise MalformedError(Code.MALFORMED, "certificate: one in PEM expected") from error
    leaf = certificate.parse(found.public_bytes(serialization.Encoding.DER))
    return Bundle("", leaf, (), (), message=MessageSignature(signature))


def _signer(given: argparse.Namespace) -> Identity | PublicKey:
    if given.key:
        return keys.parse_public_key(Path(given.key).read_bytes())
    return Identity(issuer=given.certificate_oidc_issuer, subject=given.certificate_identity)


def _root_file(given: argparse.Namespace) -> Path:
    if given.trusted_root:
        return Path(given.trusted_root)
    return Path(os.environ[STAGING_ROOT]) if given.staging else PRODUCTION_ROOT


def _artifact(text: str) -> Artifact:
    if _DIGEST.fullmatch(text) and not Path(text).exists():
        return artifact_named(text)
    return artifact_of(Path(text).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
