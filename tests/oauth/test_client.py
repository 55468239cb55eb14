"""The endpoints over real TLS, and what becomes of each failure."""

from __future__ import annotations

import gzip
import json
import ssl
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr

from oauth.client import MAX_ANSWER, OAuthClient
from oauth.errors import GrantRefused, OAuthError, ProviderUnavailable
from oauth.health import Probed
from oauth.provider import DEFAULT_USER_AGENT, OAuth2
from oauth.salvage import overheard, overhearing
from tests.oauth.endpoint import Endpoint, Script, answer, reset
from tests.oauth.fakes import PROVIDER
from vault.model import ClientRegistration, OAuthTokens

NOW = 5_000_000.0
CLIENT = ClientRegistration(client_id="id-1", client_secret=SecretStr("canary-secret"))
OLD = OAuthTokens(
    access_token=SecretStr("canary-old-access"),
    refresh_token=SecretStr("canary-old-refresh"),
    scopes=("identify",),
    issued_at=NOW - 100,
)
BODY = json.dumps(
    {"access_token": "canary-new-access", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r2"}
).encode()


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    with Endpoint(tmp_path) as running:
        yield running


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[OAuthClient]:
    trust = overheard(ssl.create_default_context(cafile=endpoint.ca_file))
    async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
        yield OAuthClient(http, lambda: NOW, total_timeout=2.0, exchange_patience=2.0)


@pytest.fixture
def auth(endpoint: Endpoint) -> OAuth2:
    return OAuth2(
        type="oauth2",
        flow="pkce",
        pkce=False,
        authorization_url=f"{endpoint.url}/authorize",
        token_url=f"{endpoint.url}/token",
        revocation_url=f"{endpoint.url}/revoke",
        client_auth="client_secret_post",
        scopes=("identify",),
    )


def sent(endpoint: Endpoint) -> tuple[str, dict[str, str]]:
    head, _, body = endpoint.requests[-1].partition(b"\r\n\r\n")
    return head.decode(), {key: values[0] for key, values in parse_qs(body.decode()).items()}


async def test_a_refresh_posts_a_form_and_gives_the_new_tokens(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2
) -> None:
    endpoint.answers.append(answer(200, BODY))
    tokens = await client.refresh(auth, CLIENT, OLD)
    assert tokens.access_token == SecretStr("canary-new-access")
    assert tokens.refresh_token == SecretStr("r2")
    assert tokens.scopes == ("identify",)
    assert (tokens.issued_at, tokens.expires_at) == (NOW, NOW + 60)
    head, form = sent(endpoint)
    assert head.startswith("POST /token HTTP/1.1\r\n")
    assert "content-type: application/x-www-form-urlencoded" in head.lower()
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "canary-old-refresh",
        "client_id": "id-1",
        "client_secret": "canary-secret",
    }


async def test_a_code_is_exchanged_for_tokens(endpoint: Endpoint, client: OAuthClient, auth: OAuth2) -> None:
    endpoint.answers.append(answer(200, BODY))
    tokens = await client.exchange_code(auth, CLIENT, SecretStr("c0de"), scopes=("a",), verifier="v" * 43)
    assert tokens.scopes == ("a",)
    assert sent(endpoint)[1]["code_verifier"] == "v" * 43


async def test_without_a_refresh_token_there_is_nothing_to_send(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2
) -> None:
    with pytest.raises(ValueError, match="no refresh token"):
        await client.refresh(auth, CLIENT, OLD.model_copy(update={"refresh_token": None}))
    assert endpoint.requests == []


async def test_a_revocation_is_sent_to_its_own_endpoint(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2
) -> None:
    endpoint.answers.append(answer(200, b"{}"))
    await client.revoke(auth, CLIENT, SecretStr("tok"), "refresh_token")
    head, form = sent(endpoint)
    assert head.startswith("POST /revoke ")
    assert (form["token"], form["token_type_hint"]) == ("tok", "refresh_token")


async def test_a_refused_grant_is_known_as_such(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2
) -> None:
    endpoint.answers.append(answer(400, b'{"error": "invalid_grant"}'))
    with pytest.raises(GrantRefused):
        await client.refresh(auth, CLIENT, OLD)


async def test_a_redirect_is_not_followed(endpoint: Endpoint, client: OAuthClient, auth: OAuth2) -> None:
    endpoint.answers += [
        answer(307, b"", b"Location: " + endpoint.url.encode() + b"/other"),
        answer(200, BODY),
    ]
    with pytest.raises(ProviderUnavailable, match="status 307"):
        await client.refresh(auth, CLIENT, OLD)
    assert len(endpoint.requests) == 1


