"""Where a level does not work: what is run instead, what is refused, and what is said."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys

import pytest

from launcher.isolation.causes import Host, explain
from launcher.isolation.measure.survey import survey
from launcher.isolation.model import Facts, Level, Wishes
from launcher.isolation.outside.levels import FALLBACKS, NotIsolated, fork_isolated
from launcher.isolation.progress import Failed, receive, report_channel, send_failed, send_ready
from launcher.isolation.steps import Step, StepFailed
from launcher.isolation.syscalls import MACHINES, unavailable
from tests.isolation.world import ROOT, World, interpreter

ATTACKS = [
    "vault",
    "launcher_memory",
    "trace",
    "path_socket",
    "abstract_socket",
    "keyring",
    "type_into_terminal",
]

NAMESPACES = str(Step.NAMESPACES)
PROC = str(Step.PROCESSES)


@pytest.mark.parametrize(
    ("host", "tried"),
    [
        ("", [("guard", "ready")]),
        ("masked-proc", [("guard", PROC), ("guard-nopid", "ready")]),
        ("docker", [("guard", NAMESPACES), ("guard-nopid", NAMESPACES), ("landlock", "ready")]),
        ("no-user-namespaces", [("guard", NAMESPACES), ("guard-nopid", NAMESPACES), ("landlock", "ready")]),
    ],
)
def test_guard_steps_down_as_far_as_it_must_and_keeps_its_promise(
    around: World, host: str, tried: list[tuple[str, str]]
) -> None:
    ended = around.run(
        "guard",
        interpreter(around.uid),
        around.attacks,
        *ATTACKS,
        host=host,
        falls_back=True,
    )
    assert [(level, result) for level, result, _ in ended.tried] == tried
    assert ended.verdicts == dict.fromkeys(ATTACKS, "blocked")


@pytest.mark.parametrize(
    ("level", "host"),
    [
        ("guard", "nothing"),
        ("sandbox", "docker"),
        ("sandbox", "masked-proc"),
        ("sandbox", "no-user-namespaces"),
        ("landlock", "no-landlock"),
    ],
)
def test_where_no_level_will_do_the_program_is_not_started(around: World, level: str, host: str) -> None:
    ended = around.run(level, "touch", around.home / "project" / "started", host=host, falls_back=True)
    assert (ended.status, ended.output) == (125, "")
    assert [tried[0] for tried in ended.tried] == list(FALLBACKS[Level(level)])
    assert not (around.home / "project" / "started").exists()
    here = around.run("guard", "touch", around.home / "project" / "started")
    assert here.status == 0
    assert (around.home / "project" / "started").exists()


def test_guard_works_without_landlock_and_says_what_is_missing(around: World) -> None:
    ended = around.run("guard", "true", host="no-landlock")
    assert (ended.status, ended.tried) == (0, [["guard", "ready", [str(Step.SCOPE)]]])


@pytest.mark.parametrize("level", ["guard", "sandbox"])
def test_terminals_work_where_the_way_to_make_them_is_a_mount(around: World, level: str) -> None:
    assert around.attack(level, ["own_terminal"], host="container") == {"own_terminal": "reached"}


@pytest.mark.parametrize(
    ("host", "sandbox", "landlock"),
    [
        ("", "works", "works"),
        ("docker", "Docker", "works"),
        ("masked-proc", "/proc are masked", "works"),
        ("no-user-namespaces", "user.max_user_namespaces", "works"),
        ("no-landlock", "works", "no Landlock"),
    ],
)
def test_a_probe_does_the_set_up_and_names_the_cause(
    around: World, host: str, sandbox: str, landlock: str
) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.isolation.probing",
            host,
            str(around.uid),
            str(around.home / "project"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = {level: " ".join(map(str, rest)) for level, *rest in map(json.loads, ended.stdout.splitlines())}
    assert list(found) == ["sandbox", "guard", "guard-nopid", "landlock"]
    assert sandbox in found["sandbox"]
    assert landlock in found["landlock"]


HERE = Host(apparmor_restricts=None, user_namespaces=1000, unprivileged_clone=None, filtered=False)
UBUNTU = Host(apparmor_restricts=True, user_namespaces=1000, unprivileged_clone=None, filtered=False)
DOCKER = Host(apparmor_restricts=None, user_namespaces=1000, unprivileged_clone=None, filtered=True)
DEBIAN_10 = Host(apparmor_restricts=None, user_namespaces=1000, unprivileged_clone=False, filtered=False)


@pytest.mark.parametrize(
    ("step", "number", "host", "text"),
    [
        (Step.IDENTITY, errno.EPERM, UBUNTU, "AppArmor"),
        (Step.PROPAGATION, errno.EACCES, UBUNTU, "AppArmor"),
        (Step.NAMESPACES, errno.EPERM, DOCKER, "Docker"),
        (Step.NAMESPACES, errno.EPERM, DEBIAN_10, "unprivileged_userns_clone"),
        (Step.NAMESPACES, errno.ENOSPC, HERE, "max_user_namespaces"),
        (Step.NAMESPACES, errno.EINVAL, HERE, "built without"),
        (Step.PROCESSES, errno.EPERM, HERE, "masked"),
        (Step.OVERLAY, errno.EINVAL, HERE, "below the home folder"),
        (Step.READ_ONLY, errno.ENOSYS, HERE, "older than 5.12"),
        (Step.CARVE, errno.ENOSYS, HERE, "no Landlock"),
        (Step.CARVE, errno.EPERM, HERE, "refuses Landlock"),
        (Step.HIDE, errno.EIO, HERE, "the system refused it"),
    ],
)
def test_a_failed_step_is_explained(step: Step, number: int, host: Host, text: str) -> None:
    cause = explain(step, number, host)
    assert text in cause.text
    assert cause.remedy


def test_every_step_has_an_explanation_on_every_host() -> None:
    for step in Step:
        for host in (HERE, UBUNTU, DOCKER, DEBIAN_10):
            assert explain(step, errno.EPERM, host).remedy


def test_a_child_that_ends_without_a_report_has_failed() -> None:
    receiver, sender = report_channel()
    sender.close()
    assert receive(receiver) == Failed(Step.REPORT, 0)


def test_a_report_arrives_as_it_was_sent() -> None:
    receiver, sender = report_channel()
    with sender:
        send_failed(sender, StepFailed(Step.OVERLAY, errno.EINVAL))
        assert receive(receiver) == Failed(Step.OVERLAY, errno.EINVAL)
    receiver, sender = report_channel()
    with sender, socket.socket() as passed:
        send_ready(sender, [Step.SCOPE], [passed])
        ready = receive(receiver)
        assert not isinstance(ready, Failed)
        assert (ready.missing, len(ready.sockets)) == ((Step.SCOPE,), 1)
        ready.sockets[0].close()


def test_elsewhere_there_is_a_reason_and_here_there_is_none() -> None:
    assert unavailable() is None
    assert unavailable("darwin", "arm64") == "isolation needs Linux, and this is darwin"
    assert unavailable("linux", "riscv64") == "isolation does not know the system calls of riscv64"
    assert [unavailable("linux", processor) for processor in MACHINES] == [None, None]


class _Silent:
    """A child that never reports, because it was never made."""

    def __init__(self) -> None:
        self.abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1


def test_each_level_that_fails_is_abandoned_before_the_next(around: World) -> None:
    made: list[_Silent] = []
    facts: Facts = survey(hidden=[around.vault], visible=[])

    def fork(_: object) -> _Silent:
        made.append(_Silent())
        return made[-1]

    refused = fork_isolated(Level.GUARD, facts, Wishes(), fork)
    assert isinstance(refused, NotIsolated)
    assert [attempt.level for attempt in refused.failed] == list(FALLBACKS[Level.GUARD])
    assert [child.abandoned for child in made] == [1, 1, 1]
