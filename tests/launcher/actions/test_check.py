"""Transcripts of `authsome check` against a stand-in provider: text and exit code of every state."""

import json
import re
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from launcher.actions.check import exit_code
from launcher.errors import ExitCode
from oauth.health import Examined
from tests.launcher.cli import ROOT, Program, Said
from tests.standin import CLIENT_ID, CLIENT_SECRET, Answer, Mishap, StandIn, Tokens
from vault.model import ApiKey, ClientRegistration, Connection, ConnectionKey, Health, OAuthTokens

KEY = ConnectionKey("default", "discord", "default")
KEYED = ConnectionKey("default", "keyed", "default")


class Desk:
    """The program, a stand-in provider, and the one application that the provider knows."""

    def __init__(self, home: Path, standin: StandIn) -> None:
        self.standin = standin
        self.discord = standin.discord
        self.app = standin.discord.register_app()
        self.registered = False
        self.authsome = Program(
            home,
            {"AUTHSOME_CONNECT_TO": ",".join(standin.connect_to), "SSL_CERT_FILE": str(standin.ca_file)},
        )

    def connect(
        self,
        name: str = "default",
        *,
        granted: tuple[str, ...] = ("identify", "guilds"),
        lifetime: float = 600_000.0,
        refresh: bool = True,
        access: str = "",
        client: ClientRegistration | None = None,
    ) -> Tokens:
        """A login, in the vault and at the provider."""
        tokens = self.discord.grant(self.app, scopes=granted)
        registered = ClientRegistration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))
        self.authsome.connect(
            name=name,
            access=access or tokens.access_token,
            refresh=tokens.refresh_token if refresh else None,
            lifetime=lifetime,
            client=None if self.registered else client or registered,
        )
        self.registered = True
        return tokens

    def check(self, *options: str) -> Said:
        return self.authsome("check", "discord", *options)

    def stored(self, key: ConnectionKey = KEY) -> Connection:
        with self.authsome.vault() as vault:
            found = vault.connection(key)
        assert found
        return found.value

    def targets(self) -> list[str]:
        return [seen.target for seen in self.standin.seen]


@pytest.fixture
def desk(tmp_path: Path, standin: StandIn) -> Desk:
    return Desk(tmp_path / "home", standin)


def transcript(health: str, message: str = "", hint: str = "") -> tuple[str, str]:
    """What a check of discord/default alone prints on its two streams."""
    out = f"CONNECTION       HEALTH\ndiscord/default  {health}\n"
    err = f"authsome: warning: {message}\n" if message else ""
    return out, err + (f"authsome: hint: {hint}\n" if hint else "")


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_healthy_connection(desk: Desk) -> None:
    desk.connect()
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (0, transcript("healthy"))
    assert desk.targets() == ["/api/v10/oauth2/@me"]


def test_a_token_that_is_due_is_refreshed_and_healthy(desk: Desk) -> None:
    desk.connect(lifetime=-1.0)
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (0, transcript("healthy"))
    assert desk.discord.refresh_count == 1
    credential = desk.stored().credential
    assert isinstance(credential, OAuthTokens)
    assert desk.discord.access(credential.access_token.get_secret_value())


def test_a_dead_access_token_with_a_good_refresh_token_is_refreshed_and_healthy(desk: Desk) -> None:
    desk.connect(access="CANARY-dead")
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (0, transcript("healthy"))
    assert desk.discord.refresh_count == 1


def test_a_revoked_connection(desk: Desk) -> None:
    tokens = desk.connect()
    desk.discord.revoke(tokens.user, tokens.app)
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "revoked",
            "could not refresh discord/default: the provider refused the refresh token",
            "run 'authsome login discord'",
        ),
    )
    credential = desk.stored().credential
    assert isinstance(credential, OAuthTokens)
    assert credential.refresh_token == SecretStr(tokens.refresh_token or ""), "nothing is wiped"


def test_a_connection_that_is_known_to_be_revoked_costs_the_provider_no_request(desk: Desk) -> None:
    tokens = desk.connect()
    desk.discord.revoke(tokens.user, tokens.app)
    desk.check()
    desk.standin.forget()
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "revoked",
            "discord/default has expired: the provider refused its refresh token",
            "run 'authsome login discord'",
        ),
    )
    assert desk.targets() == []


def test_a_revoked_token_that_cannot_be_refreshed(desk: Desk) -> None:
    tokens = desk.connect(refresh=False)
    desk.discord.revoke(tokens.user, tokens.app)
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "revoked",
            "the provider answers 401 to discord/default, and a refresh does not help",
            "run 'authsome login discord'",
        ),
    )