def drip(connection: ssl.SSLSocket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.recv(1)  # until the client gives up


def endless(connection: ssl.SSLSocket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (reset, "localhost broke off the connection"),
        (b"", "localhost broke off the connection"),
        (b"nonsense canary-old-refresh\r\n\r\n", "localhost broke off the connection"),
        (answer(200, BODY)[:-20], "localhost broke off the connection"),
        (answer(200, b"no gzip at all", b"Content-Encoding: gzip"), "could not reach localhost"),
        (answer(200, b" " * (MAX_ANSWER + 1)), "the provider's answer is too large"),
        (endless, "the provider's answer is too large"),
        (answer(200, gzip.compress(bytes(MAX_ANSWER * 9)), b"Content-Encoding: gzip"), "too large"),
        (answer(200, b"<html>"), "no usable answer (status 200)"),
        (answer(503, b""), "no usable answer (status 503)"),
        (answer(429, b"{}", b"Retry-After: 5"), "limits how often it may be asked (status 429)"),
    ],
)
async def test_a_failure_of_the_network_or_the_server_is_an_outage(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2, script: bytes | Script, message: str
) -> None:
    endpoint.answers.append(script)
    with pytest.raises(ProviderUnavailable) as caught:
        await client.refresh(auth, CLIENT, OLD)
    assert message in str(caught.value)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def framed(*lines: bytes, body: bytes = BODY) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", body])


def and_stay_open(data: bytes) -> Script:
    def script(connection: ssl.SSLSocket) -> None:
        connection.sendall(data)
        connection.recv(1)  # until the client has had enough

    return script


