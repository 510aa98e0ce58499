"""What the registry client makes of answers: digests, documents, blobs and referrers."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.doubles.image import (
    BLOB,
    DIGEST,
    LAYER,
    MANIFEST,
    descriptor,
    filled,
    manifest_bytes,
    refusal,
)
from tests.doubles.registry import (
    HostileRegistry,
    client,
    listed,
    on,
    times,
)
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code, CountersignError, InconclusiveError, MalformedError, RejectedError, TamperedError
from webhook.oci import manifest
from webhook.oci.manifest import Descriptor, Index, Manifest
from webhook.oci.reference import Repository, parse_digest
from webhook.oci.registry import Registry

OTHER = parse_digest("sha256:" + "0" * 64)


class TestPulling:
    async def test_a_tag_resolves_by_head_alone(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        assert await registry.resolve(repository, "v1") == DIGEST
        assert app.lines == ["HEAD /v2/team/app/manifests/v1"]

    async def test_a_manifest_and_its_blob(self, registry: Registry, repository: Repository) -> None:
        found = await registry.fetch_manifest(repository, DIGEST)
        assert isinstance(found, Manifest)
        assert found.digest == DIGEST
        assert await registry.fetch_blob(repository, found.layers[0], max_bytes=100) == LAYER

    async def test_a_manifest_by_tag_carries_the_digest_of_its_bytes(
        self, registry: Registry, repository: Repository
    ) -> None:
        found = await registry.fetch_manifest(repository, "v1")
        assert isinstance(found, Manifest)
        assert found.digest == DIGEST

    async def test_inlined_content_saves_the_request(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        assert await registry.fetch_blob(repository, replace(BLOB, data=LAYER), max_bytes=100) == LAYER
        assert app.seen == []

    @pytest.mark.parametrize("data", [b"another", b"b layer", b"", LAYER + b"!", LAYER * 100_000])
    async def test_inlined_content_that_is_wrong_is_a_violation_and_no_proof_of_tampering(
        self, data: bytes, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        error = await refusal(registry.fetch_blob(repository, replace(BLOB, data=data), max_bytes=100))
        assert (type(error), error.code) == (RejectedError, Code.REGISTRY_VIOLATION)
        assert app.seen == []

    async def test_inlined_content_is_bounded_as_any_other(self, registry: Registry, repository: Repository) -> None:
        error = await refusal(registry.fetch_blob(repository, replace(BLOB, data=LAYER), max_bytes=len(LAYER) - 1))
        assert error.code is Code.LIMIT_EXCEEDED

    async def test_what_is_asked_for(self, registry: Registry, repository: Repository, app: HostileRegistry) -> None:
        await registry.fetch_manifest(repository, DIGEST)
        (seen,) = app.seen
        assert seen.headers["accept"] == manifest.ACCEPT
        assert seen.headers["accept-encoding"] == "identity"
        assert seen.headers["user-agent"].startswith("countersign/")
        assert "cookie" not in seen.headers

    async def test_one_connection_serves_many_requests(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        for _ in range(5):
            await registry.resolve(repository, "v1")
            assert await registry.fetch_manifest(repository, "absent") is None
            await registry.fetch_blob(repository, BLOB, max_bytes=100)
            await registry.fetch_referrers(repository, DIGEST)
        assert len(app.connections) == 1

    async def test_every_request_is_observed(self, host: str, repository: Repository) -> None:
        async with client(listed(host)) as (registry, observed):
            await registry.resolve(repository, "v1")
            await registry.fetch_manifest(repository, "absent")
            await registry.fetch_blob(repository, BLOB, max_bytes=100)
            await registry.fetch_referrers(repository, DIGEST)
        assert [(kind.value, status) for kind, at, status in observed.requests if at == host] == [
            ("resolve", 200),
            ("manifest", 404),
            ("blob", 200),
            ("referrers", 200),
        ]


class TestResolve:
    @pytest.mark.parametrize(
        "odd",
        [
            pytest.param(Outgoing(405), id="HEAD is not allowed"),
            pytest.param(Outgoing(501), id="HEAD is not implemented"),
            pytest.param(Outgoing(200), id="no digest in the header"),
        ],
    )
    async def test_an_odd_head_is_followed_by_a_get(
        self, odd: Outgoing, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(lambda request: odd if request.method == "HEAD" else None)
        assert await registry.resolve(repository, "v1") == DIGEST
        assert [request.method for request in app.seen] == ["HEAD", "GET"]

    async def test_a_host_without_head_is_asked_by_get_at_once(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/manifests/", 405, method="HEAD"))
        await registry.resolve(repository, "v1")
        await registry.resolve(repository, "v1")
        assert [request.method for request in app.seen] == ["HEAD", "GET", "GET"]

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            pytest.param(b"<html>sign in</html>", Code.REGISTRY_VIOLATION, id="a page"),
            pytest.param(manifest_bytes()[:-9], Code.REGISTRY_VIOLATION, id="cut"),
            pytest.param(b'{"status": "ok"}', Code.MALFORMED, id="no manifest"),
        ],
    )
    async def test_what_says_200_to_anything_is_no_image(
        self, body: bytes, code: Code, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/manifests/", 200, headers=(("content-type", manifest.OCI_MANIFEST),), body=body))
        assert (await refusal(registry.resolve(repository, "v1"))).code is code

    async def test_a_missing_tag_is_not_found_without_a_second_request(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        error = await refusal(registry.resolve(repository, "v2"))
        assert (type(error), error.code) == (RejectedError, Code.IMAGE_NOT_FOUND)
        assert len(app.seen) == 1

    @pytest.mark.parametrize("digest", ["", "sha256:12", "sha256:" + "A" * 64, "md5:" + "0" * 32, "nonsense"])
    async def test_a_malformed_digest_header_is_a_violation(
        self, digest: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/manifests/", 200, headers=(("docker-content-digest", digest),)))
        error = await refusal(registry.resolve(repository, "v1"))
        assert (type(error), error.code) == (RejectedError, Code.REGISTRY_VIOLATION)

    async def test_a_get_whose_header_lies_is_a_violation(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/manifests/", 405, method="HEAD"))
        app.rules.append(on("/manifests/", 200, headers=(("docker-content-digest", str(OTHER)),), body=MANIFEST))
        assert (await refusal(registry.resolve(repository, "v1"))).code is Code.REGISTRY_VIOLATION


class TestBodies:
    async def test_another_manifest_than_the_digest_is_a_violation(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        served = Outgoing(200, (("content-type", manifest.OCI_MANIFEST),), manifest_bytes(annotations={"a": "b"}))
        app.rules.append(lambda request: served if "/manifests/" in request.path else None)
        error = await refusal(registry.fetch_manifest(repository, DIGEST))
        assert (type(error), error.code) == (TamperedError, Code.REGISTRY_VIOLATION)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"b layer", id="same size, another digest"),
            pytest.param(LAYER + b"!", id="longer"),
            pytest.param(LAYER[:-1], id="shorter"),
            pytest.param(b"", id="empty"),
            pytest.param(LAYER * 100_000, id="very much longer"),
            pytest.param(gzip.compress(LAYER), id="gzip"),
        ],
    )
    async def test_another_blob_than_announced_is_a_violation(
        self, body: bytes, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/blobs/", 200, body=body))
        error = await refusal(registry.fetch_blob(repository, BLOB, max_bytes=1000))
        assert (type(error), error.code) == (TamperedError, Code.REGISTRY_VIOLATION)

    async def test_a_compressed_manifest_is_not_decoded(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        headers = (("content-type", manifest.OCI_MANIFEST), ("content-encoding", "gzip"))
        app.rules.append(on("/manifests/", 200, headers=headers, body=gzip.compress(MANIFEST)))
        error = await refusal(registry.fetch_manifest(repository, DIGEST))
        assert error.code is Code.REGISTRY_VIOLATION
        assert "'gzip'" in error.detail

    async def test_a_gzip_bomb_is_no_more_than_its_bytes(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        bomb = gzip.compress(bytes(50_000_000))
        app.rules.append(on("/blobs/", 200, headers=(("content-encoding", "gzip"),), body=bomb))
        assert (await refusal(registry.fetch_blob(repository, BLOB, max_bytes=1000))).code is Code.REGISTRY_VIOLATION

    async def test_a_blob_larger_than_is_read_is_not_asked_for(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        error = await refusal(registry.fetch_blob(repository, BLOB, max_bytes=len(LAYER) - 1))
        assert (type(error), error.code) == (MalformedError, Code.LIMIT_EXCEEDED)
        assert app.seen == []
        assert await registry.fetch_blob(repository, BLOB, max_bytes=len(LAYER)) == LAYER

    async def test_a_blob_that_is_listed_but_missing(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.repository("team/app").blobs.clear()
        error = await refusal(registry.fetch_blob(repository, BLOB, max_bytes=1000))
        assert (type(error), error.code) == (MalformedError, Code.MALFORMED)
        assert "listed but missing" in error.detail

    async def test_a_manifest_of_five_mebibytes_is_over_the_limit(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        large = manifest_bytes(annotations={"padding": "x" * 5 * 1024 * 1024})
        digest = parse_digest(app.push_manifest("team/app", large, manifest.OCI_MANIFEST))
        error = await refusal(registry.fetch_manifest(repository, digest))
        assert (type(error), error.code) == (MalformedError, Code.LIMIT_EXCEEDED)

    @pytest.mark.parametrize(
        ("data", "media_type"),
        [
            pytest.param(MANIFEST[:-10], manifest.OCI_MANIFEST, id="truncated JSON"),
            pytest.param(MANIFEST.replace(b"2,", b"NaN,", 1), manifest.OCI_MANIFEST, id="NaN"),
            pytest.param(b"[" * 10_000 + b"]" * 10_000, manifest.OCI_MANIFEST, id="depth 10,000"),
            pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, manifest.OCI_MANIFEST, id="objects, depth 10,000"),
            pytest.param(MANIFEST, manifest.DOCKER_MANIFEST, id="served as another media type"),
            pytest.param(MANIFEST, "text/html", id="served as HTML"),
            pytest.param(b"<html>", "text/html; charset=utf-8", id="HTML"),
            pytest.param(b"", manifest.OCI_MANIFEST, id="empty"),
        ],
    )
    async def test_bytes_that_have_the_digest_but_are_no_manifest_are_a_violation(
        self, data: bytes, media_type: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        digest = parse_digest(app.push_manifest("team/app", data, media_type))
        error = await refusal(registry.fetch_manifest(repository, digest))
        assert (type(error), error.code) == (RejectedError, Code.REGISTRY_VIOLATION)
        good = app.push_manifest("team/app", manifest_bytes(annotations={"a": "b"}), manifest.OCI_MANIFEST)
        assert isinstance(await registry.fetch_manifest(repository, parse_digest(good)), Manifest)

    async def test_a_document_of_both_kinds_is_malformed(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        both = MANIFEST.replace(b'"layers"', b'"manifests"')
        digest = parse_digest(app.push_manifest("team/app", both, manifest.OCI_MANIFEST))
        error = await refusal(registry.fetch_manifest(repository, digest))
        assert (type(error), error.code) == (MalformedError, Code.MALFORMED)

    async def test_parameters_of_the_content_type_do_not_matter(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        served = Outgoing(200, (("content-type", f"{manifest.OCI_MANIFEST}; charset=utf-8"),), MANIFEST)
        app.rules.append(lambda request: served if "/manifests/" in request.path else None)
        assert isinstance(await registry.fetch_manifest(repository, DIGEST), Manifest)

    async def test_an_index_inside_of_an_index_is_one_document_at_a_time(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        inner = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
        outer = json.dumps({"schemaVersion": 2, "manifests": [descriptor(inner, manifest.OCI_INDEX)]}).encode()
        app.push_manifest("team/app", inner, manifest.OCI_INDEX)
        digest = parse_digest(app.push_manifest("team/app", outer, manifest.OCI_INDEX))
        found = await registry.fetch_manifest(repository, digest)
        assert isinstance(found, Index)
        assert len(app.seen) == 1


class TestListed:
    """Documents that a listing names."""

    LISTED = Descriptor(manifest.OCI_MANIFEST, DIGEST, len(MANIFEST), artifact_type=None, annotations={}, data=None)

    async def test_a_manifest_that_is_as_listed(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        found = await registry.fetch_listed(repository, self.LISTED)
        assert (type(found), found.digest) == (Manifest, DIGEST)
        assert app.lines == [f"GET /v2/team/app/manifests/{DIGEST}"]

    async def test_an_inlined_manifest_saves_the_request(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        found = await registry.fetch_listed(repository, replace(self.LISTED, data=MANIFEST))
        assert (type(found), found.digest) == (Manifest, DIGEST)
        assert app.seen == []

    @pytest.mark.parametrize(
        ("change", "kind", "code"),
        [
            pytest.param({"size": len(MANIFEST) - 1}, TamperedError, Code.REGISTRY_VIOLATION, id="larger"),
            pytest.param({"size": len(MANIFEST) + 1}, TamperedError, Code.REGISTRY_VIOLATION, id="smaller"),
            pytest.param({"size": 0}, TamperedError, Code.REGISTRY_VIOLATION, id="not empty"),
            pytest.param({"size": 5 << 20}, MalformedError, Code.LIMIT_EXCEEDED, id="over the limit"),
            pytest.param({"digest": OTHER}, MalformedError, Code.MALFORMED, id="missing"),
            pytest.param(
                {"media_type": manifest.DOCKER_MANIFEST}, RejectedError, Code.REGISTRY_VIOLATION, id="another type"
            ),
            pytest.param({"data": MANIFEST[:-1]}, RejectedError, Code.REGISTRY_VIOLATION, id="other data"),
            pytest.param({"data": MANIFEST.swapcase()}, RejectedError, Code.REGISTRY_VIOLATION, id="changed data"),
            pytest.param(
                {"data": MANIFEST, "media_type": "text/html"}, RejectedError, Code.REGISTRY_VIOLATION, id="data of HTML"
            ),
            pytest.param(
                {"data": MANIFEST, "media_type": manifest.DOCKER_MANIFEST},
                RejectedError,
                Code.REGISTRY_VIOLATION,
                id="data of another type",
            ),
        ],
    )
    async def test_another_manifest_than_listed(
        self,
        change: dict[str, Any],
        kind: type[CountersignError],
        code: Code,
        registry: Registry,
        repository: Repository,
    ) -> None:
        error = await refusal(registry.fetch_listed(repository, replace(self.LISTED, **change)))
        assert (type(error), error.code) == (kind, code)

    async def test_another_digest_is_a_violation(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        served = Outgoing(200, (("content-type", manifest.OCI_MANIFEST),), MANIFEST.swapcase())
        app.rules.append(lambda request: served if "/manifests/" in request.path else None)
        error = await refusal(registry.fetch_listed(repository, self.LISTED))
        assert (type(error), error.code) == (TamperedError, Code.REGISTRY_VIOLATION)


class TestReferrers:
    def listing(self, count: int, start: int = 0) -> bytes:
        entries = [descriptor(str(number).encode(), manifest.OCI_MANIFEST) for number in range(start, start + count)]
        return json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": entries}).encode()

    def page(self, body: bytes, *links: str) -> Outgoing:
        return Outgoing(200, (("content-type", manifest.OCI_INDEX), *(("link", link) for link in links)), body)

    async def test_what_is_listed(self, registry: Registry, repository: Repository, app: HostileRegistry) -> None:
        signature = manifest_bytes(subject=descriptor(MANIFEST, manifest.OCI_MANIFEST), artifactType="a/b")
        digest = app.push_manifest("team/app", signature, manifest.OCI_MANIFEST)
        found = await registry.fetch_referrers(repository, DIGEST)
        assert (found.supported, found.truncated) == (True, False)
        assert [(str(each.digest), each.artifact_type) for each in found.manifests] == [(digest, "a/b")]

    async def test_an_empty_list_is_an_answer(self, registry: Registry, repository: Repository) -> None:
        found = await registry.fetch_referrers(repository, DIGEST)
        assert (found.supported, found.manifests) == (True, ())

    @pytest.mark.parametrize(
        "answer",
        [
            *(pytest.param(Outgoing(status), id=str(status)) for status in (400, 404, 405, 406, 501)),
            pytest.param(Outgoing(303, (("location", "https://github.com/x"),)), id="303 elsewhere"),
            pytest.param(Outgoing(302, (("location", "http://169.254.169.254/x"),)), id="302 to metadata"),
            pytest.param(Outgoing(200, (("content-type", "text/html"),), b"<html>"), id="200 of HTML"),
            pytest.param(Outgoing(200, (("content-type", "application/json"),), b"{}"), id="200 of JSON"),
            pytest.param(Outgoing(200), id="200 of nothing"),
        ],
    )
    async def test_what_means_that_there_is_no_such_api(
        self, answer: Outgoing, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(lambda request: answer if "/referrers/" in request.path else None)
        found = await registry.fetch_referrers(repository, DIGEST)
        assert (found.supported, found.manifests) == (False, ())
        assert len(app.seen) == 1

    @pytest.mark.parametrize("media_type", ["text/html", "application/json", ""])
    async def test_what_is_no_listing_is_an_outage_of_a_host_that_lists(
        self, media_type: str, host: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        other = Repository(host, "team/other")
        app.rules.append(on("/team/other/referrers/", 200, headers=(("content-type", media_type),)))
        assert not (await registry.fetch_referrers(other, DIGEST)).supported
        await registry.fetch_manifest(repository, DIGEST)
        assert (await registry.fetch_referrers(repository, DIGEST)).supported
        error = await refusal(registry.fetch_referrers(other, DIGEST))
        assert (error.code, type(error)) == (Code.REGISTRY_UNAVAILABLE, InconclusiveError)
        assert not registry.lacks_referrers(host)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            pytest.param(b'{"manifests":[', Code.REGISTRY_VIOLATION, id="truncated"),
            pytest.param(b"[]", Code.REGISTRY_VIOLATION, id="an array"),
            pytest.param(b'{"schemaVersion":2}', Code.REGISTRY_VIOLATION, id="no manifests"),
            pytest.param(b'{"schemaVersion":NaN,"manifests":[]}', Code.REGISTRY_VIOLATION, id="NaN"),
            pytest.param(b"[" * 10_000 + b"]" * 10_000, Code.REGISTRY_VIOLATION, id="depth 10,000"),
            pytest.param(b'{"manifests":[{"digest":"x"}]}', Code.REGISTRY_VIOLATION, id="a broken descriptor"),
            pytest.param(b" " * 5_000_000, Code.LIMIT_EXCEEDED, id="5 MB"),
        ],
    )
    async def test_a_broken_listing_is_an_error_not_an_absence(
        self, body: bytes, code: Code, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(lambda request: self.page(body) if "/referrers/" in request.path else None)
        assert (await refusal(registry.fetch_referrers(repository, DIGEST))).code is code

    @pytest.mark.parametrize(
        "link",
        [
            '<?page={}>; rel="next"',
            '</v2/team/app/referrers/{digest}?page={}>; rel="next"',
            "<http://{host}/v2/team/app/referrers/{digest}?page={}>;rel=next",
            '<https://{host}/v2/team/app/referrers/{digest}?page={}>; title="x"; rel="last next"',
            '<?page=0>; rel="prev", <?page={}>; REL="next"',
        ],
    )
    async def test_pages_are_followed(
        self, link: str, host: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        def paged(request: Incoming) -> Outgoing | None:
            if "/referrers/" not in request.path:
                return None
            page = int(request.query.get("page", "0"))
            links = [link.format(page + 1, host=host, digest=DIGEST)] if page < 2 else []
            return self.page(self.listing(2, start=2 * page), *links)

        app.rules.append(paged)
        found = await registry.fetch_referrers(repository, DIGEST)
        assert len({each.digest for each in found.manifests}) == 6
        assert found.truncated is False
        assert len(app.seen) == 3

    @pytest.mark.parametrize(
        "link",
        [
            '<https://elsewhere.example.com/v2/x>; rel="next"',
            '<//elsewhere.example.com/v2/x>; rel="next"',
            '<http://169.254.169.254/>; rel="next"',
            '<http://[>; rel="next"',
        ],
    )
    async def test_a_page_at_another_host_is_a_violation(
        self, link: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(lambda request: self.page(self.listing(1), link) if "/referrers/" in request.path else None)
        error = await refusal(registry.fetch_referrers(repository, DIGEST))
        assert (type(error), error.code) == (RejectedError, Code.REGISTRY_VIOLATION)
        assert len(app.seen) == 1

    @pytest.mark.parametrize("link", ["", "<>", '<?a>; rel="prev"', "next", '?a; rel="next"'])
    async def test_what_is_no_next_link(
        self, link: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(lambda request: self.page(self.listing(1), link) if "/referrers/" in request.path else None)
        found = await registry.fetch_referrers(repository, DIGEST)
        assert (len(found.manifests), found.truncated) == (1, False)

    @pytest.mark.parametrize(
        ("per_page", "expected", "requests"),
        [
            pytest.param(10_001, 500, 1, id="10,001 on one page"),
            pytest.param(100, 500, 6, id="10,000 over pages of 100"),
            pytest.param(1, 10, 10, id="10,000 over pages of one"),
            pytest.param(0, 0, 10, id="empty pages without end"),
        ],
    )
    async def test_a_list_without_end_is_cut_and_said(
        self,
        per_page: int,
        expected: int,
        requests: int,
        registry: Registry,
        repository: Repository,
        app: HostileRegistry,
    ) -> None:
        def paged(request: Incoming) -> Outgoing | None:
            page = int(request.query.get("page", "0"))
            return self.page(self.listing(per_page, start=page * per_page), f'<?page={page + 1}>; rel="next"')

        app.rules.append(paged)
        found = await registry.fetch_referrers(repository, DIGEST)
        assert (len(found.manifests), found.truncated) == (expected, True)
        assert len(app.seen) == requests

    async def test_a_page_that_is_missing_is_a_violation(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(times(1, lambda request: self.page(self.listing(1), '<?page=1>; rel="next"')))
        app.rules.append(on("/referrers/", 404))
        assert (await refusal(registry.fetch_referrers(repository, DIGEST))).code is Code.REGISTRY_VIOLATION


class TestLearningThatThereAreNoReferrers:
    @pytest.fixture
    def app(self) -> HostileRegistry:
        return filled(referrers=False)

    async def test_from_a_repository_that_was_read(self, host: str, registry: Registry, repository: Repository) -> None:
        await registry.fetch_manifest(repository, DIGEST)
        assert not registry.lacks_referrers(host)
        await registry.fetch_referrers(repository, DIGEST)
        assert registry.lacks_referrers(host)

    async def test_from_a_repository_that_is_read_later(
        self, host: str, registry: Registry, repository: Repository
    ) -> None:
        await registry.fetch_referrers(repository, DIGEST)
        assert not registry.lacks_referrers(host)
        await registry.fetch_manifest(repository, DIGEST)
        assert registry.lacks_referrers(host)

    async def test_not_from_a_repository_that_may_not_exist(self, host: str, registry: Registry) -> None:
        await registry.fetch_manifest(Repository(host, "team/app"), DIGEST)
        await registry.fetch_referrers(Repository(host, "team/absent"), DIGEST)
        assert not registry.lacks_referrers(host)

    @pytest.mark.parametrize("code", ["NAME_UNKNOWN", "DENIED"])
    async def test_not_from_an_answer_that_hides(
        self, code: str, host: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/referrers/", 404, body=json.dumps({"errors": [{"code": code}]}).encode()))
        await registry.fetch_manifest(repository, DIGEST)
        await registry.fetch_referrers(repository, DIGEST)
        assert not registry.lacks_referrers(host)

    async def test_whoever_asks_anyway_gets_an_answer(
        self, host: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        await registry.fetch_manifest(repository, DIGEST)
        await registry.fetch_referrers(repository, DIGEST)
        app.referrers = True
        assert (await registry.fetch_referrers(repository, DIGEST)).supported
