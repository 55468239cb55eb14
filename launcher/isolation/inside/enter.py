"""In the forked child: everything between the fork and the program."""

from __future__ import annotations

import os
import resource
import socket
import stat
from typing import Final

from launcher.errors import ExitCode
from launcher.isolation.inside import landlock, seccomp
from launcher.isolation.inside.mounts import carry_out
from launcher.isolation.inside.network import open_network
from launcher.isolation.inside.supervise import become_first, become_program
from launcher.isolation.model import Facts, Fence, Level, Namespace, Plan
from launcher.isolation.progress import send_failed, send_ready
from launcher.isolation.steps import Step, StepFailed, step
from launcher.isolation.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    drop_capabilities,
    no_new_privileges,
    set_dumpable,
    unavailable,
)

_FLAGS: Final = {
    Namespace.MOUNT: CLONE_NEWNS,
    Namespace.PID: CLONE_NEWPID,
    Namespace.IPC: CLONE_NEWIPC,
    Namespace.NETWORK: CLONE_NEWNET,
}


def enter(plan: Plan, sender: socket.socket) -> None:
    """Set up all that `plan` says, and tell the launcher over `sender`.

    Returns in the process that is to execute the program, which need not be the one that called: others
    stay behind and end as it ends. If a step fails, it is told and the process ends with 125.
    """
    try:
        missing, sockets = _set_up(plan)
        with step(Step.REPORT):
            send_ready(sender, missing, sockets)
    except StepFailed as failure:
        send_failed(sender, failure)
        os._exit(ExitCode.RUN_FAILED)
    sender.close()
    for listener in sockets:
        listener.close()


def _set_up(plan: Plan) -> tuple[list[Step], list[socket.socket]]:
    if plan.level is Level.NONE:
        return [], []
    if unavailable():
        raise StepFailed(Step.SYSTEM, 0)
    sockets = _separate(plan) if plan.namespaces else []
    _close_folders()
    with step(Step.PRIVILEGES):
        resource.setrlimit(resource.RLIMIT_CORE, plan.facts.core_limit)
        drop_capabilities(plan.dropped)
        no_new_privileges()
    missing = _fence(plan)
    if plan.denied:
        with step(Step.FILTER):
            seccomp.install(plan.denied)
    return missing, sockets


def _separate(plan: Plan) -> list[socket.socket]:
    with step(Step.NAMESPACES):
        # A process that is not dumpable belongs to root in /proc, and could not map its user.
        set_dumpable(True)
        os.unshare(CLONE_NEWUSER | sum(_FLAGS[space] for space in plan.namespaces))
    _map_user(plan.facts)
    outgoing = become_first() if Namespace.PID in plan.namespaces else None
    sockets = open_network(plan.listeners) if Namespace.NETWORK in plan.namespaces else []
    carry_out(plan.mounts, plan.facts.memory)
    with step(Step.FOLDER):
        # The old one was entered before the mounts and would lead below them.
        os.chdir(plan.facts.working_folder)
    if outgoing is not None:
        become_program(outgoing)
    return sockets


def _map_user(facts: Facts) -> None:
    """The same user inside as outside: executing a program then drops all that the namespace gave.

    As root of the namespace the program could unmount what hides the vault.
    """
    with step(Step.IDENTITY):
        _write("setgroups", "deny")
        _write("uid_map", f"{facts.uid} {facts.uid} 1")
        _write("gid_map", f"{facts.gid} {facts.gid} 1")


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
        file.write(text)


def _close_folders() -> None:
    """An open folder is a way round every mount made since: `..` leads on from it."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                os.set_inheritable(descriptor, False)
        except OSError:
            continue  # the descriptor of the listing itself is gone by now


def _fence(plan: Plan) -> list[Step]:
    """Landlock. Returns what is missing of it, where the level does without."""
    match plan.fence:
        case None:
            return []
        case Fence.FILES:
            with step(Step.CARVE):
                hidden = plan.facts.hidden + plan.facts.secrets + plan.facts.devices
                landlock.restrict_files(hidden, plan.facts.visible, plan.read_only)
            return []
        case Fence.SCOPE:
            try:
                landlock.restrict_scope()
                return [] if landlock.scoped(landlock.version()) else [Step.SCOPE]
            except OSError:
                return [Step.SCOPE]
