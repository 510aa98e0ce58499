"""References, digests, and the patterns that policies match them with, as parsed parts and never as text.

What `parse` returns is what a node would pull: the rules are containerd's, so that no text means one image here and
another there. Comparing is done on the matching form of a host, since one server has several names (`GHCR.IO`,
`ghcr.io:443`); dialling never is. Everything is ASCII and bounded before an expression sees it, and every expression
is linear. Which hosts may be dialled at all is left to `network`.
specs: distribution/reference grammar; containerd CRI normalisation; see docs/references.md for the order of the rules.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn

from webhook.errors import Code, MalformedError, quote
from webhook.oci import ecr

MAX_CHARS = 1024
MAX_NAME_CHARS = 255  # host, slash and path: distribution/reference, NameTotalLengthMax
DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"

_HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123 2.1
_COMPONENT = r"[a-z0-9]++(?:(?:[._]|__|-++)[a-z0-9]++)*+"  # possessive: no text makes it go back
_DIGEST = r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})"

_FULL_DIGEST = re.compile(_DIGEST)
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::([0-9]+))?")
_REMAINDER = re.compile(
    rf"({_COMPONENT}(?:/{_COMPONENT})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(?:{_DIGEST}))?"
)
_FOREIGN = re.compile(r"[^!-~]")
_SEGMENT = re.compile(_COMPONENT)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# The node looks these up among the images it has, by ID, full or abbreviated, before it reads them as a name.
_IMAGE_ID = re.compile(r"[0-9a-f]{64}|sha(?:256|384|512)(?:[:@][^/]*)?")

_ALIASES = {
    "index.docker.io": DOCKER_HUB,
    "registry-1.docker.io": DOCKER_HUB,
    "registry.hub.docker.com": DOCKER_HUB,
    "hub.docker.com": DOCKER_HUB,
    ecr.PUBLIC_ALIAS: ecr.PUBLIC,
}


@dataclass(frozen=True, slots=True)
class Digest:
    """`algorithm:hex`, sha256 or sha512, lower-case hex of the right length."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def matches(self, data: bytes) -> bool:
        """Whether `data` has this digest."""
        return _HASHES[self.algorithm](data).hexdigest() == self.hex


@dataclass(frozen=True, slots=True)
class Repository:
    """A host as written in the reference after normalisation (`docker.io`, `ghcr.io:443`), and a path below it.

    `compared_host` and `segments` are what patterns look at; they follow from the two.
    """

    host: str
    path: str
    compared_host: str = field(init=False, compare=False, repr=False)
    segments: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compared_host", matching_host(self.host))
        object.__setattr__(self, "segments", tuple(self.path.split("/")))

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One image as somebody wrote it, normalised: `tag` is `latest` where neither tag nor digest was given.

    Where a digest stands, it alone names the image, and the tag is never looked up.
    """

    text: str
    repository: Repository
    tag: str | None
    digest: Digest | None

    def __str__(self) -> str:
        """The normalised text; parsing it gives the same parts."""
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{self.repository}{tag}@{self.digest}" if self.digest is not None else f"{self.repository}{tag}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A host and path segments. `text` is what the operator wrote.

    `host` is in matching form; `None` stands for every registry. `segments` are what the path begins with; it may go
    on where `open_ended`, and has at least `shortest` segments. `labels` and `port` are those of a host with wildcards.
    """

    text: str
    host: str | None
    segments: tuple[str, ...]
    shortest: int
    open_ended: bool
    labels: tuple[str, ...] = ()
    port: str = ""

    @property
    def has_literal_host(self) -> bool:
        """Whether this is about one registry, without a wildcard in its name."""
        return self.host is not None and not self.labels

    def matches(self, repository: Repository) -> bool:
        """Whether `repository` is one that the operator meant."""
        return self._matches_host(repository.compared_host) and self._matches_path(repository.segments)

    def _matches_host(self, host: str) -> bool:
        if not self.labels:
            return self.host is None or self.host == host
        name, _, port = host.partition(":")
        return port == self.port and _fits(self.labels, tuple(name.split(".")))

    def _matches_path(self, path: tuple[str, ...]) -> bool:
        if len(path) < self.shortest or (len(path) > len(self.segments) and not self.open_ended):
            return False
        return _fits(self.segments, path[: len(self.segments)])


