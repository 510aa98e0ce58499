"""What the command line names, as values: an image, policy files, keys, hosts of registries.

Keys make a policy for one run: any of them, in every namespace. A mistake is an `OperatorError` that names the option.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from webhook import settings
from webhook.errors import MalformedError, OperatorError, quote
from webhook.evidence.model import Signer, SignerKind
from webhook.oci import reference
from webhook.oci.reference import Reference
from webhook.policy import source
from webhook.policy.model import Mode, Namespaces, OnUnavailable, PolicySet, Rule, Tags, TrustPolicy
from webhook.settings import RegistryHost
from webhook.trust import material

KEY_MAX_BYTES = 64 * settings.KIB


def image(text: str) -> Reference:
    """The reference in `text`. Raises: OperatorError."""
    return _parse(text, "IMAGE")


def policies(paths: Sequence[Path], configured: settings.Policy) -> PolicySet:
    """The policies in `paths`, as the server would hold them. Raises: OperatorError."""
    return replace(source.load_files(paths), baseline=source.parse_baseline(configured.baseline_exempt))


def keys(paths: Sequence[Path]) -> PolicySet:
    """A policy for one run: any of `keys`, in every namespace. Raises: OperatorError."""
    signers = _signers(paths)
    rule = Rule("signers", (), signers, 1, OnUnavailable.DENY)
    revision = hashlib.sha256("".join(signer.identity for signer in signers).encode()).hexdigest()[:12]
    policy = TrustPolicy(
        name="command line",
        revision=revision,
        origin="--key",
        mode=Mode.ENFORCE,
        namespaces=Namespaces(),
        signers=signers,
        exempt=(),
        rules=(),
        default=rule,
        deny=(),
        exceptions=(),
        enforce_in=(),
        help="",
        tags=Tags.ALLOW,
        tampered=Mode.ENFORCE,
    )
    return PolicySet((policy,), revision, "the command line")


def _signers(paths: Sequence[Path]) -> tuple[Signer, ...]:
    stems = [path.stem for path in paths]
    found: dict[str, Path] = {}
    signers = []
    for path in paths:
        # Two files of one name in two folders are told apart by their paths.
        name = path.stem if stems.count(path.stem) == 1 else str(path)
        signer = Signer(name, SignerKind.KEY, _load_key(path))
        if signer.identity in found:
            raise OperatorError(f"--key {path}: the same key as {found[signer.identity]}")
        found[signer.identity] = path
        signers.append(signer)
    return tuple(signers)


def _load_key(path: Path) -> material.PublicKey:
    try:
        with path.open("rb") as file:
            return material.parse_public_key(file.read(KEY_MAX_BYTES + 1))
    except OSError as error:
        raise OperatorError(f"--key {path}: cannot be read: {error.strerror}") from error
    except MalformedError as error:
        raise OperatorError(f"--key {path}: {error.detail}") from error


def hosts(
    known: Sequence[RegistryHost], *, asked: str, insecure: Sequence[str], private: Sequence[str]
) -> tuple[RegistryHost, ...]:
    """`known`, and over it what the command line says of single hosts. Raises: OperatorError.

    A registry on loopback is named by the image `asked` for itself, and spoken to in plain HTTP unless it is known
    otherwise, as other registry clients do: whoever types the image sits at the machine that it means.
    """
    named = {host.host: host for host in known}
    own = reference.matching_host(_parse(asked, "IMAGE").repository.host)
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
