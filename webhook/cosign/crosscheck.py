"""The same keyless bundle through a second implementation, sigstore-python: for what we accepted, does it agree?

It can judge a bundle with a certificate of a P-256 key and exactly one log entry of a kind it knows; of any other it
says nothing. It demands less of times, windows and checkpoints than we do, so it is no replacement: whom a certificate
names, and what the statement says, are not asked again. Whoever imports this imports that library, 54 MiB of it.

spec: sigstore client specification, verification.
"""

from __future__ import annotations

import functools
import json
import logging

from cryptography.x509 import Certificate
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier

from webhook.cosign import bundle
from webhook.cosign.bundle import Bundle as OurBundle
from webhook.errors import quote
from webhook.evidence.model import Evidence, Form
from webhook.trust.root import TrustRoot

log = logging.getLogger(__name__)

JUDGED = frozenset({("dsse", "0.0.1"), ("hashedrekord", "0.0.2")})
MAX_ROOTS = 16

# The library reads a root from a file, or beside a configuration for signing, of which this is the least
_CONFIG = {
    "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
    "signingConfig": {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    },
}

logging.getLogger("sigstore").setLevel(logging.CRITICAL)  # what it has to say comes back as the disagreement


class _AnyIdentity:
    """Whom the certificate names was judged before."""

    def verify(self, cert: Certificate) -> None:
        del cert


def disagreement(evidence: Evidence, root: TrustRoot) -> str | None:
    """Why the library would refuse what we accepted under `root`; empty where it agrees, `None` where it cannot judge:
    it does not know this kind of evidence, or cannot read `root`."""
    if evidence.form is not Form.BUNDLE:
        return None
    ours, verifier = bundle.parse(evidence.payload), _verifier(root)
    if verifier is None or not _is_judged(ours):
        return None
    try:
        theirs = Bundle.from_json(evidence.payload)
        kind, payload = verifier.verify_dsse(theirs, _AnyIdentity())
    except Exception as error:  # noqa: BLE001  # a library that crashes has not agreed
        return f"sigstore-python refuses it: {type(error).__name__}: {quote(str(error))}"
    if ours.envelope is None or (kind, payload) != (ours.envelope.payload_type, ours.envelope.payload):
        return "sigstore-python reads another statement out of it"
    return ""


def _is_judged(parsed: OurBundle) -> bool:
    if parsed.leaf is None or parsed.envelope is None or len(parsed.entries) != 1:
        return False
    [entry] = parsed.entries
    # It demands a proof in every version, and no other kind of key in a certificate
    known = (entry.kind, entry.version) in JUDGED and entry.proof is not None
    return known and parsed.leaf.key.algorithm == "ECDSA P-256"


@functools.lru_cache(MAX_ROOTS)
def _verifier(root: TrustRoot) -> Verifier | None:
    """`None` where the library cannot read `root`: it wants what is optional, such as the name of an authority."""
    config = {**_CONFIG, "trustedRoot": json.loads(root.document)}
    try:
        return Verifier(trusted_root=ClientTrustConfig.from_json(json.dumps(config)).trusted_root)
    except Exception as error:  # noqa: BLE001  # of whatever kind: nothing under this root is judged
        log.warning("sigstore-python cannot read the trust root %s: %s", root.fingerprint, quote(str(error)))
        return None
