"""What a hostile program reaches at each level, and that it is the protection that keeps the rest away."""

from __future__ import annotations

import os
import sys
from typing import Final

import pytest

from tests.isolation.world import ORDINARY, World

LEVELS: Final = ("landlock", "guard-nopid", "guard", "sandbox")

OPEN: Final = "open"
"""Reached, or the canary was read."""

VERDICTS: Final = {
    "other_terminal": ("landlock",),
    "vault": (),
    "alias": (),
    "launcher_root": (),
    "launcher_descriptor": (),
    "launcher_environ": (),
    "launcher_memory": (),
    "trace": (),
    "steal_descriptor": (),
    "signal_launcher": (),
    "signal_host": (),
    "path_socket": (),
    "aliased_socket": (),
    "relative_socket": (),
    "abstract_socket": (),
    "keyring": (),
    "unmount": (),
    "nested_overlay": (),
    "nested_bind": (),
    "open_folder": (),
    "open_folder_directly": (),
    "rename_vault": (),
    "change_visible_file": (),
    "type_into_terminal": (),
    "type_with_high_bits": (),
    "virtual_socket": (),
    "live_code": (),
    "live_code_by_alias": (),
    "loopback": ("landlock", "guard-nopid", "guard"),
    "temporary_file": ("landlock", "guard-nopid", "guard"),
    "memory": ("landlock", "guard-nopid", "guard"),
    "direct_stream": ("landlock", "guard-nopid", "guard"),
    "direct_datagram": ("landlock", "guard-nopid", "guard"),
    "direct_multipath": ("landlock", "guard-nopid", "guard"),
    "direct_fast_open": ("landlock", "guard-nopid", "guard"),
    "rings": (),
    "handles": (),
    "unix_socket": ("guard-nopid", "guard", "sandbox"),
    "unix_datagram_pair": ("guard-nopid", "guard", "sandbox"),
    "unix_raw_pair": ("guard-nopid", "guard", "sandbox"),
}
"""Each attack, and the levels at which it is open. What is open everywhere is not an attack."""

AS_ROOT: Final = (
    "block_device",
    "core_pattern",
    "kernel_settings",
    "kernel_programs",
    "kernel_programs_elsewhere",
    "kernel_programs_anew",
    "packet_socket",
)
"""Open to root alone, and to nobody at any level."""

HONEST: Final = ("own_stream_pair", "own_terminal", "own_child", "visible_file")
"""Near to what is refused, and open everywhere."""


def attacks(around: World) -> tuple[str, ...]:
    return (*VERDICTS, *(AS_ROOT if is_root(around) else ()))


def is_root(around: World) -> bool:
    return around.uid < 0 and os.getuid() == 0


def everything(around: World, level: str) -> dict[str, str]:
    got = around.attack(
        level,
        (*HONEST, *attacks(around)),
        alias=str(around.folder / "alias"),
        settings=around.environ["KERNEL"],
        hand_over=str(around.home),
        loose=True,
        code=around.environ["CODE"],
    )
    return {name: "blocked" if verdict == "blocked" else OPEN for name, verdict in got.items()}


@pytest.mark.parametrize("level", LEVELS)
def test_each_attack_has_the_verdict_of_its_level(around: World, level: str) -> None:
    expected = {name: OPEN if level in VERDICTS.get(name, ()) else "blocked" for name in attacks(around)}
    if level == "landlock" and around.uid < 0 and sys.prefix.startswith("/tmp/"):
        # It makes a file in /tmp, and nobody makes one in the folders on the way to authsome's libraries.
        expected["memory"] = "blocked"
    assert everything(around, level) == {**expected, **dict.fromkeys(HONEST, OPEN)}


