"""What the command line names, as values: an image, policy files, keys, profiles, an identity, hosts of registries.

Keys and profiles, or an identity, make a policy for one run: any of them, in every namespace. A mistake is an
`OperatorError` that names the option.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from webhook import settings
from webhook.errors import MalformedError, OperatorError, quote
from webhook.evidence.model import Signer, SignerKind
from webhook.oci import reference
from webhook.oci.reference import Reference
from webhook.policy import source
from webhook.policy.model import Mode, Namespaces, OnUnavailable, PolicySet, Rule, Tags, TrustPolicy
from webhook.settings import RegistryHost
from webhook.trust import kms, material, root
from webhook.trust.identity import Identity, IdentityError
from webhook.trust.kms import KMSKey
from webhook.trust.notary.profile import ProfileARN, SigningProfile, default_store
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource

KEY_MAX_BYTES = 64 * settings.KIB


def image(text: str) -> Reference:
    """The reference in `text`. Raises: OperatorError."""
    return _parse(text, "IMAGE")


def policies(paths: Sequence[Path], configured: settings.Policy) -> PolicySet:
    """The policies in `paths`, as the server would hold them. Raises: OperatorError."""
    return replace(source.load_files(paths), baseline=source.parse_baseline(configured.baseline_exempt))


def signers(*, keys: Sequence[str] = (), profiles: Sequence[str] = ()) -> PolicySet:
    """A policy for one run: any of `keys`, which are files or in AWS KMS, and of the signing `profiles`.

    Raises: OperatorError.
    """
    given = [
        *(_Given("--key", text, _short(text), SignerKind.KEY, _key(text)) for text in keys),
        *(_Given("--profile", text, _profile(text).arn.name, SignerKind.PROFILE, _profile(text)) for text in profiles),
    ]
    return _policy(_signers(given), "--key" if keys else "--profile")


def kms_endpoints(keys: Sequence[str]) -> tuple[str, ...]:
    """What the command line names to be asked for `keys` instead of AWS, by naming it. Raises: OperatorError."""
    return tuple(endpoint for key in keys if _is_in_kms(key) and (endpoint := _kms_key(key).endpoint))


def identities(
    *,
    issuer: str | None = None,
    issuer_regexp: str | None = None,
    subject: str | None = None,
    subject_regexp: str | None = None,
    trusted_root: Path | None = None,
) -> PolicySet:
    """A policy for one run: whoever the certificate names so, in every namespace; `trusted_root` is a file.

    A regular expression matches the whole text, unlike cosign's of the same options. Raises: OperatorError.
    """
    try:
        identity = Identity(issuer=issuer, issuer_regex=issuer_regexp, subject=subject, subject_regex=subject_regexp)
    except IdentityError as error:
        field, problem = error.problems[0]
        raise OperatorError(f"{_OPTIONS[field]}: {_without_advice(field, problem)}") from error
    source = PUBLIC_GOOD if trusted_root is None else _load_root(trusted_root)
    return _policy((Signer("identity", SignerKind.KEYLESS, identity, source),), _OPTIONS["subject"])


_OPTIONS = {
    "issuer": "--certificate-oidc-issuer",
    "issuerRegex": "--certificate-oidc-issuer-regexp",
    "subject": "--certificate-identity",
    "subjectRegex": "--certificate-identity-regexp",
}


def _without_advice(field: str, problem: str) -> str:
    """`problem` in the words of options; what a policy may call unsafe is not for the command line."""
    if problem.startswith("required"):
        return f"required, and missing: {_OPTIONS[field]} or {_OPTIONS[f'{field}Regex']}"
    if problem.startswith("exactly one"):
        return f"{_OPTIONS[field.removesuffix('Regex')]} is given too: one of both expected"
    return problem.partition("; if that is meant")[0]


def _load_root(path: Path) -> RootSource:
    """What the file has is demanded: a log entry where it has logs, a timestamp where not."""
    try:
        with path.open("rb") as file:
            found = root.parse(file.read(root.MAX_ROOT_BYTES + 1))
    except OSError as error:
        raise OperatorError(f"--trusted-root {path}: cannot be read: {error.strerror}") from error
    except MalformedError as error:
        raise OperatorError(f"--trusted-root {path}: {error.detail}") from error
    if not found.certificate_authorities or not (found.logs or found.timestamp_authorities):
        wanted = "a certificate authority, and a transparency log or a timestamp authority, expected"
        raise OperatorError(f"--trusted-root {path}: {wanted}")
    return RootSource(
        name=path.name,
        kind=RootKind.INLINE,
        key=f"inline sha256:{found.fingerprint}",
        require_log=bool(found.logs),
        require_sct=bool(found.ct_logs),
        require_timestamp=not found.logs,
        inline=found,
    )


def _policy(signers: tuple[Signer, ...], origin: str) -> PolicySet:
    revision = hashlib.sha256("".join(signer.known_as for signer in signers).encode()).hexdigest()[:12]
    policy = TrustPolicy(
        name="command line",
        revision=revision,
        origin=origin,
        mode=Mode.ENFORCE,
        namespaces=Namespaces(),
        signers=signers,
        exempt=(),
        rules=(),
        default=Rule("signers", (), signers, 1, OnUnavailable.DENY),
        deny=(),
        exceptions=(),
        enforce_in=(),
        help="",
        tags=Tags.ALLOW,
        tampered=Mode.ENFORCE,
    )
    return PolicySet((policy,), revision, "the command line")


@dataclass(frozen=True, slots=True)
class _Given:
    """One signer as the command line has it: `text`, of which `short` is what people would call it."""

    option: str
    text: str
    short: str
    kind: SignerKind
    material: material.PublicKey | KMSKey | SigningProfile


def _signers(given: Sequence[_Given]) -> tuple[Signer, ...]:
    """Each is called by its short name, or by all of it where two would be called the same."""
    short = [one.short for one in given]
    found: dict[str, str] = {}
    signers = []
    for one in given:
        name = one.short if short.count(one.short) == 1 else one.text
        signer = Signer(name, one.kind, one.material, PUBLIC_GOOD if one.kind is SignerKind.KEY else None)
        if signer.identity in found:
            raise OperatorError(f"{one.option} {one.text}: the same {one.kind} as {found[signer.identity]}")
        found[signer.identity] = one.text
        signers.append(signer)
    return tuple(signers)


def _short(key: str) -> str:
    return key.rpartition("/")[2] if _is_in_kms(key) else Path(key).stem


def _is_in_kms(key: str) -> bool:
    return key.startswith(kms.SCHEME)


def _key(text: str) -> material.PublicKey | KMSKey:
    return _kms_key(text) if _is_in_kms(text) else _load_key(Path(text))


def _kms_key(uri: str) -> KMSKey:
    try:
        return kms.parse(uri)
    except MalformedError as error:
        raise OperatorError(f"--key {uri}: {error.detail}") from error


def _load_key(path: Path) -> material.PublicKey:
    try:
        with path.open("rb") as file:
            return material.parse_public_key(file.read(KEY_MAX_BYTES + 1))
    except OSError as error:
        raise OperatorError(f"--key {path}: cannot be read: {error.strerror}") from error
    except MalformedError as error:
        raise OperatorError(f"--key {path}: {error.detail}") from error


def _profile(text: str) -> SigningProfile:
    try:
        arn = ProfileARN.parse(text)
    except MalformedError as error:
        raise OperatorError(f"--profile {text}: {error.detail.removeprefix('signing profile: ')}") from error
    store = default_store(arn.partition)
    if store is None:
        no_root = f"no root of AWS Signer is built in for the partition {arn.partition}"
        raise OperatorError(f"--profile {text}: {no_root}: write a policy that names one under trustStores")
    return SigningProfile(arn, store)


def hosts(
    known: Sequence[RegistryHost], *, asked: Sequence[str], insecure: Sequence[str], private: Sequence[str]
) -> tuple[RegistryHost, ...]:
    """`known`, and over it what the command line says of single hosts. Raises: OperatorError.

    A registry on loopback is named by an image `asked` for itself, and spoken to in plain HTTP unless it is known
    otherwise, as other registry clients do: whoever types the image sits at the machine that it means.
    """
    named = {host.host: host for host in known}
    for text in asked:
        own = reference.matching_host(_parse(text, "IMAGE").repository.host)
        if own not in named and _is_loopback(own):
            named[own] = RegistryHost(own, insecure_http=True, loopback=True)
    for text in insecure:
        host = _host(text, "--insecure-registry")
        named[host] = replace(named.get(host, RegistryHost(host)), insecure_http=True, loopback=True, private=True)
    for text in private:
        host = _host(text, "--private-registry")
        named[host] = replace(named.get(host, RegistryHost(host)), private=True)
    return tuple(named.values())


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


def _host(text: str, option: str) -> str:
    mistake = OperatorError(f"{option}: a host, with or without a port, expected, found {quote(text)}")
    try:
        parsed = reference.parse(f"{text}/x")
    except MalformedError as error:
        raise mistake from error
    if parsed.repository.path != "x" or "/" in text:
        raise mistake
    return reference.matching_host(parsed.repository.host)


def _parse(text: str, option: str) -> Reference:
    try:
        return reference.parse(text)
    except MalformedError as error:
        raise OperatorError(f"{option}: {error.detail}") from error