@lru_cache(maxsize=1024)  # of 1 KB each; the pods of one Deployment all name the same
def parse(text: str) -> Reference:
    """The reference in `text`. Raises: MalformedError, `reference_invalid`."""
    if len(text) > MAX_CHARS or not text.isascii() or _IMAGE_ID.fullmatch(text):
        _refuse_reference(text)
    host, remainder = _split(text)
    match = _REMAINDER.fullmatch(remainder)
    if match is None or not _is_host(host):
        _refuse_reference(text)
    path, tag, sha256, hex256, sha512, hex512 = match.groups()
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if len(host) + 1 + len(path) > MAX_NAME_CHARS:
        _refuse_reference(text)
    digest = Digest(sha256 or sha512, hex256 or hex512) if sha256 or sha512 else None
    if tag is None and digest is None:
        tag = DEFAULT_TAG
    return Reference(text, Repository(host, path), tag, digest)


def parse_digest(text: str) -> Digest:
    """The digest in `text`. Raises: MalformedError, `malformed`."""
    match = _FULL_DIGEST.fullmatch(text) if len(text) <= MAX_CHARS else None
    if match is None:
        found = quote(text, max_chars=150)
        raise MalformedError(Code.MALFORMED, f"digest: sha256 or sha512 in lower-case hex expected, found {found}")
    sha256, hex256, sha512, hex512 = match.groups()
    return Digest(sha256 or sha512, hex256 or hex512)


def parse_pattern(text: str) -> Pattern:
    """The pattern in `text`. Raises: MalformedError, `malformed`."""
    if len(text) > MAX_CHARS or _FOREIGN.search(text):
        _refuse_pattern(text, f"at most {MAX_CHARS} characters of printable ASCII expected")
    if text == "**":
        return Pattern(text, None, (), shortest=1, open_ended=True)
    host, *segments = text.split("/")
    labels = _parse_host_pattern(text, host, alone=not segments)
    rest = bool(segments) and segments[-1] == "**"
    if rest:
        segments.pop()
    _check_segments(text, segments)
    return Pattern(
        text,
        host=None if host == "*" else matching_host(host),
        segments=tuple(segments),
        shortest=len(segments) + rest,
        open_ended=rest or "*" not in segments,
        labels=labels,
        port=matching_host(host).partition(":")[2] if labels else "",
    )


@lru_cache(maxsize=1024)
def matching_host(host: str) -> str:
    """The one form under which a registry's several names are compared. Never dialled."""
    if not host.isascii():
        return host  # `str.lower` would turn a Kelvin sign into a `k`
    name, port = _split_port(host.lower())
    if name.startswith("["):
        name = _short_address(name)
    if port not in ("", "443"):
        return f"{name}:{port}"
    return _ALIASES.get(name) or ecr.matching_form(name) or name


def network_host(host: str) -> str:
    """Whom a node dials for `host`, by default: Docker Hub alone is served under another name than it is called by."""
    return "registry-1.docker.io" if host == DOCKER_HUB else host


def _split(text: str) -> tuple[str, str]:
    """The host, and what follows it: containerd's rule for where a host ends and a path begins."""
    host, slash, remainder = text.partition("/")
    if not slash or not _looks_like_host(host):
        return DOCKER_HUB, text
    return (DOCKER_HUB if host == "index.docker.io" else host), remainder


def _looks_like_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost" or text.lower() != text


@lru_cache(maxsize=1024)
def _is_host(text: str) -> bool:
    """Whether `text` is a host and perhaps a port; stricter than the grammar in what could never be dialled."""
    match = _HOST.fullmatch(text)
    if match is None:
        return False
    name, port = match.groups()
    if port is not None and not 0 < int(port) < 65536:
        return False
    if name.startswith("["):
        return _is_address(IPv6Address, name[1:-1])
    # A name that ends in a number is an address to some resolvers, `127.1` and `0x7f.0.0.1` included: WHATWG URL 3.5
    return not _NUMBER.fullmatch(name.rpartition(".")[2]) or _is_address(IPv4Address, name)


