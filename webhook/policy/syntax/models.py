"""The fields of a TrustPolicy document, each with its type and what it is for.

What can be told from one field alone is here; what several fields say together is for `document` and its neighbours.
Every field that is not named here is refused, and nothing is converted on the way: a typo must never weaken a policy.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from webhook.policy.syntax.fields import (
    CertificateFingerprint,
    DataKey,
    Duration,
    ExactNamespace,
    FileName,
    Glob,
    ImageDigest,
    ImagePattern,
    KeyFingerprint,
    LevelName,
    Line,
    LogIndex,
    Mirror,
    Moment,
    Name,
    ObjectName,
    PredicateType,
    Require,
    SignedText,
    Text,
    TimeField,
    Unavailable,
)

MAX_KEYLESS = 200  # each costs a millisecond to read, and one comparison with every certificate
MAX_TRUST_ROOTS = 16
MAX_PROFILES = 200  # as many as of identities: each is one comparison with every envelope
MAX_CERTIFICATE_RULES = 100
MAX_SUBJECTS = 100  # Notary Project, trust policy: of one statement
MAX_TRUST_STORES = 64
MAX_ANNOTATIONS = 32
MAX_ATTESTATIONS = 16


class _Fields(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, arbitrary_types_allowed=True
    )


class Metadata(_Fields):
    name: Name = Field(description="The policy's name, which every message says; no two policies share one.")


class Namespaces(_Fields):
    include: list[Glob] = Field(
        default=["*"],
        min_length=1,
        description="Names or globs of the namespaces that the policy is for; all by default.",
    )
    exclude: list[ExactNamespace] = Field(
        default=[], min_length=1, description="Exact names of namespaces that it is not for. Exclude wins."
    )


class KeySecret(_Fields):
    name: ObjectName = Field(description="The name of a Secret in the namespace where the webhook is installed.")
    key: DataKey = Field(
        default="cosign.pub", description="Under which its data has the public key in PEM; cosign.pub by default."
    )


class ObjectEntry(_Fields):
    name: ObjectName = Field(description="The name of the object, in the namespace where the webhook is installed.")
    key: DataKey = Field(description="Under which its data has the text.")


class TrustedKey(_Fields):
    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["name", field]} for field in ("publicKey", "kms", "secret")]}
    )
    name: Name = Field(description="The signer's name, for rules and messages.")
    public_key: str | None = Field(default=None, description="One PEM block, -----BEGIN PUBLIC KEY-----.")
    kms: Text | None = Field(
        default=None, description="A key in AWS KMS: awskms:/// and its ARN, its id, or an alias, as cosign takes it."
    )
    secret: KeySecret | None = Field(default=None, description="A public key in a Secret beside the webhook.")
    hash: Literal["sha256", "sha384", "sha512"] | None = Field(
        default=None, description="The only hash to verify with; by default the usual ones for the kind of key."
    )
    padding: Literal["pkcs1v15", "pss"] | None = Field(
        default=None, description="How an RSA key signs; pkcs1v15 by default."
    )
    require_log: bool = Field(
        default=False, description="Whether an entry in a transparency log of the trust root is demanded."
    )
    trust_root: Name | None = Field(
        default=None, description="The trust root whose logs and clocks are believed; public-good by default."
    )


class Keyless(_Fields):
    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"oneOf": [{"required": [name]} for name in ("issuer", "issuerRegex", "unsafeIssuerRegex")]},
                {
                    "oneOf": [
                        {"required": [name]}
                        for name in (
                            "subject", "subjectGlob", "subjectRegex", "unsafeSubjectGlob", "unsafeSubjectRegex",
                        )
                    ]
                },
            ]
        }
    )  # fmt: skip
    name: Name = Field(description="The signer's name, for rules and messages.")
    issuer: Text | None = Field(default=None, description="Who vouched for the signer, exactly: a URL.")
    issuer_regex: Text | None = Field(default=None, description="The same by a regular expression, of the whole text.")
    subject: Text | None = Field(
        default=None, description="The signer, exactly: a workflow's URL with its ref, an e-mail address."
    )
    subject_glob: Text | None = Field(
        default=None, description="The same by a glob: * is one or more characters but /, ** one or more of any kind."
    )
    subject_regex: Text | None = Field(
        default=None, description="The same by a regular expression (RE2), of the whole text."
    )
    unsafe_issuer_regex: Text | None = Field(
        default=None, description="An issuerRegex that would be refused since it leaves too much open."
    )
    unsafe_subject_glob: Text | None = Field(
        default=None, description="A subjectGlob that would be refused since it leaves too much open."
    )
    unsafe_subject_regex: Text | None = Field(
        default=None, description="A subjectRegex that would be refused since it leaves too much open."
    )
    extensions: dict[Text, Text] = Field(
        default={}, min_length=1, description="Extensions of Fulcio's certificates, each with its exact text."
    )
    trust_root: Name | None = Field(
        default=None, description="The trust root whose authorities and logs are believed; public-good by default."
    )


class SignerProfile(_Fields):
    name: Name = Field(description="The signer's name, for rules and messages.")
    arn: Text = Field(
        description="The ARN of a signing profile of AWS Signer; with its version, that version only.",
        examples=["arn:aws:signer:us-west-2:111122223333:/signing-profiles/ecr_profile"],
    )
    revocation: Literal["enforce", "warn", "off"] = Field(
        default="enforce",
        description="Whether AWS Signer is asked if it revoked the signature, and whether that refuses or only warns.",
    )
    trust_store: Name | None = Field(
        default=None,
        description="The trust store, of the type signingAuthority, that vouches for AWS Signer; by default the "
        "built-in one of the ARN's partition.",
    )


class Override(_Fields):
    authenticity: Literal["enforce", "log"] | None = Field(
        default=None, description="Whether another certificate, or another subject, refuses."
    )
    authentic_timestamp: Literal["enforce", "log"] | None = Field(
        default=None, description="Whether a signing time outside the certificates' validity refuses."
    )
    expiry: Literal["enforce", "log"] | None = Field(
        default=None, description="Whether a signature that its signer let expire is refused."
    )
    revocation: Literal["enforce", "log", "skip"] | None = Field(
        default=None, description="Whether a revoked certificate refuses; skip: nobody is asked."
    )


class Timestamp(_Fields):
    trust_store: Name = Field(description="The trust store, of the type tsa, of the timestamp authorities.")
    verify: Literal["always", "afterCertExpiry"] = Field(
        default="always",
        description="Whether a countersignature is demanded always, or once a certificate has ended.",
    )


class CertificateRule(_Fields):
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["subjects"]},
                {"required": ["unsafeAnySubject"], "properties": {"unsafeAnySubject": {"const": True}}},
            ]
        }
    )
    name: Name = Field(description="The signer's name, for rules and messages.")
    trust_store: Name = Field(
        description="The trust store, of the type ca or signingAuthority, that vouches for the certificates."
    )
    subjects: list[Text] = Field(
        default=[],
        min_length=1,
        max_length=MAX_SUBJECTS,
        description="What the subject of the certificate must contain, any one of them: C=US, ST=WA, O=example.com.",
    )
    unsafe_any_subject: bool = Field(
        default=False, description="true: whoever has a certificate of the trust store may sign."
    )
    level: LevelName = Field(default="strict", description="Which failed checks refuse a signature.")
    override: Override | None = Field(default=None, description="Checks that this level should treat otherwise.")
    timestamp: Timestamp | None = Field(
        default=None, description="Timestamp authorities whose countersignature is demanded."
    )


class TrustStore(_Fields):
    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("certificates", "secret", "configMap")]}
    )
    name: Name = Field(
        description="The trust store's name, for signers; aws-signer and aws-us-gov-signer replace the built-in ones."
    )
    type: Literal["ca", "signingAuthority", "tsa"] = Field(
        description="What its certificates vouch for: signers, signing services, or timestamp authorities."
    )
    certificates: Text | None = Field(default=None, description="One or more certificates in PEM.")
    secret: ObjectEntry | None = Field(default=None, description="A Secret that has them.")
    config_map: ObjectEntry | None = Field(default=None, description="A ConfigMap that has them.")


class TUFRepository(_Fields):
    mirror: Mirror = Field(
        description="The https URL of the repository; COUNTERSIGN_TUF_HOSTS must list a host that is not public."
    )
    root: Text = Field(description="Its root.json, with which trust in it begins.")


class LogKey(_Fields):
    public_key: Text = Field(description="One PEM block, -----BEGIN PUBLIC KEY-----.")
    url: Text | None = Field(default=None, description="The log's URL.")
    origin: Text | None = Field(
        default=None, description="Of a log of the Rekor v2 kind: the first line of its checkpoints."
    )


class Material(_Fields):
    certificate_authorities: list[Text] = Field(
        default=[], min_length=1, max_length=MAX_TRUST_ROOTS, description="Chains in PEM, one for each authority."
    )
    transparency_logs: list[LogKey] = Field(
        default=[], min_length=1, max_length=MAX_TRUST_ROOTS, description="Logs of signatures."
    )
    ct_logs: list[LogKey] = Field(
        default=[], min_length=1, max_length=MAX_TRUST_ROOTS, description="Logs of certificates."
    )
    timestamp_authorities: list[Text] = Field(
        default=[], min_length=1, max_length=MAX_TRUST_ROOTS, description="Chains in PEM, one for each authority."
    )


class TrustRoot(_Fields):
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name]} for name in ("trustedRoot", "file", "tuf", "material", "secret", "configMap")
            ]
        }
    )
    name: Name = Field(description="The trust root's name, for signers.")
    trusted_root: Text | None = Field(default=None, description="The text of a trusted_root.json.")
    file: FileName | None = Field(
        default=None, description="The name of such a file in the folder of COUNTERSIGN_TRUST_ROOTS."
    )
    tuf: TUFRepository | None = Field(default=None, description="A TUF repository that vouches for such a file.")
    material: Material | None = Field(default=None, description="Chains and keys in PEM, by hand.")
    secret: ObjectEntry | None = Field(default=None, description="A Secret that has such a file's text.")
    config_map: ObjectEntry | None = Field(default=None, description="A ConfigMap that has such a file's text.")
    require_log: bool = Field(default=True, description="Whether an entry in one of its transparency logs is demanded.")
    require_sct: bool = Field(default=True, description="Whether one of its CT logs must have seen the certificate.")
    require_timestamp: bool = Field(
        default=False, description="Whether a timestamp of one of its timestamp authorities is demanded."
    )


class Attestation(_Fields):
    predicate_type: PredicateType = Field(description="The type of the predicate, a URI or a short name of cosign's.")
    signers: list[Name] = Field(
        default=[], min_length=1, description="Whose attestation counts; all keys and identities by default."
    )
    condition: Text | None = Field(
        default=None, description="What must hold of it, in CEL, over predicate, statement and image."
    )
    pick: Literal["any", "newest", "all"] | None = Field(
        default=None, description="Which of several must hold; newest where there is a maxAge, otherwise any."
    )
    max_age: Duration | None = Field(default=None, description="How old it may be, by a trusted clock.")
    time_field: TimeField | None = Field(
        default=None, description="The path of a time that the attestation says itself, for maxAge."
    )


class Rule(_Fields):
    images: list[ImagePattern] = Field(
        min_length=1, description="Patterns of repositories; the first rule that matches decides."
    )
    require: Require = Field(
        default="any",
        description="any of the signers, all of them, or how many, each with a key or certificate of its own; none "
        "where attestations are all that is demanded.",
    )
    signers: list[Name] = Field(
        default=[], min_length=1, description="Names of signers of this policy; all of them by default."
    )
    on_unavailable: Unavailable | None = Field(
        default=None, description="What becomes of these images while their registry cannot be reached."
    )
    annotations: dict[SignedText, SignedText] = Field(
        default={},
        min_length=1,
        max_length=MAX_ANNOTATIONS,
        description="Annotations that must have been signed along, each with its exact text.",
    )
    max_age: Duration | None = Field(default=None, description="How old a signature may be, by a trusted clock.")
    attestations: list[Attestation] = Field(
        default=[],
        min_length=1,
        max_length=MAX_ATTESTATIONS,
        description="Attestations that must be there too, every one of them.",
    )


class Deny(_Fields):
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name]}
                for name in ("digest", "image", "keyFingerprint", "certificateFingerprint", "logIndex")
            ]
        }
    )
    digest: ImageDigest | None = Field(default=None, description="An image that may not run, whoever signed it.")
    image: ImagePattern | None = Field(default=None, description="A pattern of repositories that may not run.")
    key_fingerprint: KeyFingerprint | None = Field(
        default=None, description="The SHA-256 of a public key's SPKI: what it signed counts in no policy."
    )
    certificate_fingerprint: CertificateFingerprint | None = Field(
        default=None, description="The SHA-256 of a certificate's DER: what was signed by it counts in no policy."
    )
    log_index: LogIndex | None = Field(
        default=None, description="An entry's number in a transparency log: its signature counts in no policy."
    )
    reason: Line = Field(description="Said in every denial.")


class DigestException(_Fields):
    digest: ImageDigest = Field(description="The image that is admitted without a signature.")
    namespaces: list[Glob] = Field(min_length=1, description="Names or globs of the namespaces where it is admitted.")
    until: Moment = Field(
        description="When it ends, at most 30 days ahead: a time with its zone, or a date (its first moment, UTC)."
    )
    reason: Line = Field(description="Said whenever the exception is used.")


class Spec(_Fields):
    mode: Literal["enforce", "warn"] = Field(
        description="enforce denies; warn admits, and says what would have been denied."
    )
    namespaces: Namespaces = Field(default=Namespaces(), description="Where the policy is for; everywhere by default.")
    trusted_keys: list[TrustedKey] = Field(
        default=[], min_length=1, description="Keys with which cosign signatures are verified."
    )
    keyless: list[Keyless] = Field(
        default=[],
        min_length=1,
        max_length=MAX_KEYLESS,
        description="Identities in certificates of a Sigstore authority, such as CI workflows.",
    )
    signer_profiles: list[SignerProfile] = Field(
        default=[], min_length=1, max_length=MAX_PROFILES, description="Signing profiles of AWS Signer."
    )
    certificates: list[CertificateRule] = Field(
        default=[],
        min_length=1,
        max_length=MAX_CERTIFICATE_RULES,
        description="Certificates with which Notary Project signatures are made.",
    )
    trust_roots: list[TrustRoot] = Field(
        default=[],
        min_length=1,
        max_length=MAX_TRUST_ROOTS,
        description="Sigstore deployments of your own, by name; public-good is there without being listed.",
    )
    trust_stores: list[TrustStore] = Field(
        default=[],
        min_length=1,
        max_length=MAX_TRUST_STORES,
        description="Sets of certificates for Notary Project signatures, by name; aws-signer and aws-us-gov-signer "
        "are there without being listed.",
    )
    exempt_registries: list[ImagePattern] = Field(
        default=[], min_length=1, description="Registries, or paths below them, whose images need no signature."
    )
    unsafe_exempt_registries: list[ImagePattern] = Field(
        default=[], min_length=1, description="The same for whole registries where anybody may push, such as docker.io."
    )
    rules: list[Rule] = Field(
        default=[], min_length=1, description="Finer demands; the first rule that matches decides."
    )
    deny: list[Deny] = Field(
        default=[], min_length=1, description="What may not run, whoever signed it. Beats all else."
    )
    exceptions: list[DigestException] = Field(
        default=[], min_length=1, description="Single images that are admitted for a while without a signature."
    )
    enforce_in: list[ExactNamespace] = Field(
        default=[], min_length=1, description="Exact names of namespaces in which a warn policy enforces already."
    )
    help: Line = Field(
        default="", description="One line that ends every denial by this policy: whom to ask, where to read."
    )
    tags: Literal["allow", "deny"] = Field(
        default="allow", description="deny: references must carry a digest. allow: a tag is resolved once, and judged."
    )
    on_unavailable: Unavailable = Field(
        default="deny",
        description="While a registry cannot be reached: deny, known (admit digests verified before), or allow, which "
        "needs rules whose images all name literal hosts.",
    )
    tampered: Literal["deny", "warn"] = Field(
        default="deny", description="Whether proof of tampering denies even where the policy only warns."
    )


class Document(_Fields):
    """Whose signature a container image needs before a pod may run it."""

    api_version: Literal["countersign.dev/v1"] = Field(description="The format of this document, countersign.dev/v1.")
    kind: Literal["TrustPolicy"] = Field(description="What this document is, a TrustPolicy.")
    metadata: Metadata = Field(description="The name of the policy.")
    spec: Spec = Field(description="What the policy demands.")
