"""The messages of RFC 6749, 7636 and 7009."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from oauth.errors import (
    ClientRefused,
    GrantRefused,
    OAuthError,
    ProviderUnavailable,
    RequestRefused,
)
from oauth.protocol import (
    MAX_LIFETIME,
    REDIRECT_URI,
    authorization_url,
    check_revoke_answer,
    code_request,
    parse_scopes,
    parse_token_answer,
    pkce_challenge,
    refresh_request,
    refusal,
    revoke_request,
    same_state,
    scope_warnings,
    url_safe,
)
from oauth.provider import OAuth2
from vault.model import ClientRegistration

AUTH = OAuth2(
    type="oauth2",
    flow="pkce",
    pkce=True,
    authorization_url="https://acme.example/authorize",
    token_url="https://acme.example/token",
    revocation_url="https://acme.example/revoke",
    client_auth="client_secret_post",
    scopes=("read",),
    known_scopes=("read", "write", "admin"),
    approval_scopes=("admin",),
)
CLIENT = ClientRegistration(client_id="id:1", client_secret=SecretStr("se cret%"))
NOW = 1_000_000.0
TOKENS = {
    "access_token": "canary-access-1",
    "token_type": "Bearer",
    "expires_in": 604800,
    "refresh_token": "canary-refresh-1",
    "scope": "identify email",
}


def body(**changes: object) -> bytes:
    merged = TOKENS | changes
    return json.dumps({key: value for key, value in merged.items() if value is not ...}).encode()


def form(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


class TestAuthorization:
    def test_the_redirect_uri_is_the_one_users_register(self) -> None:
        assert REDIRECT_URI == "http://127.0.0.1:7998/auth/callback/oauth"

    def test_the_challenge_is_that_of_rfc_7636_appendix_b(self) -> None:
        verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        assert pkce_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

    def test_the_bytes_of_rfc_7636_appendix_b_give_its_verifier(self) -> None:
        octets = bytes([116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186,
                        22, 212, 37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121])  # fmt: skip
        assert url_safe(octets) == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

    @given(st.binary(min_size=32, max_size=96))
    def test_a_verifier_has_43_to_128_unreserved_characters(self, random: bytes) -> None:
        verifier = url_safe(random)
        assert 43 <= len(verifier) <= 128
        assert verifier.replace("-", "").replace("_", "").isalnum()

    @pytest.mark.parametrize("size", [0, 31, 97])
    def test_too_few_or_too_many_random_bytes_are_refused(self, size: int) -> None:
        with pytest.raises(ValueError, match="43 to 128"):
            url_safe(bytes(size))

    def test_the_url_carries_all_parameters_and_no_verifier(self) -> None:
        verifier = "v" * 43
        url = authorization_url(AUTH, "id 1", scopes=("a", "b"), state="st&te", verifier=verifier)
        assert url.startswith("https://acme.example/authorize?")
        assert verifier not in url
        assert parse_qs(urlsplit(url).query) == {
            "response_type": ["code"],
            "client_id": ["id 1"],
            "redirect_uri": [REDIRECT_URI],
            "state": ["st&te"],
            "scope": ["a b"],
            "code_challenge": [pkce_challenge(verifier)],
            "code_challenge_method": ["S256"],
        }

    def test_without_a_verifier_there_is_no_challenge_and_without_scopes_no_scope(self) -> None:
        url = authorization_url(AUTH, "id", scopes=(), state="s")
        assert set(parse_qs(urlsplit(url).query)) == {"response_type", "client_id", "redirect_uri", "state"}

    def test_a_query_of_the_providers_url_is_kept(self) -> None:
        auth = AUTH.model_copy(update={"authorization_url": "https://acme.example/a?tenant=x%20y"})
        url = authorization_url(auth, "id", scopes=(), state="s")
        assert url.startswith("https://acme.example/a?tenant=x%20y&response_type=code&")

    def test_only_the_very_state_is_the_state(self) -> None:
        assert same_state("abc", "abc")
        for wrong in ("", "ab", "abcd", "abC", "\u00e4bc", "\udcff"):
            assert not same_state("abc", wrong)


class TestScopes:
    @pytest.mark.parametrize("text", ["a,b c", "a b c", " a ,, b\tc,", "a,b,c,a"])
    def test_scopes_are_separated_by_commas_or_blanks(self, text: str) -> None:
        assert parse_scopes(text) == ("a", "b", "c")

    @pytest.mark.parametrize("text", ['a"b', "a\\b", "\u00e4", "a\x1b[2J"])
    def test_what_is_no_scope_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a scope"):
            parse_scopes(text)

    def test_unknown_scopes_and_those_that_need_approval_warn(self) -> None:
        assert scope_warnings(AUTH, ("read", "wriet", "admin")) == [
            "the scope 'wriet' is not one the provider documents",
            "the scope 'admin' is granted only to applications the provider has approved",
        ]

    def test_nothing_is_unknown_to_a_provider_that_lists_no_scopes(self) -> None:
        assert scope_warnings(AUTH.model_copy(update={"known_scopes": ()}), ("anything",)) == []


class TestRequests:
    def test_a_code_is_exchanged_with_redirect_uri_verifier_and_client(self) -> None:
        request = code_request(AUTH, CLIENT, SecretStr("c0de"), verifier="v")
        assert request.url == AUTH.token_url
        assert form(request.form) == {
            "grant_type": "authorization_code",
            "code": "c0de",
            "redirect_uri": REDIRECT_URI,
            "code_verifier": "v",
            "client_id": "id:1",
            "client_secret": "se cret%",
        }
        assert parse_qsl(request.body.decode(), strict_parsing=True) == list(request.form)

    def test_without_pkce_no_verifier_is_sent(self) -> None:
        assert "code_verifier" not in form(code_request(AUTH, CLIENT, SecretStr("c")).form)

    def test_a_refresh_asks_for_no_scopes_so_that_it_narrows_nothing(self) -> None:
        request = refresh_request(AUTH, CLIENT, SecretStr("r"))
        assert form(request.form) == {
            "grant_type": "refresh_token",
            "refresh_token": "r",
            "client_id": "id:1",
            "client_secret": "se cret%",
        }

    def test_basic_authentication_encodes_id_and_secret_first(self) -> None:
        auth = AUTH.model_copy(update={"client_auth": "client_secret_basic"})
        request = refresh_request(auth, CLIENT, SecretStr("r"))
        scheme, value = dict(request.headers)["Authorization"].split()
        assert (scheme, base64.b64decode(value)) == ("Basic", b"id%3A1:se+cret%25")
        assert set(form(request.form)) == {"grant_type", "refresh_token"}

    @pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic", "none"])
    def test_a_public_client_names_itself_and_has_no_secret(self, method: str) -> None:
        auth = AUTH.model_copy(update={"client_auth": method})
        request = refresh_request(auth, ClientRegistration(client_id="pub"), SecretStr("r"))
        assert form(request.form)["client_id"] == "pub"
        assert "client_secret" not in form(request.form)
        assert request.headers == ()

    def test_a_provider_that_wants_no_secret_gets_none(self) -> None:
        auth = AUTH.model_copy(update={"client_auth": "none"})
        request = refresh_request(auth, CLIENT, SecretStr("r"))
        assert b"cret" not in request.body
        assert request.headers == ()

    def test_a_revocation_names_the_token_and_its_kind(self) -> None:
        request = revoke_request(AUTH, CLIENT, SecretStr("r"), "refresh_token")
        assert request.url == AUTH.revocation_url
        assert form(request.form)["token"] == "r"
        assert form(request.form)["token_type_hint"] == "refresh_token"

    def test_without_a_revocation_endpoint_nothing_can_be_revoked(self) -> None:
        with pytest.raises(ValueError, match="no revocation endpoint"):
            revoke_request(
                AUTH.model_copy(update={"revocation_url": None}), CLIENT, SecretStr("r"), "access_token"
            )

    def test_the_repr_of_a_request_shows_no_secret(self) -> None:
        for method in ("client_secret_post", "client_secret_basic"):
            request = refresh_request(
                AUTH.model_copy(update={"client_auth": method}), CLIENT, SecretStr("canary")
            )
            assert repr(request) == "FormRequest(url='https://acme.example/token')"


class TestTokenAnswers:
    def test_an_answer_as_discord_gives_it_is_taken_whole(self) -> None:
        tokens = parse_token_answer(200, body(guild={"id": "1"}), NOW).as_tokens(("other",))
        assert tokens.access_token.get_secret_value() == "canary-access-1"
        assert tokens.refresh_token == SecretStr("canary-refresh-1")
        assert tokens.scopes == ("identify", "email")
        assert (tokens.issued_at, tokens.expires_at) == (NOW, NOW + 604800)
        assert tokens.token_type == "Bearer"

    @pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", ..., None])
    def test_the_bearer_type_is_known_in_any_case_and_where_it_is_left_out(self, kind: object) -> None:
        assert parse_token_answer(200, body(token_type=kind), NOW).access_token

    @pytest.mark.parametrize("kind", ["mac", "DPoP", "bearer x"])
    def test_a_token_that_is_no_bearer_token_is_refused(self, kind: str) -> None:
        with pytest.raises(RequestRefused, match="not a bearer token"):
            parse_token_answer(200, body(token_type=kind), NOW)

    @pytest.mark.parametrize("value", [..., None, ""])
    def test_without_a_new_refresh_token_the_old_one_stays(self, value: object) -> None:
        answer = parse_token_answer(200, body(refresh_token=value), NOW)
        assert answer.as_tokens((), SecretStr("old")).refresh_token == SecretStr("old")
        assert answer.as_tokens(()).refresh_token is None

    def test_a_new_refresh_token_replaces_the_old_one(self) -> None:
        answer = parse_token_answer(200, body(), NOW)
        assert answer.as_tokens((), SecretStr("old")).refresh_token == SecretStr("canary-refresh-1")

    @pytest.mark.parametrize("value", [..., None, 7, {}])
    def test_without_granted_scopes_those_that_were_asked_for_count(self, value: object) -> None:
        answer = parse_token_answer(200, body(scope=value), NOW)
        assert answer.as_tokens(("asked",)).scopes == ("asked",)

    @pytest.mark.parametrize(
        ("value", "scopes"),
        [
            ("a b", ("a", "b")),
            ("a,b", ("a", "b")),
            (" a  b a", ("a", "b")),
            (["a", "b", 3], ("a", "b")),
            ("", ()),
            ("a \x1b[2J b\u202e", ("a",)),
        ],
    )
    def test_granted_scopes_are_kept_as_granted(self, value: object, scopes: tuple[str, ...]) -> None:
        assert parse_token_answer(200, body(scope=value), NOW).as_tokens(("asked",)).scopes == scopes

    @pytest.mark.parametrize(
        ("value", "lifetime"),
        [
            (604800, 604800),
            (1, 1),
            (3600.5, 3600.5),
            ("3600", 3600),
            (" 3600 ", 3600),
            (10**30, MAX_LIFETIME),
            (1e300, MAX_LIFETIME),
            ("9" * 18, MAX_LIFETIME),
        ],
    )
    def test_a_lifetime_of_any_shape_gives_the_expiry(self, value: object, lifetime: float) -> None:
        assert parse_token_answer(200, body(expires_in=value), NOW).expires_at == NOW + lifetime

    @pytest.mark.parametrize(
        "value", [..., None, 0, -1, -1e9, 0.0, "", "soon", "-5", "9" * 19, "٣", True, False, [], {}]
    )
    def test_a_lifetime_that_says_nothing_is_unknown(self, value: object) -> None:
        assert parse_token_answer(200, body(expires_in=value), NOW).expires_at is None

    @pytest.mark.parametrize("raw", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 4000])
    def test_a_lifetime_that_is_no_number_or_beyond_all_numbers_breaks_nothing(self, raw: bytes) -> None:
        text = body(expires_in=12345).replace(b"12345", raw)
        assert parse_token_answer(200, text, NOW).expires_at in (None, NOW + MAX_LIFETIME)

    @pytest.mark.parametrize("value", [..., None, "", 7, [], "a b", "a\r\nX: y", "a\x00", "t\u00e4"])
    def test_an_access_token_that_no_header_can_carry_is_no_answer(self, value: object) -> None:
        with pytest.raises(ProviderUnavailable):
            parse_token_answer(200, body(access_token=value), NOW)

    @pytest.mark.parametrize(
        "raw",
        [b"", b"{", body()[:-9], b"[]", b"null", b'"x"', b"<html>", b"\xff\xfe\x00", b"[" * 60_000],
    )
    def test_a_body_that_is_no_token_answer_is_an_outage(self, raw: bytes) -> None:
        with pytest.raises(ProviderUnavailable):
            parse_token_answer(200, raw, NOW)

    def test_an_error_with_status_200_is_an_error(self) -> None:
        with pytest.raises(GrantRefused):
            parse_token_answer(200, b'{"error": "invalid_grant"}', NOW)

    @given(st.integers(100, 599), st.binary(max_size=200))
    def test_whatever_arrives_gives_tokens_or_an_error_of_ours(self, status: int, raw: bytes) -> None:
        with suppress(OAuthError):
            assert parse_token_answer(status, raw, NOW).issued_at == NOW

    def test_the_repr_of_an_answer_shows_no_secret(self) -> None:
        assert "canary" not in repr(parse_token_answer(200, body(), NOW))


def error_body(code: object, description: object = None) -> bytes:
    return json.dumps({"error": code, "error_description": description}).encode()


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (400, "invalid_grant", GrantRefused),
            (401, "invalid_grant", GrantRefused),
            (401, "invalid_client", ClientRefused),
            (400, "invalid_client", ClientRefused),
            (400, "unauthorized_client", ClientRefused),
            (400, "invalid_request", RequestRefused),
            (400, "invalid_scope", RequestRefused),
            (400, "unsupported_grant_type", RequestRefused),
            (400, "something_else", RequestRefused),
            (400, "temporarily_unavailable", ProviderUnavailable),
            (400, "server_error", ProviderUnavailable),
            (429, "invalid_grant", ProviderUnavailable),
            (408, "invalid_grant", ProviderUnavailable),
            (500, "invalid_grant", ProviderUnavailable),
            (503, "temporarily_unavailable", ProviderUnavailable),
            (302, "invalid_grant", ProviderUnavailable),
            (400, "x" * 65, ProviderUnavailable),
            (400, "a b\x1b", ProviderUnavailable),
            (400, {"code": 1}, ProviderUnavailable),
            (400, None, ProviderUnavailable),
        ],
    )
    def test_an_error_is_classified(self, status: int, code: object, kind: type[OAuthError]) -> None:
        assert type(refusal(status, error_body(code))) is kind

    @pytest.mark.parametrize(
        ("status", "raw"),
        [
            (500, b'{"message": "500: Internal Server Error", "code": 0}'),
            (400, b'{"message": "400: Bad Request", "code": 0}'),
            (405, b""),
            (400, b'{"error": "invalid_gra'),
        ],
    )
    def test_what_is_no_oauth_error_says_nothing_about_the_grant(self, status: int, raw: bytes) -> None:
        error = refusal(status, raw)
        assert type(error) is ProviderUnavailable
        assert str(error) == f"the provider gave no usable answer (status {status})"

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            ({"message": "Invalid Form Body", "code": 50035, "errors": {"client_id": {}}}, ClientRefused),
            ({"message": "Invalid Form Body", "code": 50035, "errors": {}}, ClientRefused),
            ({"message": "Invalid Form Body", "code": 50035}, ClientRefused),
            ({"client_id": ['Value "my-app" is not snowflake.']}, ClientRefused),
            ({"message": "Invalid Form Body", "code": 50035, "errors": {"scope": {}}}, ProviderUnavailable),
            ({"message": "400: Bad Request", "code": 0}, ProviderUnavailable),
            ({"client_id": "my-app"}, ProviderUnavailable),
        ],
    )
    def test_a_client_id_that_can_be_none_is_refused_as_such(
        self, answer: dict[str, object], kind: type[OAuthError]
    ) -> None:
        error = refusal(400, json.dumps(answer).encode())
        assert type(error) is kind
        assert error.hint.startswith("check the client ID") is (kind is ClientRefused)

    @pytest.mark.parametrize(
        ("raw", "header", "again", "hint"),
        [
            (b'{"message": "You are being rate limited.", "retry_after": 1.5}', None, 1.5, "in 2 seconds"),
            (b'{"retry_after": 1.5}', 7.0, 7.0, "in 7 seconds"),
            (b'{"retry_after": 20000}', 20.0, 20.0, "in 20 seconds"),
            (b'{"retry_after": 20000}', None, 20.0, "in 20 seconds"),
            (b'{"retry_after": 999}', None, 999.0, "in 999 seconds"),
            (b'{"retry_after": 1064.57}', None, 1064.57, "in 1065 seconds"),
            (b'\xef\xbb\xbf{"retry_after": 2}', None, 2.0, "in 2 seconds"),
            (b'{"retry_after": "x"}', None, 0.0, "in some minutes"),
            (b'{"retry_after": -1}', None, 0.0, "in some minutes"),
            (b'{"retry_after": 1e999}', None, 0.0, "in some minutes"),
            (b"<html>error 1015</html>", None, 0.0, "in some minutes"),
        ],
    )
    def test_a_rate_limit_says_when_to_ask_again(
        self, raw: bytes, header: float | None, again: float, hint: str
    ) -> None:
        error = refusal(429, raw, header)
        assert isinstance(error, ProviderUnavailable)
        assert (error.again, error.hint) == (again, f"try again {hint}")

    def test_a_page_with_status_403_is_a_block_that_another_try_does_not_end(self) -> None:
        error = refusal(403, b"<html>error 1015</html>")
        assert isinstance(error, ProviderUnavailable)
        assert error.again is None
        assert "another network" in error.hint

    def test_a_description_is_shown(self) -> None:
        error = refusal(400, error_body("invalid_grant", 'Invalid "redirect_uri" in request.'))
        assert str(error) == (
            'the provider refused the grant: invalid_grant (Invalid "redirect_uri" in request)'
        )

    @pytest.mark.parametrize(
        "token", ["canary-refresh-token-1", "token=abcdef0123456789", "A" * 30, "a" * 200]
    )
    def test_what_looks_like_a_token_in_a_description_is_hidden(self, token: str) -> None:
        text = str(refusal(400, error_body("invalid_grant", f"no such token: {token}.")))
        assert token not in text
        assert "[hidden]" in text

    def test_a_description_cannot_steer_a_terminal_or_fill_it(self) -> None:
        text = str(refusal(400, error_body("invalid_scope", "\x1b[2J\u202ea\r\nb " + "word " * 1000)))
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 300

    @pytest.mark.parametrize("description", [None, 7, [], "", "  "])
    def test_a_description_that_says_nothing_is_left_out(self, description: object) -> None:
        text = str(refusal(400, error_body("invalid_scope", description)))
        assert text == "the provider refused the request: invalid_scope"

    def test_a_revocation_is_accepted_by_its_status_alone(self) -> None:
        for raw in (b"", b"{}", b"<html>"):
            check_revoke_answer(200, raw)

    def test_a_refused_revocation_is_an_error(self) -> None:
        with pytest.raises(ClientRefused):
            check_revoke_answer(401, error_body("invalid_client"))
        with pytest.raises(ProviderUnavailable):
            check_revoke_answer(503, b"")
