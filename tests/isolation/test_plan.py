"""What is planned for which machine, level and wish."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
    Overlay,
    Processes,
    Restore,
    Scratch,
    Seal,
    Terminals,
    Use,
    Wishes,
)
from launcher.isolation.plan import CAPTURED_PORTS, MAX_PORTS, make_plan, why_lost
from launcher.isolation.progress import _MAX_SOCKETS

HOME = "/home/u/.authsome"
RUN = f"{HOME}/runs/r1"

FACTS = Facts(
    uid=1000,
    gid=1000,
    working_folder="/home/u/project",
    user_home="/home/u",
    core_limit=(0, -1),
    hidden=(HOME, "/mnt/u/.authsome"),
    visible=(RUN,),
    sockets=("/home/u/agent.sock", "/run/docker.sock"),
    abstract=(),
    secrets=("/home/u/project/key",),
    code=(),
    devices=("/dev/sda",),
    folders=frozenset(
        {"/home/u", "/run", "/run/user", "/run/systemd", "/run/systemd/resolve", "/tmp", "/tmp/tmux-1000"}
    ),
    system_mounts=("/sys",),
    has_version_6=True,
    memory=1 << 30,
)

ROOT = replace(FACTS, uid=0, gid=0)

WITH_NAMESPACES = [Level.GUARD, Level.GUARD_HOST_PROC, Level.SANDBOX]


@pytest.mark.parametrize("level", WITH_NAMESPACES)
def test_every_way_to_the_vault_is_hidden_and_the_run_stays_visible(level: Level) -> None:
    mounts = make_plan(level, FACTS).mounts
    assert mounts[mounts.index(Hide(HOME)) :][:4] == (
        Hide(HOME),
        Restore(RUN, writable=False),
        Seal(HOME),
        Hide("/mnt/u/.authsome"),
    )
    assert Seal("/mnt/u/.authsome") in mounts


@pytest.mark.parametrize("level", WITH_NAMESPACES)
def test_nothing_comes_after_the_vault_is_hidden_that_could_show_it_again(level: Level) -> None:
    mounts = make_plan(level, ROOT, Wishes(writable=("/home/u/.authsome", "/srv"))).mounts
    after = mounts[mounts.index(Seal("/mnt/u/.authsome")) + 1 :]
    assert {type(operation) for operation in after} <= {Terminals, Processes, Freeze}


@pytest.mark.parametrize("level", WITH_NAMESPACES)
def test_sockets_and_devices_are_masked_unless_wished_for(level: Level) -> None:
    wished = make_plan(level, FACTS, Wishes(sockets=("/run/docker.sock",))).mounts
    assert Mask("/home/u/agent.sock") in wished
    assert Mask("/dev/sda") in wished
    assert Mask("/run/docker.sock") not in wished
    assert Mask("/run/docker.sock") in make_plan(level, FACTS).mounts


def test_guard_hides_the_folders_of_daemons_and_keeps_the_resolvers() -> None:
    mounts = make_plan(Level.GUARD, FACTS).mounts
    at = mounts.index(Hide("/run/systemd"))
    assert mounts[at : at + 3] == (
        Hide("/run/systemd"),
        Restore("/run/systemd/resolve", writable=False),
        Seal("/run/systemd"),
    )
    at = mounts.index(Hide("/run/user"))
    assert mounts[at : at + 3] == (Hide("/run/user"), Scratch("/run/user/1000", 0o700), Seal("/run/user"))
    assert Scratch("/tmp/tmux-1000", 0o700) in mounts
    assert Hide("/run/dbus") not in mounts


def test_a_socket_that_is_wished_for_comes_back_into_its_hidden_folder() -> None:
    bus = "/run/user/1000/bus"
    mounts = make_plan(Level.GUARD, FACTS, Wishes(sockets=(bus,))).mounts
    assert mounts.index(Scratch("/run/user/1000", 0o700)) < mounts.index(Restore(bus, writable=True))


def test_a_sandbox_leaves_the_working_folder_and_the_wishes_writable() -> None:
    mounts = make_plan(Level.SANDBOX, FACTS, Wishes(writable=("/srv/data",))).mounts
    assert mounts[0] == FreezeAll()
    assert Overlay("/home/u") in mounts
    assert [each.path for each in mounts if isinstance(each, Restore) and each.writable] == [
        "/home/u/project",
        "/srv/data",
    ]


@pytest.mark.parametrize("folder", ["/home/u", "/home", "/", "/tmp", "/run"])
def test_a_sandbox_started_in_the_home_folder_or_above_or_in_one_of_its_own_does_not_open_it(
    folder: str,
) -> None:
    mounts = make_plan(Level.SANDBOX, replace(FACTS, working_folder=folder)).mounts
    assert not [each for each in mounts if isinstance(each, Restore) and each.writable]
    assert why_lost(folder, FACTS)


@pytest.mark.parametrize("folder", ["/home/u/project", "/home/other", "/tmp/project", "/srv", "/var/tmp"])
def test_what_is_written_elsewhere_is_kept(folder: str) -> None:
    """There is no /var/tmp on this machine."""
    mounts = make_plan(Level.SANDBOX, replace(FACTS, working_folder=folder)).mounts
    assert Restore(folder, writable=True) in mounts
    assert why_lost(folder, FACTS) == ""


@pytest.mark.parametrize("mode", HomeMode)
def test_a_home_folder_that_does_not_exist_needs_nothing(mode: HomeMode) -> None:
    homeless = replace(FACTS, folders=FACTS.folders - {"/home/u"})
    mounts = make_plan(Level.SANDBOX, homeless, Wishes(home=mode)).mounts
    assert "/home/u" not in [each.path for each in mounts if isinstance(each, Restore | Overlay)]


def test_a_sandbox_can_leave_the_home_folder_as_it_is() -> None:
    mounts = make_plan(Level.SANDBOX, FACTS, Wishes(home=HomeMode.READ_ONLY)).mounts
    assert Restore("/home/u", writable=False) in mounts
    assert Overlay("/home/u") not in mounts


def test_a_sandbox_listens_for_the_proxy_every_address_names_and_wished_ports() -> None:
    plan = make_plan(Level.SANDBOX, FACTS, Wishes(ports=(5432,)))
    assert Listen(Use.PROXY, "127.0.0.1", 3128) in plan.listeners
    assert Listen(Use.TLS, "::", 443) in plan.listeners
    assert Listen(Use.FORWARD, "::1", 5432) in plan.listeners
    old = make_plan(Level.SANDBOX, replace(FACTS, has_version_6=False), Wishes(ports=(5432,)))
    assert [listen for listen in old.listeners if ":" in listen.address] == []
    assert len(old.listeners) == 6


def test_as_many_ports_as_can_be_wished_for_are_handed_over_and_none_is_taken_twice() -> None:
    listeners = make_plan(Level.SANDBOX, FACTS, Wishes(ports=tuple(range(9000, 9000 + MAX_PORTS)))).listeners
    assert len(set(listeners)) <= _MAX_SOCKETS
    assert {each.port for each in make_plan(Level.SANDBOX, FACTS).listeners} == set(CAPTURED_PORTS)


CODE = replace(
    FACTS, code=("/home/u/project/.venv/lib.so", "/home/u/.local/lib.so", "/home/u/projects/lib.so")
)


@pytest.mark.parametrize("level", [Level.GUARD, Level.GUARD_HOST_PROC])
def test_the_code_that_the_launcher_executes_is_frozen_before_anything_is_hidden(level: Level) -> None:
    mounts = make_plan(level, CODE).mounts
    frozen = [Freeze(path) for path in CODE.code]
    assert [each for each in mounts if isinstance(each, Freeze)] == frozen
    assert mounts.index(frozen[-1]) < mounts.index(Hide(HOME))


def test_a_sandbox_freezes_the_code_where_it_left_folders_writable() -> None:
    mounts = make_plan(Level.SANDBOX, CODE, Wishes(writable=("/home/u/.local",))).mounts
    frozen = [each for each in mounts if isinstance(each, Freeze)]
    assert frozen == [Freeze("/home/u/project/.venv/lib.so"), Freeze("/home/u/.local/lib.so")]
    assert mounts.index(Restore("/home/u/.local", writable=True)) < mounts.index(frozen[0])
    in_home = replace(CODE, working_folder="/home/u")
    assert not [each for each in make_plan(Level.SANDBOX, in_home).mounts if isinstance(each, Freeze)]


def test_landlock_makes_the_code_read_only() -> None:
    assert make_plan(Level.LANDLOCK, CODE).read_only == CODE.code
    root = make_plan(Level.LANDLOCK, replace(CODE, uid=0))
    assert root.read_only == (*CODE.code, "/proc", "/sys")


@pytest.mark.parametrize("level", WITH_NAMESPACES)
def test_root_cannot_change_the_kernels_settings_and_others_keep_theirs(level: Level) -> None:
    assert {Freeze("/sys"), Freeze("/proc/sys")} <= set(make_plan(level, ROOT).mounts)
    assert not [each for each in make_plan(level, FACTS).mounts if isinstance(each, Freeze)]


def test_only_guard_without_a_private_proc_does_without_it() -> None:
    assert Processes() in make_plan(Level.GUARD, FACTS).mounts
    host = make_plan(Level.GUARD_HOST_PROC, FACTS)
    assert Processes() not in host.mounts
    assert Namespace.PID not in host.namespaces


def test_landlock_takes_what_is_masked_elsewhere() -> None:
    plan = make_plan(Level.LANDLOCK, FACTS)
    assert (plan.namespaces, plan.mounts, plan.fence) == (frozenset(), (), Fence.FILES)
    assert {Denied.UNIX_SOCKETS, Denied.IO_URING, Denied.KEYRING} <= plan.denied
    assert (plan.read_only, plan.dropped) == ((), frozenset())
    root = make_plan(Level.LANDLOCK, ROOT)
    assert root.read_only == ("/proc", "/sys")
    assert root.dropped is not None
    assert {13, 19, 21} <= root.dropped


@pytest.mark.parametrize("level", [*WITH_NAMESPACES, Level.LANDLOCK])
def test_io_uring_is_denied_at_every_level(level: Level) -> None:
    assert Denied.IO_URING in make_plan(level, FACTS).denied


@pytest.mark.parametrize("level", [*WITH_NAMESPACES, Level.LANDLOCK])
def test_handles_are_denied_at_every_level(level: Level) -> None:
    assert Denied.HANDLES in make_plan(level, FACTS).denied


@pytest.mark.parametrize(
    "name", ["dbus", "systemd", "docker", "containerd", "podman", "crio", "libvirt", "user"]
)
def test_each_folder_of_daemons_is_hidden_whole(name: str) -> None:
    there = replace(FACTS, folders=frozenset({f"/run/{name}"}))
    assert Hide(f"/run/{name}") in make_plan(Level.GUARD, there).mounts


@pytest.mark.parametrize("name", ["tmux-1", "ssh-aB3", "dbus-aB3", ".X11-unix", ".ICE-unix"])
def test_each_folder_of_a_session_is_ones_own(name: str) -> None:
    mounts = make_plan(Level.GUARD, replace(FACTS, folders=frozenset({f"/tmp/{name}"}))).mounts
    assert [each.path for each in mounts if isinstance(each, Scratch)] == [f"/tmp/{name}"]


@pytest.mark.parametrize(
    "name",
    ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "driver", "dynamic_debug", "mtrr"],
)
@pytest.mark.parametrize("level", WITH_NAMESPACES)
def test_each_part_of_proc_with_settings_is_frozen_for_root(level: Level, name: str) -> None:
    assert Freeze(f"/proc/{name}") in make_plan(level, ROOT).mounts


@pytest.mark.parametrize("number", [2, 13, 16, 17, 19, 21, 27, 38, 39, 40])
def test_under_landlock_root_gives_up_each_capability_that_leads_round_it(number: int) -> None:
    dropped = make_plan(Level.LANDLOCK, ROOT).dropped
    assert dropped is not None
    assert number in dropped


def test_without_isolation_nothing_is_done() -> None:
    plan = make_plan(Level.NONE, FACTS)
    assert (plan.namespaces, plan.mounts, plan.fence, plan.denied) == (frozenset(), (), None, frozenset())