def test_each_attack_works_where_nothing_is_isolated(around: World) -> None:
    assert everything(around, "none") == dict.fromkeys((*attacks(around), *HONEST), OPEN)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "left_out", "attack"),
    [
        ("guard", "Hide Seal Scratch", "vault"),
        ("guard", "aliases", "alias"),
        ("guard", "Mask", "path_socket"),
        ("guard", "Mask", "aliased_socket"),
        ("guard", "Mask", "relative_socket"),
        ("guard", "Freeze", "live_code"),
        ("guard", "Freeze", "live_code_by_alias"),
        ("guard", "Terminals", "other_terminal"),
        ("guard", "TERMINAL_INPUT", "type_into_terminal"),
        ("guard", "VSOCK", "virtual_socket"),
        ("guard", "IO_URING", "rings"),
        ("guard", "HANDLES", "handles"),
        ("sandbox", "HANDLES", "handles"),
        ("landlock", "HANDLES", "handles"),
        ("guard", "fence", "abstract_socket"),
        ("guard-nopid", "fence", "signal_launcher"),
        ("landlock", "fence", "vault"),
        ("landlock", "aliases", "alias"),
        ("landlock", "read_only", "live_code"),
        ("landlock", "UNIX_SOCKETS", "path_socket"),
        ("landlock", "UNIX_SOCKETS", "unix_datagram_pair"),
        ("landlock", "KEYRING", "keyring"),
        ("landlock", "IO_URING", "rings"),
        ("sandbox", "IO_URING", "rings"),
        ("sandbox", "Freeze", "live_code"),
        ("sandbox", "NETWORK", "direct_stream"),
        ("sandbox", "NETWORK", "direct_datagram"),
        ("sandbox", "NETWORK", "loopback"),
        ("sandbox", "Scratch", "temporary_file"),
    ],
)
def test_without_the_protection_the_attack_works(
    around: World, level: str, left_out: str, attack: str
) -> None:
    more = {"alias": str(around.folder / "alias"), "code": around.environ["CODE"]}
    got = around.attack(level, [attack], without=left_out.split(), **more)
    assert got[attack] != "blocked"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "left_out", "attack"),
    [
        ("guard", "Mask", "block_device"),
        ("guard", "Freeze", "core_pattern"),
        ("guard", "Freeze", "kernel_settings"),
        ("guard", "Freeze", "kernel_programs"),
        ("guard", "Freeze", "kernel_programs_elsewhere"),
        ("guard", "Freeze", "kernel_programs_anew"),
        ("guard-nopid", "Freeze", "kernel_programs_anew"),
        ("guard-nopid", "dropped", "own_unmount"),
        ("landlock", "read_only", "core_pattern"),
        ("landlock", "read_only", "kernel_programs_elsewhere"),
        ("landlock", "dropped", "packet_socket"),
    ],
)
def test_without_the_protection_the_attack_works_for_root(
    around: World, level: str, left_out: str, attack: str
) -> None:
    more = {"settings": around.environ["KERNEL"]}
    assert around.attack(level, [attack], **more) == {attack: "blocked"}
    if is_root(around):
        assert around.attack(level, [attack], without=[left_out], **more)[attack] != "blocked"
    else:
        assert around.attack("none", [attack], **more) == {attack: "blocked"}


def test_a_hardened_launcher_is_closed_even_to_programs_that_are_not_isolated(around: World) -> None:
    attacks = ["launcher_memory", "launcher_environ", "launcher_descriptor", "trace", "steal_descriptor"]
    hardened = around.attack("none", attacks)
    # For root the settings of a process are no hindrance.
    assert set(hardened.values()) <= ({"leak", "reached"} if is_root(around) else {"blocked"})
    loose = around.attack("none", attacks, loose=True)
    assert "blocked" not in loose.values()


@pytest.mark.parametrize("level", LEVELS)
def test_a_working_folder_in_the_vault_shows_nothing(around: World, level: str) -> None:
    assert around.attack(level, ["working_folder"], folder=str(around.vault)) == {"working_folder": "blocked"}


def test_without_isolation_a_working_folder_in_the_vault_shows_it(around: World) -> None:
    assert around.attack("none", ["working_folder"], folder=str(around.vault)) == {"working_folder": "leak"}


def test_root_does_not_stand_in_for_an_ordinary_user() -> None:
    assert ORDINARY not in (0, os.getuid())


START_FILE = "shell_start_file"


@pytest.mark.parametrize("mode", ["overlay", "ro"])
def test_a_sandbox_leaves_nothing_for_the_next_command(around: World, mode: str) -> None:
    around.attack("sandbox", [START_FILE], home_mode=mode)
    assert (around.home / ".bashrc").read_text() == ""


@pytest.mark.parametrize("level", ["guard", "guard-nopid", "landlock"])
def test_the_other_levels_do_and_say_so(around: World, level: str) -> None:
    around.attack(level, [START_FILE])
    assert (around.home / ".bashrc").read_text() == "planted\n"


def test_a_sandbox_without_its_own_mounts_would_leave_something(around: World) -> None:
    around.attack("sandbox", [START_FILE], without=("FreezeAll", "Scratch", "Overlay"))
    assert (around.home / ".bashrc").read_text() == "planted\n"
