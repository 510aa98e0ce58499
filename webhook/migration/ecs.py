"""The environment of a verifier that watches Amazon ECS, to a draft: the key or the profiles that it verifies with.

Two such programs are known by their variables: cosign-ecs-verify, which stops tasks whose images a cosign key did not
sign, and AWS Signer's admission controller for ECS. Both are told apart by what is set. Values are never repeated but
for public keys, ARNs and names of keys: an environment holds secrets, and these are not looked at.

spec: github.com/chainguard-dev/cosign-ecs-verify, template.yml; AWS Signer, admission controller for ECS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from webhook.errors import OperatorError, quote
from webhook.migration.draft import WARN_SATISFIES_NOBODY, Draft, Item, Names, Value
from webhook.migration.reading import at, mistakes_in, shown, wrong
from webhook.policy.model import Mode
from webhook.trust import kms, material
from webhook.trust.notary.profile import ProfileARN

KEY_ARN = ("COSIGN_KEY_ARN", "COSIGN_AWS_KMS_KEY_ARN", "KEY_ARN", "KeyArn")  # the last: the template's parameter
KEY_PEM = ("COSIGN_KEY_PEM", "KEY_PEM", "KeyPem")
KEY_ALIAS = ("COSIGN_KEY",)  # of the first releases: an alias without `alias/`
PROFILES, BEHAVIOR, CONFIGURATION = "TRUSTED_SIGNING_PROFILES", "FAILURE_BEHAVIOR", "NOTATION_PATH"
TOPIC = "SNS_TOPIC_ARN"
KNOWN = (*KEY_ARN, *KEY_PEM, *KEY_ALIAS, PROFILES, BEHAVIOR, CONFIGURATION, TOPIC)
_PLATFORM = ("AWS_", "ECS_", "LAMBDA_", "_")  # what the platform and the SDK set
_MODES = {"BLOCK_ON_FAILURE": Mode.ENFORCE, "LOG_ON_FAILURE": Mode.WARN}
_MAX_SHOWN = 20

_EVERY_IMAGE = (
    "As there, every image of every container needs the signature, those of sidecars and add-ons too: "
    "exemptRegistries and namespaces are the ways to leave some out."
)
_BEFORE = "There a task was stopped after it had started; here a pod whose image is not signed is not created."
_HASH = "Keys in PEM were verified with SHA-256 only."
_BOTH = "the variables of one verifier expected, found {} beside {}: convert each by itself, and decide which demands"


def convert(variables: Mapping[str, str], *, origin: str) -> Draft:
    """The policy that demands the signatures that the verifier with these variables demands. Raises: OperatorError."""
    given = {name: value.strip() for name, value in variables.items() if name in KNOWN and value.strip()}
    keys = [name for name in (*KEY_ARN, *KEY_PEM, *KEY_ALIAS) if name in given]
    if keys and PROFILES in given:
        raise OperatorError(f"{origin}: {_BOTH.format(PROFILES, keys[0])}")
    mode = Mode.ENFORCE
    with mistakes_in(origin):
        if PROFILES in given:
            mode, sections = _mode(given), {"signerProfiles": _profiles(given[PROFILES])}
        else:
            sections = {"trustedKeys": [_key(given, keys, origin)]}
    return Draft(
        name="ecs",
        mode=mode,
        heading=(f"Made by `countersign import ecs` of {quote(origin)}.", _EVERY_IMAGE, *_notes(variables, given)),
        about_mode=_about(mode, given),
        sections=sections,
    )


def _key(given: Mapping[str, str], names: Sequence[str], origin: str) -> Item:
    if not names:
        elsewhere = f"; for {CONFIGURATION} there is `countersign import notation`" if CONFIGURATION in given else ""
        raise OperatorError(
            f"{origin}: one of {', '.join((*KEY_ARN, *KEY_PEM, PROFILES))} expected, found none{elsewhere}"
        )
    if len({given[name] for name in names}) > 1:
        raise OperatorError(f"{origin}: {' and '.join(names)}: one key expected, and the verifier takes no more either")
    name = names[0]
    with at(name):
        return _key_in(given[name], alias=name in KEY_ALIAS)


def _key_in(value: str, *, alias: bool) -> Item:
    if "-----BEGIN " in value:
        return _public_key(value.replace("\\n", "\n").strip())
    if alias and not value.startswith(("arn:", "alias/", kms.SCHEME)):
        value = f"alias/{value}"
    uri = value if value.startswith(kms.SCHEME) else f"{kms.SCHEME}/{value}"
    named = kms.parse(uri)
    comments = () if named.region else ("The region is the server's own: AWS_REGION.",)
    return Item({"name": "ecs", "kms": uri}, comments)


def _public_key(pem: str) -> Item:
    fields: dict[str, Value] = {"name": "ecs", "publicKey": pem + "\n"}
    if "sha256" in material.parse_public_key(pem).schemes[1:]:
        return Item({**fields, "hash": "sha256"}, (_HASH,))
    return Item(fields)


def _profiles(text: str) -> list[Item]:
    names = Names()
    found: dict[str, Item] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        with at(PROFILES):
            arn = ProfileARN.parse(part)
        if str(arn).lower() not in found:
            found[str(arn).lower()] = Item({"name": names.new(arn.name), "arn": str(arn)})
    if not found:
        raise wrong(PROFILES, "one ARN at least expected, found none")
    return list(found.values())


def _mode(given: Mapping[str, str]) -> Mode:
    mode = _MODES.get(given.get(BEHAVIOR, "BLOCK_ON_FAILURE"))
    if mode is None:
        raise wrong(BEHAVIOR, f"{' or '.join(_MODES)} expected, found {shown(given[BEHAVIOR])}")
    return mode


def _about(mode: Mode, given: Mapping[str, str]) -> tuple[str, ...]:
    if mode is Mode.WARN:
        return (f"{BEHAVIOR}: {given[BEHAVIOR]}", WARN_SATISFIES_NOBODY)
    if PROFILES not in given:
        return (_BEFORE,)
    return () if BEHAVIOR in given else (f"{BEHAVIOR} is not set: the stricter of its values is taken.",)


def _notes(variables: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    if TOPIC in given:
        topic = quote(given[TOPIC], max_chars=300)[1:-1]
        yield (
            f"Denials can go to the same topic: COUNTERSIGN_SNS_TOPIC={topic}, and sns:Publish for the webhook's role. "
            "It is a setting of the server, no part of a policy; the messages are others."
        )
    others = [name for name in variables if name not in KNOWN and not name.startswith(_PLATFORM)]
    if others:
        shown_names = ", ".join(quote(name, max_chars=60)[1:-1] for name in others[:_MAX_SHOWN])
        more = f" and {len(others) - _MAX_SHOWN} more" if len(others) > _MAX_SHOWN else ""
        yield f"Not recognised, and left out: {shown_names}{more}."
