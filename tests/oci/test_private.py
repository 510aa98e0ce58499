"""Credentials of a pod under review: when they are asked for, and that nobody else profits from them."""

from __future__ import annotations

import pytest

from tests.doubles.ecr import HOST, entry
from tests.doubles.image import BLOB, DIGEST, EVERY, SECRET, Ask, filled, refusal
from tests.doubles.registry import Given, HostileRegistry, Lending, basic, bearer, client, listed, on, running, tokens
from webhook.demo.registry import Incoming, Outgoing
from webhook.errors import Code, InconclusiveError
from webhook.oci import authn
from webhook.oci.authn import Credential
from webhook.oci.reference import Repository

OURS = Credential(username="us", password=SECRET)
THEIRS = Credential(username="tenant", password=SECRET)
STALE = Credential(username="tenant", password="stale")
AWAY = "pull secret 'regcred' could not be read"


class Failing:
    """A `CredentialSource` that cannot know now, as ECR's without a role."""

    async def credentials(
        self, repository: Repository, *, refused: tuple[Credential, ...] = ()
    ) -> tuple[Credential, ...]:
        raise InconclusiveError(Code.ACCESS_DENIED, "no login: no role")


@pytest.mark.parametrize("ask", EVERY)
async def test_a_view_shows_what_the_registry_itself_does_not(ask: Ask) -> None:
    app = filled(basic(authn.basic(THEIRS)))
    async with running(app) as host, client(listed(host)) as (registry, _):
        repository = Repository(host, "team/app")
        view = registry.with_credentials(Lending((THEIRS,)))
        for _ in range(2):
            assert await ask(view, repository)
            for other in (registry, registry.with_credentials(Lending()), registry.with_credentials(Lending((STALE,)))):
                error = await refusal(ask(other, repository))
                assert (type(error), error.code) == (InconclusiveError, Code.ACCESS_DENIED)


@pytest.mark.parametrize("ask", EVERY)
async def test_a_token_is_of_one_credential(ask: Ask) -> None:
    theirs = authn.basic(THEIRS)

    def token(request: Incoming) -> Outgoing | None:
        if request.path != "/token":
            return None
        known = request.headers.get("authorization") == theirs
        return Outgoing(200, (), b'{"token": "theirs"}' if known else b'{"token": "anybodys"}')

    app = filled()
    async with running(app) as host, client(listed(host)) as (registry, _):
        app.rules += [token, bearer(f"http://{host}/token", accepts=lambda value: value == "theirs")]
        repository = Repository(host, "team/app")
        view = registry.with_credentials(Lending((THEIRS,)))
        for _ in range(2):
            assert await ask(view, repository)
            for other in (registry, registry.with_credentials(Lending()), registry.with_credentials(Lending((STALE,)))):
                assert (await refusal(ask(other, repository))).code is Code.ACCESS_DENIED
        kept = len(app.authorizations("/token"))
        assert await ask(view, repository)
        assert len(app.authorizations("/token")) == kept  # one's refusal takes nothing from another


async def test_one_who_has_the_same_credential_is_shown_the_same() -> None:
    app = filled(basic(authn.basic(THEIRS)))
    async with running(app) as host, client(listed(host)) as (registry, _):
        repository = Repository(host, "team/app")
        for _ in range(2):
            assert await registry.with_credentials(Lending((THEIRS,))).resolve(repository, "v1") == DIGEST
        assert app.authorizations().count(None) == 1  # how it wants to be asked is known of the host


async def test_what_is_ours_goes_first_and_nobody_is_asked_for_more() -> None:
    app, own = filled(basic(authn.basic(OURS))), Lending((THEIRS,))
    async with running(app) as host, client(listed(host), credentials=(Given((OURS,)),)) as (registry, _):
        view = registry.with_credentials(own)
        assert await view.resolve(Repository(host, "team/app"), "v1") == DIGEST
        assert own.asked == []
        assert view.lent(Repository(host, "team/app")) == ()
    assert authn.basic(THEIRS) not in app.authorizations()


async def test_a_matching_credential_is_used_at_once() -> None:
    app = filled(basic(authn.basic(THEIRS)))
    async with running(app) as host, client(listed(host)) as (registry, _):
        view, repository = registry.with_credentials(Lending((THEIRS,))), Repository(host, "team/app")
        assert await view.resolve(repository, "v1") == DIGEST
        app.seen.clear()
        assert await view.fetch_blob(repository, BLOB, max_bytes=100)
    assert app.authorizations() == [authn.basic(THEIRS)]


@pytest.mark.parametrize("scheme", ["basic", "bearer", "token service"])
async def test_where_ours_are_refused_the_pods_are_tried(scheme: str) -> None:
    app, theirs = filled(), authn.basic(THEIRS)

    def token(request: Incoming) -> Outgoing | None:
        if request.path != "/token":
            return None
        if request.headers.get("authorization") == theirs:
            return Outgoing(200, (), b'{"token": "theirs"}')
        return Outgoing(403) if scheme == "token service" else Outgoing(200, (), b'{"token": "ours"}')

    async with running(app) as host, client(listed(host), credentials=(Given((OURS,)),)) as (registry, _):
        if scheme == "basic":
            app.rules.append(basic(theirs))
        else:
            app.rules += [token, bearer(f"http://{host}/token", accepts=lambda value: value == "theirs")]
        repository = Repository(host, "team/app")
        assert await registry.with_credentials(Lending((THEIRS,))).resolve(repository, "v1") == DIGEST
        error = await refusal(registry.with_credentials(Lending((STALE,))).resolve(repository, "v1"))
        assert error.code is Code.ACCESS_DENIED
        assert STALE.password not in error.detail


