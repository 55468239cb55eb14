"""Forks the child of a run, kept apart as far as the user wants and the system can."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from launcher.child.child import Child, fork_child
from launcher.errors import LauncherError, UsageProblem
from launcher.isolation.causes import explain
from launcher.isolation.inside.harden import harden
from launcher.isolation.measure.survey import survey
from launcher.isolation.model import Facts, HomeMode, Level, Wishes
from launcher.isolation.outside.levels import Attempt, Isolated, NotIsolated, fork_isolated
from launcher.isolation.outside.probe import read_host
from launcher.isolation.plan import CAPTURED_PORTS, MAX_PORTS, why_lost
from launcher.isolation.steps import Step
from launcher.isolation.syscalls import unavailable
from launcher.notices import Notices
from launcher.setup.settings import Settings, usual_home

WITHOUT: Final = "give <set no_sandbox> to run without isolation"

_DIFFERENT: Final = {
    Level.GUARD_HOST_PROC: "the names of other processes stay visible",
    Level.LANDLOCK: (
        "the program can make no files directly in the home folder and in those that hold authsome's "
        "libraries, and use no unix sockets"
    ),
}
"""What differs for an honest program where guard steps down to these."""


@dataclass(frozen=True, slots=True)
class IsolationInput:
    """The options of `run` about isolation, as typed."""

    sandbox: bool = False
    no_sandbox: bool = False
    home: str = "overlay"
    writable: Sequence[str] = ()
    ports: Sequence[int] = ()
    sockets: Sequence[str] = ()


def isolated_child(
    given: IsolationInput,
    settings: Settings,
    visible: Path,
    notices: Notices,
    closing: Sequence[int] = (),
    identities: Sequence[Path] = (),
) -> Isolated[Child]:
    """A child that waits for its order. `visible` is the one folder of the vault's that it can read.

    Descriptors in `closing` hold secrets and are not passed on. `identities` are files and folders with
    identities of the job, hidden where they exist. To be called before any secret is read.

    Raises: UsageProblem; LauncherError where no level that would do works here.
    """
    wishes = _wishes(given)
    if given.no_sandbox:
        notices.warning("no isolation: the program can read your vault and its key as you can")
        return _unprotected(closing)
    require_possible(unavailable())
    try:
        facts = survey(
            hidden=[*hidden_folders(settings), *filter(os.path.exists, identities)],
            visible=[visible],
            descriptors=closing,
        )
    except OSError as error:  # such as without /proc
        require_possible(f"the system could not be measured: {(error.strerror or 'unknown error').lower()}")
        raise
    _require_kept(facts, wishes)
    harden()

    def fork(prepare: Callable[[], None]) -> Child:
        return fork_child(prepare, closing=closing)

    wanted = Level.SANDBOX if given.sandbox else Level.GUARD
    outcome = fork_isolated(wanted, facts, wishes, fork)
    match outcome:
        case NotIsolated(failed):
            raise _refusal(failed)
        case Isolated():
            _tell_weaker(outcome, wanted, facts, notices)
            if given.sandbox:
                _tell_lost(facts, wishes, notices)
            return outcome
        case never:
            assert_never(never)


def _tell_weaker(isolated: Isolated[Child], wanted: Level, facts: Facts, notices: Notices) -> None:
    """What the level does without, and where another one stands in for it."""
    if isolated.failed:
        first = isolated.failed[0]
        cause = explain(first.failure.step, first.failure.number, read_host())
        instead = f"{isolated.level} stands in: {_DIFFERENT[isolated.level]}"
        remedy = cause.remedy
        inside = [path for path in facts.code if Path(path).is_relative_to(facts.working_folder)]
        if isolated.level is Level.LANDLOCK and inside:
            remedy = f"install authsome outside of {facts.working_folder}; and {remedy}"
        notices.warning(f"{first.level} is not available: {cause.text}; {instead}", remedy)
    # A sandbox has a network of its own, where there are no other abstract sockets.
    if Step.SCOPE in isolated.missing and facts.abstract and wanted is not Level.SANDBOX:
        notices.warning(
            f"the program can reach your daemons' abstract sockets, such as {facts.abstract[0]}: "
            "the kernel cannot fence them off",
            "give <set sandbox>, or use Linux from 6.12 on with Landlock",
        )


def require_possible(lacking: str | None) -> None:
    """Refuse where there is a reason why nothing can be isolated. Raises: LauncherError."""
    if lacking:
        raise LauncherError(f"cannot isolate the program: {lacking}", WITHOUT)


def _require_kept(facts: Facts, wishes: Wishes) -> None:
    for path in wishes.writable:
        if reason := why_lost(path, facts):
            raise UsageProblem(
                f"<set writable> {path}: what is written there cannot be kept, as {reason}",
                "name a folder inside of it",
            )


def _tell_lost(facts: Facts, wishes: Wishes, notices: Notices) -> None:
    """A folder in it that was named with --rw is what the user means to keep."""
    folder = facts.working_folder
    reason = why_lost(folder, facts)
    if reason and not any(Path(path).is_relative_to(folder) for path in wishes.writable):
        notices.warning(
            f"what the program writes in {folder} will not be kept, as {reason}",
            "change to a project's folder, or give <set writable> FOLDER for what is to stay",
        )


def hidden_folders(settings: Settings) -> list[Path]:
    """The folders of the vault in use and of the usual one, and of what is kept elsewhere: a key, or what
    a link in them leads to. Raises: UsageProblem.
    """
    usual = usual_home(Path.home())
    is_other = usual.is_dir() and settings.home.resolve() != usual.resolve()
    vaults = [settings, Settings(usual, settings.profile)] if is_other else [settings]
    hidden = [vault.home for vault in vaults]
    for path in (file for vault in vaults for file in (vault.key_file, vault.vault_file)):
        for folder in filter(Path.is_dir, (path.parent.resolve(), path.resolve().parent)):
            if not any(folder.is_relative_to(known.resolve()) for known in hidden):
                _require_hideable(path, folder)
            # Also in a hidden one: it can be a mount, which other paths lead to.
            hidden.append(folder)
    return hidden


def _require_hideable(path: Path, folder: Path) -> None:
    for needed in (Path.cwd(), Path.home().resolve()):
        if needed.is_relative_to(folder):
            raise UsageProblem(
                f"{path} cannot be hidden from the program without hiding {needed}",
                "keep it in a folder of its own",
            )


def _unprotected(closing: Sequence[int]) -> Isolated[Child]:
    return Isolated(fork_child(closing=closing), Level.NONE, (), (), ())


def _wishes(given: IsolationInput) -> Wishes:
    if given.sandbox and given.no_sandbox:
        raise UsageProblem("<set sandbox> and <set no_sandbox> exclude each other", "give one of them")
    only_sandbox = {
        "<set writable>": given.writable,
        "<set ports>": given.ports,
        "<set home>": given.home != "overlay",
    }
    for option, value in only_sandbox.items():
        if value and not given.sandbox:
            raise UsageProblem(
                f"{option} goes with <set sandbox>", f"add <set sandbox>, or leave {option} out"
            )
    if given.sockets and given.no_sandbox:
        raise UsageProblem("<set sockets> goes with isolation", "without it every socket can be used")
    return Wishes(
        writable=tuple(_existing(path, "<set writable>") for path in given.writable),
        sockets=tuple(map(_socket, given.sockets)),
        ports=_ports(given.ports),
        home=HomeMode(given.home),
    )


def _existing(path: str, option: str) -> str:
    try:
        return str(Path(path).resolve(strict=True))
    except (OSError, RuntimeError):
        raise UsageProblem(f"{option} {path!r} does not exist", "make it first") from None


def _socket(path: str) -> str:
    found = _existing(path, "<set sockets>")
    if not Path(found).is_socket():
        raise UsageProblem(f"<set sockets> {path!r} is not a socket", "name the socket's own path")
    return found


def _ports(ports: Sequence[int]) -> tuple[int, ...]:
    wanted = tuple(dict.fromkeys(ports))
    if len(wanted) > MAX_PORTS:
        raise UsageProblem(
            f"<set ports> stands for {len(wanted)} ports, and {MAX_PORTS} is the most", "name fewer"
        )
    for port in wanted:
        if port in CAPTURED_PORTS:
            raise UsageProblem(
                f"<set ports> {port} cannot be given: the sandbox listens there itself",
                "let the service listen on another port",
            )
    return wanted


def _refusal(failed: Sequence[Attempt]) -> LauncherError:
    """Why nothing works: the level that was wanted says it best."""
    first = failed[0].failure
    cause = explain(first.step, first.number, read_host())
    return LauncherError(
        f"cannot isolate the program: could not {first.step}: {cause.text}", f"{cause.remedy}; or {WITHOUT}"
    )
