"""Every error that Countersign raises, sorted by how a caller must react, and the reason codes.

    CountersignError
    ├── MalformedError       the input breaks its own format, or is outside what we accept
    ├── RejectedError        it was examined, and it is wrong
    │   └── TamperedError    it proves that somebody changed what was stored or logged
    ├── InconclusiveError    it could not be examined: never a proof of anything
    └── OperatorError        a mistake in settings, a policy or on the command line

A `code` is stable: metrics, audit records, messages, documents and tests use it. The message is for people: what was
expected, what was found, where; untrusted text is shortened and quoted with `quote`.
"""

from __future__ import annotations

from enum import StrEnum

MAX_QUOTED_CHARS = 200


class Code(StrEnum):
    """Why an image, or one piece of evidence, was not accepted."""

    NO_SIGNATURE = "no_signature"
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"
    LIMIT_EXCEEDED = "limit_exceeded"
    SIGNATURE_INVALID = "signature_invalid"
    CERT_CHAIN_INVALID = "cert_chain_invalid"
    UNTRUSTED_MATERIAL = "untrusted_material"
    TLOG_INVALID = "tlog_invalid"
    TLOG_ENTRY_MISMATCH = "tlog_entry_mismatch"
    TIME_INVALID = "time_invalid"
    SIGNATURE_EXPIRED = "signature_expired"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"
    CRITICAL_ATTRIBUTE_UNPROCESSED = "critical_attribute_unprocessed"
    VERIFICATION_PLUGIN_UNAVAILABLE = "verification_plugin_unavailable"
    IDENTITY_MISMATCH = "identity_mismatch"
    CONDITION_ERROR = "condition_error"
    CROSSCHECK_DISAGREEMENT = "crosscheck_disagreement"
    SUBJECT_MISMATCH = "subject_mismatch"
    CLAIM_MISMATCH = "claim_mismatch"
    NOT_ENOUGH_SIGNERS = "not_enough_signers"

    IMAGE_NOT_FOUND = "image_not_found"
    NOT_CACHED = "not_cached"
    ACCESS_DENIED = "access_denied"
    RATE_LIMITED = "rate_limited"
    REGISTRY_UNAVAILABLE = "registry_unavailable"
    REGISTRY_VIOLATION = "registry_violation"
    HOST_REFUSED = "host_refused"
    TRUST_UNAVAILABLE = "trust_unavailable"

    REFERENCE_INVALID = "reference_invalid"
    TOO_MANY_REFERENCES = "too_many_references"
    TAG_NOT_ALLOWED = "tag_not_allowed"
    NOT_PINNED = "not_pinned"
    NO_POLICY = "no_policy"
    POLICY_UNAVAILABLE = "policy_unavailable"
    BLOCKED = "blocked"

    OVERLOADED = "overloaded"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    INTERNAL_ERROR = "internal_error"


class CountersignError(Exception):
    """`code` says why; `detail` says it to a person."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class MalformedError(CountersignError):
    """The input breaks its own format (`malformed`, `reference_invalid`), or is outside what we accept."""


class RejectedError(CountersignError):
    """It was examined, and it is wrong."""


class TamperedError(RejectedError):
    """Proof that somebody changed what was stored: other bytes than the digest or size asked for
    (`registry_violation`), an entry that a trusted log vouches for and that is about something else
    (`tlog_entry_mismatch`), or an envelope that its own certificate did not sign (`signature_invalid`)."""

    def __init__(self, detail: str, code: Code = Code.REGISTRY_VIOLATION) -> None:
        super().__init__(code, detail)


class InconclusiveError(CountersignError):
    """It could not be examined."""


class OperatorError(Exception):
    """A mistake of the operator's: the message names the setting, file or argument, and what was expected."""


def quote(text: str, *, max_chars: int = MAX_QUOTED_CHARS) -> str:
    """Foreign text as it may stand in a message: quoted, printable ASCII only, cut.

    `max_chars` bounds what is shown, escapes included; dots behind the quote say that something was cut.
    """
    shown = text[:max_chars]
    quoted = ascii(shown)
    while len(quoted) > max_chars + 2:  # escapes have lengthened it, to ten times at most
        shown = shown[: len(shown) * max_chars // len(quoted)]
        quoted = ascii(shown)
    return quoted if len(shown) == len(text) else f"{quoted}..."
