from pathlib import Path

import pytest
from pydantic import SecretStr

from launcher.run.credentials import KeeperSource
from launcher.setup.app import App
from launcher.setup.settings import Settings
from launcher.text.words import words
from proxy.model import Fresh, Reason, Unavailable
from tests.launcher.cli import ACCESS, Program
from vault.model import ConnectionKey, Status

KEY = ConnectionKey("default", "discord", "default")


async def ask(home: Path, connection: str = "discord/default") -> Fresh | Unavailable:
    with App(Settings(home, "default"), {}) as app:
        async with app.keeper() as keeper:
            source = KeeperSource(keeper, [KEY], words)
            source.rejected("discord/default", 17)
            return await source.fresh(connection)


async def test_a_stored_token_is_handed_out_with_its_generation(authsome: Program) -> None:
    authsome.connect()
    assert await ask(authsome.home) == Fresh(SecretStr(ACCESS), 1)


async def test_an_expired_connection_is_a_refusal_with_the_command_that_fixes_it(authsome: Program) -> None:
    authsome.connect(status=Status.EXPIRED)
    found = await ask(authsome.home)
    assert isinstance(found, Unavailable)
    assert (found.reason, found.fix) == (Reason.LOGIN_NEEDED, "authsome login discord")


async def test_a_connection_that_is_gone_needs_a_login(authsome: Program) -> None:
    found = await ask(authsome.home)
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.LOGIN_NEEDED


async def test_a_connection_of_no_rule_is_never_handed_out(authsome: Program) -> None:
    authsome.connect(name="work")
    with pytest.raises(KeyError):
        await ask(authsome.home, "discord/work")


async def test_what_is_stored_is_known_before_it_is_asked_for_and_after_it_changed(authsome: Program) -> None:
    authsome.connect()
    with App(Settings(authsome.home, "default"), {}) as app:
        async with app.keeper() as keeper:
            source = KeeperSource(keeper, [KEY, ConnectionKey("default", "discord", "never-made")])
            assert source.stored() == (SecretStr(ACCESS),)
            with authsome.vault() as vault:
                record = vault.connection(KEY)
                assert record is not None
                newer = {"access_token": SecretStr("another-access-token")}
                credential = record.value.credential.model_copy(update=newer)
                vault.put_connection(
                    KEY,
                    record.value.model_copy(update={"credential": credential}),
                    expected=record.generation,
                )
            assert source.stored() == (SecretStr("another-access-token"),)


async def test_a_token_that_may_not_be_used_any_more_is_known_too(authsome: Program) -> None:
    authsome.connect(status=Status.EXPIRED)
    with App(Settings(authsome.home, "default"), {}) as app:
        async with app.keeper() as keeper:
            assert KeeperSource(keeper, [KEY]).stored() == (SecretStr(ACCESS),)
