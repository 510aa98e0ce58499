"""RFC 3161 timestamp tokens, for every scheme that uses them: parsed, verified, and their time.

A token is believed only on the path to a root that the caller names, with each certificate valid at the token's own
time. Certificates in the token help to build that path and give no trust. Its signer is the one certificate that the
signed attributes name by hash. Serial number, nonce and ordering are for whoever asked for the token, and are not
examined; revocation is the caller's, who is given the chain.

spec: RFC 3161; RFC 5816; RFC 5652 5; Notary Project, signature specification, certificate requirements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from webhook.errors import Code, CountersignError, RejectedError, quote
from webhook.trust import certificates, path
from webhook.trust import token as tokens
from webhook.trust.token import MAX_TOKEN_BYTES, Token, parse_response, parse_token

__all__ = ["MAX_TOKEN_BYTES", "Timestamp", "Token", "parse_response", "parse_token", "verify"]


@dataclass(frozen=True, slots=True)
class Timestamp:
    """`chain` is leaf first, root last: for whoever asks about revocation."""

    time: datetime
    accuracy: timedelta
    chain: tuple[x509.Certificate, ...]


def verify(
    token: Token,
    message: bytes,
    *,
    roots: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate] = (),
    signer: x509.Certificate | None = None,
) -> Timestamp:
    """`token` is over `message`, made by a certificate with a path to one of `roots`; by `signer`, where it is given.

    A `signer` need not be in the token, and its issuers are among `intermediates`. Of several signers in the token, one
    that is right is enough.

    Raises: RejectedError: `time_invalid` when the token does not hold, or a certificate was not valid at its time,
    `untrusted_material` when its signer is nobody to be believed; MalformedError: `malformed` for what was signed,
    `limit_exceeded` for a search among too many issuers.
    """
    _check_imprint(token, message)
    # Who names the signer names its issuers too: nothing that a stranger put into the token is searched then
    known = intermediates if signer is not None else (*intermediates, *token.certificates)
    search = path.Search(roots, known)
    problem: CountersignError = _wrong("it has no signer")
    for one in token.signers:
        try:
            chain = _verify_signer(one, token, known if signer is None else [signer], search, pinned=signer is not None)
        except CountersignError as error:
            problem = error
        except certificates.UNREADABLE as error:
            problem = _untrusted(f"a certificate cannot be read: {type(error).__name__}")
        else:
            return Timestamp(token.claimed_time, token.claimed_accuracy, chain)
    raise problem


def _check_imprint(token: Token, message: bytes) -> None:
    if token.critical_extensions:  # RFC 5280 4.2: a critical one that is not known must be refused, and none is
        raise _wrong("it has a critical extension that is not known")
    if token.imprint != _digest(token.imprint_algorithm, message):
        raise _wrong("it is about another message")


def _verify_signer(
    signer: tokens.Signer, token: Token, known: Sequence[x509.Certificate], search: path.Search, *, pinned: bool
) -> path.Path:
    attributes = _attributes(signer)
    _check_content(attributes, signer, token)
    certificate = _signing_certificate(attributes, signer, known)
    _check_leaf(certificate, pinned=pinned)
    _check_signature(signer, certificate.public_key())
    times = [token.claimed_time]
    if _SIGNING_TIME in attributes:  # a second claim, under which the certificates must have been valid as well
        times.append(tokens.parse_time(attributes[_SIGNING_TIME]))
    return _valid_path(certificate, times, search)


# RFC 5652 11, RFC 5816 2.2.1. The older signingCertificate, with SHA-1, names nobody
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_TIME = "1.2.840.113549.1.9.5"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"


def _attributes(signer: tokens.Signer) -> Mapping[str, bytes]:
    if signer.version != 1 or signer.identifier is None:  # RFC 5652 5.3
        raise _wrong("its signer is not identified by issuer and serial number")
    attributes = dict(signer.attributes)
    if len(attributes) != len(signer.attributes):  # RFC 5652 5.3
        raise _wrong("a signed attribute stands in it twice")
    missing = {_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_CERTIFICATE_V2} - attributes.keys()
    if missing:
        raise _wrong("a signed attribute is missing: contentType, messageDigest and signingCertificateV2 are expected")
    return attributes


def _check_content(attributes: Mapping[str, bytes], signer: tokens.Signer, token: Token) -> None:
    if tokens.parse_identifier(attributes[_CONTENT_TYPE]) != tokens.TST_INFO:
        raise _wrong("its signature is about another type of content")
    if tokens.parse_octets(attributes[_MESSAGE_DIGEST]) != _digest(signer.digest_algorithm, token.content):
        raise _wrong("its signature is about other content")


def _signing_certificate(
    attributes: Mapping[str, bytes], signer: tokens.Signer, known: Sequence[x509.Certificate]
) -> x509.Certificate:
    named = tokens.parse_named(attributes[_SIGNING_CERTIFICATE_V2])
    for certificate in known:
        if _digest(named.hash_algorithm, certificate.public_bytes(serialization.Encoding.DER)) == named.hash:
            break
    else:
        raise _untrusted("it was signed with another certificate than those at hand")
    # The hash decides. Who names a second certificate beside it, in what is signed or not, means to mislead somebody.
    identifier = (certificate.issuer.public_bytes(), certificate.serial_number)
    if signer.identifier != identifier or named.issuer_serial not in (None, identifier):
        raise _untrusted("it names two certificates as its signer's")
    return certificate


_LEAF_RSA_BITS = (2048, 3072, 4096)
_LEAF_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def _check_leaf(certificate: x509.Certificate, *, pinned: bool) -> None:
    path.check_critical(certificate)
    if certificates.is_authority(certificate):
        raise path.unfit(certificate, "a CA signs no timestamps")
    usage = certificates.extension(certificate, x509.KeyUsage)  # critical is expected, and not demanded
    if usage is None or not _only_signs(usage.value):
        raise path.unfit(certificate, "the key usage digitalSignature is expected, and at most contentCommitment more")
    purposes = certificates.extension(certificate, x509.ExtendedKeyUsage)
    if purposes is None or list(purposes.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise path.unfit(certificate, "the extended key usage timeStamping is expected, alone")
    # RFC 3161 2.3. GitHub's was not critical; who pins this very certificate as an authority has said what it is for
    if not purposes.critical and not pinned:
        raise path.unfit(certificate, "its extended key usage is not critical")
    if not _is_leaf_key(certificate.public_key()):
        raise path.unfit(certificate, "a key RSA 2048, 3072, 4096 or ECDSA P-256, P-384, P-521 is expected")


def _only_signs(usage: x509.KeyUsage) -> bool:
    others = (usage.key_encipherment, usage.data_encipherment, usage.key_agreement, usage.key_cert_sign, usage.crl_sign)
    return usage.digital_signature and not any(others)


def _is_leaf_key(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in _LEAF_RSA_BITS and path.is_affordable(key)
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _LEAF_CURVES


_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
_DIGESTS: Mapping[str, hashes.HashAlgorithm] = {
    tokens.SHA256: _SHA256,
    "2.16.840.1.101.3.4.2.2": _SHA384,
    "2.16.840.1.101.3.4.2.3": _SHA512,
}
_RSA: Mapping[str, hashes.HashAlgorithm] = {
    "1.2.840.113549.1.1.11": _SHA256,
    "1.2.840.113549.1.1.12": _SHA384,
    "1.2.840.113549.1.1.13": _SHA512,
}
_ECDSA: Mapping[str, hashes.HashAlgorithm] = {
    "1.2.840.10045.4.3.2": _SHA256,
    "1.2.840.10045.4.3.3": _SHA384,
    "1.2.840.10045.4.3.4": _SHA512,
}
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"  # RFC 5754 3.2: the hash is then that of the digest


def _check_signature(signer: tokens.Signer, key: object) -> None:
    name, signature, signed = signer.signature_algorithm, signer.signature, signer.signed_attributes
    algorithm = _DIGESTS.get(signer.digest_algorithm) if name == _RSA_ENCRYPTION else _RSA.get(name)
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and name in _ECDSA:
            key.verify(signature, signed, ec.ECDSA(_ECDSA[name]))
        else:
            raise _wrong(f"RSA PKCS#1 v1.5 or ECDSA with SHA-2 is expected, as its key, found {quote(name)}")
    except InvalidSignature:
        raise _wrong("its signature does not verify") from None


def _valid_path(leaf: x509.Certificate, times: Sequence[datetime], search: path.Search) -> path.Path:
    invalid: x509.Certificate | None = None
    for chain in search.paths(leaf):
        invalid = next((one for one in chain if not _is_valid(one, times)), None)
        if invalid is None:
            return chain
    if invalid is None:
        raise _untrusted(f"no path from its signer to a trusted root: {search.problem}")
    raise _wrong(f"the certificate {path.name_of(invalid)} was not valid at the time of the token")


def _is_valid(certificate: x509.Certificate, times: Sequence[datetime]) -> bool:
    return all(certificate.not_valid_before_utc <= one <= certificate.not_valid_after_utc for one in times)


def _digest(algorithm: str, data: bytes) -> bytes:
    if algorithm not in _DIGESTS:
        raise _wrong(f"SHA-256, SHA-384 or SHA-512 is expected, found the algorithm {quote(algorithm)}")
    return hashlib.new(_DIGESTS[algorithm].name, data).digest()


def _wrong(problem: str) -> RejectedError:
    return RejectedError(Code.TIME_INVALID, f"timestamp token: {problem}")


def _untrusted(problem: str) -> RejectedError:
    return RejectedError(Code.UNTRUSTED_MATERIAL, f"timestamp token: {problem}")