def test_a_connection_that_ends_soon_and_cannot_be_refreshed(desk: Desk) -> None:
    desk.connect(refresh=False, lifetime=5.5 * 3600)
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "expiring",
            "discord/default ends in 5 hours and cannot be refreshed",
            "run 'authsome login discord'",
        ),
    )


def test_a_connection_that_ends_later_or_can_be_refreshed_is_healthy(desk: Desk) -> None:
    desk.connect(refresh=False, lifetime=24.5 * 3600)
    desk.connect("work", lifetime=5.5 * 3600)
    said = desk.check("--all")
    assert (said.status, said.err) == (0, "")


def test_a_connection_that_has_ended(desk: Desk) -> None:
    desk.connect(refresh=False, lifetime=-1.0)
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "expired",
            "discord/default has expired and has no refresh token",
            "run 'authsome login discord'",
        ),
    )


def test_a_connection_of_another_application(desk: Desk) -> None:
    desk.connect(client=ClientRegistration(client_id="42", client_secret=SecretStr("CANARY")))
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "wrong-client",
            "discord/default belongs to another application than the client id that is stored",
            "run 'authsome login discord'",
        ),
    )


def test_an_application_that_was_forgotten_is_not_called_another_one(desk: Desk) -> None:
    desk.connect()
    assert desk.authsome("logout", "discord", "--application").status == 0
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "wrong-client",
            "no application is stored for discord/default, which cannot be refreshed without it",
            "run 'authsome login discord'",
        ),
    )


def test_a_client_secret_that_is_refused(desk: Desk) -> None:
    wrong = ClientRegistration(client_id=CLIENT_ID, client_secret=SecretStr("CANARY-wrong"))
    desk.connect(lifetime=-1.0, client=wrong)
    said = desk.check()
    out, err = transcript(
        "wrong-client",
        "could not refresh discord/default: the provider refused the client id or secret: invalid_client",
        "run 'authsome login discord --new-application'",
    )
    assert (said.status, said.out, said.err) == (3, out, err)


def test_a_client_id_that_is_no_number(desk: Desk) -> None:
    desk.connect(
        lifetime=-1.0, client=ClientRegistration(client_id="my-app", client_secret=SecretStr("CANARY"))
    )
    said = desk.check()
    out, err = transcript(
        "wrong-client",
        "could not refresh discord/default: "
        "the provider takes this for no client ID at all: check the client ID",
        "run 'authsome login discord --new-application'",
    )
    assert (said.status, said.out, said.err) == (3, out, err)


def test_a_connection_that_has_lost_scopes(desk: Desk) -> None:
    desk.connect(granted=("identify",))
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        3,
        transcript(
            "scopes-lost",
            "discord/default has lost the scopes guilds",
            "run 'authsome login discord --scopes identify,guilds,email'",
        ),
    )


def test_more_scopes_than_were_granted_are_no_problem(desk: Desk) -> None:
    desk.connect(granted=("identify", "guilds", "email"))
    assert desk.check().status == 0


def test_a_provider_that_cannot_be_reached(desk: Desk) -> None:
    desk.connect()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = desk.check("--connect-to", f"discord.com:443:127.0.0.1:{port}")
    assert (said.status, (said.out, said.err)) == (
        1,
        transcript(
            "unreachable",
            "could not check discord/default: could not reach discord.com",
            "check the network connection",
        ),
    )


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_provider_that_gives_no_usable_answer(desk: Desk, status: int) -> None:
    desk.connect()
    desk.discord.rest_faults.append(Answer(status))
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        1,
        transcript(
            "unreachable",
            f"could not check discord/default: the provider answered {status}",
            "try again later",
        ),
    )


def test_an_answer_without_the_members_that_tell_is_not_taken_for_good(desk: Desk) -> None:
    desk.connect()
    desk.discord.rest_faults.append(Answer(200, body=b"<html>"))
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        1,
        transcript(
            "unreachable",
            "could not check discord/default: the provider's answer lacks what its provider file says it has",
            "see 'authsome inspect discord'",
        ),
    )


def test_a_401_that_is_not_the_providers_own_is_no_reason_to_log_in(desk: Desk) -> None:
    desk.connect(refresh=False)
    desk.discord.rest_faults.append(Answer(401, body=b"<html>log in to this network</html>"))
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        1,
        transcript(
            "unreachable",
            "could not check discord/default: the provider answered 401",
            "try again later",
        ),
    )


def test_a_check_names_itself_as_discord_wants_it(desk: Desk) -> None:
    desk.connect(access="CANARY-dead")
    desk.check()
    names = [
        value for seen in desk.standin.seen for name, value in seen.headers if name.lower() == b"user-agent"
    ]
    assert len(names) == len(desk.standin.seen) > 2
    assert all(re.fullmatch(rb"DiscordBot \(https://[^,]+, [0-9.]+\)", name) for name in names)


