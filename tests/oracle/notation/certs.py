"""Certificate chain rules of the Notary Project signature specification."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as EKU

from tests.oracle.notation.model import CertChainInvalid, PolicyError

_BAD_EKU = {
    EKU.SERVER_AUTH,
    EKU.CLIENT_AUTH,
    EKU.EMAIL_PROTECTION,
    EKU.TIME_STAMPING,
    EKU.OCSP_SIGNING,
    EKU.ANY_EXTENDED_KEY_USAGE,
}
_RSA_SIZES, _CURVES = {2048, 3072, 4096}, {"secp256r1", "secp384r1", "secp521r1"}


def ext(c, cls):
    try:
        return c.extensions.get_extension_for_class(cls)
    except x509.ExtensionNotFound:
        return None


def signed_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Signature of child verifies with parent's key, SHA-1 and MD5 refused."""
    try:
        h = child.signature_hash_algorithm
        if h is None or h.name not in ("sha256", "sha384", "sha512"):
            return False
        parent.public_key().verify(
            child.signature,
            child.tbs_certificate_bytes,
            *(
                (child.signature_algorithm_parameters, h)
                if isinstance(parent.public_key(), rsa.RSAPublicKey)
                else (ec.ECDSA(h),)
            ),
        )
        return True
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, AttributeError, ValueError):
        return False


def issued_by(child, parent) -> bool:
    return (
        child.issuer.public_bytes() == parent.subject.public_bytes() and _may_sign(parent) and signed_by(child, parent)
    )


def _may_sign(c) -> bool:
    bc, ku = ext(c, x509.BasicConstraints), ext(c, x509.KeyUsage)
    return bool(bc and bc.value.ca and (ku is None or ku.value.key_cert_sign))


def _leaf(c, purpose):
    bc = ext(c, x509.BasicConstraints)
    if bc and bc.value.ca:
        raise CertChainInvalid("leaf must not be a CA")
    _ku(c, purpose)
    ku = ext(c, x509.KeyUsage).value
    if not ku.digital_signature:
        raise CertChainInvalid("leaf key usage lacks digitalSignature")
    if ku.key_encipherment or ku.data_encipherment or ku.key_agreement or ku.key_cert_sign or ku.crl_sign:
        raise CertChainInvalid("leaf key usage must be digitalSignature only")
    eku = ext(c, x509.ExtendedKeyUsage)
    if purpose == "codesigning":
        if eku and set(eku.value) & _BAD_EKU:
            raise CertChainInvalid("leaf has a forbidden extended key usage")
    elif not eku or not eku.critical or list(eku.value) != [EKU.TIME_STAMPING]:
        raise CertChainInvalid("TSA leaf must have exactly a critical timeStamping EKU")
    k = c.public_key()
    if not (
        (isinstance(k, rsa.RSAPublicKey) and k.key_size in _RSA_SIZES)
        or (isinstance(k, ec.EllipticCurvePublicKey) and k.curve.name in _CURVES)
    ):
        raise CertChainInvalid("leaf key type or size not allowed")


def _ku(c, purpose):
    ku = ext(c, x509.KeyUsage)
    if not ku:
        raise CertChainInvalid("key usage missing")
    if purpose == "codesigning" and not ku.critical:
        raise CertChainInvalid("key usage must be critical")


def _ca(c, below: int, purpose):
    bc = ext(c, x509.BasicConstraints)
    if not bc or not bc.value.ca or not bc.critical:
        raise CertChainInvalid("CA basic constraints missing, not critical or not a CA")
    if bc.value.path_length is not None and bc.value.path_length < below:
        raise CertChainInvalid("path length exceeded")
    _ku(c, purpose)
    if not ext(c, x509.KeyUsage).value.key_cert_sign:
        raise CertChainInvalid("CA key usage lacks keyCertSign")


def validate_chain(chain: list[x509.Certificate], purpose: str) -> None:
    """chain: leaf first, root last, complete. purpose: codesigning | timestamping."""
    if not 1 <= len(chain) <= 10:
        raise CertChainInvalid("chain must hold 1 to 10 certificates")
    try:
        if len(chain) == 1:
            c = chain[0]
            if c.issuer.public_bytes() != c.subject.public_bytes() or not signed_by(c, c):
                raise CertChainInvalid("single certificate is not self-signed")
            return _leaf(c, purpose)
        for i, c in enumerate(chain):
            last = i == len(chain) - 1
            self_signed = issued_by(c, c)
            if last and not self_signed:
                raise CertChainInvalid("chain does not end in a self-signed root")
            if not last:
                if self_signed:
                    raise CertChainInvalid("self-signed certificate before the end of the chain")
                if not issued_by(c, chain[i + 1]):
                    raise CertChainInvalid(f"certificate {i} is not issued by certificate {i + 1}")
            _leaf(c, purpose) if i == 0 else _ca(c, i - 1, purpose)
    except CertChainInvalid:
        raise
    except Exception as e:  # DuplicateExtension, UnsupportedAlgorithm ... are not ValueErrors
        raise CertChainInvalid(f"unparsable certificate: {e}") from None


def load_store(kind: str, files: list[bytes]) -> list[x509.Certificate]:
    """Certificates of one trust store (PEM bundles or DER), checked as configuration."""
    out: list[x509.Certificate] = []
    try:
        for raw in files:
            certs = (
                x509.load_pem_x509_certificates(raw) if b"-----BEGIN" in raw else [x509.load_der_x509_certificate(raw)]
            )
            for c in certs:
                bc = ext(c, x509.BasicConstraints)
                if not (bc and bc.value.ca) and not signed_by(c, c):
                    raise PolicyError("trusted certificate is neither a CA nor self-signed")
                if kind == "tsa" and not issued_by(c, c):
                    raise PolicyError("a TSA store holds self-signed root CA certificates only")
            out += certs
    except PolicyError:
        raise
    except Exception as e:
        raise PolicyError(f"unreadable trusted certificate: {e}") from None
    if not out:
        raise PolicyError("empty trust store")
    return out
