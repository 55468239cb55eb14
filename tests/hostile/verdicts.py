"""What each attack comes to at each level. Data alone; the words are those of `tests.hostile.child`.

`LEAK` means that a secret of the login was in the attacker's hands, or at a server that it is not for;
`used` that the credential went to discord.com in its slot, which is what a run is for.
"""

from __future__ import annotations

import os
import shutil
import socket
from typing import Final

from tests.hostile import wire

LEVELS: Final = ("none", "guard", "landlock", "sandbox")

Row = tuple[str, str, str, str]


def row(none: str, guard: str, landlock: str, sandbox: str) -> Row:
    return none, guard, landlock, sandbox


_L, _o, _b, _n = "LEAK", "open", "blocked", "-"

LEAKS: Final = row(_L, _b, _b, _b)
OPENS: Final = row(_o, _b, _b, _b)
NETWORK: Final = row(_o, _o, _o, _b)
"""Not promised below the sandbox, and no way to the vault by itself."""
NOTHING: Final = row(_b, _b, _b, _b)
"""There is nothing to be had even without isolation."""
INSIDE: Final = row(_n, _b, _n, _b)

MACHINE: Final = {
    "other_terminal": row(_o, _b, _o, _b),
    "inside: honest": row("used", "used", "used", "used"),
    "inherited_descriptors": NOTHING,
    "vault_files": LEAKS,
    "vault_through_links": OPENS,
    "vault_linked_hard": LEAKS,
    "alias_files": LEAKS,
    "open_folder": OPENS,
    "open_folder_directly": OPENS,
    "rename_vault": OPENS,
    "authority_key": NOTHING,
    "launcher_files": LEAKS,
    "launcher_descriptors": OPENS,
    "launcher_descriptors_stolen": OPENS,
    "launcher_memory_scan": LEAKS,
    "launcher_thread_memory": LEAKS,
    "launcher_memory_copied": LEAKS,
    "launcher_dumped": LEAKS,
    "launcher_environment": OPENS,
    "any_environment": OPENS,
    "second_run_memory": LEAKS,
    "start_race": OPENS,
    "trace": OPENS,
    "signal_launcher": OPENS,
    "signal_host": OPENS,
    "namespace_of_launcher": NOTHING,
    "process_one": INSIDE,
    "process_one_traced": INSIDE,
    "unmount": OPENS,
    "unmount_everything": LEAKS,
    "move_mounts": NOTHING,
    "nested_overlay": OPENS,
    "nested_bind": OPENS,
    "file_by_handle": NOTHING,
    "page_faults": NOTHING,
    "gain_privileges": OPENS,
    "process_names": row(_o, _b, _o, _b),
    "beside_working_folder": LEAKS,
    "keyring": LEAKS,
    "rings": OPENS,
    "handles": OPENS,
    "own_core_limit": row(_o, _o, _o, _o),
    "late_module": NOTHING,
    "executed_code": NOTHING,
    "packet_socket": NOTHING,
    "aliased_socket": OPENS,
    "unix_socket": row(_o, _o, _b, _o),
    "unix_datagram_pair": row(_o, _o, _b, _o),
    "unix_raw_pair": row(_o, _o, _b, _o),
    "virtual_socket": OPENS,
    "type_into_terminal": OPENS,
    "type_with_high_bits": OPENS,
    "own_variables": NOTHING,
    "job_variables": NOTHING,
    "job_token_file": OPENS,
    "job_token_mounted": OPENS,
    "certificates_changed": OPENS,
    "logs": OPENS,
    "temporary_files": NOTHING,
    "temporary_file": NETWORK,
    "memory": NETWORK,
    "loopback": NETWORK,
    "direct_stream": NETWORK,
    "direct_datagram": NETWORK,
    "direct_multipath": NETWORK,
    "direct_fast_open": NETWORK,
}
"""Files, processes and the kernel."""

FOR_ROOT: Final = {
    "block_device": OPENS,
    "executed_code": OPENS,
    "packet_socket": OPENS,
    "core_pattern": OPENS,
    "kernel_settings": OPENS,
    "kernel_programs": OPENS,
    "kernel_programs_elsewhere": OPENS,
    "kernel_programs_anew": OPENS,
    "file_by_handle": OPENS,
    "namespace_of_launcher": OPENS,
    "move_mounts": LEAKS,
    # The bus speaks only with users that have a name.
    "session_bus": LEAKS,
}
"""What is otherwise for root, or root's alone."""

TOOLS: Final = {"launcher_dumped": "gcore", "session_bus": "dbus-daemon", "terminal_server": "tmux"}
"""What an attack needs besides Python; without it the verdict is `-`."""

PROGRAMS: Final = {
    "export": NOTHING,
    "export_without_mark": LEAKS,
    "show_connection": OPENS,
    "back_up_vault": OPENS,
    "key_of_vault": OPENS,
    "other_profile": NOTHING,
    "nested_run": NOTHING,
    "modules_beside": NOTHING,
    "forged_provider": NOTHING,
    "agreed_provider": LEAKS,
    "moved_home": LEAKS,
    "flooded_audit": row(_b, _n, _n, _n),
    "path_socket": OPENS,
    "abstract_socket": OPENS,
    "keyring_daemon": LEAKS,
    "passed_descriptor": LEAKS,
    "session_bus": NOTHING,
    "terminal_server": LEAKS,
    "any_socket": NOTHING,
}
"""Programs of the user: `authsome` itself, and what runs anyway."""

