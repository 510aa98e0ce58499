"""What a host of Amazon ECR is given on account of its name, and what its answers mean; look-alikes get nothing."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tests.doubles.ecr import ACCOUNT, ELSEWHERE, HOST, OWN, REGISTRIES, STORAGE, STRANGERS, entry
from tests.doubles.image import DIGEST, MANIFEST, ask_manifest, ask_referrers, filled, refusal
from tests.doubles.registry import FixedResolver, HostileRegistry, Rule, basic, client, on, running
from webhook import addresses, settings
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code, InconclusiveError, RejectedError
from webhook.network import Network, Target
from webhook.oci import ecr, manifest
from webhook.oci.hosts import Hosts
from webhook.oci.reference import Repository, matching_host

CACHED = "docker-hub/library/nginx"
UNKNOWN = json.dumps({"errors": [{"code": "NAME_UNKNOWN", "message": "The repository does not exist"}]}).encode()


class TestHosts:
    @pytest.mark.parametrize(("host", "expected"), REGISTRIES.items(), ids=REGISTRIES)
    def test_a_registry_tells_account_region_and_partition(
        self, host: str, expected: tuple[str, str, bool, bool]
    ) -> None:
        found = ecr.parse_host(host)
        assert found is not None
        assert (found.region, found.partition, found.fips, found.dual_stack) == expected
        assert found.account == ACCOUNT
        # What it is compared by is the standard host of the same registry.
        standard = ecr.parse_host(matching_host(host))
        assert standard == ecr.Host(ACCOUNT, found.partition, found.region, found.suffix, fips=False, dual_stack=False)

    @pytest.mark.parametrize("host", STRANGERS.values(), ids=STRANGERS)
    def test_a_stranger_is_no_registry(self, host: str) -> None:
        assert ecr.parse_host(host) is None

    @given(st.sampled_from(list(REGISTRIES)), st.data())
    def test_one_character_more_makes_a_stranger(self, host: str, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(host)))
        changed = host[:at] + data.draw(st.sampled_from(".:-_/@*\n %\u0131\u212aevil")) + host[at:]
        found = ecr.parse_host(changed)
        if found is not None:  # a region may have a longer name: whose that is, AWS knows and nobody else
            assert changed.lower().replace(found.region, "R", 1) == host.lower().replace(REGISTRIES[host][0], "R", 1)
        assert ecr.parse_host(f"{changed}.example") is None

    @given(st.text(max_size=80))
    def test_no_text_raises(self, text: str) -> None:
        assert ecr.parse_host(text) is None
        assert ecr.matching_form(text) is None

    @pytest.mark.parametrize("host", ["public.ecr.aws", "Public.ECR.aws", "ecr-public.aws.com"])
    def test_public(self, host: str) -> None:
        assert ecr.is_public(host)

    @pytest.mark.parametrize("host", ["public.ecr.aws.evil.example", "public.ecr.aws:443", "public.ecr.aws.", HOST, ""])
    def test_not_public(self, host: str) -> None:
        assert not ecr.is_public(host)


class TestStorage:
    @pytest.mark.parametrize(
        ("registry", "host"),
        [
            (HOST, STORAGE),
            (HOST, "s3.us-west-2.amazonaws.com"),
            (HOST, "bucket.s3.dualstack.us-west-2.amazonaws.com"),
            (HOST, "s3-fips.us-west-2.amazonaws.com"),
            (HOST, "a.bucket.with.dots.s3.us-west-2.amazonaws.com"),
            (f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws", "bucket.s3.dualstack.us-west-2.amazonaws.com"),
            (f"{ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com", "bucket.s3-fips.us-gov-west-1.amazonaws.com"),
            (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", "bucket.s3.cn-north-1.amazonaws.com.cn"),
        ],
    )
    def test_where_a_registry_keeps_its_blobs(self, registry: str, host: str) -> None:
        found = ecr.parse_host(registry)
        assert found is not None
        assert ecr.is_storage_of(found, host)

    @pytest.mark.parametrize(
        "host",
        [
            "bucket.s3.us-west-1.amazonaws.com",
            "bucket.s3.us-west-2.amazonaws.com.cn",
            "bucket.s3.us-west-2.amazonaws.com.evil.example",
            "bucket.s3.us-west-2.amazonaws.evil.example",
            "evil.example",
            "bucket-s3.us-west-2.amazonaws.com",
            "ec2.us-west-2.amazonaws.com",
            "s3.amazonaws.com",
            "bucket.s3.amazonaws.com",
            "s3.evil.us-west-2.amazonaws.com",
            f"{'a' * 300}.s3.us-west-2.amazonaws.com",
            ".s3.us-west-2.amazonaws.com",
            "s3.us-west-2.amazonaws.com.",
            "",
        ],
    )
    def test_where_it_does_not(self, host: str) -> None:
        registry = ecr.parse_host(HOST)
        assert registry is not None
        assert not ecr.is_storage_of(registry, host)


def hosts(*entries: settings.RegistryHost) -> Hosts:
    return Hosts(entries, Network(settings.Network()))


def allows(target: Target, address: str) -> bool:
    found = ipaddress.ip_address(address)
    return addresses.refusal(found, private=target.private, loopback=target.loopback) is None


class TestPrivateAddresses:
    """Interface endpoints give ECR's names private addresses. docs/registries.md"""

    PRIVATE = ("10.0.12.7", "172.16.0.9", "192.168.1.1", "100.64.3.4", "fd12:3456::7")
    NEVER = (
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "169.254.170.23",
        "fe80::1",
        "fd00:ec2::23",
        "100.100.100.200",
        "0.0.0.0",
    )

    @pytest.mark.parametrize("host", REGISTRIES)
    def test_a_registry_may_be_private_and_nothing_worse(self, host: str) -> None:
        target, _ = hosts().find(Repository(host, OWN))
        assert all(allows(target, address) for address in (*self.PRIVATE, "52.94.1.1"))
        assert not any(allows(target, address) for address in self.NEVER)

    @pytest.mark.parametrize(
        "host",
        [ELSEWHERE, f"{HOST}:8443", f"{HOST}.evil.example", "public.ecr.aws", STORAGE, f"{HOST}.cn", "docker.io"],
    )
    def test_others_may_not(self, host: str) -> None:
        target, _ = hosts().find(Repository(host, OWN))
        assert not any(allows(target, address) for address in (*self.PRIVATE, *self.NEVER))

    def test_plain_http_is_no_reason_to_be_private(self) -> None:
        target, _ = hosts(settings.RegistryHost(HOST, insecure_http=True)).find(Repository(HOST, OWN))
        assert not target.private

    def test_what_is_dialled_instead_is_judged_as_itself(self) -> None:
        moved = hosts(settings.RegistryHost(HOST, endpoint=ELSEWHERE), settings.RegistryHost(ELSEWHERE, endpoint=HOST))
        assert not moved.find(Repository(HOST, OWN))[0].private
        assert moved.find(Repository(ELSEWHERE, OWN))[0].private

    def test_storage_and_the_registry_itself_are_private_where_the_registry_sends_us(self) -> None:
        found = hosts()
        sender, _ = found.find(Repository(HOST, OWN))
        for host in (STORAGE, "s3.us-west-2.amazonaws.com", HOST):
            assert found.hop(URL(f"https://{host}/x"), sender=sender).private

    @pytest.mark.parametrize(
        "place",
        [
            "https://bucket.s3.us-west-1.amazonaws.com/x",
            f"https://{STORAGE}.evil.example/x",
            f"https://{STORAGE}:8443/x",
            f"https://{ACCOUNT}.dkr.ecr.us-west-1.amazonaws.com/x",
            f"https://{HOST}:8443/x",
            "https://d5l0dvt14r5h8.cloudfront.net/x",
        ],
    )
    def test_nobody_else_is_where_the_registry_sends_us(self, place: str) -> None:
        found = hosts()
        sender, _ = found.find(Repository(HOST, OWN))
        assert not found.hop(URL(place), sender=sender).private

    @pytest.mark.parametrize("sender", [ELSEWHERE, "public.ecr.aws", f"{HOST}:8443", f"{HOST}.evil.example"])
    @pytest.mark.parametrize("place", [HOST, STORAGE])
    def test_others_lend_nothing_by_sending_us(self, sender: str, place: str) -> None:
        found = hosts()
        target, _ = found.find(Repository(sender, OWN))
        hop = found.hop(URL(f"https://{place}/x"), sender=target)
        assert not hop.private
        # Nor does the way over ECR help.
        assert not found.hop(URL(f"https://{STORAGE}/x"), sender=hop).private

    def test_a_private_registry_of_the_operator_s_lends_nothing_either(self) -> None:
        found = hosts(settings.RegistryHost("private.example.com", private=True))
        target, _ = found.find(Repository("private.example.com", OWN))
        assert not found.hop(URL(f"https://{HOST}/x"), sender=target).private
        assert not found.hop(URL(f"https://{STORAGE}/x"), sender=target).private

    def test_connections_of_those_that_may_and_those_that_may_not_are_pooled_apart(self) -> None:
        found = hosts()
        direct, _ = found.find(Repository(HOST, OWN))
        other, _ = found.find(Repository(ELSEWHERE, OWN))
        sent = found.hop(URL(f"https://{HOST}/x"), sender=other)
        assert direct.origin == sent.origin
        assert direct.tls is not sent.tls  # which is what connections are pooled by

    @pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "fd00:ec2::254"])
    async def test_a_name_of_ecr_that_leads_where_nobody_may(self, address: str) -> None:
        async with client(resolver=FixedResolver({HOST: (address,)})) as (registry, _):
            error = await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
        assert (type(error), error.code) == (RejectedError, Code.HOST_REFUSED)
        assert HOST in error.detail
        assert address in error.detail

    async def test_a_redirect_from_elsewhere_to_a_private_registry_is_refused(self) -> None:
        app = filled(on("/blobs/", 307, headers=(("location", f"https://{HOST}/v2/x"),)))
        names = FixedResolver({HOST: ("10.0.12.7",)})
        async with running(app) as host:
            entry = settings.RegistryHost(ELSEWHERE, endpoint=host, insecure_http=True, loopback=True)
            async with client(entry, resolver=names) as (registry, _):
                repository = Repository(ELSEWHERE, OWN)
                found = await registry.fetch_manifest(repository, DIGEST)
                assert isinstance(found, manifest.Manifest)
                error = await refusal(registry.fetch_blob(repository, found.layers[0], max_bytes=100))
        assert error.code is Code.HOST_REFUSED
        assert "10.0.12.7" in error.detail


