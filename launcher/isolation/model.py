"""The words of isolation: levels, what a level is made of, and what was measured. Values alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto


class Level(StrEnum):
    """How far a run is kept apart, the strictest first."""

    SANDBOX = "sandbox"
    """The proxy is the only way out, and nothing is left behind."""
    GUARD = "guard"
    GUARD_HOST_PROC = "guard-nopid"
    """Guard where /proc cannot be mounted: the names of other processes stay visible."""
    LANDLOCK = "landlock"
    """Where namespaces are not allowed."""
    NONE = "none"


class HomeMode(StrEnum):
    """What a sandbox does with the home folder."""

    OVERLAY = "overlay"
    """Writes go to memory and are gone at the end."""
    READ_ONLY = "ro"


class Namespace(Enum):
    """What the child gets of its own; the user namespace always belongs to it."""

    MOUNT = auto()
    PID = auto()
    IPC = auto()
    NETWORK = auto()


class Denied(Enum):
    """What a program may be kept from."""

    TERMINAL_INPUT = auto()
    """Typing into a terminal: the user's shell would execute it after the run."""
    KEYRING = auto()
    """The kernel's keyrings belong to the user, not to the run."""
    VSOCK = auto()
    """Sockets to the host of a virtual machine; no network namespace holds them back."""
    HANDLES = auto()
    """Opening a file by its number instead of its path, and loading BPF programs."""
    UNIX_SOCKETS = auto()
    """Every daemon of the user, where its sockets cannot be masked. A pair of connected stream
    sockets stays allowed; one of datagram sockets could be connected elsewhere."""
    IO_URING = auto()
    """Opens sockets without a system call that a filter sees."""


class Fence(Enum):
    """What Landlock is used for."""

    SCOPE = auto()
    """Signals, abstract sockets and other processes. A second fence where there are namespaces, so its
    absence weakens nothing that the level promises, save for abstract sockets under guard."""
    FILES = auto()
    """The hidden folders too."""


@dataclass(frozen=True, slots=True)
class Hide:
    """An empty folder over `path`, to be sealed when what stays visible is back in it."""

    path: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Nothing more can be made in the folder that hides `path`."""

    path: str


@dataclass(frozen=True, slots=True)
class Mask:
    """An empty device over one file; passed over where the file is already out of sight."""

    path: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """An empty folder in memory at `path`, for the run alone. All together have one bound."""

    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class Restore:
    """What was at `path` at the beginning, back in its place."""

    path: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Freeze:
    """What is at `path`, a file or a folder, stays, read-only; passed over where there is nothing."""

    path: str


@dataclass(frozen=True, slots=True)
class FreezeAll:
    """Everything is read-only."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What was at `path` at the beginning stays readable there; writes go to memory, as a `Scratch`'s do."""

    path: str


@dataclass(frozen=True, slots=True)
class Terminals:
    """A private /dev/pts: the terminals of others cannot be opened."""


@dataclass(frozen=True, slots=True)
class Processes:
    """A private /proc."""


Operation = Hide | Seal | Mask | Scratch | Restore | Freeze | FreezeAll | Overlay | Terminals | Processes


class Use(Enum):
    """What a listener inside of a sandbox is for."""

    PROXY = auto()
    TLS = auto()
    HTTP = auto()
    DNS_STREAM = auto()
    DNS_DATAGRAM = auto()
    FORWARD = auto()
    """To the same port of this machine's loopback."""


@dataclass(frozen=True, slots=True)
class Listen:
    """A listener to be made inside of the network namespace."""

    use: Use
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured before the fork. All paths are absolute and resolved; all but `user_home` exist."""

    uid: int
    gid: int
    working_folder: str
    user_home: str
    core_limit: tuple[int, int]
    """Soft and hard limit of a core's size: the launcher forbids cores to itself alone."""
    hidden: tuple[str, ...]
    """Folders to hide, with all other paths that lead to them or to folders in them. None lies in another."""
    visible: tuple[str, ...]
    """Folders in hidden ones that stay readable."""
    sockets: tuple[str, ...]
    """Socket files of running daemons."""
    abstract: tuple[str, ...]
    """Their sockets without a file, each with an `@` before its name."""
    secrets: tuple[str, ...]
    """Files that hold a secret and lie anywhere, by every path that leads there."""
    code: tuple[str, ...]
    """Files that the launcher executes and this user can change, by every path that leads there."""
    devices: tuple[str, ...]
    """Devices that this user can open and that lead round the file system or to other terminals."""
    folders: frozenset[str]
    """Those of the plan's folders that exist, the home folder too, and what `/tmp` holds of daemons."""
    system_mounts: tuple[str, ...]
    """Where mounts show the kernel's settings, save for /proc itself."""
    has_version_6: bool
    """Whether there is IPv6."""
    memory: int
    """Bytes that all folders of a run in memory may hold together."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user allowed beyond the level's rule. Paths are absolute and resolved, and exist."""

    writable: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    home: HomeMode = HomeMode.OVERLAY


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the child does between its fork and the program."""

    level: Level
    facts: Facts
    namespaces: frozenset[Namespace] = frozenset()
    mounts: tuple[Operation, ...] = ()
    listeners: tuple[Listen, ...] = ()
    dropped: frozenset[int] | None = frozenset()
    """Capabilities to give up; None means all."""
    fence: Fence | None = None
    read_only: tuple[str, ...] = ()
    """Files and folders that Landlock makes read-only."""
    denied: frozenset[Denied] = frozenset()
