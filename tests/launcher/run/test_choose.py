import pytest

from launcher.errors import ExitCode, LoginNeeded, UnknownConnection, UsageProblem
from launcher.run.choose import choose, named_providers
from vault.model import ConnectionKey


def key(text: str) -> ConnectionKey:
    provider, _, name = text.partition("/")
    return ConnectionKey("default", provider, name)


STORED = [
    key(text) for text in ("acme/default", "acme/work", "discord/default", "discord/home", "keyed/work")
]


def chosen(*connections: str, providers: tuple[str, ...] = ()) -> list[str]:
    return [str(found) for found in choose(STORED, "default", providers, connections)]


def test_without_options_every_default_connection_is_offered() -> None:
    assert chosen() == ["acme/default", "discord/default"]


def test_a_provider_offers_its_default_alone() -> None:
    assert chosen(providers=("discord",)) == ["discord/default"]


def test_a_full_name_offers_that_connection_alone() -> None:
    assert chosen("discord/home") == ["discord/home"]


def test_a_bare_name_is_meant_for_every_provider_that_has_it() -> None:
    assert chosen("work") == ["acme/work", "keyed/work"]


def test_a_bare_name_with_a_provider_is_meant_for_that_provider() -> None:
    assert chosen("work", providers=("acme",)) == ["acme/work"]


def test_a_provider_named_with_one_of_its_connections_adds_no_default() -> None:
    assert chosen("discord/home", providers=("discord", "acme")) == ["discord/home", "acme/default"]


def test_what_is_named_twice_is_offered_once() -> None:
    assert chosen("discord/home", "discord/home") == ["discord/home"]


def test_a_connection_that_its_provider_has_not_is_unknown() -> None:
    with pytest.raises(UnknownConnection, match="acme/home is not connected") as caught:
        chosen("acme/home")
    assert caught.value.hint == "see <list>, or run <login default/acme/home>"
    assert caught.value.exit_code is ExitCode.UNKNOWN


def test_a_provider_without_its_usual_connection_needs_a_login() -> None:
    with pytest.raises(LoginNeeded, match="other/default is not connected") as caught:
        chosen(providers=("other",))
    assert caught.value.hint == "run <login default/other/default>"
    assert caught.value.exit_code is ExitCode.LOGIN_NEEDED


def test_a_name_that_nobody_has_is_unknown() -> None:
    with pytest.raises(UnknownConnection) as caught:
        chosen("nobody")
    assert caught.value.exit_code is ExitCode.UNKNOWN


@pytest.mark.parametrize("text", ["", "/", "A", "discord/", "/home", "a/b/c"])
def test_what_is_no_name_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageProblem):
        chosen(text)


def test_without_a_default_connection_the_others_are_pointed_out() -> None:
    with pytest.raises(LoginNeeded) as caught:
        choose([key("discord/home")], "default", (), ())
    assert "<set connection> discord/home" in caught.value.hint


def test_without_any_connection_the_hint_is_to_log_in() -> None:
    with pytest.raises(LoginNeeded) as caught:
        choose([], "default", (), ())
    assert "<login discord>" in caught.value.hint


def test_providers_are_named_by_both_options() -> None:
    assert named_providers(("a", "b"), ("b/x", "c/y", "z")) == ["a", "b", "c"]
