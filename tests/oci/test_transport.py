"""How a question is carried through: statuses, retries, limits, redirects and credentials, over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace

import pytest

from tests.doubles.image import (
    BLOB,
    DIGEST,
    EVERY,
    LAYER,
    SECRET,
    Ask,
    ask_blob,
    ask_manifest,
    ask_referrers,
    ask_resolve,
    checked,
    filled,
    refusal,
)
from tests.doubles.registry import (
    FixedResolver,
    Given,
    HostileRegistry,
    Rule,
    basic,
    bearer,
    client,
    listed,
    on,
    raw,
    running,
    times,
    tokens,
)
from webhook import settings
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code, CountersignError, InconclusiveError, RejectedError
from webhook.oci import authn, manifest
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository
from webhook.oci.registry import Registry


@dataclass(frozen=True, slots=True)
class ByPath:
    """A `CredentialSource` that knows some repositories."""

    found: dict[str, tuple[Credential, ...]]

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        return tuple(credential for credential in self.found.get(repository.path, ()) if credential not in refused)


class TestMeaningOfAnswers:
    @pytest.mark.parametrize("ask", EVERY)
    @pytest.mark.parametrize("status", [401, 403])
    async def test_access_denied_is_neither_absence_nor_outage(
        self, status: int, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        body = json.dumps({"errors": [{"code": "DENIED", "message": "no\n" + "x" * 1000}]}).encode()
        app.rules.append(on("/v2/", status, body=body))
        error = await refusal(ask(registry, repository))
        assert (type(error), error.code) == (InconclusiveError, Code.ACCESS_DENIED)
        assert "no credentials were given" in error.detail
        assert "DENIED" in error.detail or ask is ask_resolve  # HEAD has no body
        assert len(error.detail) < 500
        assert "\n" not in error.detail

    @pytest.mark.parametrize("ask", EVERY)
    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
    async def test_a_failing_registry_is_asked_three_times(
        self, status: int, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/v2/", status, body=b"<html>" * 10_000))
        error = await refusal(ask(registry, repository))
        assert (type(error), error.code) == (InconclusiveError, Code.REGISTRY_UNAVAILABLE)
        assert str(status) in error.detail
        assert len(app.seen) == 3

    @pytest.mark.parametrize("ask", EVERY)
    async def test_one_failure_is_no_failure(
        self, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(times(2, on("/v2/", 500)))
        assert await ask(registry, repository)

    @pytest.mark.parametrize("ask", EVERY)
    async def test_a_teapot_refuses_and_is_not_away(
        self, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/v2/", 418))
        error = await refusal(ask(registry, repository))
        assert (type(error), error.code) == (InconclusiveError, Code.ACCESS_DENIED)
        assert len(app.seen) == 1

    @pytest.mark.parametrize("ask", EVERY)
    async def test_a_rate_limit_that_takes_long_fails_now_and_is_remembered(
        self, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/v2/", 429, headers=(("retry-after", "3600"),)))
        for _ in range(3):
            error = await refusal(ask(registry, repository))
            assert (type(error), error.code) == (InconclusiveError, Code.RATE_LIMITED)
            assert "429" in error.detail
        assert len(app.seen) == 1

    async def test_a_rate_limit_is_remembered_for_a_minute_at_most(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/v2/", 429, headers=(("retry-after", "3600"),)))
        await refusal(registry.resolve(repository, "v1"))
        error = await refusal(registry.resolve(repository, "v1"))
        found = re.search(r"not asked again for (\d+) s", error.detail)
        assert found is not None
        assert 50 < int(found[1]) <= 60

    @pytest.mark.parametrize("limited", ["team/known", "team/anonymous"])
    async def test_a_rate_limit_is_of_one_credential(self, limited: str, app: HostileRegistry) -> None:
        others = {"team/known", "team/anonymous"} - {limited}
        for path in (limited, *others):
            app.repositories[path] = app.repositories["team/app"]
        app.rules.append(on(f"/{limited}/", 429, headers=(("retry-after", "60"),)))
        source = ByPath({"team/known": (Credential(registry_token="t"),)})
        async with running(app) as host, client(listed(host), credentials=(source,)) as (registry, _):
            for _ in range(2):
                error = await refusal(registry.resolve(Repository(host, limited), "v1"))
                assert error.code is Code.RATE_LIMITED
            for path in others:
                assert await registry.resolve(Repository(host, path), "v1") == DIGEST
        assert len(app.seen) == 2

    @pytest.mark.parametrize("retry_after", ["0", "Sat, 01 Jan 2000 00:00:00 GMT", "", "soon"])
    async def test_a_short_wait_is_waited(
        self, retry_after: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(times(2, on("/v2/", 429, headers=(("retry-after", retry_after),))))
        assert await registry.resolve(repository, "v1") == DIGEST
        assert len(app.seen) == 3

    async def test_a_date_far_ahead_is_no_wait(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/v2/", 429, headers=(("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT"),)))
        error = await refusal(registry.resolve(repository, "v1"))
        assert error.code is Code.RATE_LIMITED
        assert len(app.seen) == 1

    async def test_error_bodies_leave_the_connection_usable(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/manifests/absent", 404, body=b"x" * 5000))
        for _ in range(5):
            assert await registry.fetch_manifest(repository, "absent") is None
        assert len(app.connections) == 1

    async def test_an_error_body_without_end_is_not_read(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/manifests/absent", 404, body=b"x" * 5_000_000))
        assert await registry.fetch_manifest(repository, "absent") is None
        assert await registry.resolve(repository, "v1") == DIGEST


class TestUnreachable:
    async def test_connection_refused(self) -> None:
        async with client(listed("127.0.0.1:1")) as (registry, observed):
            error = await refusal(registry.resolve(Repository("127.0.0.1:1", "team/app"), "v1"))
        assert (type(error).__mro__[1], error.code) == (InconclusiveError, Code.REGISTRY_UNAVAILABLE)
        assert "connection refused" in error.detail
        assert [status for _, _, status in observed.requests] == [0, 0, 0]

    async def test_unknown_name(self) -> None:
        async with client(resolver=FixedResolver({})) as (registry, observed):
            error = await refusal(registry.resolve(Repository("nowhere.example.com", "team/app"), "v1"))
        assert error.code is Code.REGISTRY_UNAVAILABLE
        assert "unknown host name" in error.detail
        assert len(observed.requests) == 1

    @pytest.mark.parametrize("ask", EVERY)
    async def test_nothing_comes(self, ask: Ask) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        await self._refuses(ask, handle, settings.Network(read_timeout=0.05), "timed out after 0.05 s")

    @pytest.mark.parametrize("ask", [ask_manifest, ask_blob, ask_referrers])
    async def test_a_slow_body_ends_with_the_request(self, ask: Ask) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head(manifest.OCI_INDEX if ask is ask_referrers else manifest.OCI_MANIFEST, length=7))
            for _ in range(1000):
                writer.write(b"x" if ask is not ask_blob else b"")
                await writer.drain()
                await asyncio.sleep(0.02)

        network = settings.Network(read_timeout=5.0, request_timeout=0.06)
        await self._refuses(ask, handle, network, "timed out after 0.06 s")

    @pytest.mark.parametrize("ask", [ask_manifest, ask_blob, ask_referrers])
    async def test_an_endless_body_is_cut(self, ask: Ask) -> None:
        sent = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head(manifest.OCI_INDEX if ask is ask_referrers else manifest.OCI_MANIFEST))
            chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
            while True:
                writer.write(chunk)
                await writer.drain()
                sent += 0x8000

        async with raw(handle) as host, client(listed(host)) as (registry, _):
            error = await refusal(ask(registry, Repository(host, "team/app")))
        assert error.code is (Code.REGISTRY_VIOLATION if ask is ask_blob else Code.LIMIT_EXCEEDED)
        assert sent < 32 * 1024 * 1024

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
            pytest.param(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000 + b"\r\n", id="5,000 headers"),
            pytest.param(b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n", id="a header of 100 kB"),
            pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", id="a negative length"),
            pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx", id="less than its length"),
            pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", id="a broken chunk"),
            pytest.param(b"", id="nothing"),
        ],
    )
    async def test_what_is_not_http(self, answer: bytes) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

        async with raw(handle) as host, client(listed(host)) as (registry, _):
            error = await refusal(registry.fetch_manifest(Repository(host, "team/app"), DIGEST))
        assert error.code is Code.REGISTRY_UNAVAILABLE

    async def test_a_deadline_of_the_caller_passes_through(self) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with raw(handle) as host, client(listed(host)) as (registry, _):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await registry.resolve(Repository(host, "team/app"), "v1")

    async def _refuses(self, ask: Ask, handle: object, network: settings.Network, expected: str) -> None:
        async with raw(handle) as host, client(listed(host), network=network) as (registry, _):  # type: ignore[arg-type]
            error = await refusal(ask(registry, Repository(host, "team/app")))
        assert error.code is Code.REGISTRY_UNAVAILABLE
        assert expected in error.detail


def head(media_type: str, length: int | None = None) -> bytes:
    framing = f"content-length: {length}" if length is not None else "transfer-encoding: chunked"
    return f"HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\n{framing}\r\n\r\n".encode()


class TestRedirects:
    async def test_a_blob_comes_from_elsewhere_without_our_credentials(self, app: HostileRegistry) -> None:
        storage = filled()
        credential = Credential(username="me", password=SECRET)
        async with running(app) as host, running(storage) as elsewhere:
            app.rules.append(
                on("/blobs/", 307, headers=(("location", f"http://{elsewhere}/v2/team/app/blobs/{BLOB.digest}"),))
            )
            app.rules.insert(0, basic(authn.basic(credential)))
            entries = (listed(host), listed(elsewhere))
            async with client(*entries, credentials=(Given((credential,)),)) as (registry, _):
                assert await registry.fetch_blob(Repository(host, "team/app"), BLOB, max_bytes=100) == LAYER
        assert storage.authorizations() == [None]
        assert app.authorizations() == [None, authn.basic(credential)]

    @pytest.mark.parametrize("ask", EVERY)
    async def test_a_redirect_at_home_is_followed(
        self, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        def moved(request: Incoming) -> Outgoing | None:
            if "moved" in request.path:
                return None
            return Outgoing(302, (("location", request.path.replace("/team/", "/moved/")),))

        app.rules.append(moved)
        app.repositories["moved/app"] = app.repositories["team/app"]
        assert await ask(registry, repository)
        assert len(app.seen) == 2

    @pytest.mark.parametrize("ask", EVERY)
    async def test_a_redirect_loop_ends(
        self, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(lambda request: Outgoing(307, (("location", request.path),)))
        error = await refusal(ask(registry, repository))
        assert (type(error), error.code) == (RejectedError, Code.REGISTRY_VIOLATION)
        assert len(app.seen) == 4

    @pytest.mark.parametrize(
        "location",
        [
            "http://127.0.0.1:1/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://10.0.0.1/x",
            "https://169.254.169.254/latest/meta-data/",
            "http://169.254.169.254/latest/meta-data/",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://127.1/x",
            "https://localhost/x",
            "https://localhost./x",
            "https://vault/x",
            "https://kubernetes.default.svc/x",
            "https://a.b.svc.cluster.local/x",
            "https://metadata.google.internal/x",
            "https://printer.local/x",
            "http://storage.example.com/x",
            "ftp://storage.example.com/x",
            "gopher://storage.example.com/x",
            "https://user:pass@storage.example.com/x",
            "//169.254.169.254/x",
        ],
    )
    async def test_a_blob_redirect_to_where_we_must_not_go(
        self, location: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/blobs/", 307, headers=(("location", location),)))
        error = await refusal(registry.fetch_blob(repository, BLOB, max_bytes=100))
        assert (type(error), error.code) == (RejectedError, Code.HOST_REFUSED)
        assert len(app.seen) == 1

    @pytest.mark.parametrize(
        "location", ["", "file:///etc/passwd", "http://[", "https:///x", "/a b", "\t", "https://exa\xe4mple.com/"]
    )
    async def test_a_redirect_to_nowhere(
        self, location: str, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/blobs/", 307, headers=(("location", location),)))
        error = await refusal(registry.fetch_blob(repository, BLOB, max_bytes=100))
        assert (type(error), error.code) in (
            (RejectedError, Code.REGISTRY_VIOLATION),
            (RejectedError, Code.HOST_REFUSED),
        )
        assert len(app.seen) == 1

    async def test_a_name_that_leads_to_a_private_address(self, app: HostileRegistry) -> None:
        names = FixedResolver({"storage.example.com": ("10.1.2.3",), "hub.example.com": ("169.254.169.254",)})
        async with running(app) as host, client(listed(host), resolver=names) as (registry, _):
            for name, address in (("storage.example.com", "10.1.2.3"), ("hub.example.com", "169.254.169.254")):
                app.rules[:] = [on("/blobs/", 307, headers=(("location", f"https://{name}/x"),))]
                error = await refusal(registry.fetch_blob(Repository(host, "team/app"), BLOB, max_bytes=100))
                assert (type(error), error.code) == (RejectedError, Code.HOST_REFUSED)
                assert name in error.detail
                assert address in error.detail

    @pytest.mark.parametrize("ask", [ask_resolve, ask_manifest])
    async def test_a_manifest_is_not_fetched_from_another_host(
        self, ask: Ask, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        app.rules.append(on("/v2/", 307, headers=(("location", "https://elsewhere.example.com/x"),)))
        error = await refusal(ask(registry, repository))
        assert (type(error), error.code) == (RejectedError, Code.HOST_REFUSED)
        assert "elsewhere.example.com" in error.detail

    async def test_no_message_shows_a_signed_url(
        self, registry: Registry, repository: Repository, app: HostileRegistry
    ) -> None:
        location = f"https://elsewhere.example.com/x?X-Amz-Signature={SECRET}"
        app.rules.append(on("/v2/", 307, headers=(("location", location),)))
        assert "elsewhere.example.com" in (await refusal(registry.fetch_manifest(repository, DIGEST))).detail
        app.rules[:] = [on("/v2/", 307, headers=(("location", location.replace(".example.com", "")),))]
        assert "'elsewhere'" in (await refusal(registry.fetch_blob(repository, BLOB, max_bytes=100))).detail

    async def test_storage_that_denies_is_no_party_to_the_dialogue(self, app: HostileRegistry) -> None:
        storage = filled(basic("never"))
        credential = Credential(username="me", password=SECRET)
        async with running(app) as host, running(storage) as elsewhere:
            app.rules.append(on("/blobs/", 307, headers=(("location", f"http://{elsewhere}/x"),)))
            entries = (listed(host), listed(elsewhere))
            async with client(*entries, credentials=(Given((credential,)),)) as (registry, _):
                error = await refusal(registry.fetch_blob(Repository(host, "team/app"), BLOB, max_bytes=100))
        assert error.code is Code.ACCESS_DENIED
        assert storage.authorizations() == [None]

    async def test_nobody_is_sent_to_loopback_by_one_that_is_not_there(self, app: HostileRegistry) -> None:
        async with running(app) as host, running(filled()) as elsewhere:
            app.rules.append(on("/blobs/", 307, headers=(("location", f"http://{elsewhere}/x"),)))
            # The sender is listed as loopback, the place as private too: that allowance is not the sender's.
            entries = (listed(host), replace(listed(elsewhere), private=True))
            async with client(*entries) as (registry, _):
                error = await refusal(registry.fetch_blob(Repository(host, "team/app"), BLOB, max_bytes=100))
        assert error.code is Code.HOST_REFUSED


class TestCredentials:
    """The dialogue over real requests; its rules one by one stand in test_authn.py."""

    GIVEN = Credential(username="me", password=SECRET)
    SENT = authn.basic(GIVEN)

    async def ask(self, app: HostileRegistry, *, known: bool = True, also: tuple[str, ...] = ()) -> object:
        """What resolving brings, digest or error, where the rules may name `{host}` as the registry."""
        source = (Given((self.GIVEN,)),) if known else ()
        async with running(app) as host:
            app.rules = [self.at(host, rule) for rule in app.rules]
            async with client(listed(host), *(listed(other) for other in also), credentials=source) as (registry, _):
                try:
                    return await registry.resolve(Repository(host, "team/app"), "v1")
                except CountersignError as error:
                    return checked(error)

    def at(self, host: str, rule: Rule) -> Rule:
        def located(request: Incoming) -> Outgoing | None:
            answer = rule(request)
            if answer is None:
                return None
            return replace(answer, headers=tuple((name, text.replace("{host}", host)) for name, text in answer.headers))

        return located

    async def test_basic(self) -> None:
        app = filled(basic(self.SENT))
        assert await self.ask(app) == DIGEST
        assert app.authorizations() == [None, self.SENT]

    async def test_basic_is_sent_at_once_where_it_is_known(self) -> None:
        app = filled(basic(self.SENT))
        async with running(app) as host, client(listed(host), credentials=(Given((self.GIVEN,)),)) as (registry, _):
            for _ in range(3):
                await registry.resolve(Repository(host, "team/app"), "v1")
        assert app.authorizations() == [None, self.SENT, self.SENT, self.SENT]

    async def test_wrong_credentials_are_tried_once(self) -> None:
        app = filled(basic("Basic other"))
        error = await self.ask(app)
        assert isinstance(error, InconclusiveError)
        assert error.code is Code.ACCESS_DENIED
        assert "credentials given do not suffice" in error.detail
        assert len(app.seen) == 2

    async def test_the_second_credential_is_tried_where_the_first_does_not_suffice(self) -> None:
        app = filled(basic(self.SENT))
        source = Given((Credential(username="old", password=SECRET), self.GIVEN))
        async with running(app) as host, client(listed(host), credentials=(source,)) as (registry, _):
            assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST

    @pytest.mark.parametrize("known", [True, False])
    async def test_a_token_of_the_registry_itself(self, known: bool) -> None:
        app = filled(tokens("abc"), bearer("http://{host}/token", accepts="abc".__eq__))
        assert await self.ask(app, known=known) == DIGEST
        assert app.authorizations("/token") == [self.SENT if known else None]
        (request,) = (seen for seen in app.seen if seen.path == "/token")
        assert request.query == {"service": "registry", "scope": "repository:team/app:pull"}

    async def test_one_token_serves_until_it_ends(self) -> None:
        app = filled(tokens("abc", expires_in=300), bearer("http://{host}/token", accepts="abc".__eq__))
        async with running(app) as host, client(listed(host)) as (registry, observed):
            app.rules = [self.at(host, rule) for rule in app.rules]
            repository = Repository(host, "team/app")
            await asyncio.gather(*(registry.resolve(repository, "v1") for _ in range(10)))
            before = len(app.seen)
            await registry.fetch_manifest(repository, DIGEST)
            await registry.fetch_blob(repository, BLOB, max_bytes=100)
        assert app.lines.count("GET /token") == 1
        assert observed.kinds.count("token") == 1
        assert len(app.seen) == before + 2

    async def test_another_repository_is_asked_with_a_token_at_once(self) -> None:
        app = filled(tokens("abc"), bearer("http://{host}/token", accepts="abc".__eq__))
        app.repositories["team/other"] = app.repositories["team/app"]
        async with running(app) as host, client(listed(host)) as (registry, _):
            app.rules = [self.at(host, rule) for rule in app.rules]
            await registry.resolve(Repository(host, "team/app"), "v1")
            del app.seen[:]
            await registry.resolve(Repository(host, "team/other"), "v1")
        assert app.lines == ["GET /token", "HEAD /v2/team/other/manifests/v1"]

    async def test_a_token_that_ended_is_renewed_once(self) -> None:
        good = {"first"}
        app = filled(tokens("first", "second"), bearer("http://{host}/token", accepts=good.__contains__))
        async with running(app) as host, client(listed(host)) as (registry, _):
            app.rules = [self.at(host, rule) for rule in app.rules]
            repository = Repository(host, "team/app")
            await registry.resolve(repository, "v1")
            good.clear()
            good.add("second")
            del app.seen[:]
            assert await registry.resolve(repository, "v1") == DIGEST
        assert [line.partition(" ")[0] for line in app.lines] == ["HEAD", "GET", "HEAD"]

    async def test_insufficient_scope_ends(self) -> None:
        error = ',error="insufficient_scope"'
        app = filled(tokens(*"abcdefgh"), bearer("http://{host}/token", accepts=lambda _: False, error=error))
        outcome = await self.ask(app)
        assert isinstance(outcome, InconclusiveError)
        assert outcome.code is Code.ACCESS_DENIED
        assert app.lines.count("GET /token") == 2
        assert len(app.seen) == 5

    async def test_credentials_are_kept_from_another_token_service(self) -> None:
        service = filled(tokens("anonymous"))
        async with running(service) as elsewhere:
            app = filled(bearer(f"http://{elsewhere}/token", accepts=lambda _: False))
            error = await self.ask(app, also=(elsewhere,))
        assert isinstance(error, InconclusiveError)
        assert error.code is Code.ACCESS_DENIED
        assert "`tokenHosts`" in error.detail
        assert set(service.authorizations()) == {None}
        assert set(app.authorizations()) == {None, "Bearer anonymous"}

    async def test_credentials_go_to_a_token_service_that_is_listed(self) -> None:
        service = filled(tokens("abc"))
        async with running(service) as elsewhere:
            app = filled(bearer(f"http://{elsewhere}/token", accepts="abc".__eq__))
            async with running(app) as host:
                entry = replace(listed(host), token_hosts=(elsewhere,))
                source = (Given((self.GIVEN,)),)
                async with client(entry, listed(elsewhere), credentials=source) as (registry, _):
                    assert await registry.resolve(Repository(host, "team/app"), "v1") == DIGEST
        assert service.authorizations() == [self.SENT]

    @pytest.mark.parametrize(
        ("realm", "code"),
        [
            ("http://169.254.169.254/token", Code.HOST_REFUSED),
            ("https://169.254.169.254/token", Code.HOST_REFUSED),
            ("https://127.0.0.1/token", Code.HOST_REFUSED),
            ("http://auth.example.com/token", Code.HOST_REFUSED),
            ("https://vault.default.svc/token", Code.HOST_REFUSED),
            ("https://rebind.example.com/token", Code.HOST_REFUSED),
            ("https://me:pass@{host}/token", Code.ACCESS_DENIED),
            ("ftp://{host}/token", Code.ACCESS_DENIED),
            ("/token", Code.ACCESS_DENIED),
            ("https://[/token", Code.ACCESS_DENIED),
            ("http://{host}/a b", Code.ACCESS_DENIED),
        ],
    )
    async def test_a_realm_where_we_must_not_go(self, realm: str, code: Code) -> None:
        app = filled(bearer(realm, accepts=lambda _: False))
        names = FixedResolver({"rebind.example.com": ("169.254.169.254",)})
        async with running(app) as host:
            app.rules = [self.at(host, rule) for rule in app.rules]
            source = (Given((self.GIVEN,)),)
            async with client(listed(host), credentials=source, resolver=names) as (registry, _):
                error = await refusal(registry.resolve(Repository(host, "team/app"), "v1"))
        assert error.code is code
        assert app.authorizations() == [None]

    @pytest.mark.parametrize("location", ["http://169.254.169.254/", "http://{host}/elsewhere"])
    async def test_a_token_service_that_redirects_is_not_followed(self, location: str) -> None:
        app = filled(
            on("/token", 307, headers=(("location", location),)),
            bearer("http://{host}/token", accepts=lambda _: False),
        )
        error = await self.ask(app)
        assert isinstance(error, InconclusiveError)
        assert error.code is Code.ACCESS_DENIED
        assert app.lines[1:] == ["GET /token"]

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Outgoing(200, (), b""), id="empty"),
            pytest.param(Outgoing(200, (), b"[]"), id="an array"),
            pytest.param(Outgoing(200, (), b"{}"), id="no token"),
            pytest.param(Outgoing(200, (), b'{"token": 7}'), id="a number"),
            pytest.param(Outgoing(200, (), b'{"token": "a\\r\\nx-evil: 1"}'), id="a header in it"),
            pytest.param(Outgoing(200, (), b'{"token": "\\u00e4"}'), id="not ASCII"),
            pytest.param(Outgoing(200, (), b'{"token": "' + b"a" * 70_000 + b'"}'), id="70 kB"),
            pytest.param(Outgoing(200, (), b"[" * 10_000), id="depth 10,000"),
            pytest.param(Outgoing(401), id="401"),
            pytest.param(Outgoing(403), id="403"),
            pytest.param(Outgoing(404), id="404"),
        ],
    )
    async def test_no_token_is_access_denied(self, answer: Outgoing) -> None:
        app = filled(
            lambda request: answer if request.path == "/token" else None,
            bearer("http://{host}/token", accepts=lambda _: False),
        )
        error = await self.ask(app)
        assert isinstance(error, InconclusiveError)
        assert error.code is Code.ACCESS_DENIED

    @pytest.mark.parametrize(("status", "code"), [(500, Code.REGISTRY_UNAVAILABLE), (429, Code.RATE_LIMITED)])
    async def test_a_token_service_that_is_down_is_an_outage(self, status: int, code: Code) -> None:
        app = filled(on("/token", status), bearer("http://{host}/token", accepts=lambda _: False))
        error = await self.ask(app)
        assert isinstance(error, InconclusiveError)
        assert error.code is code

    async def test_whoever_gives_up_does_not_take_the_token_from_others(self) -> None:
        app = filled(tokens("abc"), bearer("http://{host}/token", accepts="abc".__eq__))
        async with running(app) as host, client(listed(host)) as (registry, _):
            app.rules = [self.at(host, rule) for rule in app.rules]
            repository = Repository(host, "team/app")
            waiting = [asyncio.ensure_future(registry.resolve(repository, "v1")) for _ in range(4)]
            while "GET /token" not in app.lines:
                await asyncio.sleep(0)
            waiting[0].cancel()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [DIGEST] * 3
        assert app.lines.count("GET /token") == 1