async def test_a_source_that_fails_keeps_nobody_from_the_pods_own() -> None:
    app = filled(basic(authn.basic(THEIRS)))
    async with running(app) as host, client(listed(host), credentials=(Failing(),)) as (registry, _):
        repository = Repository(host, "team/app")
        assert await registry.with_credentials(Lending((THEIRS,))).resolve(repository, "v1") == DIGEST
        for other in (registry, registry.with_credentials(Lending())):
            assert (await refusal(other.resolve(repository, "v1"))).detail == "no login: no role"
        error = await refusal(registry.with_credentials(Lending(away=AWAY)).resolve(repository, "v1"))
        assert error.detail == f"no login: no role; {AWAY}"


@pytest.mark.parametrize("ask", EVERY)
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_what_could_not_be_read_is_no_absence(status: int, ask: Ask) -> None:
    app, own = filled(), Lending(away=AWAY)
    async with running(app) as host, client(listed(host)) as (registry, _):
        repository, view = Repository(host, "team/app"), registry.with_credentials(own)
        assert await ask(view, repository)  # public: nothing is lacking
        app.rules.append(on("/v2/", status))
        error = await refusal(ask(view, repository))
        assert (type(error), error.code) == (InconclusiveError, Code.ACCESS_DENIED)
        assert error.detail.count(AWAY) == 1
        assert f"answered {status}" in error.detail


async def test_an_absence_is_one_where_everything_was_read() -> None:
    app = filled(on("/v2/", 404))
    async with running(app) as host, client(listed(host)) as (registry, _):
        view = registry.with_credentials(Lending((THEIRS,)))
        assert (await refusal(view.resolve(Repository(host, "team/app"), "v1"))).code is Code.IMAGE_NOT_FOUND


async def test_an_outage_of_the_registry_stays_one() -> None:
    app = filled(on("/v2/", 503))
    async with running(app) as host, client(listed(host)) as (registry, _):
        view = registry.with_credentials(Lending(away=AWAY))
        assert (await refusal(view.resolve(Repository(host, "team/app"), "v1"))).code is Code.REGISTRY_UNAVAILABLE


async def test_a_rate_limit_is_of_who_met_it() -> None:
    def limit(request: Incoming) -> Outgoing | None:
        limited = request.headers.get("authorization") == "Bearer t"
        return Outgoing(429, (("retry-after", "60"),)) if limited else None

    app, token = filled(limit), Credential(registry_token="t")
    async with running(app) as host, client(listed(host)) as (registry, _):
        repository = Repository(host, "team/app")
        for _ in range(2):
            error = await refusal(registry.with_credentials(Lending((token,))).resolve(repository, "v1"))
            assert error.code is Code.RATE_LIMITED
            assert await registry.resolve(repository, "v1") == DIGEST
            assert await registry.with_credentials(Lending((THEIRS,))).resolve(repository, "v1") == DIGEST


async def test_credentials_stay_at_home() -> None:
    storage, elsewhere = filled(), filled(tokens("t"))
    app = filled()
    credential = THEIRS
    async with running(app) as host, running(storage) as other, running(elsewhere) as service:
        moved = on("/blobs/", 307, headers=(("location", f"http://{other}/v2/team/app/blobs/{BLOB.digest}"),))
        app.rules += [bearer(f"http://{service}/token", accepts=lambda value: value == "t"), moved]
        async with client(listed(host), listed(other), listed(service)) as (registry, _):
            view = registry.with_credentials(Lending((credential,)))
            assert await view.fetch_blob(Repository(host, "team/app"), BLOB, max_bytes=100)
    assert storage.authorizations() == [None]
    assert elsewhere.authorizations() == [None]


@pytest.mark.parametrize(("first", "second"), [((THEIRS,), ()), ((), (THEIRS,)), ((THEIRS,), (STALE,))])
async def test_what_one_imported_another_asks_for(
    first: tuple[Credential, ...], second: tuple[Credential, ...]
) -> None:
    """A pull-through cache of ECR: that an image is there is learned by each who may see it."""
    app = HostileRegistry()
    app.repositories["docker-hub/app"] = filled().repositories["team/app"]
    async with running(app) as address, client(entry(address, HOST)) as (registry, _):
        repository = Repository(HOST, "docker-hub/app")
        for number, credentials in enumerate((first, first, second, second)):
            view = registry.with_credentials(Lending(credentials))
            await view.prepare(repository)
            await view.import_upstream(repository, DIGEST)
            assert len(app.seen) == (1, 1, 2, 2)[number]


async def test_that_a_registry_has_no_referrers_is_learned_by_one_who_sees_it() -> None:
    app = filled(referrers=False)
    async with running(app) as host, client(listed(host)) as (registry, _):
        repository = Repository(host, "team/app")
        await registry.with_credentials(Lending((THEIRS,))).resolve(repository, "v1")
        await registry.fetch_referrers(repository, DIGEST)
        assert not registry.lacks_referrers(host)  # who did not read it may have been told a lie
        await registry.resolve(repository, "v1")
        assert registry.lacks_referrers(host)
        assert registry.with_credentials(Lending((STALE,))).lacks_referrers(host)