def unknown_until_asked(path: str) -> Rule:
    """A pull-through cache: the repository is there once its manifest was asked for."""
    imported = False

    def rule(request: Incoming) -> Outgoing | None:
        nonlocal imported
        imported = imported or request.path == f"/v2/{path}/manifests/{DIGEST}"
        return None if imported else Outgoing(404, (), UNKNOWN)

    return rule


class TestWhatIsNotThere:
    @pytest.mark.parametrize("ask", [ask_manifest, ask_referrers])
    @pytest.mark.parametrize(
        ("host", "path", "kind", "code"),
        [
            pytest.param(HOST, CACHED, InconclusiveError, Code.NOT_CACHED, id="a pull-through cache"),
            pytest.param(HOST, OWN, RejectedError, Code.IMAGE_NOT_FOUND, id="a repository of one's own"),
            pytest.param(
                HOST, "docker-hub-mirror/nginx", RejectedError, Code.IMAGE_NOT_FOUND, id="nearly a prefix of a cache"
            ),
            pytest.param(HOST, "team/docker-hub/nginx", RejectedError, Code.IMAGE_NOT_FOUND, id="not in front"),
        ],
    )
    async def test_no_repository_is_not_no_signature(
        self, ask: object, host: str, path: str, kind: type, code: Code
    ) -> None:
        app = HostileRegistry(on("/v2/", 404, body=UNKNOWN))
        async with running(app) as address, client(entry(address, host)) as (registry, observed):
            error = await refusal(ask(registry, Repository(host, path)))  # type: ignore[operator]
        assert (type(error), error.code) == (kind, code)
        assert ("ecr:BatchImportUpstreamImage" in error.detail) is (code is Code.NOT_CACHED)
        assert ("ecr:CreateRepository" in error.detail) is (code is Code.NOT_CACHED)
        assert len(observed.requests) == 1

    async def test_elsewhere_an_unknown_name_is_an_absence_as_before(self) -> None:
        app = HostileRegistry(on("/v2/", 404, body=UNKNOWN))
        async with running(app) as address, client(entry(address, ELSEWHERE)) as (registry, _):
            repository = Repository(ELSEWHERE, CACHED)
            assert await registry.fetch_manifest(repository, DIGEST) is None
            assert not (await registry.fetch_referrers(repository, DIGEST)).supported

    async def test_a_missing_tag_of_a_repository_that_exists_is_an_absence(self) -> None:
        app = filled()
        async with running(app) as address, client(entry(address)) as (registry, _):
            assert await registry.fetch_manifest(Repository(HOST, OWN), "sha256-0.sig") is None

    @pytest.mark.parametrize(
        ("path", "kind", "code"),
        [(CACHED, InconclusiveError, Code.NOT_CACHED), (OWN, RejectedError, Code.IMAGE_NOT_FOUND)],
    )
    async def test_a_tag_that_does_not_resolve(self, path: str, kind: type, code: Code) -> None:
        app = HostileRegistry(on("/v2/", 404))
        async with running(app) as address, client(entry(address)) as (registry, observed):
            error = await refusal(registry.resolve(Repository(HOST, path), "v1"))
        assert (type(error), error.code) == (kind, code)
        assert observed.kinds == ["resolve"]

    @pytest.mark.parametrize(("path", "imports"), [(CACHED, True), (OWN, False)])
    async def test_a_refusal_says_what_is_needed(self, path: str, imports: bool) -> None:
        app = HostileRegistry(on("/v2/", 403))
        async with running(app) as address, client(entry(address)) as (registry, _):
            error = await refusal(registry.resolve(Repository(HOST, path), "v1"))
        assert (type(error), error.code) == (InconclusiveError, Code.ACCESS_DENIED)
        assert "ecr:BatchGetImage" in error.detail
        assert "repository policy" in error.detail
        assert ("ecr:BatchImportUpstreamImage" in error.detail) is imports

    async def test_a_refusal_elsewhere_does_not(self) -> None:
        app = HostileRegistry(on("/v2/", 403))
        async with running(app) as address, client(entry(address, ELSEWHERE)) as (registry, _):
            error = await refusal(registry.resolve(Repository(ELSEWHERE, CACHED), "v1"))
        assert error.code is Code.ACCESS_DENIED
        assert "ecr:" not in error.detail


