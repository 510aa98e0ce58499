"""The public key that AWS KMS has under a name: asked for, checked to be what we verify with, never used at KMS.

An answer that ends a key (disabled, gone, denied, of a kind that nobody verifies with) is told apart from no answer,
which says nothing of it; what becomes of the key then is for whoever keeps it. specs: AWS KMS, GetPublicKey; cosign,
key references, awskms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from webhook import settings
from webhook.aws.calls import AWSError, Call, Client, Kind
from webhook.errors import Code, InconclusiveError, MalformedError, RejectedError, quote
from webhook.trust import material
from webhook.trust.kms import Fetched, KMSKey
from webhook.trust.material import Padding, PublicKey

MAX_SHOWN = 8

_KEY_SPECS = {
    "ECDSA P-256": "ECC_NIST_P256",
    "ECDSA P-384": "ECC_NIST_P384",
    "ECDSA P-521": "ECC_NIST_P521",
    "RSA 2048": "RSA_2048",
    "RSA 3072": "RSA_3072",
    "RSA 4096": "RSA_4096",
    "Ed25519": "ECC_NIST_EDWARDS25519",
}
# cosign signs with the first; the order in which KMS lists them differs between AWS and emulators of it
_RSA_SCHEMES = {
    "RSASSA_PKCS1_V1_5_SHA_256": "sha256",
    "RSASSA_PKCS1_V1_5_SHA_384": "sha384",
    "RSASSA_PKCS1_V1_5_SHA_512": "sha512",
    "RSASSA_PSS_SHA_256": "pss-sha256",
    "RSASSA_PSS_SHA_384": "pss-sha384",
    "RSASSA_PSS_SHA_512": "pss-sha512",
}
_ENDED = {
    "NotFoundException": "there is no such key or alias; it may have been deleted",
    "DisabledException": "the key is disabled; enable it, or remove it from the policy",
    "KMSInvalidStateException": "the key is pending deletion, or in another state in which it cannot be used",
    "InvalidKeyUsageException": "the key is not one for signing",
    "UnsupportedOperationException": "the key has no public part; an asymmetric key for signing is needed",
    "InvalidArnException": "the ARN is not one of KMS in that region",
}


class KMS:
    """`call` blocks, and raises AWSError."""

    def __init__(self, call: Callable[[Call], Mapping[str, object]], configured: settings.AWS) -> None:
        self._call, self._endpoints = call, configured.kms_endpoints

    def fetch(self, place: KMSKey) -> Fetched:
        """The key that is at `place` now; blocking.

        Raises: RejectedError and MalformedError, when KMS says that there is none which could be used;
        InconclusiveError, `trust_unavailable`, when it says nothing.
        """
        if place.endpoint and place.endpoint not in self._endpoints:
            problem = f"the endpoint {quote(place.endpoint)} is not listed (COUNTERSIGN_KMS_ENDPOINTS)"
            raise RejectedError(Code.TRUST_UNAVAILABLE, problem)
        client = Client("kms", place.region, place.endpoint)
        try:
            answer = self._call(Call(client, "get_public_key", {"KeyId": place.key_id}))
        except AWSError as error:
            if error.kind not in (Kind.DENIED, Kind.INVALID):
                raise InconclusiveError(Code.TRUST_UNAVAILABLE, error.detail) from error
            raise RejectedError(Code.TRUST_UNAVAILABLE, _reason(error)) from error
        return parse(answer, place)


def parse(answer: Mapping[str, object], place: KMSKey) -> Fetched:
    """The key in an answer of GetPublicKey, with the schemes that it signs with and `place` allows.

    Raises: MalformedError; InconclusiveError for an answer that is not one of KMS.
    """
    usage, spki, arn = answer.get("KeyUsage"), answer.get("PublicKey"), answer.get("KeyId")
    spec = answer.get("KeySpec") or answer.get("CustomerMasterKeySpec")  # its older name, which emulators use
    if not isinstance(spki, bytes) or not isinstance(arn, str):
        raise InconclusiveError(Code.TRUST_UNAVAILABLE, "the answer to GetPublicKey is without a key or its ARN")
    if usage != "SIGN_VERIFY":
        _refuse(f"KeyUsage: SIGN_VERIFY expected, found {_shown(usage)}", Code.UNSUPPORTED)
    if spec is not None and spec not in _KEY_SPECS.values():
        _refuse(f"KeySpec: keys of the kind {_shown(spec)} are not supported", Code.UNSUPPORTED)
    key = _key(spki, answer.get("SigningAlgorithms"), place)
    # The key itself says what it is
    if key.algorithm not in _KEY_SPECS:
        _refuse(f"a key of {key.algorithm} is none that KMS makes", Code.UNSUPPORTED)
    if spec is not None and spec != _KEY_SPECS[key.algorithm]:
        _refuse(f"KeySpec: {_shown(spec)} does not fit a key of {key.algorithm}")
    return Fetched(key, arn)


def _key(spki: bytes, algorithms: object, place: KMSKey) -> PublicKey:
    key = material.parse_spki(spki, hash=place.hash, padding=place.padding or Padding.PKCS1V15)
    if not key.algorithm.startswith("RSA "):
        return key  # cosign, table of keys: a curve says enough
    listed = algorithms if isinstance(algorithms, list) and algorithms else list(_RSA_SCHEMES)
    schemes = tuple(scheme for name, scheme in _RSA_SCHEMES.items() if name in listed and _is_chosen(scheme, place))
    if not schemes:
        shown = ", ".join(_shown(name) for name in listed[:MAX_SHOWN])
        _refuse(f"SigningAlgorithms: none that the policy's hash and padding allow, found {shown}", Code.UNSUPPORTED)
    return material.tried_with(key, schemes)


def _is_chosen(scheme: str, place: KMSKey) -> bool:
    padding = Padding.PSS if scheme.startswith("pss-") else Padding.PKCS1V15
    wanted = place.padding or Padding.PKCS1V15  # which cosign signs with; PSS only where the policy says so
    return wanted is padding and (place.hash is None or scheme.endswith(place.hash))


def _reason(error: AWSError) -> str:
    """Why there is no key, for whoever can change that."""
    if error.kind is Kind.DENIED:
        return f"{error.detail}; the role of this webhook and the policy of the key must both allow it"
    hint = _ENDED.get(error.code)
    return f"{hint} ({error.code})" if hint else error.detail


def _shown(value: object) -> str:
    return quote(str(value), max_chars=60)


def _refuse(problem: str, code: Code = Code.MALFORMED) -> NoReturn:
    raise MalformedError(code, problem)
