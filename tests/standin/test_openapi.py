"""The bodies of the REST endpoints against Discord's own OpenAPI description, where a copy is at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.standin import RateLimit, StandIn, client_of

ROOT = Path(__file__).parents[2]
BESIDE = ROOT.parent / "shared" / "facts" / "discord-openapi-subset.json"

SCOPES = ("identify", "email", "guilds", "connections", "openid")
PATHS = (
    "/users/@me",
    "/users/@me/guilds",
    "/users/@me/connections",
    "/oauth2/@me",
    "/oauth2/userinfo",
    "/gateway",
    "/oauth2/keys",
)


class Official:
    """The official description of each operation's bodies."""

    def __init__(self, path: Path) -> None:
        resource = Resource.from_contents(json.loads(path.read_bytes()), default_specification=DRAFT202012)
        self._registry = Registry().with_resource("urn:discord", resource)

    def problems(self, pointer: str, body: object) -> list[str]:
        """What is wrong with `body`, judged by the schema at `pointer`."""
        schema = {"$ref": f"urn:discord#{pointer}"}
        validator = Draft202012Validator(
            schema, registry=self._registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]

    def answer(self, path: str, body: object) -> list[str]:
        """What is wrong with the body of a 200 to GET `path`."""
        escaped = path.replace("~", "~0").replace("/", "~1")
        return self.problems(f"/paths/{escaped}/get/responses/200/content/application~1json/schema", body)


@pytest.fixture(scope="module")
def official() -> Official:
    path = Path(os.environ.get("AUTHSOME_OPENAPI") or BESIDE)
    if not path.is_file():
        pytest.skip("official OpenAPI subset not beside this clone")
    return Official(path)


@pytest.fixture
def client(standin: StandIn) -> Iterator[httpx.Client]:
    """Sends a token that may see everything."""
    tokens = standin.discord.grant(standin.discord.register_app(), scopes=SCOPES)
    with client_of(standin) as client:
        client.headers["Authorization"] = f"Bearer {tokens.access_token}"
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_every_body_is_what_discord_describes(official: Official, client: httpx.Client, path: str) -> None:
    body = client.get(f"https://discord.com/api/v10{path}?with_counts=true").raise_for_status().json()
    assert official.answer(path, body) == []


@pytest.mark.parametrize("scope", ["identify", "openid"])
def test_bodies_for_fewer_scopes_are_too(official: Official, standin: StandIn, scope: str) -> None:
    tokens = standin.discord.grant(standin.discord.register_app(), scopes=[scope])
    headers = {"Authorization": f"Bearer {tokens.access_token}"}
    paths = ("/oauth2/@me", "/users/@me" if scope == "identify" else "/oauth2/userinfo")
    with client_of(standin) as client:
        for path in paths:
            body = client.get(f"https://discord.com/api{path}", headers=headers).raise_for_status().json()
            assert official.answer(path, body) == []


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_lacks_a_field_is_found_out(official: Official, client: httpx.Client, path: str) -> None:
    body = client.get(f"https://discord.com/api/v10{path}").raise_for_status().json()
    record = body[0] if isinstance(body, list) else body
    needed = {"/oauth2/@me": "scopes", "/oauth2/userinfo": "sub", "/gateway": "url", "/oauth2/keys": "keys"}
    del record[needed.get(path, "id")]
    assert official.answer(path, body) != []


# Not the body of an invalid form: there the description wants numbers as the inner codes, while the
# documentation and Discord use words; the description itself asks to be distrusted where they differ.
@pytest.mark.parametrize("path", ["/users/@me", "/nothing"])
def test_error_bodies_are_what_discord_describes(official: Official, client: httpx.Client, path: str) -> None:
    if path == "/users/@me":
        del client.headers["Authorization"]
    answer = client.get(f"https://discord.com/api/v10{path}")
    assert answer.is_client_error
    assert official.problems("/components/schemas/ErrorResponse", answer.json()) == []
    assert official.problems("/components/schemas/ErrorResponse", {"message": "no code"}) != []


def test_the_body_of_a_429_is_what_discord_describes(
    official: Official, standin: StandIn, client: httpx.Client
) -> None:
    standin.discord.rate_limit = RateLimit(limit=0)
    answer = client.get("https://discord.com/api/v10/gateway")
    assert answer.status_code == 429
    assert official.problems("/components/schemas/RatelimitedResponse", answer.json()) == []
    assert official.problems("/components/schemas/RatelimitedResponse", {"message": "", "code": 0}) != []