class TestImporting:
    """ECR fetches an image from upstream when somebody asks for its manifest."""

    async def test_an_image_that_is_not_cached_is_asked_for_once(self) -> None:
        app = HostileRegistry(unknown_until_asked(CACHED))
        app.push_manifest(CACHED, MANIFEST, manifest.OCI_MANIFEST)
        async with running(app) as address, client(entry(address)) as (registry, observed):
            repository = Repository(HOST, CACHED)
            assert (await refusal(registry.fetch_referrers(repository, DIGEST))).code is Code.NOT_CACHED
            for _ in range(3):
                await registry.import_upstream(repository, DIGEST)
            assert (await registry.fetch_referrers(repository, DIGEST)).supported
        assert observed.kinds == ["referrers", "resolve", "referrers"]
        assert app.lines[1] == f"HEAD /v2/{CACHED}/manifests/{DIGEST}"

    async def test_whoever_resolved_a_tag_asks_no_more(self) -> None:
        app = HostileRegistry()
        app.push_manifest(CACHED, MANIFEST, manifest.OCI_MANIFEST, tag="v1")
        async with running(app) as address, client(entry(address)) as (registry, observed):
            digest = await registry.resolve(Repository(HOST, CACHED), "v1")
            await registry.import_upstream(Repository(HOST, CACHED), digest)
        assert observed.kinds == ["resolve"]

    @pytest.mark.parametrize(
        ("host", "path"), [(HOST, OWN), (ELSEWHERE, CACHED), ("public.ecr.aws", CACHED), ("docker.io", "library/nginx")]
    )
    async def test_others_are_not_asked(self, host: str, path: str) -> None:
        async with client() as (registry, observed):
            await registry.import_upstream(Repository(host, path), DIGEST)
        assert observed.requests == []

    async def test_an_image_that_cannot_be_imported(self) -> None:
        app = HostileRegistry(on("/v2/", 404))
        async with running(app) as address, client(entry(address)) as (registry, _):
            error = await refusal(registry.import_upstream(Repository(HOST, CACHED), DIGEST))
        assert (type(error), error.code) == (InconclusiveError, Code.NOT_CACHED)

    async def test_an_outage_while_importing_is_an_outage(self) -> None:
        app = HostileRegistry(on("/v2/", 503))
        async with running(app) as address, client(entry(address)) as (registry, _):
            error = await refusal(registry.import_upstream(Repository(HOST, CACHED), DIGEST))
        assert error.code is Code.REGISTRY_UNAVAILABLE


class TestHowItIsAsked:
    @pytest.mark.parametrize(("host", "first"), [(HOST, True), (ELSEWHERE, False)])
    def test_ecr_is_known_to_want_basic(self, host: str, first: bool) -> None:
        _, registry = hosts().find(Repository(host, OWN))
        assert (registry.challenge is not None) is first

    async def test_without_credentials_nothing_is_sent(self) -> None:
        app = filled(basic("Basic other"))
        async with running(app) as address, client(entry(address)) as (registry, _):
            error = await refusal(registry.resolve(Repository(HOST, OWN), "v1"))
        assert error.code is Code.ACCESS_DENIED
        assert app.authorizations() == [None]

    @pytest.mark.parametrize("name", ["public.ecr.aws", "ecr-public.aws.com"])
    def test_the_token_service_of_public_ecr_is_its_own(self, name: str) -> None:
        _, registry = hosts().find(Repository(name, "eks/x"))
        assert {("public.ecr.aws", 443), ("ecr-public.aws.com", 443)} == registry.token_hosts
