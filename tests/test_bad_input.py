"""Bad input by name: reviews, registries and policy files, each refused for its reason, after which all goes on."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.doubles.registry import Handler, HostileRegistry, listed, on, raw, running
from tests.doubles.verifying import NAME, RELEASE, STRANGER, Shelf, opened, signature_tag, told
from tests.policy.documents import NOW, key, policy, without_permission
from tests.web.serving import Serving, pod_of, review, serving
from webhook import settings
from webhook.demo import signing
from webhook.demo.registry import OCI_INDEX, Incoming, Outgoing, StoredManifest
from webhook.errors import Code
from webhook.oci import manifest
from webhook.policy import decide
from webhook.policy.decision import Result
from webhook.policy.source import DirectorySource
from webhook.settings import Settings
from webhook.tls import authority as authorities

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one webhook for all, which must stay fit whatever it was sent

HEX = "0123456789abcdef" * 4
HERE = f"/v2/{NAME}/"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
JSON_INDEX = (("content-type", OCI_INDEX),)


@dataclass
class Bad:
    """What a registry does to a signed image, and what is told of it: the code, its status, words of the message."""

    code: Code | None
    status: int
    words: str
    spoil: Callable[[Spoiled], None] = field(default=lambda spoiled: None)
    by: str = "digest"
    handler: Handler | None = None  # instead of a registry
    host: str = ""  # where nobody listens
    untrusted: bool = False  # its certificate
    elsewhere: bool = False  # the whole host is done for, and the good image is another's
    query: str = "?timeout=10s"


@dataclass
class Spoiled(Shelf):
    """The repository of one case, whose image is signed before it is spoiled."""

    stored: HostileRegistry
    digest: str = ""

    def rule(self, part: str, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
        self.stored.rules.append(on(HERE + part, status, headers=headers, body=body))

    def unsign(self) -> None:
        self.stored.repository(NAME).tags.pop(signature_tag(self.digest), None)

    def signature(self, data: bytes, media_type: str = manifest.OCI_MANIFEST) -> None:
        """`data` stands where the signatures are, under its right digest."""
        self.stored.push_manifest(NAME, data, media_type, tag=signature_tag(self.digest))

    @property
    def signatures(self) -> bytes:
        found = self.stored.repository(NAME)
        return found.manifests[found.tags[signature_tag(self.digest)]].data

    def sign_often(self, strangers: int, *, after: int, worthless: bool = False) -> None:
        """The good signature, among those of strangers, of which `after` stand before it."""
        other = signing.sign_legacy(STRANGER, self.digest, "x").layers[0]
        others = [
            signing.SignedLayer(other.payload, {} if worthless else {**other.annotations, "number": str(number)})
            for number in range(strangers)
        ]
        (good,) = signing.sign_legacy(RELEASE, self.digest, NAME).layers
        self.attach(self.digest, signing.legacy_manifest(self.digest, (*others[:after], good, *others[after:])))

    def list_often(self, *, before: int, after: int) -> None:
        """A listing of referrers that are not there, and among them a good one."""
        self.unsign()
        good = dict(self.bundle(self.digest, RELEASE).descriptor)
        entries = [{**good, "digest": f"sha256:{number:064x}"} for number in range(before + after)]
        entries.insert(before, good)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        self.rule("referrers/", 200, *JSON_INDEX, body=json.dumps(index).encode())

    def bundle_only(self, data: bytes) -> None:
        """A bundle of these bytes, under their right digest, is all that there is."""
        self.unsign()
        size = len(self.stored.repository(NAME).manifests[self.digest].data)
        subject = {"mediaType": manifest.OCI_MANIFEST, "digest": self.digest, "size": size}
        made = signing.bundle_manifest(data, subject)
        for blob in made.blobs:
            self.stored.push_blob(NAME, blob)
        self.stored.push_manifest(NAME, made.manifest, manifest.OCI_MANIFEST)

    def payload(self, change: Callable[[bytes], bytes]) -> None:
        blobs = self.stored.repository(NAME).blobs
        for digest, data in blobs.items():
            if b"docker-manifest-digest" in data:
                blobs[digest] = change(data)


async def send_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: " + manifest.OCI_MANIFEST.encode())
    writer.write(b"\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        await writer.drain()


async def send_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: " + manifest.OCI_MANIFEST.encode())
    writer.write(b"\r\ncontent-length: 1000\r\n\r\n{")
    await reader.read()


async def send_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: " + manifest.OCI_MANIFEST.encode())
    writer.write(b"\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


def redirect_to_itself(spoiled: Spoiled) -> None:
    def rule(request: Incoming) -> Outgoing | None:
        return Outgoing(307, (("location", request.path),)) if request.path.startswith(HERE) else None

    spoiled.stored.rules.append(rule)


def change_manifest(spoiled: Spoiled) -> None:
    found = spoiled.stored.repository(NAME)
    digest = found.tags[signature_tag(spoiled.digest)]
    found.manifests[digest] = StoredManifest(found.manifests[digest].data + b" ", manifest.OCI_MANIFEST)


def list_an_index(spoiled: Spoiled) -> None:
    """The fallback tag holds an index that lists an index, which lists the good signature."""
    spoiled.unsign()
    good = dict(spoiled.bundle(spoiled.digest, RELEASE).descriptor)
    inner = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [good]}).encode()
    digest = spoiled.stored.push_manifest(NAME, inner, OCI_INDEX)
    entry = {**good, "mediaType": OCI_INDEX, "digest": digest, "size": len(inner)}
    outer = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    spoiled.rule("referrers/", 404)
    spoiled.stored.push_manifest(NAME, outer, OCI_INDEX, tag=spoiled.digest.replace(":", "-"))


def be_an_index_in_an_index(spoiled: Spoiled) -> None:
    """The tag names an index of an index, which is signed: what is signed is a digest, whatever it names."""
    spoiled.digest = push_index(spoiled, push_index(spoiled, spoiled.digest))
    spoiled.stored.repository(NAME).tags["1"] = spoiled.digest
    spoiled.sign(spoiled.digest, RELEASE)


def push_index(spoiled: Spoiled, digest: str) -> str:
    data = spoiled.stored.repository(NAME).manifests[digest]
    entry = {"mediaType": data.media_type, "digest": digest, "size": len(data.data)}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    return spoiled.stored.push_manifest(NAME, json.dumps(index).encode(), OCI_INDEX)


def list_without_end(spoiled: Spoiled) -> None:
    """Page after page of referrers, on none of which is one."""
    spoiled.unsign()
    page = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    following = ("link", f'<{HERE}referrers/{spoiled.digest}?page=next>; rel="next"')
    spoiled.rule("referrers/", 200, *JSON_INDEX, following, body=page)


def attest(spoiled: Spoiled) -> None:
    """The trusted key signed a statement about the image that is not a signature of it."""
    statement = signing.sign_statement(spoiled.digest, "https://spdx.dev/Document")
    bundle = {
        "mediaType": signing.BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": RELEASE.hint}},
        "dsseEnvelope": signing.sign_envelope(RELEASE, statement),
    }
    spoiled.bundle_only(json.dumps(bundle).encode())


def bomb() -> bytes:
    return gzip.compress(bytes(64 * settings.MIB), 1)


def zip_manifest(spoiled: Spoiled) -> None:
    spoiled.rule("manifests/", 200, ("content-type", manifest.OCI_MANIFEST), ("content-encoding", "gzip"), body=bomb())


def zip_signature(spoiled: Spoiled) -> None:
    spoiled.rule("blobs/", 200, ("content-encoding", "gzip"), body=bomb())


def nest(depth: int) -> bytes:
    return b'{"schemaVersion": 2, "layers": ' + b"[" * depth + b"]" * depth + b"}"


PASSING = (Code.REGISTRY_UNAVAILABLE, Code.RATE_LIMITED, Code.DEADLINE_EXCEEDED)
PRIVATE = ("location", "http://10.0.0.1/v2/x")

REGISTRIES = {
    "not-reachable": Bad(Code.REGISTRY_UNAVAILABLE, 503, "connection refused", host="127.0.0.1:1", elsewhere=True),
    "tls-failure": Bad(Code.REGISTRY_UNAVAILABLE, 503, "certificate is not trusted", untrusted=True, elsewhere=True),
    "401": Bad(Code.ACCESS_DENIED, 503, "answered 401", lambda at: at.rule("", 401)),
    "401-by-tag": Bad(Code.ACCESS_DENIED, 503, "answered 401", lambda at: at.rule("", 401), by="tag"),
    "403": Bad(Code.ACCESS_DENIED, 503, "answered 403", lambda at: at.rule("", 403)),
    "404": Bad(Code.NO_SIGNATURE, 403, "was found for this digest", lambda at: at.rule("", 404)),
    "404-by-tag": Bad(Code.IMAGE_NOT_FOUND, 403, "has no tag", lambda at: at.rule("", 404), by="tag"),
    "404-of-the-payload": Bad(Code.MALFORMED, 403, "listed but missing", lambda at: at.rule("blobs/", 404)),
    "429-with-retry-after": Bad(
        Code.RATE_LIMITED, 503, "429, retry after 3600 s",
        lambda at: at.rule("", 429, ("retry-after", "3600")), by="tag", elsewhere=True,
    ),
    "500": Bad(Code.REGISTRY_UNAVAILABLE, 503, "answered 500", lambda at: at.rule("", 500)),
    "500-of-one-place": Bad(Code.REGISTRY_UNAVAILABLE, 503, "answered 500", lambda at: at.rule("manifests/", 500)),
    "500-of-another-place": Bad(None, 200, "", lambda at: at.rule("referrers/", 500)),
    "redirect-loop": Bad(Code.REGISTRY_VIOLATION, 403, "redirects more than 3 times", redirect_to_itself),
    "redirect-to-a-private-address": Bad(
        Code.HOST_REFUSED, 403, "10.0.0.1", lambda at: at.rule("blobs/", 307, PRIVATE)
    ),
    "redirect-of-a-tag-to-a-private-address": Bad(
        Code.HOST_REFUSED, 403, "10.0.0.1", lambda at: at.rule("manifests/", 307, PRIVATE), by="tag"
    ),
    "endless-body": Bad(
        Code.LIMIT_EXCEEDED, 403, "more than 4194304 bytes", handler=send_without_end, elsewhere=True
    ),
    "slow-body": Bad(Code.REGISTRY_UNAVAILABLE, 503, "timed out after 0.3 s", handler=send_half, elsewhere=True),
    "slow-body-that-goes-on": Bad(
        Code.DEADLINE_EXCEEDED, 504, "time for this review", handler=send_slowly, elsewhere=True, query="?timeout=500ms"
    ),
    "wrong-digest": Bad(
        Code.REGISTRY_VIOLATION, 403, "another digest",
        lambda at: at.payload(lambda data: data.replace(b"cosign", b"c0sign")),
    ),
    "wrong-size": Bad(Code.REGISTRY_VIOLATION, 403, "bytes announced", lambda at: at.payload(lambda data: data[:-1])),
    "wrong-digest-of-the-manifest": Bad(Code.REGISTRY_VIOLATION, 403, "another digest", change_manifest),
    "wrong-media-type": Bad(
        Code.REGISTRY_VIOLATION, 403, "served as 'text/html'", lambda at: at.signature(at.signatures, "text/html")
    ),
    "media-type-of-schema-1": Bad(
        Code.UNSUPPORTED, 403, "neither a manifest nor an index", lambda at: at.signature(at.signatures, SCHEMA_1)
    ),
    "media-type-of-an-index": Bad(
        Code.MALFORMED, 403, "what another kind of document has", lambda at: at.signature(at.signatures, OCI_INDEX)
    ),
    "index-inside-index": Bad(Code.MALFORMED, 403, "is an index", list_an_index),
    "an-image-index-inside-an-index": Bad(None, 200, "", be_an_index_in_an_index, by="tag"),
    "10,000-referrers": Bad(
        Code.LIMIT_EXCEEDED, 403, "its rest was not read", lambda at: at.list_often(before=9_999, after=0)
    ),
    "10,000-referrers-a-good-one-first": Bad(None, 200, "", lambda at: at.list_often(before=49, after=9_950)),
    "referrers-without-end": Bad(Code.LIMIT_EXCEEDED, 403, "its rest was not read", list_without_end),
    "1,000-signatures": Bad(
        Code.SIGNATURE_INVALID, 403, "1000 signatures in the .sig tag, of which 50 were examined",
        lambda at: at.sign_often(999, after=50),
    ),
    "1,000-worthless-signatures": Bad(
        Code.LIMIT_EXCEEDED, 403, "1000 signatures in the .sig tag, of which 50 were examined",
        lambda at: at.sign_often(999, after=999, worthless=True),
    ),
    "1,000-signatures-a-good-one-among-the-first": Bad(None, 200, "", lambda at: at.sign_often(999, after=49)),
    "1,001-signatures": Bad(Code.LIMIT_EXCEEDED, 403, "at most 1000 are read", lambda at: at.sign_often(1000, after=0)),
    "gzip-bomb": Bad(Code.REGISTRY_VIOLATION, 403, "Content-Encoding 'gzip'", zip_signature),
    "gzip-bomb-for-a-manifest": Bad(Code.REGISTRY_VIOLATION, 403, "not JSON as expected", zip_manifest),
    "truncated-json": Bad(
        Code.REGISTRY_VIOLATION, 403, "not JSON as expected", lambda at: at.signature(at.signatures[:-9])
    ),
    "nan": Bad(
        Code.REGISTRY_VIOLATION, 403, "NaN is no JSON number",
        lambda at: at.signature(at.signatures.replace(b'"schemaVersion":2', b'"schemaVersion":NaN')),
    ),
    "truncated-json-in-a-bundle": Bad(
        Code.MALFORMED, 403, "not JSON as expected", lambda at: at.bundle_only(b'{"mediaType": "')
    ),
    "nan-in-a-bundle": Bad(
        Code.MALFORMED, 403, "NaN is no JSON number", lambda at: at.bundle_only(b'{"mediaType": NaN}')
    ),
    "depth-10,000-in-a-bundle": Bad(
        Code.MALFORMED, 403, "nested too deeply", lambda at: at.bundle_only(nest(10_000))
    ),
    "statement-of-another-kind": Bad(Code.CLAIM_MISMATCH, 403, "https://spdx.dev/Document", attest),
    "depth-10,000": Bad(Code.REGISTRY_VIOLATION, 403, "nested too deeply", lambda at: at.signature(nest(10_000))),
}  # fmt: skip


@dataclass
class Stand:
    """The webhook, the registry of each case, and a signed image in one that behaves."""

    webhook: Serving
    registries: dict[str, Spoiled]
    good: str
    unsigned: str

    async def admits(self, image: str, **request: Any) -> bool:
        answer = await self.webhook.ask(review(image, **request))
        return answer.allowed and answer.annotations["decision"] == "allow"


def signed(shelf: Shelf) -> str:
    digest = shelf.image()
    shelf.sign(digest, RELEASE)
    return f"{shelf.host}/{shelf.name}@{digest}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("bad")
    pair = authorities.make(datetime.now(UTC)).issue(("127.0.0.1",), datetime.now(UTC))
    certificate = str(folder / "chain.pem"), str(folder / "key.pem")
    Path(certificate[0]).write_bytes(pair.chain)
    Path(certificate[1]).write_bytes(pair.key)
    registries: dict[str, Spoiled] = {}
    async with AsyncExitStack() as stack:
        entries = []
        for name, bad in {**REGISTRIES, "good": Bad(None, 200, "")}.items():
            stored = HostileRegistry()
            served = running(stored, certificate=certificate if bad.untrusted else None)
            host = bad.host or await stack.enter_async_context(raw(bad.handler) if bad.handler else served)
            registries[name] = Spoiled(host, stored)
            entries.append(replace(listed(host), insecure_http=not bad.untrusted))
        configured = Settings(
            network=settings.Network(read_timeout=0.3),
            registry=settings.Registry(hosts=tuple(entries), backoff=0.0),
            cache=settings.NOTHING_KEPT,
        )
        webhook = await stack.enter_async_context(serving(folder, configured, key=RELEASE.public_pem))
        good = registries.pop("good")
        unsigned = f"{good.host}/{NAME}@{good.image('unsigned', tag='unsigned')}"
        yield Stand(webhook, registries, signed(good), unsigned)


@pytest.mark.parametrize("name", REGISTRIES)
async def test_a_registry_that_misbehaves_is_told_by_its_code_and_hurts_no_other_image(stand: Stand, name: str) -> None:
    bad, spoiled = REGISTRIES[name], stand.registries[name]
    by_digest = signed(spoiled)
    spoiled.digest = by_digest.partition("@")[2]
    image = by_digest if bad.by == "digest" else f"{spoiled.host}/{NAME}:1"
    if not (bad.host or bad.handler or bad.untrusted):
        assert await stand.admits(image), "it is only the registry that is wrong"
    bad.spoil(spoiled)
    document = review(image)
    answer = await stand.webhook.ask(document, query=bad.query)
    if bad.code is None:
        assert answer.allowed, answer.message
    else:
        assert (answer.allowed, answer.code, answer.annotations["reason"]) == (False, bad.status, bad.code)
        assert answer.message.endswith(f"#{bad.code}"), answer.message
        assert bad.words in json.dumps(await stand.webhook.record(document))
        assert (answer.retry_after is not None) == (bad.code in PASSING)
    assert await stand.admits(stand.good)
    if not bad.elsewhere:
        assert await stand.admits(signed(Shelf(spoiled.host, spoiled.stored, name="pay/good")))


FILLER = {"filler": "x" * 3 * settings.MIB}  # an API server takes objects up to this size
BAD_REQUEST = 400, "malformed"
NO_REFERENCE = 400, "reference_invalid"
UNSIGNED = 403, "no_signature"
VERIFIED = 200, "verified"
SKIPPED = 200, "starts no image"

# What is sent, made of a signed and an unsigned image, and what is answered: status and reason.
REVIEWS: dict[str, tuple[Callable[[str, str], bytes | dict[str, Any]], tuple[int, str]]] = {
    "good": (lambda good, bad: review(good), VERIFIED),
    "unsigned": (lambda good, bad: review(bad), UNSIGNED),
    "empty": (lambda good, bad: b"", BAD_REQUEST),
    "not-json": (lambda good, bad: b"apiVersion: admission.k8s.io/v1", BAD_REQUEST),
    "wrong-kind": (lambda good, bad: json.dumps(review(good) | {"kind": "Review"}).encode(), BAD_REQUEST),
    "wrong-version": (
        lambda good, bad: json.dumps(review(good) | {"apiVersion": "admission.k8s.io/v1beta1"}).encode(), BAD_REQUEST,
    ),
    "3-MiB-object": (lambda good, bad: review(object=pod_of(good, annotations=FILLER)), VERIFIED),
    "3-MiB-object-unsigned": (lambda good, bad: review(object=pod_of(bad, annotations=FILLER)), UNSIGNED),
    "3-MiB-object-twice": (
        lambda good, bad: review(operation="UPDATE", object=pod_of(good, annotations=FILLER),
                                 oldObject=pod_of(bad, annotations=FILLER)), VERIFIED,
    ),
    "100-containers": (
        lambda good, bad: review(*[good.replace("@", f":{number}@") for number in range(100)]), VERIFIED,
    ),
    "100-containers-one-unsigned": (
        lambda good, bad: review(*[good.replace("@", f":{number}@") for number in range(99)], bad), UNSIGNED,
    ),
    "duplicates": (lambda good, bad: review(good, good, good), VERIFIED),
    "duplicates-unsigned": (lambda good, bad: review(good, bad, good, bad), UNSIGNED),
    "empty-image": (lambda good, bad: review(good, ""), NO_REFERENCE),
    "newline": (lambda good, bad: review(f"{good}\n"), NO_REFERENCE),
    "newline-within": (lambda good, bad: review(f"{bad}\n{good}"), NO_REFERENCE),
    "nul": (lambda good, bad: review(f"{good}\0"), NO_REFERENCE),
    "upper-case": (lambda good, bad: review(good.replace("pay/", "Pay/")), NO_REFERENCE),
    "look-alike": (lambda good, bad: review(good.replace("pay/", "p\u0430y/")), NO_REFERENCE),
    "look-alike-slash": (lambda good, bad: review(good.replace("pay/", "pay\u2215")), NO_REFERENCE),
    "4-KiB": (lambda good, bad: review(good.replace("pay/", "pay/" * 1024)), NO_REFERENCE),
    "digest-too-short": (lambda good, bad: review(good[:-1]), NO_REFERENCE),
    "digest-too-long": (lambda good, bad: review(f"{good}0"), NO_REFERENCE),
    "digest-in-upper-case": (lambda good, bad: review(good[:-64] + good[-64:].upper()), NO_REFERENCE),
    "digest-with-tag": (lambda good, bad: review(good.replace("@", ":unsigned@")), VERIFIED),
    "digest-with-tag-unsigned": (lambda good, bad: review(bad.replace("@", ":1@")), UNSIGNED),
    "sha512": (lambda good, bad: review(f"{good[:-71]}sha512:{HEX}{HEX}"), UNSIGNED),
    "sha512-of-sha256": (lambda good, bad: review(good.replace("sha256", "sha512")), NO_REFERENCE),
    "object-null": (lambda good, bad: review(object=None), BAD_REQUEST),
    "delete": (lambda good, bad: review(operation="DELETE", object=None, oldObject=pod_of(bad)), SKIPPED),
    "connect": (lambda good, bad: review(operation="CONNECT", subResource="exec", object={"stdin": True}), SKIPPED),
    "unknown-subresource": (lambda good, bad: review(bad, operation="UPDATE", subResource="status"), SKIPPED),
}  # fmt: skip


@pytest.mark.parametrize("name", REVIEWS)
async def test_a_bad_review_is_answered_by_its_reason_and_the_next_one_as_ever(stand: Stand, name: str) -> None:
    make, expected = REVIEWS[name]
    sent = make(stand.good, stand.unsigned)
    if isinstance(sent, bytes):
        response = await stand.webhook.post(sent)
        assert (response.status_code, response.json()["error"]) == expected
    else:
        answer = await stand.webhook.ask(sent)
        assert (answer.code, answer.annotations["reason"]) == expected
        assert answer.allowed == (expected[0] == 200)
    assert await stand.admits(stand.good)
    assert not await stand.admits(stand.unsigned)


def release(*, more: str = "") -> str:
    """A policy that trusts the key of the signed image."""
    return policy("release", more="  trustedKeys:\n" + key("release", RELEASE.public_pem) + more)


LAUGH = ", ".join(9 * ["lol.example.com"])
LAUGHS = "".join(
    f"  {name}: &{name} [{', '.join(9 * [f'*{below}'])}]\n" for below, name in itertools.pairwise("abcdefghi")
)


def relink(volume: Path, target: str) -> None:
    (volume / "new").symlink_to(target)
    (volume / "new").rename(volume / "..data")


def bring(volume: Path, generation: str, content: str | bytes) -> None:
    """A generation of a ConfigMap, as the kubelet brings one: a new folder, and a link that is renamed over the old."""
    (volume / generation).mkdir(parents=True)
    (volume / generation / "a.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    relink(volume, generation)


def read(volume: Path) -> DirectorySource:
    source = DirectorySource(settings.Policy(directory=volume), clock=lambda: NOW)
    source.load()
    return source


# What comes in the place of a good policy, and what is said of it.
POLICIES: dict[str, tuple[Callable[[Path], None] | str | bytes, str]] = {
    "not-yaml": ("{", "not YAML"),
    "another-kind": ("apiVersion: v1\nkind: ConfigMap\n", "kind"),
    "unknown-field": (release(more="  exemptRegistry: [registry.k8s.io]\n"), "exemptRegistry"),
    "unknown-mode": (release().replace("mode: enforce", "mode: audit"), "mode"),
    "secret-of-another-namespace": (
        policy(more="  trustedKeys:\n    - {name: k, secret: {name: s, namespace: shop}}\n"),
        "trustedKeys[0].secret.namespace",
    ),
    "no-key": (release().replace("-----BEGIN", "-----START"), "publicKey"),
    "private-key": (policy(more="  trustedKeys:\n" + key("k", RELEASE.private_pem)), "private key"),
    "bad-pattern": (release(more="  exemptRegistries: ['org*/x']\n"), "exemptRegistries[0]"),
    "anchors-bomb": (release(more=f"  exemptRegistries: &a [{LAUGH}]\n{LAUGHS}"), "the anchor '&a' is not taken"),
    "alias-of-itself": (release(more="  exemptRegistries: &a [*a]\n"), "the anchor '&a' is not taken"),
    "tabs": (release().replace("  mode", "\tmode"), "a tab, where YAML takes only spaces"),
    "duplicate-keys": (release().replace("  mode: enforce", "  mode: enforce\n  mode: warn"), "stands twice"),
    "10-MiB": (release() + "#" * 10 * settings.MIB, "too large: at most 1048576 bytes are read"),
    "10-MiB-of-one-value": (release(more="  help: " + "x" * 10 * settings.MIB), "too large"),
    "empty": ("", "empty"),
    "only-comments": ("# nothing\n---\n", "empty"),
    "depth-10,000": ("[" * 10_000, "levels are read"),
    "nul": (release() + "\0", "cannot be seen"),
    "half-a-character": (release().encode()[:-9] + b"\xc3", "not UTF-8"),
    "permission-denied": (lambda at: None, "permission denied"),  # while it is looked at
    "link-swapped-to-nothing": (lambda at: relink(at, "..gone"), "no such file or directory"),
    "link-swapped-to-itself": (lambda at: relink(at, "..data"), "too many levels of symbolic links"),
    "link-swapped-to-another-folder": (lambda at: relink(at, "../.."), "leads out of the folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
async def test_a_bad_policy_file_is_told_and_the_last_good_one_judges_on(name: str) -> None:
    spoil, words = POLICIES[name]
    async with opened() as cluster:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            volume = Path(folder) / "policies"
            bring(volume, "..1", release())
            (volume / "a.yaml").symlink_to("..data/a.yaml")
            source = read(volume)
            before = source.current
            if isinstance(spoil, str | bytes):
                bring(volume, "..2", spoil)
            else:
                spoil(volume)
            with without_permission(volume / "a.yaml") if name == "permission-denied" else nullcontext():
                after, never_good = source.load(), read(volume).current
            bring(volume, "..3", release(more="  help: ask us\n"))
            mended = source.load()
        assert words in after.problems["a.yaml"]
        assert (after.policies, after.revision, after.broken) == (before.policies, before.revision, ())
        assert (mended.problems, [one.help for one in mended.policies]) == ({}, ["ask us"])
        good, unsigned = signed(cluster), f"@{cluster.image('unsigned', tag='2')}"
        for policies in (after, mended):
            assert told(await cluster.judge(good, policies)) == (Result.VERIFIED, None)
            assert told(await cluster.judge(unsigned, policies)) == (Result.DENIED, Code.NO_SIGNATURE)
        decision = await cluster.judge(good, never_good)
        assert (*told(decision), decide.image_status(decision)) == (Result.ERROR, Code.POLICY_UNAVAILABLE, 503)
