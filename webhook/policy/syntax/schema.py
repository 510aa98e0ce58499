"""The fields of a TrustPolicy document: their types, what each is for, and what to say of one that is wrong.

The models hold what can be told from one field alone; what several fields say together is for `document`. Every field
that is not named here is refused, and nothing is converted on the way: a typo must never weaken a policy. The JSON
schema for editors comes from the same models, so that it cannot say anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from webhook.policy.syntax.fields import (
    MAX_NAME_CHARS,
    NOT_YET,
    ExactNamespace,
    Fingerprint,
    Glob,
    ImageDigest,
    ImagePattern,
    Line,
    Moment,
    Name,
    Require,
    RequireLog,
    Unavailable,
    found,
)
from webhook.policy.syntax.mistakes import Path

KIND = "TrustPolicy"

# Fields of the format whose signers this version cannot judge. They are known, so that nobody hunts for a typo.
_NOT_YET_FIELDS = {
    "spec.signerProfiles", "spec.keyless", "spec.certificates", "spec.trustRoots", "spec.trustStores",
    "spec.trustedKeys[].kms", "spec.trustedKeys[].secret", "spec.rules[].attestations", "spec.rules[].maxAge",
    "spec.deny[].certificateFingerprint", "spec.deny[].logIndex",
}  # fmt: skip


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


class TrustedKey(_Fields):
    model_config = ConfigDict(json_schema_extra={"required": ["name", "publicKey"]})
    name: Name = Field(description="The signer's name, for rules and messages.")
    public_key: str | None = Field(default=None, description="One PEM block, -----BEGIN PUBLIC KEY-----.")
    hash: Literal["sha256", "sha384", "sha512"] | None = Field(
        default=None, description="The only hash to verify with; by default the usual ones for the kind of key."
    )
    padding: Literal["pkcs1v15", "pss"] | None = Field(
        default=None, description="How an RSA key signs; pkcs1v15 by default."
    )
    require_log: RequireLog = Field(default=False, description="Whether a log entry is demanded; only false for now.")


class Rule(_Fields):
    images: list[ImagePattern] = Field(
        min_length=1, description="Patterns of repositories; the first rule that matches decides."
    )
    require: Require = Field(
        default="any", description="any of the signers, all of them, or how many; counted by different keys."
    )
    signers: list[Name] = Field(
        default=[], min_length=1, description="Names of signers of this policy; all of them by default."
    )
    on_unavailable: Unavailable | None = Field(
        default=None, description="What becomes of these images while their registry cannot be reached."
    )


class Deny(_Fields):
    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("digest", "image", "keyFingerprint")]}
    )
    digest: ImageDigest | None = Field(default=None, description="An image that may not run, whoever signed it.")
    image: ImagePattern | None = Field(default=None, description="A pattern of repositories that may not run.")
    key_fingerprint: Fingerprint | None = Field(
        default=None, description="The SHA-256 of a public key's SPKI: what it signed counts in no policy."
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
        default=[], min_length=1, description="Public keys with which cosign signatures are verified."
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


class _SchemaForEditors(GenerateJsonSchema):
    """Without what nobody may write: `null`, the way in which the models say that a field was left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default") in (None, [], "") or isinstance(made["default"], dict):
            made.pop("default", None)
        return made

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def json_schema() -> JsonSchemaValue:
    """The JSON schema, draft 2020-12, of one TrustPolicy document."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": "https://countersign.dev/schemas/trustpolicy.schema.json",
        **Document.model_json_schema(by_alias=True, schema_generator=_SchemaForEditors),
        "title": KIND,
    }


def problems(value: object) -> list[tuple[Path, str]]:
    """What is wrong with the fields of a document, by their paths within it."""
    try:
        Document.model_validate(value)
    except ValidationError as error:
        return [_problem(detail) for detail in error.errors(include_url=False)]
    return []


def _problem(detail: ErrorDetails) -> tuple[Path, str]:
    path = detail["loc"]
    match detail["type"]:
        case "said":
            return path, detail["msg"]
        case "missing":
            return path, f"required, and missing: {_description(path)}"
        case "extra_forbidden":
            return path, _unknown_field(path)
        case "too_short":
            return path, "an empty list says nothing: leave the field out, or name at least one"
        case "literal_error":
            expected = str(detail["ctx"]["expected"])
            return path, f"{expected} expected, found {found(detail['input'])}"
        case other:
            return path, f"{_EXPECTED.get(other, detail['msg'])} expected, found {found(detail['input'])}"


_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "list_type": "a list",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
}


def _unknown_field(path: Path) -> str:
    name, known = str(path[-1]), _FIELDS.get(_shape(path[:-1]), {})
    if _shape(path) in _NOT_YET_FIELDS:
        return NOT_YET
    close = get_close_matches(name, known, n=1) if len(name) <= MAX_NAME_CHARS else []
    return f"unknown field; did you mean {close[0]}?" if close else f"unknown field; known here are {', '.join(known)}"


def _description(path: Path) -> str:
    description = _FIELDS.get(_shape(path[:-1]), {}).get(str(path[-1]), "")
    return description[:1].lower() + description[1:].removesuffix(".")


def _shape(path: Path) -> str:
    """A path with its indices left out: `spec.rules[].images`."""
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _fields(model: type[BaseModel]) -> dict[str, str]:
    return {info.alias or name: info.description or "" for name, info in model.model_fields.items()}


_FIELDS: Mapping[str, Mapping[str, str]] = {
    "": _fields(Document),
    "metadata": _fields(Metadata),
    "spec": _fields(Spec),
    "spec.namespaces": _fields(Namespaces),
    "spec.trustedKeys[]": _fields(TrustedKey),
    "spec.rules[]": _fields(Rule),
    "spec.deny[]": _fields(Deny),
    "spec.exceptions[]": _fields(DigestException),
}