def test_a_damaged_connection_beside_a_healthy_one(desk: Desk) -> None:
    desk.connect()
    desk.connect("work")
    database = sqlite3.connect(desk.authsome.home / "vault.db")
    with database:
        database.execute("UPDATE record SET blob = zeroblob(80) WHERE name = 'work'")
    database.close()
    said = desk.authsome("check", "--all")
    assert said.status == 1
    assert said.out.splitlines()[1:] == ["discord/default  healthy", "discord/work     damaged"]
    warning, hint = said.err.splitlines()
    assert warning.startswith("authsome: warning: discord/work: ")
    assert hint.startswith("authsome: hint: ")


def test_a_connection_whose_provider_file_is_gone_is_damaged(desk: Desk) -> None:
    desk.authsome.connect("acme")
    said = desk.authsome("check", "--all")
    assert said.status == 1
    assert said.out.splitlines()[1:] == ["acme/default  damaged"]
    assert said.err.splitlines()[0] == "authsome: warning: acme/default: there is no provider 'acme'"


def test_a_definition_that_became_wider_is_not_asked_with(desk: Desk) -> None:
    desk.connect()
    definition = json.loads((ROOT / "oauth/providers/discord.json").read_text())
    definition["auth"]["check_url"] = "https://evil.example/check"
    folder = desk.authsome.home / "providers"
    folder.mkdir(mode=0o700)
    (folder / "discord.json").write_text(json.dumps(definition))
    said = desk.check()
    assert (said.status, (said.out, said.err)) == (
        1,
        transcript(
            "unconfirmed",
            "discord/default is not used: the definition of discord would now send secrets to "
            "https://evil.example/check",
            "if that is your doing, run 'authsome confirm discord'",
        ),
    )
    assert desk.targets() == []


def test_a_needed_login_counts_for_more_than_what_may_pass_by_itself() -> None:
    codes = {health: exit_code([Examined(health)]) for health in Health}
    assert {health for health, code in codes.items() if code is ExitCode.DONE} == {
        Health.HEALTHY,
        Health.UNVERIFIED,
    }
    assert {health for health, code in codes.items() if code is ExitCode.FAILED} == {
        Health.UNREACHABLE,
        Health.UNCONFIRMED,
        Health.DAMAGED,
    }
    assert exit_code([Examined(Health.UNREACHABLE), Examined(Health.EXPIRING)]) is ExitCode.LOGIN_NEEDED
    assert exit_code([Examined(Health.HEALTHY), Examined(Health.DAMAGED)]) is ExitCode.FAILED


def test_all_and_default_connections(desk: Desk) -> None:
    desk.connect()
    desk.connect("work")
    assert desk.authsome("check").out.splitlines()[1:] == ["discord/default  healthy"]
    assert desk.authsome("check", "--connection", "work").out.splitlines()[1:] == ["discord/work  healthy"]
    for command in (("check", "--all"), ("check", "discord", "--all")):
        lines = desk.authsome(*command).out.splitlines()[1:]
        assert lines == ["discord/default  healthy", "discord/work     healthy"]


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (("discord",), 3, "discord/default is not connected"),
        (("discord", "--connection", "work"), 4, "discord/work is not connected"),
        ((), 3, "there is no connection to check"),
        (("--all",), 3, "there is no connection to check"),
        (("discord", "--all"), 3, "there is no connection to check"),
        (("--connection", "work"), 4, "no provider has a connection 'work'"),
        (("nope",), 4, "there is no provider 'nope'"),
        (("discord", "--connection", "A B"), 2, "'A B' is not a valid connection name"),
        (("--all", "--connection", "work"), 2, "--all and --connection exclude each other"),
    ],
)
def test_what_is_not_there_cannot_be_checked(
    authsome: Program, options: tuple[str, ...], status: int, problem: str
) -> None:
    said = authsome("check", *options)
    assert (said.status, said.out) == (status, "")
    assert said.err.splitlines()[0] == f"authsome: error: {problem}"
    assert said.err.splitlines()[1].startswith("authsome: hint: ")


def test_json_says_it_all_and_standard_error_nothing(desk: Desk) -> None:
    desk.connect()
    desk.connect("work", refresh=False, lifetime=-1.0)
    said = desk.authsome("check", "--all", "--json")
    assert (said.status, said.err) == (3, "")
    healthy, expired = json.loads(said.out)
    assert healthy.pop("checked_at").endswith("Z")
    assert expired.pop("checked_at").endswith("Z")
    assert healthy == {
        "provider": "discord",
        "connection": "default",
        "health": "healthy",
        "message": None,
        "hint": None,
    }
    assert expired == {
        "provider": "discord",
        "connection": "work",
        "health": "expired",
        "message": "discord/work has expired and has no refresh token",
        "hint": "run 'authsome login discord --connection work'",
    }


