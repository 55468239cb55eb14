"""A launcher in small: isolates and executes a program as its one argument, a JSON object, says.

`python -m tests.isolation.launch '{"argv": [...], "level": "guard", ...}'`; the exit status is the program's.
Started as root it can become an ordinary user first. What the fork and the set-up said goes to the file
`outcome`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from mmap import MAP_PRIVATE, PROT_EXEC, PROT_READ, mmap
from pathlib import Path

from launcher.child.child import Child, fork_child
from launcher.isolation.inside import enter  # noqa: F401  (imported while its file can be read)
from launcher.isolation.inside.harden import harden
from launcher.isolation.measure.survey import survey
from launcher.isolation.model import Level, Plan, Wishes
from launcher.isolation.outside.levels import FALLBACKS, fork_as_planned
from launcher.isolation.plan import make_plan
from launcher.isolation.progress import Failed, Ready
from tests.isolation import hosts, serve


@dataclass(frozen=True, slots=True)
class Order:
    """What the argument says."""

    argv: list[str]
    level: str
    vault: str
    """The hidden folder."""
    visible: str
    """The folder in it that stays visible."""
    outcome: str
    uid: int = -1
    folder: str = "/"
    alias: str = ""
    """Where the folder of the vault's folder is mounted a second time."""
    binds: Sequence[Sequence[str]] = ()
    """What is mounted a second time, and where."""
    settings: str = ""
    """Where the kernel's settings are shown as well."""
    handed: str = ""
    """A file that the launcher was handed as a descriptor."""
    code: str = ""
    """A file to execute, or to have mapped as if."""
    host: str = ""
    """The kind of machine to stand for, see `hosts`."""
    without: Sequence[str] = ()
    """What to leave out of the plan."""
    falls_back: bool = False
    writable: Sequence[str] = ()
    sockets: Sequence[str] = ()
    ports: Sequence[int] = ()
    home_mode: str = "overlay"
    memory: int = 0
    """What the run may write to memory, where not as much as in any run."""
    loose: bool = False
    """Leave the launcher's own process open to others of its user."""
    serve: bool = False
    """Answer what the sandbox captures."""
    hand_over: str = ""
    """A folder to leave open in the program as descriptor 9."""


def fork(prepare: Callable[[], None]) -> Child:
    def told() -> None:
        try:
            prepare()
        except Exception:  # nothing would say it
            traceback.print_exc()
            raise

    return fork_child(told)


def without(plan: Plan, what: str) -> Plan:
    """The plan with one protection left out."""
    if what in {item.name for item in fields(plan)}:
        empty: object = {"fence": None, "dropped": frozenset(), "read_only": ()}[what]
        return replace(plan, **{what: empty})  # type: ignore[arg-type]
    kept = tuple(operation for operation in plan.mounts if type(operation).__name__ != what)
    if kept != plan.mounts:
        return replace(plan, mounts=kept)
    denied = frozenset(item for item in plan.denied if item.name != what)
    if denied != plan.denied:
        return replace(plan, denied=denied)
    spaces = frozenset(space for space in plan.namespaces if space.name != what)
    if spaces == plan.namespaces:
        raise ValueError(what)
    return replace(plan, namespaces=spaces)


def main() -> int:
    order = Order(**json.loads(sys.argv[1]))
    if order.alias:
        hosts.bind(str(Path(order.vault).parent), order.alias)
    for source, target in order.binds:
        hosts.bind(source, target)
    if order.settings:
        hosts.show_settings(order.settings)
    if order.uid >= 0:
        hosts.become_user(order.uid)
    if order.host:
        hosts.become(order.host)
    hosts.remember(b"authsome-test", b"CANARY-0123456789abcdef")
    os.chdir(order.folder)
    if order.code:
        with open(order.code, "rb") as file:
            executed = mmap(file.fileno(), 0, MAP_PRIVATE, PROT_READ | PROT_EXEC)
            assert executed
    handed = [os.open(order.handed, os.O_RDONLY)] if order.handed else []
    facts = survey(hidden=[Path(order.vault)], visible=[Path(order.visible)], descriptors=handed)
    if not order.loose:
        harden()
    if order.hand_over:
        os.dup2(os.open(order.hand_over, os.O_RDONLY), 9, inheritable=True)
    if "aliases" in order.without:
        facts = replace(facts, hidden=facts.hidden[:1], secrets=(order.handed,) if order.handed else ())
    if order.memory:
        facts = replace(facts, memory=order.memory)
    wishes = Wishes(
        writable=tuple(order.writable),
        sockets=tuple(order.sockets),
        ports=tuple(order.ports),
        home=type(Wishes().home)(order.home_mode),
    )
    tried: list[list[object]] = []
    wanted = Level(order.level)
    for level in FALLBACKS[wanted] if order.falls_back else (wanted,):
        plan = make_plan(level, facts, wishes)
        for what in set(order.without) - {"aliases"}:
            plan = without(plan, what)
        child, outcome = fork_as_planned(plan, fork)
        if isinstance(outcome, Ready):
            tried.append([level, "ready", [str(name) for name in outcome.missing]])
            break
        assert isinstance(outcome, Failed)
        child.abandon()
        tried.append([level, str(outcome.step), outcome.number])
    Path(order.outcome).write_text(json.dumps(tried))
    if not isinstance(outcome, Ready):
        return 125
    return go(order, plan, child, outcome)


def go(order: Order, plan: Plan, child: Child, ready: Ready) -> int:
    # As in a run: what is secret is read after the fork, and lies in this process's memory.
    secret = os.open(Path(order.vault) / "vault.db", os.O_RDONLY)
    held = os.read(secret, 4096)
    environ = {**os.environ, "LAUNCHER": str(os.getpid()), "SECRET_FD": str(secret)}
    answering = serve.start(plan, ready.sockets) if order.serve else None
    child.start(order.argv, environ)
    status = child.wait()
    if answering is not None:
        answering()
    assert held
    return status


if __name__ == "__main__":
    sys.exit(main())
