"""What to say of a TrustPolicy document whose fields are wrong, one by one, and the JSON schema for editors.

Both come from `models`, so that they cannot say different things.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from webhook.policy.syntax import models
from webhook.policy.syntax.fields import MAX_NAME_CHARS, found
from webhook.policy.syntax.mistakes import Path

KIND = "TrustPolicy"

# Known, so that nobody hunts for a typo: what nobody may choose
_REFUSED_FIELDS: Mapping[str, str] = {
    "spec.certificates[].override.integrity": "a signature that is not whole is always refused: leave it out",
}


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
        **models.Document.model_json_schema(by_alias=True, schema_generator=_SchemaForEditors),
        "title": KIND,
    }


def problems(value: object) -> list[tuple[Path, str]]:
    """What is wrong with the fields of a document, by their paths within it."""
    try:
        models.Document.model_validate(value)
    except ValidationError as error:
        return [_problem(detail) for detail in error.errors(include_url=False)]
    return []


def _problem(detail: ErrorDetails) -> tuple[Path, str]:
    path = detail["loc"]
    if path[-1:] == ("[key]",):  # of a mapping whose names are the author's: the name is what stands there
        path = path[:-1]
    match detail["type"]:
        case "said":
            return path, detail["msg"]
        case "missing":
            return path, f"required, and missing: {_description(path)}"
        case "extra_forbidden":
            return path, _unknown_field(path)
        case "too_short":
            kind = "mapping" if isinstance(detail["input"], dict) else "list"
            return path, f"an empty {kind} says nothing: leave the field out, or name at least one"
        case "too_long":
            return path, f"at most {detail['ctx']['max_length']} expected, found {detail['ctx']['actual_length']}"
        case "literal_error":
            expected = str(detail["ctx"]["expected"])
            return path, f"{expected} expected, found {found(detail['input'])}"
        case other:
            return path, f"{_EXPECTED.get(other, detail['msg'])} expected, found {found(detail['input'])}"


_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
}


def _unknown_field(path: Path) -> str:
    name, known = str(path[-1]), _FIELDS.get(_shape(path[:-1]), {})
    if why := _REFUSED_FIELDS.get(_shape(path)):
        return why
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
    "": _fields(models.Document),
    "metadata": _fields(models.Metadata),
    "spec": _fields(models.Spec),
    "spec.namespaces": _fields(models.Namespaces),
    "spec.trustedKeys[]": _fields(models.TrustedKey),
    "spec.trustedKeys[].secret": _fields(models.KeySecret),
    "spec.keyless[]": _fields(models.Keyless),
    "spec.signerProfiles[]": _fields(models.SignerProfile),
    "spec.certificates[]": _fields(models.CertificateRule),
    "spec.certificates[].override": _fields(models.Override),
    "spec.certificates[].timestamp": _fields(models.Timestamp),
    "spec.trustStores[]": _fields(models.TrustStore),
    "spec.trustStores[].secret": _fields(models.ObjectEntry),
    "spec.trustStores[].configMap": _fields(models.ObjectEntry),
    "spec.trustRoots[]": _fields(models.TrustRoot),
    "spec.trustRoots[].secret": _fields(models.ObjectEntry),
    "spec.trustRoots[].configMap": _fields(models.ObjectEntry),
    "spec.trustRoots[].tuf": _fields(models.TUFRepository),
    "spec.trustRoots[].material": _fields(models.Material),
    "spec.trustRoots[].material.transparencyLogs[]": _fields(models.LogKey),
    "spec.trustRoots[].material.ctLogs[]": _fields(models.LogKey),
    "spec.rules[]": _fields(models.Rule),
    "spec.rules[].attestations[]": _fields(models.Attestation),
    "spec.deny[]": _fields(models.Deny),
    "spec.exceptions[]": _fields(models.DigestException),
}
