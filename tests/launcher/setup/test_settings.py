from pathlib import Path

import pytest

from launcher.errors import ExitCode, UsageProblem
from launcher.setup.settings import ConnectTo, Settings, parse_connect_to, read_settings

HOME = Path("/home/nelly")
HERE = Path("/here")


def read(environ: dict[str, str], profile: str | None = None, connect_to: tuple[str, ...] = ()) -> Settings:
    return read_settings(environ, user_home=HOME, working_folder=HERE, profile=profile, connect_to=connect_to)


def test_without_variables_everything_is_in_dot_authsome_and_the_default_profile() -> None:
    settings = read({})
    assert settings.profile == "default"
    assert settings.vault_file == HOME / ".authsome" / "vault.db"
    assert settings.key_file == HOME / ".authsome" / "master.key"
    assert settings.providers_folder == HOME / ".authsome" / "providers"
    assert settings.runs_folder == HOME / ".authsome" / "runs"
    assert settings.audit_folder == HOME / ".authsome" / "audit"


@pytest.mark.parametrize(
    ("value", "home"),
    [("/srv/a", "/srv/a"), ("a", "/here/a"), ("~/a", "/home/nelly/a"), ("", "/home/nelly/.authsome")],
)
def test_authsome_home_may_be_absolute_relative_or_below_the_users_home(value: str, home: str) -> None:
    assert read({"AUTHSOME_HOME": value}).home == Path(home)


def test_the_profile_option_wins_over_the_variable() -> None:
    assert read({"AUTHSOME_PROFILE": "ci"}).profile == "ci"
    assert read({"AUTHSOME_PROFILE": "ci"}, profile="desk").profile == "desk"


@pytest.mark.parametrize("profile", ["../x", "A", "a b", "-a"])
def test_a_profile_that_is_no_name_is_a_usage_error(profile: str) -> None:
    with pytest.raises(UsageProblem, match="profile") as caught:
        read({}, profile=profile)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint


def test_connect_to_comes_from_options_first_and_then_from_the_variable() -> None:
    settings = read(
        {"AUTHSOME_CONNECT_TO": "a.example:443:h:1, b.example:443:h:2"}, connect_to=("c.example:443:h:3",)
    )
    assert [entry.to_port for entry in settings.connect_to] == [3, 1, 2]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("discord.com:443:127.0.0.1:8443", ConnectTo("discord.com", 443, "127.0.0.1", 8443)),
        ("Discord.COM.:443:h:1", ConnectTo("discord.com", 443, "h", 1)),
        ("a.example:443:[::1]:8443", ConnectTo("a.example", 443, "::1", 8443)),
        ("[2001:DB8::1]:443:h:1", ConnectTo("2001:db8::1", 443, "h", 1)),
        ("::h:1", ConnectTo("", None, "h", 1)),
        ("a.example:443::8443", ConnectTo("a.example", 443, "", 8443)),
        ("a.example:443:h:", ConnectTo("a.example", 443, "h", None)),
    ],
)
def test_connect_to_is_read_as_curl_reads_it(text: str, entry: ConnectTo) -> None:
    assert parse_connect_to(text, "--connect-to") == entry


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a:1",
        "a:1:b",
        "a:x:b:1",
        "a:0:b:1",
        "a:1:b:65536",
        "a:1:b:2:c",
        "::1:443:h:1",
        "a b:1:c:2",
        "[a]:1:b:2",
    ],
)
def test_what_is_no_connect_to_is_a_usage_error_that_names_its_source(text: str) -> None:
    with pytest.raises(UsageProblem, match="AUTHSOME_CONNECT_TO"):
        parse_connect_to(text, "AUTHSOME_CONNECT_TO")


def test_an_entry_applies_to_its_host_and_port_alone() -> None:
    entry = ConnectTo("a.example", 443, "h", 1)
    assert entry.applies("A.Example.", 443)
    assert not entry.applies("a.example", 8443)
    assert not entry.applies("b.a.example", 443)


def test_an_empty_half_stands_for_what_was_asked_for() -> None:
    assert ConnectTo("", None, "h", None).address("a.example", 443) == ("h", 443)
    assert ConnectTo("", None, "", 8443).address("a.example", 443) == ("a.example", 8443)


def test_a_key_file_may_be_elsewhere() -> None:
    assert read({"AUTHSOME_KEY_FILE": "/run/secrets/key"}).key_file == Path("/run/secrets/key")
    assert read({"AUTHSOME_KEY_FILE": "key"}).key_file == Path("/here/key")
    assert read({"AUTHSOME_KEY_FILE": "~/key"}).key_file == Path("/home/nelly/key")
    assert read({"AUTHSOME_KEY_FILE": ""}).key_file == HOME / ".authsome" / "master.key"


def test_descriptors_are_numbers_from_3_on() -> None:
    settings = read({"AUTHSOME_KEY_FD": "3", "AUTHSOME_PASSPHRASE_FD": "10"})
    assert (settings.key_fd, settings.passphrase_fd) == (3, 10)
    assert (read({}).key_fd, read({"AUTHSOME_KEY_FD": ""}).key_fd) == (None, None)


@pytest.mark.parametrize("variable", ["AUTHSOME_KEY_FD", "AUTHSOME_PASSPHRASE_FD"])
@pytest.mark.parametrize("text", ["0", "1", "2", "-3", "03", "3.0", "x", " 3", "٣", "9" * 20])
def test_what_is_no_descriptor_is_a_usage_error(variable: str, text: str) -> None:
    with pytest.raises(UsageProblem, match=variable) as caught:
        read({variable: text})
    assert "from 3 on" in caught.value.hint
