"""What somebody tried who wanted an image to run, a denial to vanish or the webhook to stop, named by the rule."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.admission import checker
from tests.doubles.image import filled
from tests.doubles.registry import HostileRegistry, bearer, client, listed, on, running, tokens
from tests.doubles.verifying import NAME, NOW, RELEASE, Cluster, opened, told, trusted
from tests.web.serving import pod_of, review, serving
from webhook import settings, untrusted
from webhook.admission import review as envelope
from webhook.admission.handler import Handler
from webhook.admission.places import Places
from webhook.demo import signing
from webhook.demo.content import digest_of
from webhook.demo.registry import OCI_INDEX, Receive, Scope, Send
from webhook.errors import Code, CountersignError, MalformedError
from webhook.evidence.model import SIMPLE_SIGNING
from webhook.kube.workload import Image, Request
from webhook.network import Network
from webhook.oci import manifest
from webhook.oci.hosts import Hosts
from webhook.oci.reference import Repository
from webhook.policy import document
from webhook.policy.decision import Result
from webhook.policy.model import PolicySet
from webhook.policy.syntax.mistakes import PolicyErrors
from webhook.web import server

HEAD = b"POST /validate HTTP/1.1\r\nhost: x\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


async def answer_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def never_answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def connected(app: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    listener = server.listen("127.0.0.1", 0, "PORT")
    async with server.running(server.make(app, settings.Server(shutdown_grace=1.0), None), listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        try:
            yield reader, writer
        finally:
            writer.close()


ENDLESS = {
    "headers": (HEAD, b"x: " + b"a" * 1000 + b"\r\n"),
    "one-header": (HEAD + b"x: ", b"a" * 1000),
    "path": (b"POST /", b"a" * 1000),
    "blank-lines": (b"", b"\r\n" * 500),
    "trailers": (CHUNKED + b"0\r\n", b"x: " + b"a" * 1000 + b"\r\n"),
    "chunk-extension": (CHUNKED + b"1;", b"a" * 1000),
    "tiny-chunks": (CHUNKED, b"1;aaaa\r\n.\r\n" * 100),
    "upgrade": (HEAD + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n", b"a" * 1000),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_what_is_no_body_is_bounded(start: bytes, more: bytes) -> None:
    async with connected(never_answer) as (_, writer):
        writer.write(start)
        with pytest.raises(ConnectionError):
            await write_for_ever(writer, more)


async def write_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    for _ in range(64 * 1024):
        writer.write(data)
        await writer.drain()


SLOW = {"silent": b"", "half-a-head": HEAD, "half-a-line": b"PO", "second-head": HEAD + b"content-length: 0\r\n\r\nPO"}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
async def test_a_head_that_does_not_end_ends_its_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)
    async with connected(answer_at_once) as (reader, writer), asyncio.timeout(5):
        first, _, rest = sent.partition(b"\r\n\r\n")
        writer.write(first + (b"\r\n\r\n" if rest else b""))
        if rest:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.write(rest)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_an_idle_connection_stays_and_serves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)
    async with connected(answer_at_once) as (reader, writer), asyncio.timeout(5):
        for _ in range(2):
            writer.write(HEAD + b"content-length: 100000\r\n\r\n" + b"." * 100_000)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with opened() as cluster:
        yield cluster


async def test_who_crowds_out_an_image_does_not_make_its_registry_unavailable(cluster: Cluster) -> None:
    rule = {"images": [cluster.host], "onUnavailable": "allow"}
    cluster.policy(rules=[rule])
    text = json.dumps(cluster.policies[0]).encode()
    policies = PolicySet(document.parse(text, origin="policy", now=NOW), "revision", "policy")
    places = Places(places=1, listed=frozenset({cluster.host}))
    handler = Handler(policies=lambda: policies, verifier=cluster.verifier, places=places, limits=settings.Admission())
    images = (Image("spec.containers[0]", "c", f"{cluster.host}/{NAME}@{cluster.image()}"),)
    request = Request("u", "CREATE", "shop", "", "pods", "", "Pod", "p", "jane", False, images, ())
    assert places.take("shop", cluster.host)
    crowded = await handler.review(request, timeout=0.05)
    assert (crowded.status, crowded.images[0].code) == (503, Code.OVERLOADED)
    places.release("shop", cluster.host)
    late = await handler.review(request, timeout=10.0, arrived=asyncio.get_running_loop().time() - 8.5)
    assert (late.status, late.images[0].code) == (503, Code.OVERLOADED)
    assert (await handler.review(request, timeout=10.0)).images[0].code is Code.NO_SIGNATURE


def decoys(count: int, **fields: object) -> list[dict[str, object]]:
    return [
        {
            "mediaType": manifest.OCI_MANIFEST,
            "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "digest": f"sha256:{number:064x}",
            "size": 1,
        }
        | fields
        for number in range(count)
    ]


def relist(cluster: Cluster, digest: str, good: signing.SignedBundle, bad: list[dict[str, object]]) -> None:
    """The fallback tag lists `good` behind `bad`."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*bad, dict(good.descriptor)]}
    cluster.stored.push_manifest(NAME, json.dumps(index).encode(), OCI_INDEX, tag=digest.replace(":", "-"))