def test_nothing_secret_is_printed(desk: Desk) -> None:
    tokens = desk.connect(access="CANARY-dead")
    said = desk.authsome("--debug", "check", "--all", "--json")
    printed = said.out + said.err + desk.authsome("check").out
    for secret in ("CANARY", CLIENT_SECRET, tokens.access_token, tokens.refresh_token or "-"):
        assert secret not in printed


def test_list_shows_the_last_result_and_its_age_until_the_next_login(desk: Desk) -> None:
    desk.connect()
    assert desk.authsome("list").out.splitlines()[1].split()[-1] == "-"
    desk.check()
    line = desk.authsome("list").out.splitlines()[1]
    assert line.split()[-3] == "healthy"
    assert line.split()[-2][-1] in "sm"
    assert line.endswith(" ago")
    (listed,) = json.loads(desk.authsome("list", "--json").out)
    (connection,) = listed["connections"]
    assert connection["health"] == "healthy"
    assert desk.authsome("get", "discord", "--field", "health").out == "healthy\n"
    assert desk.authsome("get", "discord", "--field", "checked_at").out == connection["checked_at"] + "\n"


def test_the_result_is_kept_beside_credentials_that_stay_as_they_are(desk: Desk) -> None:
    desk.connect()
    before = desk.stored()
    begun = time.time()
    desk.check()
    after = desk.stored()
    assert after.checked
    assert after.checked.health is Health.HEALTHY
    assert begun <= after.checked.at <= time.time()
    assert after.model_copy(update={"checked": None}) == before


def test_the_result_of_an_earlier_login_is_not_kept_for_a_later_one(desk: Desk) -> None:
    desk.connect()
    desk.discord.rest_faults.append(Mishap(delay=1.0))
    with desk.authsome.started("check", "discord") as checking:
        wait_until(lambda: bool(desk.standin.seen))
        with desk.authsome.vault() as vault, vault.lock(KEY, 5.0):
            vault.delete_connection(KEY)
        desk.connect()
        later = desk.stored()
        out, _ = checking.communicate(timeout=30)
    assert out == transcript("healthy")[0]
    assert desk.stored() == later


@pytest.fixture
def keyed(desk: Desk) -> Desk:
    """A provider that takes a key, with a key that is stored."""
    folder = desk.authsome.home / "providers"
    desk.authsome.home.mkdir(mode=0o700)
    folder.mkdir(mode=0o700)
    shutil.copy(ROOT / "examples" / "providers" / "keyed.json", folder)
    done = desk.authsome("login", "keyed", "--key-file", "-", stdin="CANARY-key\n")
    assert done.status == 0, done.err
    return desk


def checked_at(desk: Desk, url: str) -> Said:
    file = desk.authsome.home / "providers" / "keyed.json"
    definition = json.loads(file.read_text())
    definition["auth"]["check_url"] = url
    file.write_text(json.dumps(definition))
    assert desk.authsome("confirm", "keyed", "--yes").status == 0
    return desk.authsome("check", "keyed")


def test_a_key_whose_provider_cannot_be_asked_is_unverified(keyed: Desk) -> None:
    said = keyed.authsome("check", "keyed")
    assert (said.status, said.out) == (0, "CONNECTION     HEALTH\nkeyed/default  unverified\n")
    assert said.err == (
        "authsome: warning: keyed/default was not checked: its provider file names no check_url\n"
    )
    assert keyed.targets() == []


def test_a_key_is_sent_in_its_slot_to_the_address_of_the_provider_file(keyed: Desk) -> None:
    said = checked_at(keyed, "https://keyed.example/standin/echo")
    assert (said.status, said.out.split()[-1], said.err) == (0, "healthy", "")
    (seen,) = keyed.standin.seen
    assert (seen.host, seen.values("x-api-key")) == ("keyed.example", ["CANARY-key"])
    assert seen.values("authorization") == []


def test_a_key_that_the_provider_refuses_is_revoked(keyed: Desk) -> None:
    said = checked_at(keyed, "https://discord.com/api/v10/oauth2/@me")
    assert (said.status, said.out.split()[-1]) == (3, "revoked")
    assert said.err.splitlines()[-1] == "authsome: hint: run 'authsome login keyed'"
    assert keyed.stored(KEYED).credential == ApiKey(value=SecretStr("CANARY-key"))
