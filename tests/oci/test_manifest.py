"""Manifests and indexes as registries serve them, and the documents that must not be taken for one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.demo.content import digest_of
from webhook.errors import Code, CountersignError, MalformedError, RejectedError
from webhook.oci import manifest, reference
from webhook.oci.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
)

Document = dict[str, object]

DIGEST = "sha256:" + "0123456789abcdef" * 4
OWN = reference.parse_digest("sha256:" + "a" * 64)
LAYER_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"


def descriptor(**members: object) -> Document:
    return {"mediaType": LAYER_TYPE, "digest": DIGEST, "size": 233, **members}


def image(**members: object) -> Document:
    """A signature's manifest as cosign writes it."""
    config = descriptor(mediaType="application/vnd.oci.image.config.v1+json")
    layer = descriptor(annotations={"dev.cosignproject.cosign/signature": "MEUCIQ=="})
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    return {**document, **members}


def index(**members: object) -> Document:
    entry = descriptor(mediaType=OCI_MANIFEST, artifactType="application/vnd.dev.sigstore.bundle.v0.3+json")
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry], **members}


def without(document: Document, *names: str) -> Document:
    return {name: value for name, value in document.items() if name not in names}


def parse(document: object, media_type: str, *, max_entries: int = 10) -> Manifest | Index:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return manifest.parse(data, media_type=media_type, digest=OWN, max_entries=max_entries)


def refusal(document: object, media_type: str, *, max_entries: int = 10) -> CountersignError:
    with pytest.raises((MalformedError, RejectedError)) as caught:
        parse(document, media_type, max_entries=max_entries)
    return caught.value


def test_a_manifest_is_read() -> None:
    subject = descriptor(mediaType=OCI_MANIFEST, size=7)
    parsed = parse(image(subject=subject, artifactType="a/b", annotations={"k": "v"}), OCI_MANIFEST)
    assert isinstance(parsed, Manifest)
    assert (parsed.digest, parsed.media_type, parsed.artifact_type) == (OWN, OCI_MANIFEST, "a/b")
    assert parsed.config.media_type == "application/vnd.oci.image.config.v1+json"
    assert [str(layer.digest) for layer in parsed.layers] == [DIGEST]
    assert dict(parsed.layers[0].annotations) == {"dev.cosignproject.cosign/signature": "MEUCIQ=="}
    assert parsed.subject is not None
    assert (parsed.subject.media_type, parsed.subject.size) == (OCI_MANIFEST, 7)
    assert dict(parsed.annotations) == {"k": "v"}


def test_an_index_is_read() -> None:
    parsed = parse(index(), OCI_INDEX)
    assert isinstance(parsed, Index)
    assert (parsed.digest, parsed.media_type) == (OWN, OCI_INDEX)
    assert [entry.artifact_type for entry in parsed.manifests] == ["application/vnd.dev.sigstore.bundle.v0.3+json"]
    assert dict(parsed.annotations) == {}