@pytest.mark.parametrize("size", [2**62, 63 << 20])
async def test_what_a_bad_candidate_claims_to_weigh_does_not_hide_a_good_one(size: int) -> None:
    async with opened(stored=HostileRegistry(on("/referrers/", 404))) as cluster:
        cluster.policy()
        digest = cluster.image()
        relist(cluster, digest, cluster.bundle(digest, RELEASE), decoys(3, size=size))
        assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)


async def test_a_place_that_lists_too_much_does_not_hide_what_another_lists() -> None:
    stored = HostileRegistry()
    async with opened(stored=stored) as cluster:
        cluster.policy()
        digest = cluster.image()
        good = cluster.bundle(digest, RELEASE)
        listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*decoys(50), dict(good.descriptor)]}
        stored.rules.append(
            on("/referrers/", 200, headers=(("content-type", OCI_INDEX),), body=json.dumps(listing).encode())
        )
        relist(cluster, digest, good, [])
        assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)


HEADERS = {
    "zone-of-a-date": (429, "retry-after", "Mon, 01 Jan 2024 00:00:00 +" + "9" * 30, Code.RATE_LIMITED),
    "no-utf-8": (401, "www-authenticate", 'Bearer realm="http://{host}/token",service="\udcff"', Code.ACCESS_DENIED),
}


@pytest.mark.parametrize(("status", "name", "value", "code"), HEADERS.values(), ids=HEADERS)
async def test_a_header_that_makes_no_sense_is_no_error_of_ours(status: int, name: str, value: str, code: Code) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        field = value.replace("{host}", host).encode("utf-8", "surrogateescape")
        await send({"type": "http.response.start", "status": status, "headers": [(name.encode(), field)]})
        await send({"type": "http.response.body", "body": b""})

    async with running(app) as host, client(listed(host)) as (registry, _):
        with pytest.raises(CountersignError) as caught:
            await registry.resolve(Repository(host, "team/app"), "1")
    assert caught.value.code is code


async def test_a_digest_denied_by_its_other_algorithm_is_no_way_past(cluster: Cluster) -> None:
    cluster.policy(deny=[{"digest": f"sha512:{'a' * 128}", "reason": "stolen"}])
    with pytest.raises(PolicyErrors, match="sha256"):
        await cluster.verify(f"@{cluster.image()}")


