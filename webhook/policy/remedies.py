"""What to do about an image that is not admitted, by the code of its refusal, and whether to try again by oneself.

Every code of a refusal has a remedy: one line that a user reads under `kubectl apply`, before the link that explains
more. spec: kubernetes.md 17.
"""

from __future__ import annotations

from collections.abc import Mapping

from webhook.errors import Code

REMEDIES: Mapping[Code, str] = {
    Code.NO_SIGNATURE: "sign this digest and retry",
    Code.MALFORMED: "sign this digest again and retry",
    Code.UNSUPPORTED: "sign this digest in a form that is supported and retry",
    Code.LIMIT_EXCEEDED: "remove signatures that nobody needs and retry",
    Code.SIGNATURE_INVALID: "sign this digest with a key that is trusted and retry",
    Code.CERT_CHAIN_INVALID: "sign this digest with certificates that are made for signing and retry",
    Code.UNTRUSTED_MATERIAL: "sign this digest under a trust root or store that the policy names and retry",
    Code.TLOG_INVALID: "sign this digest again, so that a trusted log has it, and retry",
    Code.TLOG_ENTRY_MISMATCH: "do not run this image before its signature was looked into",
    Code.TIME_INVALID: "sign or attest this digest again and retry",
    Code.SIGNATURE_EXPIRED: "sign this digest again and retry",
    Code.REVOKED: "find out why it was revoked, then sign this digest anew or use another image",
    Code.REVOCATION_UNKNOWN: "retry when it can be found out what was revoked",
    Code.CRITICAL_ATTRIBUTE_UNPROCESSED: "sign this digest without attributes that the webhook does not know and retry",
    Code.VERIFICATION_PLUGIN_UNAVAILABLE: "sign this digest so that it needs no plug-in but AWS Signer's and retry",
    Code.IDENTITY_MISMATCH: "sign this digest as one whom the policy trusts and retry",
    Code.SUBJECT_MISMATCH: "sign this digest itself and retry",
    Code.CLAIM_MISMATCH: "sign or attest what the policy asks for and retry",
    Code.CONDITION_ERROR: "attest what the policy's condition reads, or mend the condition, and retry",
    Code.CROSSCHECK_DISAGREEMENT: "do not run this image before its signature was looked into",
    Code.NOT_ENOUGH_SIGNERS: "have the missing signers sign this digest and retry",
    Code.IMAGE_NOT_FOUND: "correct the reference, or push the image, and retry",
    Code.NOT_CACHED: "let the pull-through cache fetch this image and retry",
    Code.ACCESS_DENIED: "let the webhook read this repository and retry",
    Code.RATE_LIMITED: "retry later",
    Code.REGISTRY_UNAVAILABLE: "retry when the registry answers",
    Code.REGISTRY_VIOLATION: "do not run this image before its registry was looked into",
    Code.HOST_REFUSED: "use a registry that the webhook may speak to",
    Code.TRUST_UNAVAILABLE: "let the webhook have the signer's trust material and retry",
    Code.REFERENCE_INVALID: "correct the reference",
    Code.TOO_MANY_REFERENCES: "use fewer images in one object",
    Code.TAG_NOT_ALLOWED: "write the reference with its digest",
    Code.NOT_PINNED: "retry in a moment, or write the reference with its digest",
    Code.NO_POLICY: "add a policy that speaks of this image",
    Code.POLICY_UNAVAILABLE: "correct the policy file",
    Code.BLOCKED: "use another image",
    Code.OVERLOADED: "retry in a moment",
    Code.DEADLINE_EXCEEDED: "retry in a moment",
    Code.INTERNAL_ERROR: "retry, and look into the webhook's log",
}
# What may be gone a second later. The API server's clients wait as long as they are told, a worker of a controller too,
# then repeat by themselves, ten times.
RETRY_SECONDS: Mapping[Code, int] = {
    Code.NOT_PINNED: 1,
    Code.REGISTRY_UNAVAILABLE: 1,
    Code.DEADLINE_EXCEEDED: 1,
    Code.RATE_LIMITED: 2,
    Code.OVERLOADED: 2,
    Code.TRUST_UNAVAILABLE: 2,
    Code.REVOCATION_UNKNOWN: 2,
    Code.NOT_CACHED: 2,  # the cache fetches it meanwhile
}
TAMPERED = "do not run this image before you know who changed its signature"
MISSING_ATTESTATION = "attach the attestation that is missing to this digest and retry"