def _is_address(family: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        family(text)
    except ValueError:
        return False
    return True


def _split_port(host: str) -> tuple[str, str]:
    """Host and port, the port without leading zeros; empty where there is none."""
    name, colon, port = host.rpartition(":")
    return (name, port.lstrip("0")) if colon and not host.endswith("]") else (host, "")


def _short_address(name: str) -> str:
    return f"[{IPv6Address(name[1:-1])}]" if _is_address(IPv6Address, name[1:-1]) else name


def _fits(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether `parts` are as many as `pattern` has, and each is what stands there, or `*` does."""
    if len(pattern) != len(parts):
        return False
    if "*" not in pattern:  # as most: a thousand policies are asked of each image
        return pattern == parts
    return all(wanted in ("*", part) for wanted, part in zip(pattern, parts, strict=True))


def _parse_host_pattern(text: str, host: str, *, alone: bool) -> tuple[str, ...]:
    """The labels of a host with wildcards; none where it has no wildcard, or stands for every registry."""
    if host == "*":
        return ()
    if host == "**":
        _refuse_pattern(text, "`**` stands last only; `*/…` is every registry")
    if not _looks_like_host(host):
        _refuse_pattern(
            text, f"a host expected first, found {quote(host, max_chars=80)}; for Docker Hub write `docker.io/…`"
        )
    name, port = _split_port(matching_host(host))
    labels = tuple(name.split("."))
    if any("*" in label and label != "*" for label in labels):
        _refuse_pattern(text, "in a host `*` stands for one whole label")
    if not _is_host(host.replace("*", "x")):
        _refuse_pattern(text, f"{quote(host, max_chars=80)} is no host")
    if alone and port and len(labels) == 1 and name != "localhost" and not name.startswith("["):
        _refuse_pattern(text, f"a tag or a port? patterns have no tag; for a registry write {quote(host + '/**')}")
    if "*" not in name:
        return ()
    for alias, compared in _ALIASES.items():
        if _fits(labels, tuple(alias.split("."))) and not _fits(labels, tuple(compared.split("."))):
            _refuse_pattern(text, f"{alias} is compared as {compared}, which this never matches")
    return labels


def _check_segments(text: str, segments: list[str]) -> None:
    for segment in segments:
        if segment == "*" or _SEGMENT.fullmatch(segment):
            continue
        if ":" in segment or "@" in segment:
            _refuse_pattern(text, "patterns have no tag and no digest")
        if segment == "**":
            _refuse_pattern(text, "`**` stands last only")
        if "*" in segment:
            _refuse_pattern(text, "in a path `*` stands for one whole segment")
        _refuse_pattern(text, f"{quote(segment, max_chars=80)} can be no segment of a repository's path")


def _refuse_pattern(text: str, reason: str) -> NoReturn:
    raise MalformedError(Code.MALFORMED, f"pattern {quote(text)}: {reason}")


def _refuse_reference(text: str) -> NoReturn:
    raise MalformedError(Code.REFERENCE_INVALID, f"reference {quote(text)}: {_reason(text)}")


def _reason(text: str) -> str:
    """What is wrong with `text`, said for the person who wrote it; nothing is decided here."""
    if len(text) > MAX_CHARS:
        return f"at most {MAX_CHARS} characters expected, found {len(text)}"
    if foreign := _FOREIGN.search(text):
        return f"character {foreign.start() + 1} (U+{ord(foreign[0]):04X}) can stand in no reference"
    if _IMAGE_ID.fullmatch(text):
        return "a node may read this as the ID of an image it has, whatever that is; write a repository"
    host, remainder = _split(text)
    if not _is_host(host):
        return f"{quote(host, max_chars=80)} is no host"
    name, at, digest = remainder.partition("@")
    if at and not _FULL_DIGEST.fullmatch(digest):
        return "sha256 or sha512 and lower-case hex of the right length expected after the @"
    if _REMAINDER.fullmatch(remainder):
        return f"at most {MAX_NAME_CHARS} characters of host and path expected"
    path = name.partition(":")[0]
    hint = ", in lower case" if path.lower() != path else ""
    return f"[host[:port]/]path[:tag][@digest] expected{hint}"
