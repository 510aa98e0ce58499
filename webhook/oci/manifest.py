"""Descriptors, manifests and indexes, parsed strictly from bytes whose digest the caller has checked.

What decides is read in one way only: the type as which a document was served, its own `mediaType` and the members it
has must all say the same, since a document that is an image to one program and an index to another can be signed as
the one and run as the other. Members that decide nothing here are passed over. Nothing is believed that a descriptor
says: size and digest are for whoever fetches the content, and whether `data` agrees with them too.
spec: OCI image 1.1, manifest, index, descriptor; Docker image manifest version 2, schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from webhook import untrusted
from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.oci import reference
from webhook.oci.reference import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
KNOWN_UNACCEPTED = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json",  # withdrawn before OCI image 1.1
    }
)
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))

# Members that make a document one of another kind; `fsLayers` is schema 1's, `blobs` the withdrawn artifact manifest's.
_FOREIGN_TO_MANIFEST = frozenset({"manifests", "fsLayers", "blobs"})
_FOREIGN_TO_INDEX = frozenset({"layers", "config", "fsLayers", "blobs"})
_NO_ANNOTATIONS: Mapping[str, str] = {}  # shared, and sent to workers: nobody writes to it
_SIZE_LIMIT = 1 << 63  # OCI image 1.1, descriptor: int64


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None
    annotations: Mapping[str, str]
    data: bytes | None  # inlined content, unchecked: `inlined` checks it
    platform: str = ""  # `linux/arm64/v8`, in an index; shown, and never decides


@dataclass(frozen=True, slots=True)
class Manifest:
    digest: Digest
    media_type: str
    artifact_type: str | None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Index:
    digest: Digest
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


def parse(data: bytes, *, media_type: str, digest: Digest, max_entries: int) -> Manifest | Index:
    """The document in `data`, which was served as `media_type` (parameters removed).

    `max_entries` bounds layers or manifests; more are `limit_exceeded`.

    Raises: MalformedError; RejectedError, `registry_violation`, where it is no JSON or served as what it is not.
    """
    is_index = _is_index(media_type)
    what = "index" if is_index else "manifest"
    # Whoever fetched the bytes has bounded them.
    document = _read(data, what)
    _check_kind(document, media_type, foreign=_FOREIGN_TO_INDEX if is_index else _FOREIGN_TO_MANIFEST, what=what)
    annotations = _annotations(document.get("annotations"), what)
    if is_index:
        return Index(digest, media_type, _descriptors(document, "manifests", max_entries), annotations)
    if "config" not in document:
        raise MalformedError(Code.MALFORMED, "manifest: `config` expected, found none")
    subject = document.get("subject")
    return Manifest(
        digest,
        media_type,
        _optional_text(document, "artifactType", what),
        _descriptor(document["config"], "config"),
        _descriptors(document, "layers", max_entries),
        None if subject is None else _descriptor(subject, "subject"),
        annotations,
    )


def inlined(descriptor: Descriptor) -> bytes | None:
    """The content that stands in `descriptor` itself, of its size and digest; `None` where it has to be fetched.

    Raises: RejectedError, `registry_violation`.
    """
    data = descriptor.data
    # OCI image 1.1, descriptor: `data` must be identical to the referenced content. Whoever wrote this listing erred,
    # or lied; what is stored under the digest may be right, but of two answers to one question none is believed.
    if data is not None and (len(data) != descriptor.size or not descriptor.digest.matches(data)):
        found = f"{len(data)} bytes" if len(data) != descriptor.size else "another digest"
        raise RejectedError(
            Code.REGISTRY_VIOLATION,
            f"data of {descriptor.digest}: {descriptor.size} bytes of that digest expected, found {found}",
        )
    return data


def _is_index(media_type: str) -> bool:
    if media_type in INDEXES:
        return True
    if media_type in MANIFESTS:
        return False
    detail = f"served as {quote(media_type, max_chars=100)}, which is neither a manifest nor an index"
    if media_type in KNOWN_UNACCEPTED:
        raise MalformedError(Code.UNSUPPORTED, detail)
    raise RejectedError(Code.REGISTRY_VIOLATION, detail)


def _read(data: bytes, what: str) -> Mapping[str, object]:
    try:
        return untrusted.as_object(untrusted.parse_json(data, max_bytes=len(data), what=what), what)
    except MalformedError as error:
        # A registry parses what is pushed to it: what it serves as a manifest is JSON.
        raise RejectedError(Code.REGISTRY_VIOLATION, error.detail) from error


def _check_kind(document: Mapping[str, object], media_type: str, *, foreign: frozenset[str], what: str) -> None:
    """The document is of the kind it was served as, and of no other kind besides. CVE-2021-41190."""
    if not foreign.isdisjoint(document):
        found = ", ".join(sorted(foreign.intersection(document)))
        raise MalformedError(Code.MALFORMED, f"{what}: also has what another kind of document has: {found}")
    version = document.get("schemaVersion", 2)  # some registries' listings have none
    if version != 2 or type(version) is not int:
        raise MalformedError(
            Code.UNSUPPORTED if version == 1 else Code.MALFORMED, f"{what}: schemaVersion 2 expected, found another"
        )
    own = document.get("mediaType")
    if own is not None and own != media_type:
        found = quote(untrusted.as_string(own, f"{what}.mediaType"), max_chars=100)
        raise RejectedError(
            Code.REGISTRY_VIOLATION, f"{what}.mediaType: {media_type} expected, as it was served, found {found}"
        )


def _descriptors(document: Mapping[str, object], name: str, max_entries: int) -> tuple[Descriptor, ...]:
    if name not in document:
        raise MalformedError(Code.MALFORMED, f"`{name}` expected, found none")
    value = document[name]
    if value is None:  # how Go writes an empty list
        return ()
    entries = untrusted.as_array(value, name, max_items=max_entries)
    return tuple(_descriptor(entry, f"{name}[{index}]") for index, entry in enumerate(entries))


def _descriptor(value: object, what: str) -> Descriptor:
    members = untrusted.as_object(value, what)
    return Descriptor(
        untrusted.as_string(members.get("mediaType"), f"{what}.mediaType"),
        _digest(members.get("digest"), what),
        _size(members.get("size"), what),
        _optional_text(members, "artifactType", what),
        _annotations(members.get("annotations"), what),
        _inlined(members.get("data"), what),
        _platform(members.get("platform")),
    )


def _digest(value: object, what: str) -> Digest:
    try:
        return reference.parse_digest(untrusted.as_string(value, "digest"))
    except MalformedError as error:
        raise MalformedError(error.code, f"{what}: {error.detail}") from None


def _size(value: object, what: str) -> int:
    size = untrusted.as_integer(value, f"{what}.size")
    if not 0 <= size < _SIZE_LIMIT:
        raise MalformedError(Code.MALFORMED, f"{what}.size: 0 to 2^63-1 expected, found a number outside")
    return size


def _optional_text(members: Mapping[str, object], name: str, what: str) -> str | None:
    """The text of an optional member; `None` where it is empty too, as programs write that leave it unset."""
    value = members.get(name)
    return None if value is None else untrusted.as_string(value, f"{what}.{name}") or None


def _annotations(value: object, what: str) -> Mapping[str, str]:
    if value is None:
        return _NO_ANNOTATIONS
    members = untrusted.as_object(value, f"{what}.annotations")
    texts = {name: text for name, text in members.items() if isinstance(text, str)}
    if len(texts) != len(members):
        name = next(name for name in members if name not in texts)
        raise MalformedError(Code.MALFORMED, f"{what}.annotations: {quote(name, max_chars=80)} is no string")
    return texts


def _inlined(value: object, what: str) -> bytes | None:
    if value is None:
        return None
    return untrusted.decode_base64(untrusted.as_string(value, f"{what}.data"), f"{what}.data")


def _platform(value: object) -> str:
    """OCI image 1.1, index: operating system, architecture and variant; what makes no sense is left out."""
    members = value if isinstance(value, dict) else {}
    parts = (members.get(name) for name in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if isinstance(part, str) and part)
