"""The token and revocation endpoints, error for error."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import httpx
import pytest

from tests.standin import (
    CLIENT_ID,
    CLIENT_SECRET,
    REDIRECT_URI,
    Answer,
    App,
    Ending,
    Mishap,
    StandIn,
    Tokens,
    client_of,
)
from tests.standin.clock import Clock

TOKEN = "https://discord.com/api/oauth2/token"
REVOKE = "https://discord.com/api/oauth2/token/revoke"
CLIENT = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")

INVALID_CODE = '{"error": "invalid_grant", "error_description": "Invalid \\"code\\" in request."}'
INVALID_REDIRECT = '{"error": "invalid_grant", "error_description": "Invalid \\"redirect_uri\\" in request."}'
INVALID_REFRESH = '{"error": "invalid_grant", "error_description": "Invalid \\"refresh_token\\" in request"}'
INVALID_SCOPE = (
    '{"error": "invalid_scope", '
    '"error_description": "The requested scope is invalid, unknown, or malformed."}'
)
INVALID_CLIENT = '{"error": "invalid_client"}'
UNSUPPORTED = '{"error": "unsupported_grant_type"}'


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[StandIn]:
    """A stand-in with a clock that the test moves."""
    with StandIn(clock=clock) as standin:
        yield standin


@pytest.fixture
def app(server: StandIn) -> App:
    return server.discord.register_app()


@pytest.fixture
def client(server: StandIn, app: App) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def tokens(server: StandIn, app: App) -> Tokens:
    return server.discord.grant(app)


def refresh(client: httpx.Client, token: str | None, **more: str) -> httpx.Response:
    return client.post(
        TOKEN, data={"grant_type": "refresh_token", "refresh_token": token or "", **CLIENT, **more}
    )


def exchange(client: httpx.Client, code: str, **more: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI, **CLIENT}
    return client.post(TOKEN, data=form | more)


def whoami(client: httpx.Client, access_token: str) -> int:
    headers = {"Authorization": f"Bearer {access_token}"}
    return client.get("https://discord.com/api/v10/users/@me", headers=headers).status_code


def outcome(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.text


def test_a_code_gives_the_five_documented_fields(server: StandIn, app: App, client: httpx.Client) -> None:
    code = server.discord.new_code(app, ["identify", "email"], REDIRECT_URI)
    answer = exchange(client, code.value)
    body = answer.json()
    assert sorted(body) == ["access_token", "expires_in", "refresh_token", "scope", "token_type"]
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 604800, "identify email")
    assert whoami(client, body["access_token"]) == 200


def test_answers_carry_discords_fields(client: httpx.Client, tokens: Tokens) -> None:
    for answer in (refresh(client, tokens.refresh_token), refresh(client, "bad")):
        wanted = ("cache-control", "pragma", "content-type", "via", "server")
        found = [answer.headers[name] for name in wanted]
        assert found == ["no-store", "no-cache", "application/json", "1.1 google", "cloudflare"]
        assert "x-ratelimit-limit" not in answer.headers


@pytest.mark.parametrize("version", ["", "/v6", "/v7", "/v8", "/v9", "/v10"])
def test_every_version_has_the_endpoint(client: httpx.Client, version: str) -> None:
    answer = client.post(f"https://discord.com/api{version}/oauth2/token", data={"grant_type": "x"})
    assert outcome(answer) == (400, UNSUPPORTED)


def test_a_version_that_is_gone_is_refused(client: httpx.Client) -> None:
    answer = client.post("https://discord.com/api/v5/oauth2/token", data={"grant_type": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, 50041)


def test_get_is_not_allowed(client: httpx.Client) -> None:
    assert client.get(TOKEN).status_code == 405
    assert client.get(REVOKE).status_code == 405


@pytest.mark.parametrize("grant", ["", "password", "urn:ietf:params:oauth:grant-type:device_code"])
def test_other_grants_are_unsupported(client: httpx.Client, grant: str) -> None:
    assert outcome(client.post(TOKEN, data={"grant_type": grant, **CLIENT})) == (400, UNSUPPORTED)


def test_parameters_are_taken_from_a_form_only(client: httpx.Client, tokens: Tokens) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token or "", **CLIENT}
    assert outcome(client.post(TOKEN, json=form)) == (400, UNSUPPORTED)
    assert outcome(client.post(TOKEN, params=form)) == (400, UNSUPPORTED)
    assert client.post(TOKEN, data=form).status_code == 200


def test_the_client_may_authenticate_by_basic(client: httpx.Client, tokens: Tokens) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token or ""}
    assert outcome(client.post(TOKEN, data=form, auth=(CLIENT_ID, "wrong"))) == (401, INVALID_CLIENT)
    assert outcome(client.post(TOKEN, data=form, auth=("1", CLIENT_SECRET))) == (401, INVALID_CLIENT)
    assert client.post(TOKEN, data=form, auth=(CLIENT_ID, CLIENT_SECRET)).status_code == 200


def test_garbage_in_basic_is_an_invalid_client(client: httpx.Client) -> None:
    answer = client.post(TOKEN, data={"grant_type": "refresh_token"}, headers={"Authorization": "Basic %%%"})
    assert outcome(answer) == (401, INVALID_CLIENT)


@pytest.mark.parametrize(
    ("client_id", "secret", "status"),
    [(CLIENT_ID, "wrong", 401), (CLIENT_ID, "", 401), ("1", CLIENT_SECRET, 400), ("", "", 400)],
)
def test_a_wrong_client_in_the_form_is_refused(
    client: httpx.Client, tokens: Tokens, client_id: str, secret: str, status: int
) -> None:
    answer = refresh(client, tokens.refresh_token, client_id=client_id, client_secret=secret)
    assert outcome(answer) == (status, INVALID_CLIENT)
    assert refresh(client, tokens.refresh_token).status_code == 200


def test_only_a_public_client_may_leave_its_secret_out(
    server: StandIn, client: httpx.Client, app: App
) -> None:
    public = server.discord.register_app("2", "other-canary", public=True)
    token = server.discord.grant(public).refresh_token
    assert refresh(client, token, client_id="2", client_secret="wrong").status_code == 401
    assert refresh(client, token, client_id="2", client_secret="").status_code == 200


def test_a_code_works_once(server: StandIn, app: App, client: httpx.Client) -> None:
    code = server.discord.new_code(app, ["identify"], REDIRECT_URI).value
    assert exchange(client, code).status_code == 200
    assert outcome(exchange(client, code)) == (400, INVALID_CODE)


def test_a_code_lives_100_seconds(server: StandIn, app: App, client: httpx.Client, clock: Clock) -> None:
    code = server.discord.new_code(app, ["identify"], REDIRECT_URI).value
    late = server.discord.new_code(app, ["identify"], REDIRECT_URI).value
    clock.now += 99.5
    assert exchange(client, code).status_code == 200
    clock.now += 0.5
    assert outcome(exchange(client, late)) == (400, INVALID_CODE)


def test_a_code_belongs_to_its_application(server: StandIn, app: App, client: httpx.Client) -> None:
    server.discord.register_app("2", "other-canary")
    code = server.discord.new_code(app, ["identify"], REDIRECT_URI).value
    assert outcome(exchange(client, code, client_id="2", client_secret="other-canary")) == (400, INVALID_CODE)
    assert exchange(client, code).status_code == 200


def test_an_unknown_code_is_refused(client: httpx.Client) -> None:
    assert outcome(exchange(client, "nonsense")) == (400, INVALID_CODE)


def test_the_redirect_uri_must_be_that_of_the_authorize_request(
    server: StandIn, app: App, client: httpx.Client
) -> None:
    code = server.discord.new_code(app, ["identify"], REDIRECT_URI).value
    for other in (REDIRECT_URI + "/", ""):
        assert outcome(exchange(client, code, redirect_uri=other)) == (400, INVALID_REDIRECT)
    assert exchange(client, code).status_code == 200


@pytest.mark.parametrize(
    ("challenge", "verifier", "error", "description"),
    [
        (CHALLENGE, "", "invalid_request", 'Missing "code_verifier"'),
        (CHALLENGE, "v" * 42, "invalid_request", 'Invalid "code_verifier"'),
        (CHALLENGE, "v" * 129, "invalid_request", 'Invalid "code_verifier"'),
        (CHALLENGE, "w" * 43, "invalid_grant", "Code challenge failed."),
        ("", VERIFIER, "invalid_grant", "Code challenge failed."),
    ],
)
def test_a_wrong_verifier_is_refused(
    server: StandIn,
    app: App,
    client: httpx.Client,
    challenge: str,
    verifier: str,
    error: str,
    description: str,
) -> None:
    code = server.discord.new_code(app, ["identify"], REDIRECT_URI, challenge).value
    answer = exchange(client, code, code_verifier=verifier)
    assert answer.status_code == 400
    assert answer.json() == {"error": error, "error_description": description}


def test_the_right_verifier_is_accepted(server: StandIn, app: App, client: httpx.Client) -> None:
    code = server.discord.new_code(app, ["identify"], REDIRECT_URI, CHALLENGE).value
    assert exchange(client, code, code_verifier=VERIFIER).status_code == 200


def test_a_refresh_token_works_once_and_a_new_one_takes_its_place(
    server: StandIn, client: httpx.Client, tokens: Tokens
) -> None:
    first = refresh(client, tokens.refresh_token).json()
    assert first["refresh_token"] != tokens.refresh_token
    assert outcome(refresh(client, tokens.refresh_token)) == (400, INVALID_REFRESH)
    assert refresh(client, first["refresh_token"]).status_code == 200
    assert (server.discord.refresh_count, server.discord.refused_refreshes) == (2, 1)
    assert [grant.refresh_token for grant in server.discord.issued][:2] == [
        tokens.refresh_token,
        first["refresh_token"],
    ]


@pytest.mark.parametrize(("dies", "status"), [(True, 401), (False, 200)])
def test_the_old_access_token_dies_at_a_refresh_unless_told_otherwise(
    server: StandIn, client: httpx.Client, tokens: Tokens, dies: bool, status: int
) -> None:
    server.discord.old_access_token_dies_on_refresh = dies
    new = refresh(client, tokens.refresh_token).json()["access_token"]
    assert whoami(client, tokens.access_token) == status
    assert whoami(client, new) == 200


def test_a_refresh_may_narrow_scopes_and_never_widen_them(client: httpx.Client, tokens: Tokens) -> None:
    assert outcome(refresh(client, tokens.refresh_token, scope="identify openid")) == (400, INVALID_SCOPE)
    assert refresh(client, tokens.refresh_token, scope="identify").json()["scope"] == "identify"


def test_a_refresh_token_belongs_to_its_application(
    server: StandIn, client: httpx.Client, tokens: Tokens
) -> None:
    server.discord.register_app("2", "other-canary")
    other = refresh(client, tokens.refresh_token, client_id="2", client_secret="other-canary")
    assert outcome(other) == (400, INVALID_REFRESH)
    assert refresh(client, tokens.refresh_token).status_code == 200


def test_an_access_token_expires_and_its_refresh_token_lives_on(
    server: StandIn, client: httpx.Client, tokens: Tokens, clock: Clock
) -> None:
    clock.now += 604799
    assert whoami(client, tokens.access_token) == 200
    clock.now += 1
    assert whoami(client, tokens.access_token) == 401
    new = refresh(client, tokens.refresh_token).json()["access_token"]
    server.discord.expire_access(new)
    assert whoami(client, new) == 401


def test_client_credentials_give_a_token_of_the_owner_without_refresh(client: httpx.Client) -> None:
    form = {"grant_type": "client_credentials", "scope": "identify applications.commands.update"}
    body = client.post(TOKEN, data=form, auth=(CLIENT_ID, CLIENT_SECRET)).json()
    assert sorted(body) == ["access_token", "expires_in", "scope", "token_type"]
    assert whoami(client, body["access_token"]) == 200


@pytest.mark.parametrize("scope", ["", "nonsense", "rpc"])
def test_client_credentials_need_a_valid_scope(client: httpx.Client, scope: str) -> None:
    form = {"grant_type": "client_credentials", "scope": scope, **CLIENT}
    assert outcome(client.post(TOKEN, data=form)) == (400, INVALID_SCOPE)


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", [{}, {"token_type_hint": "access_token"}])
def test_revoking_any_token_kills_all_of_that_user_and_application(
    server: StandIn, app: App, client: httpx.Client, tokens: Tokens, kind: str, hint: dict[str, str]
) -> None:
    second = server.discord.grant(app)
    other_user = server.discord.grant(app, server.discord.user("wumpus"))
    other_app = server.discord.grant(server.discord.register_app("2", "other-canary"))
    token = tokens.access_token if kind == "access_token" else tokens.refresh_token
    answer = client.post(REVOKE, data={"token": token, **CLIENT, **hint})
    assert outcome(answer) == (200, "{}")
    assert [whoami(client, each.access_token) for each in (tokens, second)] == [401, 401]
    assert outcome(refresh(client, second.refresh_token)) == (400, INVALID_REFRESH)
    assert [whoami(client, each.access_token) for each in (other_user, other_app)] == [200, 200]


def test_revoking_an_unknown_token_is_no_error(client: httpx.Client) -> None:
    assert outcome(client.post(REVOKE, data={"token": "nonsense", **CLIENT})) == (200, "{}")


def test_revoking_needs_the_client_and_a_token_in_a_form(client: httpx.Client, tokens: Tokens) -> None:
    token = {"token": tokens.access_token}
    assert outcome(client.post(REVOKE, data=CLIENT)) == (400, '{"error": "invalid_request"}')
    assert outcome(client.post(REVOKE, json=token | CLIENT)) == (400, '{"error": "invalid_request"}')
    assert outcome(client.post(REVOKE, data=token | {"client_id": CLIENT_ID})) == (401, INVALID_CLIENT)
    assert whoami(client, tokens.access_token) == 200


def test_another_application_cannot_revoke(server: StandIn, client: httpx.Client, tokens: Tokens) -> None:
    server.discord.register_app("2", "other-canary")
    client.post(
        REVOKE, data={"token": tokens.access_token, "client_id": "2", "client_secret": "other-canary"}
    )
    assert whoami(client, tokens.access_token) == 200


def test_a_canned_answer_replaces_one_request(server: StandIn, client: httpx.Client, tokens: Tokens) -> None:
    server.discord.token_faults.append(Answer(503, (("Retry-After", "1"),), b"<html>busy</html>"))
    assert outcome(refresh(client, tokens.refresh_token)) == (503, "<html>busy</html>")
    assert server.discord.refresh_count == 0
    assert refresh(client, tokens.refresh_token).status_code == 200


@pytest.mark.parametrize("ending", [Ending.RESET, Ending.TRUNCATED])
def test_a_mishap_loses_the_answer_of_a_refresh_that_was_carried_out(
    server: StandIn, client: httpx.Client, tokens: Tokens, ending: Ending
) -> None:
    server.discord.token_faults.append(Mishap(ending=ending))
    with pytest.raises(httpx.TransportError):
        refresh(client, tokens.refresh_token)
    assert server.discord.refresh_count == 1
    assert outcome(refresh(client, tokens.refresh_token)) == (400, INVALID_REFRESH)