SPELLINGS: dict[str, tuple[Callable[[dict[str, Any]], object], set[str]]] = {
    "other-case-of-image": (lambda pod: pod["spec"]["containers"][0].update(Image="good"), {"evil"}),
    "other-case-of-containers": (lambda pod: pod["spec"].update(Containers=[{"name": "c", "image": "good"}]), {"evil"}),
    "other-case-of-spec": (lambda pod: pod.update(Spec={"containers": [{"name": "c", "image": "good"}]}), {"evil"}),
    "deleted-already": (lambda pod: pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"), {"evil"}),
    "template": (lambda pod: pod["spec"].update(template={"spec": {"containers": []}}), {"evil"}),
    "rbd-beside-image": (
        lambda pod: pod["spec"].update(volumes=[{"name": "v", "rbd": {"image": "x"}, "image": {"reference": "v"}}]),
        {"evil", "v"},
    ),
}


@pytest.mark.parametrize(("disguise", "seen"), SPELLINGS.values(), ids=SPELLINGS)
def test_no_spelling_of_a_pod_hides_its_image(disguise: Callable[[dict[str, Any]], object], seen: set[str]) -> None:
    pod = pod_of("evil")
    disguise(pod)
    parsed = envelope.parse(json.dumps(review("x", object=pod)).encode(), max_images=9)
    assert {image.text for image in parsed.images} == seen
    assert (parsed.mirror, parsed.unexpected, parsed.unchanged) == (False, False, ())


@pytest.mark.parametrize("field", ["Object", "OBJECT", "object "])
def test_an_object_under_another_name_is_no_object(field: str) -> None:
    document_ = review("evil")
    document_["request"][field] = document_["request"].pop("object")
    with pytest.raises(envelope.ObjectError):
        envelope.parse(json.dumps(document_).encode(), max_images=9)


@pytest.mark.parametrize("bomb", ["[],", "{},", "0,", "[[["])
def test_little_text_makes_no_mountain_of_values(bomb: str) -> None:
    text = b'{"x":[' + bomb.encode() * 1_000_000
    with pytest.raises(MalformedError) as refused:
        untrusted.parse_json(text, max_bytes=len(text), what="manifest")
    assert refused.value.code is Code.LIMIT_EXCEEDED
    with pytest.raises(MalformedError) as refused:
        envelope.parse(text, max_images=9)
    assert refused.value.code is Code.LIMIT_EXCEEDED


async def test_what_one_hash_verified_is_not_known_to_a_policy_that_wants_another(cluster: Cluster) -> None:
    digest = cluster.image()
    cluster.sign(digest, RELEASE)
    cluster.policy(onUnavailable="known")
    assert told(await cluster.verify(f"@{digest}")) == (Result.VERIFIED, None)
    cluster.policies.clear()
    cluster.policy(trustedKeys=[trusted("release", RELEASE) | {"hash": "sha512"}], onUnavailable="known")
    assert (await cluster.verify(f"@{digest}")).code is Code.SIGNATURE_INVALID
    assert told(await cluster.verify(f"@{digest}", seconds=0.0)) == (Result.ERROR, Code.DEADLINE_EXCEEDED)


def test_a_connection_under_an_allowance_is_lent_to_nobody_without_it() -> None:
    entry = settings.RegistryHost("a.example.com", endpoint="mirror.example.com", private=True)
    hosts = Hosts((entry,), Network(settings.Network()))
    allowed, other = (hosts.find(Repository(name, "x"))[0] for name in ("a.example.com", "mirror.example.com"))
    assert (allowed.origin, allowed.private, other.private) == (other.origin, True, False)
    assert allowed.tls is not other.tls, "connections are pooled by it"


UNREADABLE = {
    "too-large": '"' + "<" * 400_000 + '"',
    "too-deep": "[" * 2000 + "]" * 2000,
    "too-many": "[" + "0," * 30_000 + "0]",
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_a_pod_holds_never_makes_its_review_unreadable_and_so_admitted(
    tmp_path: Path, raw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "VALUES_MAX", 20_000)
    admission = settings.Admission(fails_open=True, body_max_bytes=300_000)
    sent = review("evil", object=pod_of("evil", managedFields=["RAW"]))
    body = json.dumps(sent, separators=(",", ":")).replace('"RAW"', raw).encode()
    async with serving(tmp_path, settings.Settings(admission=admission)) as webhook:
        response = await webhook.post(body)
    answer = checker.check(response.content, uid=sent["request"]["uid"], status=response.status_code)
    assert (answer.allowed, answer.code) == (False, 400)


async def test_one_repository_cannot_make_us_verify_for_ever() -> None:
    async with opened(stored=HostileRegistry(on("/referrers/", 404))) as cluster:
        cluster.policy()
        digest = cluster.image()
        relist(cluster, digest, cluster.bundle(digest, RELEASE), [heavy(cluster, digest, n) for n in range(50)])
        (decision,) = (await cluster.verify(f"@{digest}")).policies
    assert 0 < sum(outcome.evidence is not None for outcome in decision.outcomes) <= 50


def heavy(cluster: Cluster, digest: str, number: int) -> dict[str, object]:
    """A referrer of fifty signatures, as it is listed."""
    contents = [b"%d" % index for index in range(50)]
    document_ = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "config": {"mediaType": "application/json", "digest": digest, "size": number},
        "layers": [
            {
                "mediaType": SIMPLE_SIGNING,
                "digest": digest_of(content),
                "size": len(content),
                "data": base64.b64encode(content).decode(),
            }
            for content in contents
        ],
        "subject": {"mediaType": manifest.OCI_MANIFEST, "digest": digest, "size": 1},
    }
    data = json.dumps(document_).encode()
    pushed = cluster.stored.push_manifest(NAME, data, manifest.OCI_MANIFEST)
    return {
        "mediaType": manifest.OCI_MANIFEST,
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
        "digest": pushed,
        "size": len(data),
    }


async def test_a_token_of_one_registry_is_shown_to_no_other() -> None:
    honest, hostile = filled(), filled()
    async with running(honest) as host, running(hostile) as other, client(listed(host), listed(other)) as (registry, _):
        realm = f"http://{host}/token"
        honest.rules += [bearer(realm, accepts=lambda token: token == "first"), tokens("first", "second")]
        hostile.rules.append(bearer(realm, accepts=lambda token: token != ""))
        for registry_host in (host, other):
            await registry.resolve(Repository(registry_host, "team/app"), "v1")
    assert hostile.authorizations("/v2/") == [None, "Bearer second"]
