import json
import os
import pty
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.launcher.cli import PROGRAM, ROOT, Program, connected
from tests.standin import Answer, StandIn
from vault.model import Checked, ConnectionKey, Health

NOTE = "Discord revokes every token of this user and application, also those used on other machines"


def test_logging_out_revokes_at_the_provider_warns_and_forgets(tmp_path: Path, standin: StandIn) -> None:
    authsome, tokens = connected(tmp_path / "home", standin)
    said = authsome("logout", "discord")
    assert (said.status, said.out) == (0, "")
    assert said.err.splitlines() == [f"authsome: warning: {NOTE}", "authsome: discord/default is logged out"]
    assert standin.discord.access(tokens.access_token) is None
    assert authsome("get", "discord").status == 3
    assert tokens.access_token not in said.err


def test_another_connection_stays_and_is_marked(tmp_path: Path, standin: StandIn) -> None:
    authsome, _ = connected(tmp_path / "home", standin, name="work")
    authsome.connect(name="default")
    assert authsome("logout", "discord", "--connection", "work", "--yes").status == 0
    assert authsome("get", "discord", "--field", "status").out == "revoked\n"


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
    assert "was not asked to revoke the credential, as no application is stored\n" in said.err
    assert said.err.endswith("authsome: discord/default is forgotten on this machine\n")


def test_the_application_and_a_connection_are_not_forgotten_together(
    tmp_path: Path, standin: StandIn
) -> None:
    authsome, _ = connected(tmp_path / "home", standin)
    before = authsome("list").out
    for name in ("default", "work"):
        said = authsome("logout", "discord", "--application", "--connection", name)
        assert said.status == 2
        assert said.err.startswith("authsome: error: --application and --connection exclude each other\n")
    assert authsome("list").out == before


def test_a_connection_whose_definition_is_gone_or_wrong_can_be_forgotten_with_force(
    authsome: Program,
) -> None:
    file = authsome.home / "providers" / "keyed.json"
    for number, left in enumerate((None, "{}")):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        authsome.home.chmod(0o700)
        shutil.copy(ROOT / "examples" / "providers" / "keyed.json", file)
        file.chmod(0o600)
        authsome.connect("keyed")
        file.unlink() if left is None else file.write_text(left)
        said = authsome("logout", "keyed")
        assert said.status == (4, 1)[number]
        assert said.err.startswith("authsome: error: keyed/default was not revoked and is kept: ")
        assert said.err.endswith(
            "authsome: hint: put its provider file in order, or forget it here alone with --force\n"
        )
        assert "keyed" in authsome("list").out
        said = authsome("logout", "keyed", "--force")
        assert said.status == 0
        assert said.err.endswith("authsome: keyed/default is forgotten on this machine\n")
        assert "default" not in authsome("list").out


def test_what_neither_a_file_nor_the_vault_knows_is_unknown_also_with_force(authsome: Program) -> None:
    authsome.connect()
    for name in ("nope", "../x"):
        said = authsome("logout", name, "--force")
        assert said.status == 4
        assert said.err.startswith(f"authsome: error: there is no provider '{name}'\n")


def test_connections_of_the_same_account_that_end_with_it_are_named_and_no_longer_called_healthy(
    tmp_path: Path, standin: StandIn
) -> None:
    authsome, _ = connected(tmp_path / "home", standin, name="personal")
    authsome.connect(name="work")
    authsome.connect(name="other")
    authsome.connect(name="default", profile="ci")
    healthy = Checked(health=Health.HEALTHY, at=time.time())
    with authsome.vault() as vault:
        for name, account in (("work", "nelly"), ("other", "somebody else")):
            key = ConnectionKey("default", "discord", name)
            found = vault.connection(key)
            assert found is not None
            changed = found.value.model_copy(update={"checked": healthy, "account": account})
            vault.put_connection(key, changed, expected=found.generation)
    said = authsome("logout", "discord", "--connection", "personal")
    assert said.status == 2
    assert said.err.splitlines() == [
        f"authsome: warning: {NOTE}: here discord/work",
        "authsome: error: discord/personal is kept: other connections would end with it",
        "authsome: hint: if that is wanted, add --yes",
    ]
    assert standin.seen == []
    shown = json.loads(authsome("list", "--json").out)[0]["connections"]
    assert {one["status"] for one in shown} == {"connected"}
    said = authsome("logout", "discord", "--connection", "personal", "--yes")
    assert said.status == 0
    assert said.err.splitlines() == [
        f"authsome: warning: {NOTE}: here discord/work",
        "authsome: hint: log in to what ended with it again, where it is still needed",
        "authsome: discord/personal is logged out",
    ]
    shown = json.loads(authsome("list", "--json").out)[0]["connections"]
    assert [(one["connection"], one["status"], one["health"]) for one in shown] == [
        ("other", "connected", "healthy"),
        ("work", "revoked", "revoked"),
    ]


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 1), (b"y\n", 0)])
def test_at_a_terminal_it_asks_before_other_connections_end(
    tmp_path: Path, standin: StandIn, answer: bytes, status: int
) -> None:
    authsome, tokens = connected(tmp_path / "home", standin)
    authsome.connect(name="work")
    parent, child = pty.openpty()
    os.write(parent, answer)
    done = subprocess.run(
        [*PROGRAM, "logout", "discord"], env=authsome.environ, stdin=child, stderr=subprocess.PIPE, text=True
    )
    os.close(child)
    os.close(parent)
    assert done.returncode == status
    assert "here discord/work" in done.stderr
    assert (standin.discord.access(tokens.access_token) is None) is (status == 0)
    assert authsome("get", "discord").status == (3 if status == 0 else 0)
