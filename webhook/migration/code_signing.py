"""AWS Lambda's code signing configurations, as `aws lambda get-code-signing-config` prints them, to a draft.

Lambda allows versions of signing profiles, each exactly, and either blocks what fails a check or only warns; what was
changed after it was signed it blocks always. The two modes of a policy are the same two, and mean the same.

spec: AWS Lambda API reference, CodeSigningConfig; AWS Lambda developer guide, code signing, signature validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from webhook import untrusted
from webhook.errors import quote
from webhook.migration.draft import WARN_SATISFIES_NOBODY, Draft, Item, Names, plain_name
from webhook.migration.reading import at, mistakes_in, parse_object, shown, wrong
from webhook.policy.model import Mode
from webhook.trust.notary.profile import ProfileARN

MAX_PUBLISHERS = 20  # AWS Lambda API reference, AllowedPublishers
_LIST, _MODE = "SigningProfileVersionArns", "UntrustedArtifactOnDeployment"
_MODES = {"Enforce": Mode.ENFORCE, "Warn": Mode.WARN}

_PLATFORM = (
    "A signing profile is for one platform, and one that signs Lambda packages (AWSLambda-SHA384-ECDSA) signs no "
    "container image: where the profiles below are such, put those of the platform Notation-OCI-SHA384-ECDSA in their "
    "place."
)
_VERSIONS = (
    "Each ARN names one version of its profile, as Lambda demands it. Without its last part it stands for every "
    "version, future ones too."
)
_WHERE = (
    "No equivalent: the functions that the configuration is attached to. This policy is for the pods of all "
    "namespaces; spec.namespaces says otherwise."
)
_WARNS = (
    "UntrustedArtifactOnDeployment: Warn. What is unsigned, expired, revoked or of another profile is admitted with a "
    "warning; what proves tampering is denied, as Lambda blocks it."
)
_ENFORCES = "UntrustedArtifactOnDeployment: Enforce. Whatever fails a check is denied."


@dataclass(frozen=True, slots=True)
class CodeSigningConfig:
    """`publishers` are ARNs of versions of signing profiles, each once; `identifier` is `csc-…`."""

    identifier: str
    description: str
    publishers: tuple[str, ...]
    mode: Mode


def convert(data: bytes, *, origin: str) -> Draft:
    """The policy that does for images what the configuration in `data` does for functions. Raises: OperatorError."""
    with mistakes_in(origin):
        config = parse(data)
    names = Names()
    return Draft(
        name=plain_name(config.identifier),
        mode=config.mode,
        heading=(
            f"Made by `countersign import lambda` of the code signing configuration {quote(config.identifier)}"
            + (f": {quote(config.description)}." if config.description else "."),
            _PLATFORM,
            _VERSIONS,
            _WHERE,
        ),
        about_mode=(_WARNS, WARN_SATISFIES_NOBODY) if config.mode is Mode.WARN else (_ENFORCES,),
        sections={"signerProfiles": [_signer(names, arn) for arn in config.publishers]},
    )


def parse(data: bytes) -> CodeSigningConfig:
    """The configuration in `data`, what `get-code-signing-config` printed, or a list of one. Raises: MalformedError."""
    config = _only(parse_object(data, "the document"))
    policies = _member(config, "CodeSigningPolicies", default={})
    wanted = policies.get(_MODE, "Warn")  # API reference, CodeSigningPolicies: the default
    mode = _MODES.get(wanted) if isinstance(wanted, str) else None
    if mode is None:
        raise wrong(
            "CodeSigningPolicies.UntrustedArtifactOnDeployment", f"Warn or Enforce expected, found {shown(wanted)}"
        )
    identifier = config.get("CodeSigningConfigId", "lambda")
    return CodeSigningConfig(
        identifier=untrusted.as_string(identifier, "CodeSigningConfigId"),
        description=untrusted.as_string(config.get("Description") or "", "Description"),
        publishers=tuple(_publishers(_member(config, "AllowedPublishers"))),
        mode=mode,
    )


def _only(document: Mapping[str, object]) -> Mapping[str, object]:
    """The one configuration: of the answer to `get-…`, or of the list that `list-code-signing-configs` prints."""
    listed = document.get("CodeSigningConfigs")
    if listed is None:
        if "CodeSigningConfig" not in document:
            raise wrong("CodeSigningConfig", "required, and missing: what get-code-signing-config prints is expected")
        return _member(document, "CodeSigningConfig")
    entries = untrusted.as_array(listed, "CodeSigningConfigs", max_items=untrusted.MAX_VALUES)
    if len(entries) != 1 or document.get("NextMarker"):
        # Several policies would all have to be satisfied, and each function has but one configuration
        raise wrong("CodeSigningConfigs", "one configuration expected: convert each that is meant by itself")
    return untrusted.as_object(entries[0], "CodeSigningConfigs[0]")


def _publishers(allowed: Mapping[str, object]) -> Sequence[str]:
    path = f"AllowedPublishers.{_LIST}"
    listed = untrusted.as_array(allowed.get(_LIST), path, max_items=MAX_PUBLISHERS)
    if not listed:
        raise wrong(path, "one ARN at least expected, found none")
    found: dict[str, str] = {}
    for index, value in enumerate(listed):
        arn = untrusted.as_string(value, f"{path}[{index}]")
        with at(f"{path}[{index}]"):
            version = ProfileARN.parse(arn).version
        if not version:
            raise wrong(f"{path}[{index}]", f"the ARN of one version expected, found {quote(arn)}")
        found.setdefault(arn.lower(), arn)  # AWS Signer plug-in: ARNs are the same whatever their case
    return tuple(found.values())


def _signer(names: Names, arn: str) -> Item:
    *_, name, version = arn.split("/")
    return Item({"name": names.new(f"{name}-{version}"), "arn": arn})


def _member(parent: Mapping[str, object], name: str, default: object = None) -> Mapping[str, object]:
    return untrusted.as_object(parent.get(name, default), name)
