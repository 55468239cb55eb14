"""Every path and every variable name of ours, once. Pure: the environment is an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.errors import UsageProblem
from vault.model import DEFAULT_NAME, NAME

HOME_VARIABLE: Final = "AUTHSOME_HOME"
PROFILE_VARIABLE: Final = "AUTHSOME_PROFILE"
CONNECT_TO_VARIABLE: Final = "AUTHSOME_CONNECT_TO"
KEY_FILE_VARIABLE: Final = "AUTHSOME_KEY_FILE"
KEY_FD_VARIABLE: Final = "AUTHSOME_KEY_FD"
PASSPHRASE_FD_VARIABLE: Final = "AUTHSOME_PASSPHRASE_FD"  # noqa: S105  (a name, not a password)

OWN_PREFIX: Final = "AUTHSOME_"
"""What the name of every variable of ours begins with."""

FIRST_FREE_DESCRIPTOR: Final = 3
"""The first file descriptor after standard input, output and error."""

RUN_VARIABLE: Final = "AUTHSOME_RUN"
"""Set in a child, to the name of its run."""

ROOTS_VARIABLE: Final = "SSL_CERT_FILE"
"""Names certificates that are trusted besides the system's."""

_CONNECT_TO = re.compile(
    r"(?P<host>\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[^:\[\]]*):(?P<port>\d*):(?P<to_host>\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[^:\[\]]*):(?P<to_port>\d*)"
)


@dataclass(frozen=True, slots=True)
class ConnectTo:
    """One `--connect-to HOST:PORT:HOST2:PORT2`, with the meaning curl gives it.

    An empty HOST or PORT stands for any; an empty HOST2 or PORT2 for the one that was asked for.
    """

    host: str
    port: int | None
    to_host: str
    to_port: int | None

    def applies(self, host: str, port: int) -> bool:
        """Whether a connection to `host` and `port` is redirected by this entry."""
        return self.host in ("", _comparable(host)) and self.port in (None, port)

    def address(self, host: str, port: int) -> tuple[str, int]:
        """What is dialled in place of `host` and `port`."""
        return self.to_host or host, self.to_port or port


@dataclass(frozen=True, slots=True)
class Settings:
    """What a command was told by its options and its environment."""

    home: Path
    profile: str
    connect_to: tuple[ConnectTo, ...] = ()
    key_path: Path | None = None
    """A key file in another place than the usual one."""
    key_fd: int | None = None
    """A descriptor from which the vault's key is read."""
    passphrase_fd: int | None = None

    @property
    def vault_file(self) -> Path:
        return self.home / "vault.db"

    @property
    def key_file(self) -> Path:
        return self.key_path or self.home / "master.key"

    @property
    def providers_folder(self) -> Path:
        return self.home / "providers"

    @property
    def runs_folder(self) -> Path:
        return self.home / "runs"

    @property
    def audit_folder(self) -> Path:
        return self.home / "audit"


def usual_home(user_home: Path) -> Path:
    """AUTHSOME_HOME where it is not set."""
    return user_home / ".authsome"


def read_settings(
    environ: Mapping[str, str],
    *,
    user_home: Path,
    working_folder: Path,
    profile: str | None = None,
    connect_to: Sequence[str] = (),
) -> Settings:
    """The settings of one command: options win over variables, variables over defaults.

    Raises: UsageProblem, naming the option or variable.
    """

    def absolute(text: str) -> Path:
        # Because the answer is used after a change of folder as well.
        return working_folder / (user_home / text[2:] if text.startswith("~/") else Path(text))

    key_file = environ.get(KEY_FILE_VARIABLE)
    chosen = profile or environ.get(PROFILE_VARIABLE) or DEFAULT_NAME
    if not NAME.fullmatch(chosen):
        raise UsageProblem(
            f"{chosen!r} is not a valid profile name",
            "use lower-case letters, digits, '.', '_' and '-'",
        )
    from_environ = [entry for entry in environ.get(CONNECT_TO_VARIABLE, "").split(",") if entry.strip()]
    entries = [parse_connect_to(entry, "<set connect_to>") for entry in connect_to]
    entries += [parse_connect_to(entry.strip(), CONNECT_TO_VARIABLE) for entry in from_environ]
    return Settings(
        home=absolute(environ.get(HOME_VARIABLE) or str(usual_home(user_home))),
        profile=chosen,
        connect_to=tuple(entries),
        key_path=absolute(key_file) if key_file else None,
        key_fd=descriptor(environ, KEY_FD_VARIABLE),
        passphrase_fd=descriptor(environ, PASSPHRASE_FD_VARIABLE),
    )


def descriptor(environ: Mapping[str, str], variable: str) -> int | None:
    """The number of an inherited file descriptor. Raises: UsageProblem."""
    text = environ.get(variable)
    if not text:
        return None
    # Standard input, output and error belong to the program that is run.
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text, re.ASCII) or int(text) < FIRST_FREE_DESCRIPTOR:
        raise UsageProblem(
            f"{variable} {text!r} is not the number of a file descriptor",
            f"use a number from {FIRST_FREE_DESCRIPTOR} on, and open it as in '{FIRST_FREE_DESCRIPTOR}<FILE'",
        )
    return int(text)


def parse_connect_to(text: str, source: str) -> ConnectTo:
    """Parse `HOST:PORT:HOST2:PORT2`; an IPv6 address stands in brackets.

    `source` is the option or variable the text came from.

    Raises: UsageProblem.
    """
    match = _CONNECT_TO.fullmatch(text)
    ports = [int(match[name]) if match[name] else None for name in ("port", "to_port")] if match else []
    if (
        not match
        or any(port is not None and not 0 < port < 65536 for port in ports)
        or re.search(r"\s", text)
    ):
        raise UsageProblem(
            f"{source} {text!r} is not HOST:PORT:HOST2:PORT2",
            "for example <set connect_to> discord.com:443:127.0.0.1:8443, an IPv6 address in brackets",
        )
    return ConnectTo(_comparable(match["host"]), ports[0], match["to_host"].strip("[]"), ports[1])


def _comparable(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
