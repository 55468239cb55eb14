"""The authorize page: who may ask for what, and where the browser is sent."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from tests.standin import CLIENT_ID, REDIRECT_URI, StandIn, client_of, press

INVALID_SCOPE = {
    "error": ["invalid_scope"],
    "error_description": ["The requested scope is invalid, unknown, or malformed."],
    "state": ["s"],
}


@pytest.fixture
def client(standin: StandIn) -> Iterator[httpx.Client]:
    """A browser whose user is logged in, and an application registered with its usual redirect URI."""
    standin.discord.register_app()
    with client_of(standin) as client:
        yield client


def url(path: str = "/oauth2/authorize", /, **changes: str | None) -> str:
    """An authorization request; None leaves a parameter out."""
    values: dict[str, str | None] = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": "identify guilds",
        "state": "s",
    }
    present = {name: value for name, value in (values | changes).items() if value is not None}
    return f"https://discord.com{path}?{urlencode(present)}"


def sent_to(location: str) -> dict[str, list[str]]:
    """The query of a redirect, which must go to the registered URI."""
    assert location.startswith(f"{REDIRECT_URI}?")
    return parse_qs(urlsplit(location).query)


def test_the_page_names_application_user_and_scopes(client: httpx.Client) -> None:
    page = client.get(url())
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for text in ("Stand-in app", "nelly", "<li>identify</li><li>guilds</li>", "id=approve", "id=deny"):
        assert text in page.text


def test_approve_sends_a_code_and_the_state(client: httpx.Client) -> None:
    sent = sent_to(press(client, url()))
    assert sorted(sent) == ["code", "state"]
    assert sent["state"] == ["s"]
    assert sent["code"][0].isalnum()
    assert len(sent["code"][0]) == 30


def test_deny_sends_access_denied_and_no_code(client: httpx.Client) -> None:
    location = press(client, url(), "deny")
    assert sent_to(location) == {
        "error": ["access_denied"],
        "error_description": ["The resource owner or authorization server denied the request"],
        "state": ["s"],
    }
    assert "error_description=The+resource+owner+or" in location


def test_no_state_is_sent_where_none_was_given(client: httpx.Client) -> None:
    assert sorted(sent_to(press(client, url(state=None)))) == ["code"]


def test_a_hostile_state_cannot_leave_its_place_in_the_page(client: httpx.Client) -> None:
    hostile = '"><script>alert(1)</script>&x=1'
    assert "<script>" not in client.get(url(state=hostile)).text
    assert sent_to(press(client, url(state=hostile)))["state"] == [hostile]


@pytest.mark.parametrize("prefix", ["/api", "/api/v6", "/api/v10"])
def test_the_api_address_of_the_page_leads_to_it(client: httpx.Client, prefix: str) -> None:
    answer = client.get(url(f"{prefix}/oauth2/authorize"))
    assert (answer.status_code, answer.headers["location"]) == (302, url())
    assert "code" in sent_to(press(client, url(f"{prefix}/oauth2/authorize")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client_id": "1"}, "Unknown Application"),
        ({"client_id": None}, "Unknown Application"),
        ({"redirect_uri": "https://evil.example/"}, "Invalid OAuth2 redirect_uri"),
        ({"redirect_uri": REDIRECT_URI + "/"}, "Invalid OAuth2 redirect_uri"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_client_or_redirect_is_an_error_page_and_no_redirect(
    client: httpx.Client, changes: dict[str, str | None], message: str, method: str
) -> None:
    answer = client.request(
        method, url(**changes), headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400
    assert message in answer.text
    assert "location" not in answer.headers


def test_an_omitted_redirect_uri_means_the_first_that_is_registered(client: httpx.Client) -> None:
    assert "code" in sent_to(press(client, url(redirect_uri=None)))


def test_only_the_code_flow_is_offered(client: httpx.Client) -> None:
    answer = client.get(url(response_type="token"))
    assert sent_to(answer.headers["location"]) == {"error": ["unsupported_response_type"], "state": ["s"]}


@pytest.mark.parametrize(
    "scope", ["", "identify nonsense", "identify rpc", "applications.commands.update", "activities.read"]
)
def test_unknown_and_unapproved_scopes_are_refused_by_redirect(client: httpx.Client, scope: str) -> None:
    assert sent_to(client.get(url(scope=scope)).headers["location"]) == INVALID_SCOPE


def test_an_approved_application_may_ask_for_its_scope(standin: StandIn, client: httpx.Client) -> None:
    standin.discord.register_app(approved_scopes=["rpc"])
    assert client.get(url(scope="identify rpc")).status_code == 200
    assert sent_to(client.get(url(scope="identify voice")).headers["location"]) == INVALID_SCOPE


@pytest.mark.parametrize("method", [None, "plain", "s256"])
def test_challenge_methods_other_than_s256_are_refused(client: httpx.Client, method: str | None) -> None:
    answer = client.get(url(code_challenge="c" * 43, code_challenge_method=method))
    assert sent_to(answer.headers["location"]) == {
        "error": ["invalid_request"],
        "error_description": ['Unsupported "code_challenge_method"'],
        "state": ["s"],
    }
    assert client.get(url(code_challenge="c" * 43, code_challenge_method="S256")).status_code == 200


def test_role_connections_cannot_be_had_with_pkce(client: httpx.Client) -> None:
    pkce = {"code_challenge": "c" * 43, "code_challenge_method": "S256"}
    refused = client.get(url(scope="role_connections.write", **pkce))
    assert sent_to(refused.headers["location"]) == INVALID_SCOPE
    assert client.get(url(scope="role_connections.write")).status_code == 200


def test_prompt_none_skips_the_page_only_for_scopes_granted_before(
    standin: StandIn, client: httpx.Client
) -> None:
    assert client.get(url(prompt="none")).status_code == 200
    app = standin.discord.register_app()
    tokens = standin.discord.grant(app, scopes=["identify", "guilds"])
    assert "code" in sent_to(client.get(url(prompt="none")).headers["location"])
    assert client.get(url(prompt="consent")).status_code == 200
    assert client.get(url(prompt="none", scope="identify email")).status_code == 200
    standin.discord.revoke(tokens.user, app)
    assert client.get(url(prompt="none")).status_code == 200


def test_prompt_none_does_not_skip_the_page_for_a_bot(standin: StandIn, client: httpx.Client) -> None:
    standin.discord.grant(standin.discord.register_app(), scopes=["identify", "bot"])
    assert client.get(url(prompt="none", scope="identify bot")).status_code == 200
    assert client.get(url(prompt="none", scope="identify")).status_code == 302