TOLERATED: dict[str, tuple[Document, str]] = {
    "Docker manifest": (image(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST),
    "Docker list": (index(mediaType=DOCKER_LIST), DOCKER_LIST),
    "manifest without mediaType": (without(image(), "mediaType"), OCI_MANIFEST),
    "index without mediaType": (without(index(), "mediaType"), OCI_INDEX),
    "null mediaType": (image(mediaType=None), OCI_MANIFEST),
    "without schemaVersion": (without(index(), "schemaVersion"), OCI_INDEX),
    "no layers": (image(layers=[]), OCI_MANIFEST),
    "null layers": (image(layers=None), OCI_MANIFEST),
    "no manifests": (index(manifests=[]), OCI_INDEX),
    "null manifests": (index(manifests=None), OCI_INDEX),
    "null subject": (image(subject=None), OCI_MANIFEST),
    "null annotations": (image(annotations=None), OCI_MANIFEST),
    "null annotations of a layer": (image(layers=[descriptor(annotations=None)]), OCI_MANIFEST),
    "empty artifactType": (image(artifactType=""), OCI_MANIFEST),
    "entry of a type nobody knows": (index(manifests=[descriptor(mediaType="x/y")]), OCI_INDEX),
    "entry with a platform": (index(manifests=[descriptor(platform={"os": "linux"})]), OCI_INDEX),
    "index with a subject": (index(subject=descriptor()), OCI_INDEX),
    "size 0": (image(layers=[descriptor(size=0)]), OCI_MANIFEST),
    "size 2^63-1": (image(layers=[descriptor(size=2**63 - 1)]), OCI_MANIFEST),
    "sha512": (image(layers=[descriptor(digest="sha512:" + "0" * 128)]), OCI_MANIFEST),
    "a member of tomorrow": (image(tomorrow=[1]), OCI_MANIFEST),
    "ten entries": (image(layers=[descriptor()] * 10), OCI_MANIFEST),
}


@pytest.mark.parametrize(("document", "media_type"), TOLERATED.values(), ids=TOLERATED.keys())
def test_what_registries_really_serve_is_read(document: Document, media_type: str) -> None:
    parsed = parse(document, media_type)
    assert isinstance(parsed, Index if media_type in INDEXES else Manifest)
    assert parsed.media_type == media_type


MALFORMED: dict[str, tuple[object, str]] = {
    "manifest and index, CVE-2021-41190": (image(manifests=[]), OCI_MANIFEST),
    "manifest with null manifests": (image(manifests=None), OCI_MANIFEST),
    "index with layers": (index(layers=[]), OCI_INDEX),
    "index with config": (index(config=descriptor()), OCI_INDEX),
    "manifest with schema 1's layers": (image(fsLayers=[]), OCI_MANIFEST),
    "manifest with an artifact's blobs": (image(blobs=[]), OCI_MANIFEST),
    "index served as manifest": (index(), OCI_MANIFEST),
    "manifest served as index": (image(), OCI_INDEX),
    "mediaType a number": (image(mediaType=2), OCI_MANIFEST),
    "schemaVersion 3": (image(schemaVersion=3), OCI_MANIFEST),
    "schemaVersion text": (image(schemaVersion="2"), OCI_MANIFEST),
    "schemaVersion 2.0": (image(schemaVersion=2.0), OCI_MANIFEST),
    "schemaVersion null": (image(schemaVersion=None), OCI_MANIFEST),
    "no config": (without(image(), "config"), OCI_MANIFEST),
    "null config": (image(config=None), OCI_MANIFEST),
    "no layers member": (without(image(), "layers"), OCI_MANIFEST),
    "layers an object": (image(layers={}), OCI_MANIFEST),
    "no manifests member": (without(index(), "manifests"), OCI_INDEX),
    "manifests text": (index(manifests="[]"), OCI_INDEX),
    "layer null": (image(layers=[None]), OCI_MANIFEST),
    "layer text": (image(layers=[DIGEST]), OCI_MANIFEST),
    "subject text": (image(subject=DIGEST), OCI_MANIFEST),
    "subject empty": (image(subject={}), OCI_MANIFEST),
    "artifactType a number": (image(artifactType=1), OCI_MANIFEST),
    "annotations an array": (image(annotations=[]), OCI_MANIFEST),
    "annotation a number": (image(annotations={"k": 1}), OCI_MANIFEST),
    "annotation null": (image(annotations={"k": None}), OCI_MANIFEST),
}
# What no registry should serve under a digest that it keeps as a manifest.
VIOLATION: dict[str, tuple[object, str]] = {
    "empty": (b"", OCI_MANIFEST),
    "not JSON": (b"<html>", OCI_MANIFEST),
    "not UTF-8": (b'{"a": "\xff"}', OCI_MANIFEST),
    "truncated": (json.dumps(image()).encode()[:-1], OCI_MANIFEST),
    "something trails": (json.dumps(image()).encode() + b"{}", OCI_MANIFEST),
    "NaN": (b'{"layers": NaN}', OCI_MANIFEST),
    "depth 10,000": (b"[" * 10_000, OCI_MANIFEST),
    "a name twice": (b'{"schemaVersion": 2, "schemaVersion": 2, "manifests": []}', OCI_INDEX),
    "an array": ([], OCI_MANIFEST),
    "null": (None, OCI_MANIFEST),
    "Docker manifest served as OCI": (image(mediaType=DOCKER_MANIFEST), OCI_MANIFEST),
    "OCI manifest served as Docker": (image(), DOCKER_MANIFEST),
    "mediaType with a parameter": (image(mediaType=f"{OCI_MANIFEST}; charset=utf-8"), OCI_MANIFEST),
    "mediaType in upper case": (image(mediaType=OCI_MANIFEST.upper()), OCI_MANIFEST),
    "mediaType empty": (image(mediaType=""), OCI_MANIFEST),
    "served as HTML": (image(), "text/html"),
    "served as nothing": (image(), ""),
    "served with a parameter": (image(), f"{OCI_MANIFEST};x=y"),
}
BAD_DESCRIPTOR: dict[str, Document] = {
    "no mediaType": without(descriptor(), "mediaType"),
    "mediaType null": descriptor(mediaType=None),
    "no digest": without(descriptor(), "digest"),
    "digest a number": descriptor(digest=1),
    "digest in upper case": descriptor(digest=DIGEST.upper()),
    "digest one short": descriptor(digest=DIGEST[:-1]),
    "digest of sha384": descriptor(digest="sha384:" + "0" * 96),
    "digest and newline": descriptor(digest=f"{DIGEST}\n"),
    "no size": without(descriptor(), "size"),
    "size text": descriptor(size="233"),
    "size a fraction": descriptor(size=233.0),
    "size true": descriptor(size=True),
    "size -1": descriptor(size=-1),
    "size 2^63": descriptor(size=2**63),
    "size of 4,000 digits": descriptor(size=10**4000),
    "artifactType an array": descriptor(artifactType=[]),
    "annotations text": descriptor(annotations="x"),
    "annotation an object": descriptor(annotations={"k": {}}),
    "data a number": descriptor(data=1),
    "data no base64": descriptor(data="e30"),
    "data with a blank": descriptor(data="e30 ="),
    "data of another alphabet": descriptor(data="-_-_"),
}


@pytest.mark.parametrize(("document", "media_type"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_document_that_breaks_the_format_is_malformed(document: object, media_type: str) -> None:
    assert refusal(document, media_type).code is Code.MALFORMED


@pytest.mark.parametrize(("document", "media_type"), VIOLATION.values(), ids=VIOLATION.keys())
def test_a_document_that_is_not_what_it_was_served_as_is_a_violation(document: object, media_type: str) -> None:
    assert refusal(document, media_type).code is Code.REGISTRY_VIOLATION


@pytest.mark.parametrize(
    "place",
    [
        lambda bad: (image(layers=[descriptor(), bad]), OCI_MANIFEST),
        lambda bad: (image(config=bad), OCI_MANIFEST),
        lambda bad: (image(subject=bad), OCI_MANIFEST),
        lambda bad: (index(manifests=[bad]), OCI_INDEX),
    ],
    ids=["layer", "config", "subject", "entry"],
)
@pytest.mark.parametrize("bad", BAD_DESCRIPTOR.values(), ids=BAD_DESCRIPTOR.keys())
def test_a_broken_descriptor_is_malformed_wherever_it_stands(
    place: Callable[[Document], tuple[Document, str]], bad: Document
) -> None:
    document, media_type = place(bad)
    assert refusal(document, media_type).code is Code.MALFORMED


def test_the_message_names_the_place() -> None:
    error = refusal(image(layers=[descriptor(), descriptor(digest="sha256:x")]), OCI_MANIFEST)
    assert error.detail.startswith("layers[1]: digest: sha256 or sha512")


@pytest.mark.parametrize("media_type", sorted(manifest.KNOWN_UNACCEPTED))
def test_types_of_the_past_are_unsupported(media_type: str) -> None:
    assert refusal(image(), media_type).code is Code.UNSUPPORTED


def test_schema_1_under_a_newer_type_is_unsupported() -> None:
    assert refusal(image(schemaVersion=1), DOCKER_MANIFEST).code is Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("document", "media_type"),
    [(image(layers=[descriptor()] * 11), OCI_MANIFEST), (index(manifests=[descriptor()] * 11), OCI_INDEX)],
    ids=["layers", "manifests"],
)
def test_more_entries_than_allowed_are_a_limit(document: Document, media_type: str) -> None:
    assert refusal(document, media_type).code is Code.LIMIT_EXCEEDED
    assert parse(document, media_type, max_entries=11).media_type == media_type


@pytest.mark.parametrize(("data", "inlined"), [("e30=", b"{}"), ("", b""), (None, None)])
def test_inlined_content_is_decoded_and_not_judged(data: str | None, inlined: bytes | None) -> None:
    parsed = parse(image(layers=[descriptor(data=data)]), OCI_MANIFEST)
    assert isinstance(parsed, Manifest)
    assert parsed.layers[0].data == inlined


INLINED: dict[str, tuple[Document, bool]] = {
    "as announced": (descriptor(size=2, digest=digest_of(b"{}"), data="e30="), True),
    "none": (descriptor(), True),
    "empty, as announced": (descriptor(size=0, digest=digest_of(b""), data=""), True),
    "another size": (descriptor(size=3, digest=digest_of(b"{}"), data="e30="), False),
    "another digest": (descriptor(size=2, digest=digest_of(b"[]"), data="e30="), False),
    "empty": (descriptor(size=2, digest=digest_of(b"{}"), data=""), False),
}


@pytest.mark.parametrize(("written", "right"), INLINED.values(), ids=INLINED.keys())
def test_inlined_content_is_used_where_it_is_what_was_announced(written: Document, right: bool) -> None:
    parsed = parse(image(layers=[written]), OCI_MANIFEST)
    assert isinstance(parsed, Manifest)
    if right:
        assert manifest.inlined(parsed.layers[0]) == parsed.layers[0].data
        return
    with pytest.raises(RejectedError) as caught:
        manifest.inlined(parsed.layers[0])
    assert (type(caught.value), caught.value.code) == (RejectedError, Code.REGISTRY_VIOLATION)


@pytest.mark.parametrize(
    ("platform", "shown"),
    [
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64/v8"),
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": 1, "architecture": ["amd64"]}, ""),
        ("linux", ""),
        (None, ""),
    ],
)
def test_a_platform_is_read_for_people_and_refuses_nothing(platform: object, shown: str) -> None:
    parsed = parse(index(manifests=[descriptor(platform=platform)]), OCI_INDEX)
    assert isinstance(parsed, Index)
    assert parsed.manifests[0].platform == shown


def test_accepted_types_are_all_asked_for() -> None:
    assert set(manifest.ACCEPT.split(", ")) == MANIFESTS | INDEXES
    assert not MANIFESTS & INDEXES


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([DIGEST, OCI_MANIFEST, 2]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mediaType", "digest", "size", "annotations", "data", "artifactType", "k"]), inner
        )
    ),
    max_leaves=10,
)
MEMBERS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType"]
)


@given(st.dictionaries(MEMBERS, JSON_VALUES), st.sampled_from(sorted(MANIFESTS | INDEXES)))
def test_no_document_raises_anything_but_our_errors(members: Document, media_type: str) -> None:
    whole = {**(index() if media_type in INDEXES else image()), "mediaType": media_type, **members}
    try:
        parse(whole, media_type)
    except (MalformedError, RejectedError):
        return


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_our_errors(data: bytes) -> None:
    assert refusal(data, OCI_MANIFEST).code in (Code.MALFORMED, Code.UNSUPPORTED, Code.REGISTRY_VIOLATION)


@given(
    st.binary(max_size=30),
    st.integers(0, 2**63 - 1),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
def test_what_is_written_is_read_back(data: bytes, size: int, annotations: dict[str, str]) -> None:
    written = descriptor(size=size, annotations=annotations, data=base64.b64encode(data).decode())
    parsed = parse(image(layers=[written]), OCI_MANIFEST)
    assert isinstance(parsed, Manifest)
    layer = parsed.layers[0]
    assert (layer.size, dict(layer.annotations), layer.data) == (size, annotations, data)
