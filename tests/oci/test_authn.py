"""The dialogue of credentials without a network: what is sent to whom, and when it ends."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.errors import Code, InconclusiveError
from webhook.oci import authn
from webhook.oci.authn import ANONYMOUS, AskResource, AskToken, Credential, Reply, TokenPlan
from webhook.oci.challenge import Challenge, parse_challenges, select
from webhook.oci.reference import Repository

REPOSITORY = Repository("ghcr.io", "team/app")
REGISTRY = authn.Registry("ghcr.io", frozenset({("ghcr.io", 443), ("auth.example.com", 443)}), plain=False)
PASSWORD = Credential(username="me", password="s3cr3t")
OTHER = Credential(username="you", password="0th3r")
BEARER = 'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:team/app:pull,push"'
ELSEWHERE = 'Bearer realm="https://auth.elsewhere.com/token",service="ghcr.io"'
DENIED = InconclusiveError(Code.ACCESS_DENIED, "no token")


def plan(credential: Credential = PASSWORD, realm: str = "https://ghcr.io/token") -> TokenPlan:
    return TokenPlan(realm=realm, service="ghcr.io", scope="repository:team/app:pull", credential=credential)


def converse(
    *answers: Reply | str | InconclusiveError,
    credentials: tuple[Credential, ...] = (PASSWORD,),
    known: Challenge | None = None,
    registry: authn.Registry = REGISTRY,
) -> tuple[list[AskResource | AskToken], Challenge | None]:
    """The steps of a dialogue that is given those answers, and what it learned; every answer must be asked for."""
    dialogue = authn.converse(registry, REPOSITORY, credentials, known)
    steps = [next(dialogue)]
    try:
        for answer in answers:
            steps.append(dialogue.throw(answer) if isinstance(answer, Exception) else dialogue.send(answer))
    except StopIteration as end:
        assert answer is answers[-1]
        return steps, end.value
    raise AssertionError(f"asks on: {steps[-1]}")


def refused(*headers: str) -> Reply:
    return Reply(401, headers)


GRANTED = Reply(200, ())
BASIC = authn.basic(PASSWORD)


class TestDialogue:
    def test_nothing_is_sent_before_it_is_asked_for(self) -> None:
        steps, learned = converse(GRANTED)
        assert steps == [AskResource(PASSWORD, None)]
        assert learned is None

    def test_basic(self) -> None:
        steps, learned = converse(refused("Basic realm=x"), GRANTED)
        assert steps == [AskResource(PASSWORD, None), AskResource(PASSWORD, BASIC)]
        assert learned == Challenge("basic", "x")

    def test_bearer(self) -> None:
        steps, learned = converse(refused(BEARER), "t1", GRANTED)
        assert steps == [
            AskResource(PASSWORD, None),
            AskToken(plan(), stale=None),
            AskResource(PASSWORD, "Bearer t1"),
        ]
        assert learned == Challenge("bearer", "https://ghcr.io/token", "ghcr.io")

    def test_bearer_is_preferred(self) -> None:
        steps, _ = converse(refused("Basic realm=x", BEARER), "t1", GRANTED)
        assert steps[1] == AskToken(plan(), stale=None)

    @pytest.mark.parametrize(
        ("known", "first"),
        [
            (Challenge("basic"), AskResource(PASSWORD, BASIC)),
            (Challenge("bearer", "https://ghcr.io/token", "ghcr.io"), AskToken(plan(), stale=None)),
        ],
    )
    def test_what_is_known_saves_the_refusal(self, known: Challenge, first: AskResource | AskToken) -> None:
        dialogue = authn.converse(REGISTRY, REPOSITORY, (PASSWORD,), known)
        assert next(dialogue) == first

    def test_a_known_token_that_ended_is_renewed_once(self) -> None:
        known = Challenge("bearer", "https://ghcr.io/token", "ghcr.io")
        steps, _ = converse("old", refused(BEARER), "new", refused(BEARER), known=known)
        assert steps[2] == AskToken(plan(), stale="old")
        assert len(steps) == 4

    def test_a_token_that_is_renewed_to_itself_is_not_sent_again(self) -> None:
        steps, _ = converse(refused(BEARER), "same", refused(BEARER), "same")
        assert [type(step) for step in steps] == [AskResource, AskToken, AskResource, AskToken]

    def test_a_realm_that_changes_for_ever_ends(self) -> None:
        challenges = [refused(f'Bearer realm="https://ghcr.io/{number}"') for number in range(4)]
        steps, _ = converse(challenges[0], "a", challenges[1], "b", challenges[2])
        assert sum(isinstance(step, AskResource) for step in steps) == authn.MAX_ASKS

    def test_403_is_no_challenge(self) -> None:
        steps, _ = converse(Reply(403, (BEARER,)))
        assert len(steps) == 1

    @pytest.mark.parametrize("header", ["", "Negotiate", "Digest realm=x", "Bearer", 'Bearer service="x"', "\x00"])
    def test_a_challenge_that_cannot_be_answered_ends(self, header: str) -> None:
        steps, _ = converse(refused(header), credentials=())
        assert steps == [AskResource(ANONYMOUS, None)]

    def test_anonymous_is_not_sent_to_basic(self) -> None:
        steps, _ = converse(refused("Basic realm=x"), credentials=())
        assert len(steps) == 1

    def test_credentials_are_tried_in_turn(self) -> None:
        steps, _ = converse(refused("Basic realm=x"), refused("Basic realm=x"), GRANTED, credentials=(OTHER, PASSWORD))
        assert steps[1:] == [AskResource(OTHER, authn.basic(OTHER)), AskResource(PASSWORD, BASIC)]

    def test_a_credential_without_token_is_followed_by_the_next(self) -> None:
        steps, _ = converse(refused(BEARER), DENIED, refused(BEARER), "t", GRANTED, credentials=(OTHER, PASSWORD))
        assert steps[-1] == AskResource(PASSWORD, "Bearer t")

    def test_an_outage_of_the_token_service_is_no_denial(self) -> None:
        down = InconclusiveError(Code.REGISTRY_UNAVAILABLE, "down")
        with pytest.raises(InconclusiveError) as caught:
            converse(refused(BEARER), down, credentials=(OTHER, PASSWORD))
        assert caught.value is down

    def test_a_registry_token_goes_out_directly(self) -> None:
        credential = Credential(registry_token="rt")
        steps, _ = converse(refused(BEARER), credentials=(credential,))
        assert steps == [AskResource(credential, "Bearer rt")]

    @pytest.mark.parametrize("header", [BEARER.replace("ghcr.io/token", "auth.example.com/t"), BEARER])
    def test_credentials_go_to_whom_they_belong(self, header: str) -> None:
        steps, _ = converse(refused(header), "t", GRANTED)
        assert isinstance(steps[1], AskToken)
        assert steps[1].plan.credential is PASSWORD

    @pytest.mark.parametrize(
        "realm",
        [
            "https://auth.elsewhere.com/token",
            "https://ghcr.io.elsewhere.com/token",
            "https://ghcr.io:8443/token",
            "https://elsewhere.com/ghcr.io/token",
            "https://evilghcr.io/token",
            "https://auth.example.com:444/token",
        ],
    )
    def test_credentials_go_to_nobody_else(self, realm: str) -> None:
        steps, _ = converse(refused(f'Bearer realm="{realm}",service="ghcr.io"'), "anonymous", GRANTED)
        assert steps[1] == AskToken(plan(ANONYMOUS, realm), stale=None)

    def test_a_denial_says_that_credentials_were_kept(self) -> None:
        with pytest.raises(InconclusiveError, match=r"auth\.elsewhere\.com.*`tokenHosts`") as caught:
            converse(refused(ELSEWHERE), "anonymous", refused(ELSEWHERE), "anonymous")
        assert caught.value.code is Code.ACCESS_DENIED
        assert PASSWORD.password not in caught.value.detail

    @pytest.mark.parametrize(
        "realm",
        [
            "http://ghcr.io/token",
            "ftp://ghcr.io/token",
            "//ghcr.io/token",
            "/token",
            "https://me:pass@ghcr.io/token",
            "https://ghcr.io@evil.com/token",
            "https://ghcr.io:port/token",
            "https://ghcr.io:0/token",
            "https://[ghcr.io/token",
            "https:///token",
            "https://ghcr.io/to ken",
            "https://ghcr.io/\u00e4",
        ],
    )
    def test_a_realm_that_is_not_asked(self, realm: str) -> None:
        with pytest.raises(InconclusiveError, match="names a token service that is not asked") as caught:
            converse(refused(f'Bearer realm="{realm}"'))
        assert caught.value.code is Code.ACCESS_DENIED

    def test_a_plain_realm_is_for_a_plain_registry(self) -> None:
        registry = authn.Registry("registry:5000", frozenset({("registry", 5000)}), plain=True)
        steps, _ = converse(refused('Bearer realm="http://registry:5000/token"'), "t", GRANTED, registry=registry)
        assert isinstance(steps[1], AskToken)
        assert steps[1].plan.credential is PASSWORD


class TestTokens:
    def fetch(self, of: TokenPlan, *answers: tuple[int, bytes]) -> tuple[list[authn.TokenRequest], authn.Token]:
        dialogue = authn.fetch_token(of)
        requests = [next(dialogue)]
        try:
            for answer in answers:
                request = dialogue.send(answer)
                requests.append(request)
        except StopIteration as end:
            return requests, end.value
        raise AssertionError("asks on")

    def test_a_password_goes_by_get(self) -> None:
        (request,), token = self.fetch(plan(realm="https://ghcr.io/token?a=b#c"), (200, b'{"token":"t"}'))
        url = urlsplit(request.url)
        assert (url.netloc, url.path, url.fragment) == ("ghcr.io", "/token", "")
        assert parse_qs(url.query) == {"a": ["b"], "service": ["ghcr.io"], "scope": ["repository:team/app:pull"]}
        assert request.authorization == BASIC
        assert token == authn.Token("t", 48.0)

    def test_an_identity_token_goes_by_post(self) -> None:
        credential = Credential(identity_token="it+/=")
        (request,), _ = self.fetch(plan(credential), (200, b'{"access_token":"t"}'))
        assert request.authorization is None
        assert request.form is not None
        assert parse_qs(request.form.decode()) == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["it+/="],
            "service": ["ghcr.io"],
            "scope": ["repository:team/app:pull"],
            "client_id": ["countersign"],
        }

    @pytest.mark.parametrize("status", [400, 401, 404, 405])
    def test_where_post_is_unknown_the_password_goes_by_get(self, status: int) -> None:
        credential = Credential(username="me", password="s3cr3t", identity_token="it")
        requests, _ = self.fetch(plan(credential), (status, b""), (200, b'{"token":"t"}'))
        assert [request.form is None for request in requests] == [False, True]

    def test_where_post_is_unknown_and_there_is_no_password(self) -> None:
        with pytest.raises(InconclusiveError, match="answered 404 to our credentials"):
            self.fetch(plan(Credential(identity_token="it")), (404, b""))

    @pytest.mark.parametrize(
        ("fields", "lifetime"),
        [
            ("", 48.0),
            (',"expires_in":100', 80.0),
            (',"expires_in":1e308', 2880.0),
            (',"expires_in":86400', 2880.0),
            (',"expires_in":1' + "0" * 1000, 2880.0),
            (',"expires_in":0', 48.0),
            (',"expires_in":-5', 48.0),
            (',"expires_in":"100"', 48.0),
            (',"expires_in":null', 48.0),
        ],
    )
    def test_lifetime(self, fields: str, lifetime: float) -> None:
        _, token = self.fetch(plan(), (200, f'{{"token":"t"{fields}}}'.encode()))
        assert token.lifetime == lifetime


class TestChallenges:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ('Basic realm="x"', [Challenge("basic", "x")]),
            ("basic REALM = x", [Challenge("basic", "x")]),
            (BEARER, [Challenge("bearer", "https://ghcr.io/token", "ghcr.io")]),
            ('Bearer realm="a\\"b\\\\c"', [Challenge("bearer", 'a"b\\c')]),
            ('Bearer realm="a",realm="b"', [Challenge("bearer", "a")]),
            ('Negotiate, Basic realm="x"', [Challenge("negotiate"), Challenge("basic", "x")]),
            ('Negotiate abc==, Basic realm="x"', [Challenge("negotiate"), Challenge("basic", "x")]),
            (
                'Basic realm="a, Bearer realm=b", Bearer realm="c"',
                [Challenge("basic", "a, Bearer realm=b"), Challenge("bearer", "c")],
            ),
            ('Bearer realm="open', [Challenge("bearer", "")]),
            ("", []),
            (",,,", []),
            ('="x"', []),
        ],
    )
    def test_parsing(self, header: str, expected: list[Challenge]) -> None:
        assert parse_challenges(header) == expected

    def test_several_lines_are_one_choice(self) -> None:
        chosen = select(("Negotiate", "Basic realm=x", BEARER))
        assert chosen is not None
        assert chosen.scheme == "bearer"

    @given(st.text() | st.from_regex(r'[Bb]earer ([a-z]+="?[^"]*"?,? ?){0,9}'))
    def test_no_header_raises(self, header: str) -> None:
        assert len(parse_challenges(header)) <= 8

    @pytest.mark.parametrize("part", ["a ", 'a="', 'a="\\', "a,", "=", " ", "a=b,", "\\"])
    def test_long_headers_take_no_long_time(self, part: str) -> None:
        parse_challenges(part * 1_000_000)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_basic_is_what_was_given(username: str, password: str) -> None:
    value = authn.basic(Credential(username=username, password=password))
    assert base64.b64decode(value.removeprefix("Basic ")).decode() == f"{username}:{password}"


def test_no_credential_shows_in_a_repr() -> None:
    shown = repr((PASSWORD, plan(), AskResource(PASSWORD, BASIC), AskToken(plan(), "stale"), authn.Token("t0k3n", 1.0)))
    for secret in ("s3cr3t", BASIC, "stale", "t0k3n"):
        assert secret not in shown
