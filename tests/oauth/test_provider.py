"""The schema of provider files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from launcher.run.environment import TABLE
from launcher.setup.settings import RUN_VARIABLE
from oauth.errors import ProviderInvalid
from oauth.provider import OAuth2, Provider, StaticKey, parse_provider
from proxy.paths import is_barred

ROOT = Path(__file__).parents[2]
DISCORD = (files("oauth") / "providers" / "discord.json").read_bytes()

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> bytes:
    definition = json.loads(DISCORD)
    change(definition)
    return json.dumps(definition).encode()


def with_host(host: str) -> bytes:
    return changed(lambda d: d["proxy"].update(hosts=[host]))


def test_the_bundled_discord_definition_says_what_the_documentation_of_discord_says() -> None:
    provider = parse_provider(DISCORD, "discord.json")
    assert provider.display_name == "Discord"
    assert isinstance(provider.auth, OAuth2)
    assert provider.auth.flow == "pkce"
    assert (provider.auth.pkce, provider.auth.device_code, provider.auth.dcr) == (False, False, False)
    assert provider.auth.scopes == ("identify", "email", "guilds", "connections")
    assert provider.auth.authorization_url == "https://discord.com/oauth2/authorize"
    assert provider.auth.token_url == "https://discord.com/api/oauth2/token"
    assert provider.auth.revocation_url == "https://discord.com/api/oauth2/token/revoke"
    assert provider.auth.check_url == "https://discord.com/api/v10/oauth2/@me"
    assert (provider.auth.check_client_field, provider.auth.check_scopes_field) == (
        "application.id",
        "scopes",
    )
    assert provider.auth.error_fields == ("message", "code")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert provider.auth.user_agent == f"DiscordBot (https://discord.com, {version})"
    assert provider.proxy.hosts == ("discord.com",)
    assert provider.env_name == "DISCORD_ACCESS_TOKEN"
    assert provider.env.refresh_token == "DISCORD_REFRESH_TOKEN"


def test_every_scope_of_the_discord_definition_is_one_it_knows() -> None:
    auth = parse_provider(DISCORD, "discord.json").auth
    assert isinstance(auth, OAuth2)
    assert {*auth.scopes, *auth.approval_scopes} <= set(auth.known_scopes)


def test_the_discord_definition_keeps_the_token_from_the_token_endpoints_of_every_api_version() -> None:
    never = parse_provider(DISCORD, "discord.json").proxy.never_paths
    versions = ["", *(f"/v{number}" for number in range(1, 30)), "/v010", "/canary"]
    paths = [f"/api{version}/oauth2/token{end}" for version in versions for end in ("", "/revoke")]
    assert all(any(is_barred(pattern, path) for pattern in never) for path in paths)
    others = (
        "/api/v10/oauth2/@me",
        "/api/v10/oauth2/applications/@me",
        "/api/v10/users/@me",
        "/oauth2/authorize",
    )
    assert not any(is_barred(pattern, path) for pattern in never for path in others)


def test_the_example_files_are_valid() -> None:
    acme = parse_provider((ROOT / "examples/providers/acme.json").read_bytes(), "acme.json")
    keyed = parse_provider((ROOT / "examples/providers/keyed.json").read_bytes(), "keyed.json")
    assert isinstance(acme.auth, OAuth2)
    assert acme.auth.pkce
    assert isinstance(keyed.auth, StaticKey)
    assert (keyed.proxy.header, keyed.proxy.scheme) == ("X-Api-Key", None)
    assert keyed.env_name == "KEYED_API_KEY"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.update(extra=1), "unknown key 'extra'"),
        (lambda d: d["proxy"].update(host=["a.example"]), "proxy: unknown key 'host'"),
        (lambda d: d["auth"].update(oauth2=1), "auth: unknown key 'oauth2'"),
        (lambda d: d["auth"].update(pkse=d["auth"].pop("pkce")), "auth: unknown key 'pkse'"),
        (lambda d: d["env"].update({"\x1b[2J": "A"}), "env: unknown key '\\x1b[2J'"),
        (lambda d: d["auth"].pop("token_url"), "auth.token_url: field required"),
        (lambda d: d["auth"].update(pkce="yes"), "auth.pkce: input should be a valid boolean"),
        (lambda d: d["auth"].update(pkce=1), "auth.pkce: input should be a valid boolean"),
        (lambda d: d["auth"].update(device_code=True), "auth.device_code: input should be False"),
        (lambda d: d.update(schema=2), "schema: input should be 1"),
        (lambda d: d.update(name="Discord"), "name: is not a name"),
        (lambda d: d.update(name="../discord"), "name: is not a name"),
        (lambda d: d.update(display_name="a\x1b[2J"), "display_name: must be a line of printable text"),
        (lambda d: d["proxy"].update(hosts=[]), "proxy.hosts: tuple should have at least 1 item"),
        (lambda d: d["proxy"].update(header="X Y"), "proxy.header: is not a header name"),
        (lambda d: d["proxy"].update(header="X\r\nY"), "proxy.header: is not a header name"),
        (lambda d: d["proxy"].update(scheme=""), "proxy.scheme: is not a header name"),
        (lambda d: d["env"].update(access_token="lower"), "env.access_token: is not an environment"),
        (lambda d: d["auth"].update(user_agent="a\r\nX: y"), "auth.user_agent: is not a User-Agent"),
        (lambda d: d["auth"].update(user_agent=""), "auth.user_agent: is not a User-Agent"),
        (lambda d: d["auth"].update(user_agent="B\u00f6t"), "auth.user_agent: is not a User-Agent"),
        (lambda d: d["auth"].update(error_fields=["a..b"]), "auth.error_fields.0: is not the name"),
        (lambda d: d["auth"].update(check_url="http://discord.com/"), "auth.check_url: must be an https"),
        (lambda d: d["auth"].update(check_client_field="a..b"), "auth.check_client_field: is not the name"),
        (lambda d: d["auth"].update(check_scopes_field=["a"]), "auth.check_scopes_field: input should be"),
        (lambda d: d["auth"].update(scopes=["a b"]), "auth.scopes.0: is not a scope"),
    ],
)
def test_a_wrong_definition_is_refused_with_file_and_field(change: Change, problem: str) -> None:
    with pytest.raises(ProviderInvalid) as caught:
        parse_provider(changed(change), "discord.json")
    assert str(caught.value).startswith(f"discord.json: {problem}")
    assert caught.value.hint


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(ProviderInvalid, match=r"^x\.json: "):
        parse_provider(text, "x.json")


@pytest.mark.parametrize(
    "url",
    [
        "http://discord.com/token",
        "https:///token",
        "https://user@discord.com/token",
        "https://user:pw@discord.com/token",
        "https://discord.com/token#part",
        "https://discord.com:0/token",
        "https://discord.com:99999/token",
        "https://discord.com\\.evil.example/token",
        "https://discord.com/a b",
        "https://discord.com/\n",
        "https://disc\u043erd.com/token",
        "javascript:alert(1)",
        "//discord.com/token",
        "",
    ],
)
def test_only_plain_https_urls_are_endpoints(url: str) -> None:
    with pytest.raises(ProviderInvalid, match=r"auth\.token_url: "):
        parse_provider(changed(lambda d: d["auth"].update(token_url=url)), "discord.json")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "api",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "/a//b",
            "/a/../b",
            "/a/.",
            "/a/..",
            "/a b",
            "/a\\b",
            "/\u00e4",
        ),
        *("/a*", "/a/**", "/a/*b/c"),
    ],
)
def test_a_path_that_could_be_written_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(ProviderInvalid, match=r"proxy\.never_paths\.0: "):
        parse_provider(changed(lambda d: d["proxy"].update(never_paths=[path])), "discord.json")


@pytest.mark.parametrize("path", ["/api/oauth2/token", "/", "/.well-known/x", "/users/@me", "/a...b", "/*/x"])
def test_a_plain_path_is_accepted(path: str) -> None:
    text = changed(lambda d: d["proxy"].update(never_paths=[path]))
    assert parse_provider(text, "discord.json").proxy.never_paths == (path,)


@pytest.mark.parametrize(
    "host",
    [
        "*.discord.com", ".discord.com", "discord.com.", "DISCORD.com", "discord", "https://discord.com",
        "discord.com/", "discord.com:", "discord.com:0", "discord.com:443", "discord.com:65536",
        "discord.com:08", "127.0.0.1", "[::1]", "-a.example",
        "a-.example", "a..example", "a_b.example", "disc\u043erd.com",
        "discord.com\n", " discord.com", "user@discord.com", f"{'a' * 64}.example", "a." * 127 + "example",
        "",
    ],
)  # fmt: skip
def test_a_host_that_is_a_pattern_an_address_or_not_normal_is_refused(host: str) -> None:
    with pytest.raises(ProviderInvalid, match=r"proxy\.hosts\.0: must be a lower-case host name"):
        parse_provider(with_host(host), "discord.json")


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
TOP = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)


@given(st.lists(LABEL, min_size=1, max_size=4), TOP, st.none() | st.integers(1, 65535))
@example(["xn--bcher-kva"], "example", 8443)
def test_every_normal_host_name_is_accepted_as_it_is(labels: list[str], top: str, port: int | None) -> None:
    host = ".".join([*labels, top]) + ("" if port in (None, 443) else f":{port}")
    assert parse_provider(with_host(host), "x").proxy.hosts == (host,)


@given(st.text(max_size=40))
@example("discord.com\u200b")
@example("discord.com:\u0664\u0664")
def test_an_accepted_host_holds_nothing_but_letters_digits_dots_hyphens_and_a_port(host: str) -> None:
    try:
        accepted = parse_provider(with_host(host), "x").proxy.hosts[0]
    except ProviderInvalid:
        return
    assert accepted == host
    assert set(accepted) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.:")


def test_a_definition_cannot_be_changed_after_it_was_read() -> None:
    provider = parse_provider(DISCORD, "discord.json")
    with pytest.raises(ValueError, match="frozen"):
        provider.proxy.hosts = ("evil.example",)  # type: ignore[misc]


SET_BY_THE_LAUNCHER = sorted({name.upper() for row in TABLE for name in row.names} | {RUN_VARIABLE})


@pytest.mark.parametrize("field", ["access_token", "refresh_token", "api_key"])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "PATH",
            "HOME",
            "SHELL",
            "USER",
            "LOGNAME",
            "PWD",
            "TMPDIR",
            "LANG",
            "TERM",
            "IFS",
            "ENV",
            "BASH_ENV",
        ),
        *("LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "LC_ALL", "AUTHSOME_HOME", "PYTHONPATH", "NODE_OPTIONS"),
        *("GIT_SSH_COMMAND", "SSL_CERT_DIR", "ACME_PROXY"),
        *SET_BY_THE_LAUNCHER,
    ],
)
def test_a_variable_of_the_program_is_not_the_providers_to_set(field: str, name: str) -> None:
    with pytest.raises(ProviderInvalid) as caught:
        parse_provider(changed(lambda d: d["env"].update({field: name})), "discord.json")
    assert str(caught.value).startswith(f"discord.json: env.{field}: is {name}, which ")
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["DISCORD_ACCESS_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN", "HOMEBREW_TOKEN", "USER_KEY", "TERMINUS"]
)
def test_a_variable_with_a_name_of_its_own_is_the_providers(name: str) -> None:
    text = changed(lambda d: d["env"].update(access_token=name))
    assert parse_provider(text, "discord.json").env_name == name


def test_a_provider_without_a_variable_has_no_environment_name() -> None:
    provider: Provider = parse_provider(changed(lambda d: d.update(env={})), "discord.json")
    assert provider.env_name is None
