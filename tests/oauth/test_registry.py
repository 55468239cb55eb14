"""Bundled and user-made provider definitions."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import pytest

from oauth.errors import ProviderInvalid, ProviderUnknown
from oauth.provider import OAuth2
from oauth.registry import MAX_FILE, Registered, Registry

BUNDLED = (files("oauth") / "providers" / "discord.json").read_bytes()
KEYED = (Path(__file__).parents[2] / "examples/providers/keyed.json").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of provider files in a home that other users may look into, so that modes matter."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "providers").mkdir(mode=0o755)
    for path in (home, home / "providers"):
        path.chmod(0o755)
    return home / "providers"


def write(path: Path, text: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text)
    path.chmod(mode)
    return path


def edited(**changes: object) -> bytes:
    return json.dumps({**json.loads(BUNDLED), **changes}).encode()


def test_without_a_user_folder_the_bundled_definitions_are_there(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "absent")
    found = registry.get("discord")
    assert (found.source, found.text) == ("bundled", BUNDLED)
    assert [r.provider.name for r in registry.all() if isinstance(r, Registered)] == ["discord"]


def test_what_inspect_prints_round_trips_byte_for_byte_and_becomes_custom(folder: Path) -> None:
    write(folder / "discord.json", Registry(folder).get("discord").text)
    found = Registry(folder).get("discord")
    assert (found.source, found.text) == ("custom", BUNDLED)


def test_a_file_that_the_shell_has_just_truncated_counts_as_absent(folder: Path) -> None:
    write(folder / "discord.json", b"")
    registry = Registry(folder)
    assert registry.get("discord").source == "bundled"
    assert len(registry.all()) == 1


def test_an_empty_file_of_a_provider_that_is_not_bundled_is_said_to_be_empty(folder: Path) -> None:
    """As a shell leaves it that was to write what `authsome inspect keyed` prints into keyed.json itself."""
    path = write(folder / "keyed.json", b"")
    with pytest.raises(ProviderInvalid) as caught:
        Registry(folder).get("keyed")
    assert str(caught.value) == f"{path}: is empty (0 bytes)"
    assert caught.value.hint == "write to another file first, and move it here when it is whole"
    listed = Registry(folder).all()
    assert [str(problem) for problem in listed if isinstance(problem, ProviderInvalid)] == [str(caught.value)]


def test_a_user_file_replaces_the_bundled_definition_whole(folder: Path) -> None:
    auth = {k: v for k, v in json.loads(BUNDLED)["auth"].items() if k != "revocation_url"}
    write(folder / "discord.json", edited(auth={**auth, "scopes": ["identify"]}))
    found = Registry(folder).get("discord").provider.auth
    assert isinstance(found, OAuth2)
    assert (found.scopes, found.revocation_url) == (("identify",), None)


def test_a_user_file_adds_a_provider_without_any_python(folder: Path) -> None:
    write(folder / "keyed.json", KEYED)
    names = [r.provider.name for r in Registry(folder).all() if isinstance(r, Registered)]
    assert names == ["discord", "keyed"]


def test_an_unknown_provider_is_an_error_that_lists_the_known_ones(folder: Path) -> None:
    write(folder / "keyed.json", KEYED)
    write(folder / "empty.json", b"")
    write(folder / "wrong.json", b"{")
    with pytest.raises(ProviderUnknown) as caught:
        Registry(folder).get("dicsord")
    assert str(caught.value) == "there is no provider 'dicsord'"
    assert caught.value.hint == "known providers: discord, keyed"


@pytest.mark.parametrize(
    "name", ["../discord", "/etc/passwd", "", ".", "Discord", "discord.json/..", "a\x00b"]
)
def test_a_name_that_is_a_path_reaches_no_file(folder: Path, name: str) -> None:
    write(folder.parent / "discord.json", edited(display_name="Outside"))
    with pytest.raises(ProviderUnknown):
        Registry(folder).get(name)


def test_a_wrong_user_file_never_falls_back_to_the_bundled_definition(folder: Path) -> None:
    path = write(folder / "discord.json", edited(pkse=True))
    with pytest.raises(ProviderInvalid) as caught:
        Registry(folder).get("discord")
    assert str(caught.value) == f"{path}: unknown key 'pkse'"


def test_one_wrong_file_hides_no_other(folder: Path) -> None:
    write(folder / "discord.json", b"{")
    write(folder / "keyed.json", KEYED)
    wrong, right = Registry(folder).all()
    assert isinstance(wrong, ProviderInvalid)
    assert isinstance(right, Registered)


def test_a_file_whose_name_is_not_the_providers_is_refused(folder: Path) -> None:
    path = write(folder / "work.json", BUNDLED)
    with pytest.raises(ProviderInvalid) as caught:
        Registry(folder).get("work")
    assert str(caught.value) == f"{path}: defines the provider 'discord', not 'work'"
    assert caught.value.hint == "rename the file to discord.json"


def test_a_file_that_can_name_no_provider_is_shown_as_wrong(folder: Path) -> None:
    write(folder / "Big Name.json", BUNDLED)
    problems = [r for r in Registry(folder).all() if isinstance(r, ProviderInvalid)]
    assert [str(p) for p in problems] == [f"{folder / 'Big Name.json'}: the file name is not a provider name"]


def test_hidden_files_and_other_suffixes_are_left_alone(folder: Path) -> None:
    for name in (".discord.json", "discord.json~", "notes.txt"):
        write(folder / name, b"{")
    assert [r.source for r in Registry(folder).all() if isinstance(r, Registered)] == ["bundled"]


def test_a_file_is_read_once_and_stays_in_force(folder: Path) -> None:
    path = write(folder / "discord.json", edited(display_name="First"))
    registry = Registry(folder)
    assert registry.get("discord").provider.display_name == "First"
    write(path, edited(display_name="Second"))
    assert registry.get("discord").provider.display_name == "First"
    assert Registry(folder).get("discord").provider.display_name == "Second"


def test_a_file_larger_than_the_limit_is_refused(folder: Path) -> None:
    write(folder / "discord.json", BUNDLED + b" " * (MAX_FILE - len(BUNDLED)))
    assert Registry(folder).get("discord").source == "custom"
    write(folder / "discord.json", BUNDLED + b" " * (MAX_FILE - len(BUNDLED) + 1))
    with pytest.raises(ProviderInvalid, match="is larger than"):
        Registry(folder).get("discord")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o664])
def test_a_file_that_other_users_can_change_is_refused(folder: Path, mode: int) -> None:
    path = write(folder / "discord.json", BUNDLED, mode)
    with pytest.raises(ProviderInvalid) as caught:
        Registry(folder).get("discord")
    assert str(caught.value) == f"{path}: other users can change it"
    assert caught.value.hint == f"chmod go-w {path}"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444])
def test_a_file_that_other_users_can_at_most_read_is_accepted(folder: Path, mode: int) -> None:
    write(folder / "discord.json", BUNDLED, mode)
    assert Registry(folder).get("discord").source == "custom"


def test_a_file_of_the_users_group_is_accepted_where_the_home_keeps_the_group_out(folder: Path) -> None:
    write(folder / "discord.json", BUNDLED, 0o664)
    folder.parent.chmod(0o700)
    assert Registry(folder).get("discord").source == "custom"


def test_a_file_writable_by_everybody_is_refused_even_in_a_closed_home(folder: Path) -> None:
    write(folder / "discord.json", BUNDLED, 0o666)
    folder.parent.chmod(0o700)
    with pytest.raises(ProviderInvalid, match="other users can change it"):
        Registry(folder).get("discord")


@pytest.mark.parametrize("which", ["providers", "home"])
def test_a_file_in_a_folder_that_other_users_can_change_is_refused(folder: Path, which: str) -> None:
    write(folder / "discord.json", BUNDLED)
    open_folder = folder if which == "providers" else folder.parent
    open_folder.chmod(0o777)
    with pytest.raises(ProviderInvalid, match="other users can change it") as caught:
        Registry(folder).get("discord")
    assert caught.value.hint == f"chmod go-w {open_folder}"


def test_a_sticky_folder_as_home_lets_nobody_replace_the_providers(folder: Path) -> None:
    write(folder / "discord.json", BUNDLED)
    folder.parent.chmod(0o1777)
    assert Registry(folder).get("discord").source == "custom"


def test_a_link_out_of_the_closed_home_is_judged_by_its_target(folder: Path, tmp_path: Path) -> None:
    folder.parent.chmod(0o700)
    target = write(tmp_path / "elsewhere.json", BUNDLED, 0o664)
    (folder / "discord.json").symlink_to(target)
    with pytest.raises(ProviderInvalid, match="other users can change it"):
        Registry(folder).get("discord")
    target.chmod(0o644)
    assert Registry(folder).get("discord").source == "custom"


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_regular_file_is_refused_without_waiting(folder: Path, kind: str) -> None:
    path = folder / "discord.json"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ProviderInvalid):
        Registry(folder).get("discord")


def test_a_file_of_another_user_is_refused(folder: Path) -> None:
    path = write(folder / "discord.json", BUNDLED)
    with pytest.raises(ProviderInvalid) as caught:
        Registry(folder, uid=os.geteuid() + 1).get("discord")
    assert str(caught.value) == f"{path}: belongs to another user"


def test_a_user_folder_that_is_no_folder_is_an_error_and_nothing_falls_back(tmp_path: Path) -> None:
    (tmp_path / "providers").write_bytes(b"")
    assert all(isinstance(r, ProviderInvalid) for r in Registry(tmp_path / "providers").all())
