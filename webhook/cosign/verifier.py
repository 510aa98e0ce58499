"""One piece of cosign evidence held against one signer: the door to this package.

Whatever the evidence holds, the answer is an `Outcome`: a bad candidate can neither end a review nor hide a good one,
and `verified` is made in one place, after every check has passed. Pure: bytes and values in, a value out.
"""

from __future__ import annotations

import logging
from datetime import datetime

from webhook.cosign import bundle, legacy
from webhook.errors import Code, CountersignError, InconclusiveError, quote
from webhook.evidence import model
from webhook.evidence.model import Evidence, Form, Outcome, Signer, Verdict
from webhook.trust.material import PublicKey

_log = logging.getLogger(__name__)


def verify(evidence: Evidence, signer: Signer, now: datetime) -> Outcome:
    """What `evidence` proves for `signer`. Never raises.

    `now` is for certificates and times; a key has neither.
    """
    del now
    try:
        claims = _verify_form(evidence, signer.material)
    except CountersignError as error:
        return model.failed(error, signer=signer, evidence=evidence, place=evidence.place)
    except Exception as error:  # noqa: BLE001  # one candidate that we cannot cope with must not hide the others
        _log.exception("unexpected error in layer %s of manifest %s", evidence.layer, evidence.manifest)
        crash = InconclusiveError(Code.INTERNAL_ERROR, f"unexpected {type(error).__name__} while verifying")
        return model.failed(crash, signer=signer, evidence=evidence, place=evidence.place)
    detail = f"{evidence.form} signature by {signer.material}"
    facts = _facts(evidence, signer.material) | claims
    return Outcome(Verdict.VERIFIED, None, detail, signer, evidence, evidence.place, facts)


def _verify_form(evidence: Evidence, key: PublicKey) -> dict[str, str]:
    match evidence.form:
        case Form.LEGACY:
            return {"docker_reference": quote(legacy.verify_signature(evidence, key))}
        case Form.BUNDLE:
            bundle.verify_signature(evidence, key)
            return {}


def _facts(evidence: Evidence, key: PublicKey) -> dict[str, str]:
    return {
        "form": evidence.form.value,
        "candidate": str(evidence.layer),
        "manifest": str(evidence.manifest),
        "place": evidence.place.value,
        "fingerprint": key.fingerprint,
    }
