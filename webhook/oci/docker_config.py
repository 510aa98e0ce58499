"""Credentials from a docker config.json, as `docker login` and imagePullSecrets write it, and from its older form.

Promises: an entry is used only for the registry, and below the path, that its key names; nothing is executed; no
credential stands in any message. A key that makes no sense is skipped and said in `notes`. specs: docker config file;
Kubernetes, images, "Interpretation of config.json".
"""

from __future__ import annotations

import base64
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from webhook import untrusted
from webhook.errors import Code, MalformedError, OperatorError, quote
from webhook.oci import reference
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository

MAX_BYTES = 1024 * 1024  # a Kubernetes Secret is no larger
MAX_ENTRIES = 1000
MAX_TRIED = 8  # credentials of one repository; each that fails costs a round trip of the review

_BEARER = re.compile(r"[\x21-\x7e]+")  # what else stood in a header would end it
_IDENTITY_USERS = frozenset(("<token>", "00000000-0000-0000-0000-000000000000"))  # docker; Azure


@dataclass(frozen=True, slots=True)
class Key:
    """Where an entry applies: labels of a host, each of which may be a glob; a port or none; a path prefix."""

    labels: tuple[str, ...]
    port: str
    path: tuple[str, ...]

    def matches(self, labels: tuple[str, ...], port: str, path: tuple[str, ...]) -> bool:
        """Whether a repository is at this host, label by label, and below this path, segment by segment."""
        return (
            port == self.port
            and len(labels) == len(self.labels)
            and path[: len(self.path)] == self.path
            and all(_glob(pattern, label) for pattern, label in zip(self.labels, labels, strict=True))
        )


class DockerConfig:
    """A `CredentialSource`. `notes` tells what in the file is not used, for the log."""

    def __init__(self, entries: tuple[tuple[Key, Credential], ...], notes: tuple[str, ...] = ()) -> None:
        self._entries = entries
        self.notes = notes

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        """What may be tried for `repository`, the most specific first, none of it `refused`; empty for anonymous."""
        labels, port = _split_host(repository.host)
        path = tuple(repository.path.split("/"))
        found = dict.fromkeys(credential for key, credential in self._entries if key.matches(labels, port, path))
        return tuple(credential for credential in tuple(found)[:MAX_TRIED] if credential not in refused)


def load(path: Path) -> DockerConfig:
    """The credentials in the file. Raises: OperatorError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return parse(data)
    except OSError as error:
        raise OperatorError(f"docker config {path}: cannot be read: {error.strerror}") from error
    except MalformedError as error:
        raise OperatorError(f"docker config {path}: {error.detail}") from error


def parse(data: bytes, *, max_entries: int = MAX_ENTRIES) -> DockerConfig:
    """The credentials in a config.json. Raises: MalformedError."""
    document = untrusted.as_object(untrusted.parse_json(data, max_bytes=MAX_BYTES, what="config.json"), "config.json")
    notes = tuple(
        f"`{name}` names programs to run for credentials, which are not run"
        for name in ("credsStore", "credHelpers")
        if document.get(name)
    )
    return _read(untrusted.as_object(document.get("auths", {}), "auths"), max_entries, notes)


def parse_dockercfg(data: bytes, *, max_entries: int = MAX_ENTRIES) -> DockerConfig:
    """The credentials in a .dockercfg, which is the `auths` of a config.json alone. Raises: MalformedError."""
    document = untrusted.parse_json(data, max_bytes=MAX_BYTES, what=".dockercfg")
    return _read(untrusted.as_object(document, ".dockercfg"), max_entries, ())


def _read(auths: Mapping[str, object], max_entries: int, noted: tuple[str, ...]) -> DockerConfig:
    untrusted.as_array(list(auths), "auths", max_items=max_entries)
    notes = list(noted)
    entries: list[tuple[Key, Credential]] = []
    for text in sorted(auths, reverse=True):  # the more specific first, as the kubelet sorts them
        try:
            credential = _credential(untrusted.as_object(auths[text], "entry"))
            entries.append((_parse_key(text), credential))
        except MalformedError as error:
            notes.append(f"entry {quote(text, max_chars=100)} is not used: {error.detail}")
    return DockerConfig(tuple(entries), tuple(notes))


def _parse_key(text: str) -> Key:
    """`[scheme://]host[:port][/path]`; the API versions that `docker login` once wrote are no path."""
    host, _, path = text.removeprefix("https://").removeprefix("http://").partition("/")
    segments = tuple(segment for segment in path.split("/") if segment)
    if segments in (("v1",), ("v2",)):
        segments = ()
    labels, port = _split_host(host)
    if not all(labels) or not host.isascii():
        raise MalformedError(Code.MALFORMED, "a host, with or without a path, expected")
    return Key(labels, port, segments)


def _split_host(text: str) -> tuple[tuple[str, ...], str]:
    """Labels and port in matching form, in which Docker Hub's several names are one, and globs pass unchanged."""
    name, colon, port = reference.matching_host(text).rpartition(":")
    if colon and port.isdecimal():
        return tuple(name.split(".")), port
    return tuple((name + colon + port).split(".")), ""


def _glob(pattern: str, label: str) -> bool:
    """`*` stands for any run of characters within the label, as in the kubelet's path.Match."""
    return pattern == label or ("*" in pattern and fnmatch.fnmatchcase(label, pattern.replace("[", "[[]")))


def _credential(entry: Mapping[str, object]) -> Credential:
    username, password = _text(entry, "username"), _text(entry, "password")
    if auth := _text(entry, "auth"):
        username, password = _decode(auth)
    identity, registry = _text(entry, "identitytoken"), _text(entry, "registrytoken")
    if username in _IDENTITY_USERS and password and not identity:
        identity = password
    if not (identity or registry or username or password):
        raise MalformedError(Code.MALFORMED, "it holds no credential")
    if registry and not _BEARER.fullmatch(registry):
        raise MalformedError(Code.MALFORMED, "`registrytoken` holds what no header may")
    return Credential(username=username, password=password, identity_token=identity, registry_token=registry)


def _text(entry: Mapping[str, object], name: str) -> str:
    value = entry.get(name)
    return "" if value is None else untrusted.as_string(value, f"`{name}`")


def _decode(auth: str) -> tuple[str, str]:
    """User name and password; a failure says nothing of what it was. docker: NUL bytes may pad the password.

    As for the kubelet, lines may be broken and padding may be missing, which is how people write it by hand.
    """
    text = auth.replace("\r", "").replace("\n", "")
    try:
        pair = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-8")
    except ValueError:
        raise MalformedError(Code.MALFORMED, "`auth` is not base64 of UTF-8") from None
    username, colon, password = pair.partition(":")
    if not colon:
        raise MalformedError(Code.MALFORMED, "`auth` holds no colon")
    return username, password.strip("\0")