LOGIN: Final = {
    "login_page": NOTHING,
    "login_form": NOTHING,
    "login_arguments": NOTHING,
    "login_letter": OPENS,
}
"""A login that waits for its browser."""

LOGIN_SEEN: Final = {"login_seen_address": NOTHING, "login_seen_state": NOTHING}
"""One whose browser has come, with what can be seen then."""

NOT_PROMISED: Final = {
    "shell_on_loopback": row(_L, _L, _L, _b),
    "late_daemon": row(_L, _L, _b, _b),
}
"""What guard does not close, and SECURITY.md says so: services on loopback that execute commands, and a
socket that a service of the user's makes, outside of the known folders, when the run has begun."""


def everywhere(word: str) -> Row:
    return word, word, word, word


_ELSEWHERE: Final = {
    "evil": "harmless",
    "evil, host discord": "harmless",
    "evil, sni discord": "harmless",
    "evil, sni and host discord": "harmless",
    "look-alike suffix": "harmless",
    "look-alike prefix": "harmless",
    "subdomain": "harmless",
}

TUNNELS: Final = (
    *_ELSEWHERE,
    "discord, sni evil",
    "discord, sni and host evil",
    "discord, host evil",
    "discord, no sni",
    "two hosts",
    "two hosts, evil first",
    "absolute form",
    "absolute form, host evil",
    "trace",
    "folded header",
    "two authorizations",
    "length and chunks",
    "smuggled second request",
)
"""Through the proxy, and past it where a sandbox captures."""

PASSED: Final = {
    "inside: limited": "used",
    "inside: body": "used",
    "inside: audit reason": "used",
    "inside: cookie": "used",
    "inside: url": "used",
    "inside: old version": "used",
    "inside: part of an answer": "used",
    "inside: token in a longer value": "harmless",
    "another port": "harmless",
    "clear: evil, host discord": "harmless",
    "clear: answer": "harmless",
    "clear: in a tunnel": "cut",
    "clear: in a tunnel to port 80": "harmless",
    "proxy: mitm.it": "harmless",
    "http/2": "blocked",
    "alternative service": "harmless",
}
"""What is not refused: the placeholder is worth nothing elsewhere, and inert outside of its slot."""


def on_the_wire() -> dict[str, Row]:
    """All attacks on the proxy; what is not said otherwise is refused, at every level."""
    names = [
        name for name in wire.attacks() if not name.startswith(("limits: ", "echo: ")) and name not in MACHINE
    ]
    table = {name: everywhere(PASSED.get(name, "refused")) for name in names}
    for name in TUNNELS:
        word = _ELSEWHERE.get(name, "refused")
        table[f"tunnel: {name}"] = everywhere(word)
        table[f"captured tunnel: {name}"] = row(_n, _n, _n, word)
    own = "refused" if has_own_address() else _n
    # The first of its two requests is an honest one.
    table["tunnel: smuggled second request"] = everywhere("used")
    table["captured tunnel: smuggled second request"] = row(_n, _n, _n, "used")
    return table | {
        "abroad: own address": row(own, own, own, "refused"),
        "captured clear": row(_n, _n, _n, "harmless"),
        "proxy: of another run": row("refused", "refused", "refused", _b),
    }


def has_own_address() -> bool:
    """Whether this machine is in a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return False
    return True


OTHER_PROCESSES: Final = ("any_environment", "second_run_memory", "start_race")
"""Attacks on other processes of the user. Who is not root can make this world only with each of its programs
in a user namespace of its own, and across those the kernel lets nobody look (ptrace(2))."""


def expected(level: str, *, root: bool) -> dict[str, str]:
    """The verdicts of a run with every attack that is promised to fail."""
    table = MACHINE | PROGRAMS | (FOR_ROOT if root else {}) | on_the_wire()
    at = LEVELS.index(level)
    found = {name: verdicts[at] for name, verdicts in table.items()}
    if os.getuid():
        found |= dict.fromkeys(OTHER_PROCESSES, "blocked")
    return found | {name: _n for name, tool in TOOLS.items() if not shutil.which(tool)}


LATER: Final = {
    # First, because it uses the program that others change.
    "provider_file": (),
    "start_file": ("none", "guard", "landlock"),
    "login_file": ("none", "guard", "landlock"),
    "program_in_path": ("none", "guard", "landlock"),
    "python_start_file": ("none", "guard", "landlock"),
    # Lies in the project, which a sandbox leaves writable, too.
    "project_modules": (),
    "installed_package": ("none", "guard", "landlock"),
    "installed_program": ("none", "guard", "landlock"),
    "survivor": ("none",),
}
"""What is left for the user's next command, and the levels at which that gives the key away. The sandbox
alone promises that nothing is."""