@pytest.mark.parametrize(
    "script",
    [
        framed(b"Content-Length: %d" % (len(BODY) + 10)),
        and_stay_open(framed(b"Content-Length: %d" % (len(BODY) + 10))),
        and_stay_open(framed()),
        framed(b"Content-Length: %d" % (len(BODY) - 10)),
        and_stay_open(framed(b"Content-Length: %d" % (len(BODY) - 10))),
        framed(b"Content-Length: 0"),
        framed(b"Content-Length: some"),
        framed(b"Content-Length: -1"),
        framed(b"Content-Length: 5", b"Content-Length: 6"),
        framed(b"Transfer-Encoding: chunked"),
        framed(b"Transfer-Encoding: chunked", body=b"%x\r\n%b" % (len(BODY) + 5, BODY)),
        framed(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\nzz" % (len(BODY), BODY)),
        framed(b"Transfer-Encoding: identity"),
        framed(b"A header without its colon"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + framed(b"Content-Length: 7"),
    ],
)
async def test_tokens_that_came_are_kept_whatever_length_was_announced(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2, script: bytes | Script
) -> None:
    endpoint.answers += [script, script]
    for exchange in (
        client.refresh(auth, CLIENT, OLD),
        client.exchange_code(auth, CLIENT, SecretStr("c0de"), scopes=("a",)),
    ):
        tokens = await exchange
        assert tokens.access_token == SecretStr("canary-new-access")
        assert tokens.refresh_token == SecretStr("r2")


@pytest.mark.parametrize(
    "script",
    [
        framed(b"Content-Length: 500", body=BODY[:-3]),
        framed(b"Content-Length: 500", body=b'{"error": "invalid_grant"}'),
        framed(b"Content-Length: some").replace(b"200 OK", b"400 Bad"),
        framed(b"Content-Length: some").replace(b"HTTP/1.1", b"ICY"),
        framed(b"Content-Length: some", body=b""),
    ],
)
async def test_what_is_no_whole_answer_with_tokens_is_not_taken_for_one(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2, script: bytes
) -> None:
    endpoint.answers.append(script)
    with pytest.raises(OAuthError) as caught:
        await client.refresh(auth, CLIENT, OLD)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


async def test_only_an_exchange_is_overheard(endpoint: Endpoint, client: OAuthClient) -> None:
    with overhearing() as heard:
        pass
    endpoint.answers.append(answer(200, b"{}"))
    await client.probe(PROVIDER, f"{endpoint.url}/me", SecretStr("tok"))
    assert heard == b""


@pytest.mark.parametrize(
    ("header", "again"),
    [
        (b"Retry-After: 5", 5.0),
        (b"Retry-After: 0.25", 0.25),
        (b"Retry-After: Fri, 27 Feb 1970 20:54:20 GMT", 60.0),  # NOW + 60
        (b"Retry-After: Fri, 27 Feb 1970 20:52:20 GMT", 0.0),  # NOW - 60
        (b"Retry-After: soon", 0.0),
        (b"Retry-After: 1e999", 0.0),
        (b"Retry-After: -5", 0.0),
        (b"X-Other: 1", 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_the_time_after_which_to_ask_again_is_a_number_of_seconds_or_a_date(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2, header: bytes, again: float, status: int
) -> None:
    endpoint.answers.append(answer(status, b"", header))
    with pytest.raises(ProviderUnavailable) as caught:
        await client.refresh(auth, CLIENT, OLD)
    assert caught.value.again == again


async def test_a_probe_asks_with_the_credential_in_its_slot_and_tells_all_of_the_answer(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2
) -> None:
    slot = PROVIDER.proxy.model_copy(update={"header": "X-Key", "scheme": None})
    keyed = PROVIDER.model_copy(update={"auth": auth, "proxy": slot})
    endpoint.answers.append(answer(403, b"{}", b'WWW-Authenticate: Bearer error="insufficient_scope"'))
    probed = await client.probe(keyed, f"{endpoint.url}/me", SecretStr("tok"))
    assert probed == Probed(403, b"{}", 'Bearer error="insufficient_scope"')
    assert "x-key: tok" in sent(endpoint)[0].lower()


@pytest.mark.parametrize("user_agent", [None, "AcmeBot (https://acme.example, 7)"])
async def test_every_request_of_ours_names_itself_as_the_provider_wants_and_never_the_http_library(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2, user_agent: str | None
) -> None:
    if user_agent is not None:
        auth = auth.model_copy(update={"user_agent": user_agent})
    basic = auth.model_copy(update={"client_auth": "client_secret_basic"})
    endpoint.answers += [answer(200, BODY)] * 3 + [answer(200, b"{}")] * 3
    await client.refresh(auth, CLIENT, OLD)
    await client.refresh(basic, CLIENT.model_copy(update={"client_secret": None}), OLD)
    await client.exchange_code(basic, CLIENT, SecretStr("c0de"), scopes=())
    await client.revoke(auth, CLIENT, SecretStr("tok"), "refresh_token")
    await client.fetch_account(named(auth), SecretStr("tok"))
    await client.probe(PROVIDER.model_copy(update={"auth": auth}), f"{endpoint.url}/me", SecretStr("tok"))
    for request in endpoint.requests:
        lines = [line for line in request.split(b"\r\n") if line.lower().startswith(b"user-agent:")]
        assert lines == [b"User-Agent: " + (user_agent or DEFAULT_USER_AGENT).encode()]


async def test_an_answer_of_the_largest_size_is_read(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2
) -> None:
    endpoint.answers.append(answer(200, BODY + b" " * (MAX_ANSWER - len(BODY))))
    assert (await client.refresh(auth, CLIENT, OLD)).access_token == SecretStr("canary-new-access")


async def test_an_endpoint_that_stalls_is_given_up(endpoint: Endpoint, auth: OAuth2) -> None:
    trust = ssl.create_default_context(cafile=endpoint.ca_file)
    endpoint.answers.append(drip)
    async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
        with pytest.raises(ProviderUnavailable, match="localhost did not answer in time"):
            await OAuthClient(http, lambda: NOW, exchange_patience=0.1).refresh(auth, CLIENT, OLD)


async def test_a_server_whose_certificate_is_not_trusted_gets_no_request(
    endpoint: Endpoint, auth: OAuth2
) -> None:
    async with httpx.AsyncClient(verify=ssl.create_default_context(), trust_env=False) as http:
        with pytest.raises(ProviderUnavailable, match="certificate of localhost") as caught:
            await OAuthClient(http, lambda: NOW).refresh(auth, CLIENT, OLD)
    assert "SSL_CERT_FILE" in caught.value.hint
    assert endpoint.requests == []


async def test_a_server_with_another_name_gets_no_request(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2
) -> None:
    other = auth.model_copy(update={"token_url": auth.token_url.replace("localhost", "127.0.0.1")})
    with pytest.raises(ProviderUnavailable, match=r"certificate of 127\.0\.0\.1"):
        await client.refresh(other, CLIENT, OLD)
    assert endpoint.requests == []


async def test_no_query_of_an_endpoint_stands_in_a_message(auth: OAuth2, client: OAuthClient) -> None:
    lost = auth.model_copy(update={"token_url": "https://127.0.0.1:1/token?tenant=canary"})
    with pytest.raises(OAuthError) as caught:
        await client.refresh(lost, CLIENT, OLD)
    assert str(caught.value) == "could not reach 127.0.0.1"


def named(auth: OAuth2) -> OAuth2:
    """The same, where the account has a name."""
    url = auth.token_url.replace("/token", "/me")
    return auth.model_copy(update={"userinfo_url": url, "account_field": "username"})


async def test_a_token_that_no_header_can_carry_is_not_quoted(client: OAuthClient, auth: OAuth2) -> None:
    token = SecretStr(f"{'canary'}\r\nX: y")
    with pytest.raises(OAuthError) as caught:
        await client.fetch_account(named(auth), token)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("body", "account"),
    [
        (b'{"username": "nelly"}', "nelly"),
        (b'{"username": "' + b"n" * 500 + b'"}', "n" * 80),
        (b'{"username": 7}', None),
        (b'{"username": ""}', None),
        (b'{"username": "a\\u001b[2J"}', None),
        (b"{}", None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
async def test_the_account_is_named_where_the_provider_names_it(
    endpoint: Endpoint, client: OAuthClient, auth: OAuth2, body: bytes, account: str | None
) -> None:
    endpoint.answers.append(answer(200, body))
    assert await client.fetch_account(named(auth), SecretStr("tok")) == account
    assert "authorization: bearer tok" in sent(endpoint)[0].lower()


async def test_a_refused_account_is_an_error(endpoint: Endpoint, client: OAuthClient, auth: OAuth2) -> None:
    endpoint.answers.append(answer(401, b'{"message": "401: Unauthorized", "code": 0}'))
    with pytest.raises(ProviderUnavailable, match="status 401"):
        await client.fetch_account(named(auth), SecretStr("tok"))
