from pathlib import Path

from tests.launcher.cli import Program, connected
from tests.standin import Answer, StandIn

NOTE = "Discord revokes every token of this user and application, also those used on other machines"


def test_logging_out_revokes_at_the_provider_warns_and_forgets(tmp_path: Path, standin: StandIn) -> None:
    authsome, tokens = connected(tmp_path / "home", standin)
    said = authsome("logout", "discord")
    assert (said.status, said.out) == (0, "")
    assert said.err.splitlines() == [f"authsome: warning: {NOTE}", "authsome: discord/default is logged out"]
    assert standin.discord.access(tokens.access_token) is None
    assert authsome("get", "discord").status == 3
    assert tokens.access_token not in said.err


def test_another_connection_stays(tmp_path: Path, standin: StandIn) -> None:
    authsome, _ = connected(tmp_path / "home", standin, name="work")
    authsome.connect(name="default")
    assert authsome("logout", "discord", "--connection", "work").status == 0
    assert authsome("get", "discord", "--field", "status").out == "connected\n"


def test_what_the_provider_does_not_confirm_is_kept(tmp_path: Path, standin: StandIn) -> None:
    authsome, tokens = connected(tmp_path / "home", standin)
    standin.discord.revoke_faults.append(Answer(503, body=b"no"))
    said = authsome("logout", "discord")
    assert said.status == 1
    assert said.err.startswith("authsome: error: discord/default was not revoked and is kept: ")
    assert "--force" in said.err
    assert standin.discord.access(tokens.access_token) is not None
    assert authsome("get", "discord", "--field", "status").out == "connected\n"


def test_with_force_it_is_forgotten_and_the_user_told_that_it_lives_on(
    tmp_path: Path, standin: StandIn
) -> None:
    authsome, tokens = connected(tmp_path / "home", standin)
    standin.discord.revoke_faults.append(Answer(503, body=b"no"))
    said = authsome("logout", "discord", "--force")
    assert said.status == 0
    assert "stays valid at the provider" in said.err
    assert said.err.endswith("authsome: discord/default is forgotten on this machine\n")
    assert standin.discord.access(tokens.access_token) is not None
    assert authsome("get", "discord").status == 3


def test_without_a_stored_client_nothing_can_be_revoked_and_that_is_said(authsome: Program) -> None:
    authsome.connect()
    said = authsome("logout", "discord")
    assert said.status == 0
    assert "was not asked to revoke" in said.err
    assert said.err.endswith("authsome: discord/default is forgotten on this machine\n")
