"""What is done to isolate a run: facts about the machine in, an ordered list of operations out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from launcher.isolation.model import (
    Denied,
    Facts,
    Fence,
    Freeze,
    FreezeAll,
    Hide,
    HomeMode,
    Level,
    Listen,
    Mask,
    Namespace,
    Operation,
    Overlay,
    Plan,
    Processes,
    Restore,
    Scratch,
    Seal,
    Terminals,
    Use,
    Wishes,
)

PROXY_PORT: Final = 3128
"""Inside of a sandbox. Registered for HTTP proxies in practice since Squid."""

DAEMON_FOLDERS: Final = (
    "/run/dbus",
    "/run/systemd",
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/libvirt",
    "/run/user",
)
"""Where daemons listen that execute programs, also those that start later. Masked whole."""

RESOLVER: Final = "/run/systemd/resolve"
"""Holds what /etc/resolv.conf points to on many systems."""

PRIVATE_IN_TMP: Final = re.compile(r"/tmp/(?:tmux-\d+|ssh-\w+|dbus-\w+|\.X11-unix|\.ICE-unix)")  # noqa: S108
"""Folders with sockets of the user's session. They stay usable for programs of the run."""

SANDBOX_SCRATCH: Final = (("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/dev/shm", 0o1777), ("/run", 0o755))  # noqa: S108
"""What a sandbox has for itself, with the mode."""

CAPTURED_PORTS: Final = (443, 80, 53, PROXY_PORT)
"""Where a sandbox listens itself."""

MAX_PORTS: Final = 100
"""Ports that a sandbox lets through at most: their listeners are handed over in one message."""

_FROZEN_IN_PROC: Final = (
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/proc/scsi",
    "/proc/driver",
    "/proc/dynamic_debug",
    "/proc/mtrr",
)
"""What root may write by owning it, without any capability: /proc/sys/kernel/core_pattern names a
program that the kernel starts outside of everything."""

_ROOT_WITHOUT_NAMESPACES: Final = frozenset({2, 13, 16, 17, 19, 21, 27, 38, 39, 40})
"""CAP_DAC_READ_SEARCH, NET_RAW, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, MKNOD, PERFMON, BPF,
CHECKPOINT_RESTORE: each leads to other processes, to what they send, or round Landlock.
linux/capability.h."""

_LIGHT: Final = frozenset(
    {Denied.TERMINAL_INPUT, Denied.KEYRING, Denied.VSOCK, Denied.HANDLES, Denied.IO_URING}
)
"""Nothing that an honest program was seen to need: without io_uring they do as in a container."""

_ANY: Final = ("0.0.0.0", "::")  # noqa: S104  (inside of a network namespace of its own)


def make_plan(level: Level, facts: Facts, wishes: Wishes | None = None) -> Plan:
    """The plan of a level. Landlock and no isolation take no wishes; guard takes sockets."""
    given = wishes or Wishes()
    spaces = frozenset({Namespace.MOUNT, Namespace.IPC})
    match level:
        case Level.GUARD:
            everything = spaces | {Namespace.PID}
            return _with_namespaces(level, facts, everything, _guard_mounts(facts, given, proc=True))
        case Level.GUARD_HOST_PROC:
            return _with_namespaces(level, facts, spaces, _guard_mounts(facts, given, proc=False))
        case Level.SANDBOX:
            return Plan(
                level,
                facts,
                namespaces=spaces | {Namespace.PID, Namespace.NETWORK},
                mounts=_sandbox_mounts(facts, given),
                listeners=_listeners(given.ports, _ANY if facts.has_version_6 else _ANY[:1]),
                dropped=None,
                fence=Fence.SCOPE,
                denied=_LIGHT,
            )
        case Level.LANDLOCK:
            return Plan(
                level,
                facts,
                dropped=_ROOT_WITHOUT_NAMESPACES if facts.uid == 0 else frozenset(),
                fence=Fence.FILES,
                read_only=(*facts.code, *(("/proc", *facts.system_mounts) if facts.uid == 0 else ())),
                denied=_LIGHT | {Denied.UNIX_SOCKETS},
            )
        case Level.NONE:
            return Plan(level, facts)
        case _:
            assert_never(level)


def _with_namespaces(
    level: Level, facts: Facts, spaces: frozenset[Namespace], mounts: tuple[Operation, ...]
) -> Plan:
    return Plan(
        level, facts, namespaces=spaces, mounts=mounts, dropped=None, fence=Fence.SCOPE, denied=_LIGHT
    )


def _guard_mounts(facts: Facts, wishes: Wishes, *, proc: bool) -> tuple[Operation, ...]:
    folders: list[Operation] = []
    for path in sorted(facts.folders & set(DAEMON_FOLDERS)):
        inside = [Restore(RESOLVER, writable=False)] if _holds(path, RESOLVER, facts.folders) else []
        own = [Scratch(f"{path}/{facts.uid}", 0o700)] if path == "/run/user" else []
        allowed = [Restore(socket, writable=True) for socket in wishes.sockets if _below(socket, path)]
        folders += [Hide(path), *inside, *own, *allowed, Seal(path)]
    for path in sorted(filter(PRIVATE_IN_TMP.fullmatch, facts.folders)):
        folders.append(Scratch(path, 0o1777 if path.endswith("-unix") else 0o700))
        folders += [Restore(socket, writable=True) for socket in wishes.sockets if _below(socket, path)]
    code = [Freeze(path) for path in facts.code]
    return (*folders, *code, *_common(facts, wishes, proc=proc))


def _sandbox_mounts(facts: Facts, wishes: Wishes) -> tuple[Operation, ...]:
    own = [path for path in (facts.working_folder, *wishes.writable) if not why_lost(path, facts)]
    scratch = [Scratch(path, mode) for path, mode in SANDBOX_SCRATCH if path in facts.folders]
    runtime = [Scratch(f"/run/user/{facts.uid}", 0o700)] if "/run" in facts.folders else []
    return (
        FreezeAll(),
        *scratch,
        *runtime,
        *([_home(facts.user_home, wishes.home)] if facts.user_home in facts.folders else []),
        *[Restore(path, writable=True) for path in dict.fromkeys([*own, *wishes.sockets])],
        # Elsewhere nothing can be changed by now.
        *[Freeze(path) for path in facts.code if any(path == wish or _below(path, wish) for wish in own)],
        *_common(facts, wishes, proc=True),
    )


def _home(path: str, mode: HomeMode) -> Operation:
    match mode:
        case HomeMode.OVERLAY:
            return Overlay(path)
        case HomeMode.READ_ONLY:
            return Restore(path, writable=False)
        case _:
            assert_never(mode)


def _common(facts: Facts, wishes: Wishes, *, proc: bool) -> tuple[Operation, ...]:
    """What every level with namespaces does last. The hidden folders come after all that could show
    them again; a private /proc after them, because the mounts before need the old one."""
    found = (*facts.sockets, *facts.secrets, *facts.devices)
    masked = [Mask(path) for path in found if path not in wishes.sockets]
    hidden: list[Operation] = []
    for path in facts.hidden:
        inside = [Restore(shown, writable=False) for shown in facts.visible if _below(shown, path)]
        hidden += [Hide(path), *inside, Seal(path)]
    frozen = [Freeze(path) for path in (*facts.system_mounts, *_FROZEN_IN_PROC)] if facts.uid == 0 else []
    return (*masked, *hidden, Terminals(), *([Processes()] if proc else []), *frozen)


def _listeners(ports: Sequence[int], anywhere: Sequence[str]) -> tuple[Listen, ...]:
    wide = ((Use.TLS, 443), (Use.HTTP, 80), (Use.DNS_STREAM, 53), (Use.DNS_DATAGRAM, 53))
    own = ("127.0.0.1", "::1")[: len(anywhere)]
    return (
        Listen(Use.PROXY, own[0], PROXY_PORT),
        *(Listen(use, address, port) for use, port in wide for address in anywhere),
        *(Listen(Use.FORWARD, address, port) for port in ports for address in own),
    )


def why_lost(path: str, facts: Facts) -> str:
    """Why a sandbox cannot keep what is written in a folder; empty where it can."""
    if path == facts.user_home:
        return "it is the home folder"
    if _below(facts.user_home, path):
        return f"it holds the home folder {facts.user_home}"
    if path in facts.folders & dict(SANDBOX_SCRATCH).keys():
        return "a sandbox has an empty one of its own"  # others have their sockets in it
    return ""


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _holds(folder: str, path: str, existing: Iterable[str]) -> bool:
    return _below(path, folder) and path in existing
