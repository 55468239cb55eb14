"""A process that has imported everything and forks others, so that killing thousands of them is cheap.

Run as `python -m tests.heavy.forks HOME PORT CA_FILE`; `Forks` is the other side. Commands and answers
are JSON lines. The forked processes run the real keeper over the real vault; `offset` is added to their
date, so that each round finds a token that is due.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import select
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

import httpx
from pydantic import Field, TypeAdapter

from oauth.client import OAuthClient
from oauth.keeper.keeper import FreshCredential, Keeper, Outcome
from oauth.registry import Registry
from tests.oauth.process import KEY, ToLoopback, open_vault

ROOT = Path(__file__).parents[2]

BEGUN = "begun"
"""What a process says before its first step."""

ANSWER_WAIT = 60.0
"""Seconds; a process that says nothing for so long is a failure."""


@dataclass(frozen=True, slots=True)
class Once:
    """One process that asks once. `die_at` is the step at which it kills itself."""

    offset: float
    die_at: str = ""
    kill_after: float = 0.0
    """Seconds after it begins to ask at which it is killed from outside; 0 for never."""
    do: Literal["once"] = "once"


@dataclass(frozen=True, slots=True)
class Ask:
    """Every process of the herd asks at the same time; the first to reach `die_at` kills itself."""

    offset: float
    count: int = 16
    die_at: str = ""
    do: Literal["ask"] = "ask"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a process, or of the herd."""

    killed: int
    said: list[str]
    """What each was handed out: a token, or why there is none."""
    trail: list[tuple[str, float]]
    """The steps it came past, with the time of the steady clock."""


_COMMAND = TypeAdapter[Once | Ask](Annotated[Once | Ask, Field(discriminator="do")])
_DONE = TypeAdapter(Done)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the vault and the provider are."""

    home: Path
    port: int
    ca_file: Path

    @asynccontextmanager
    async def keeper(self, now: Callable[[], float], step: Callable[[str], None]) -> AsyncIterator[Keeper]:
        """A keeper as `authsome` would make it."""
        transport = ToLoopback(self.port, ssl.create_default_context(cafile=self.ca_file))
        registry = Registry(self.home / "providers")
        async with httpx.AsyncClient(transport=transport) as http:
            with open_vault(self.home) as vault:
                keeper = Keeper(
                    vault,
                    lambda name: registry.get(name).provider,
                    OAuthClient(http, now),
                    now,
                    step=step,
                )
                try:
                    yield keeper
                finally:
                    await keeper.aclose()


def _said(outcome: Outcome) -> str:
    if isinstance(outcome, FreshCredential):
        return outcome.value.get_secret_value()
    return f"{outcome.why}: {outcome.message}"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        # A forked child must not go on as its parent, whatever happened; the parent reads what it said.
        os._exit(0)


def _once(place: Place, command: Once) -> Done:
    reading, writing = os.pipe()

    def tell(kind: str, text: str) -> None:
        os.write(writing, f"{kind} {time.monotonic()} {text}\n".encode())

    def step(name: str) -> None:
        tell("step", name)
        if name == command.die_at:
            _die()

    async def ask() -> None:
        async with place.keeper(lambda: time.time() + command.offset, step) as keeper:
            tell("step", BEGUN)
            tell("said", _said(await keeper.fresh(KEY)))

    pid = _fork(lambda: asyncio.run(ask()))
    os.close(writing)
    head = os.read(reading, 4096) if command.kill_after else b""
    if command.kill_after:
        time.sleep(command.kill_after)
        os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is still this process
    _, status = os.waitpid(pid, 0)
    with open(reading, "rb") as pipe:
        lines = [line.decode().split(" ", 2) for line in (head + pipe.read()).splitlines()]
    return Done(
        killed=int(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL),
        said=[text for kind, _, text in lines if kind == "said"],
        trail=[(text, float(at)) for kind, at, text in lines if kind == "step"],
    )


class _Herd:
    """Processes that stay, each with a keeper of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._first = mmap.mmap(-1, 1)
        """1 until somebody has died for this round; shared by all."""
        self._members: dict[int, tuple[int, int]] = {}

    def ask(self, command: Ask) -> Done:
        while len(self._members) < command.count:
            self._add()
        self._first[0] = bool(command.die_at)
        for _, commands in self._members.values():
            os.write(commands, f"{command.offset} {command.die_at}\n".encode())
        said, killed = [], 0
        waiting = {answers: pid for pid, (answers, _) in self._members.items()}
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], ANSWER_WAIT)
            if not ready:
                raise TimeoutError("a process does not answer")
            for answers in ready:
                pid, line = waiting.pop(answers), os.read(answers, 4096)
                if line:
                    said.append(line.decode().strip())
                else:
                    killed += self._remove(pid)
        return Done(killed, said, [])

    def end(self) -> None:
        for pid in list(self._members):
            os.kill(pid, signal.SIGKILL)
            self._remove(pid)

    def _add(self) -> None:
        commands_out, commands_in = os.pipe()
        answers_out, answers_in = os.pipe()
        inherited = [fd for pair in self._members.values() for fd in pair]

        def work() -> None:
            for fd in (*inherited, commands_in, answers_out):
                os.close(fd)  # or the others' ends would never be seen
            asyncio.run(self._serve(commands_out, answers_in))

        pid = _fork(work)
        os.close(commands_out)
        os.close(answers_in)
        self._members[pid] = (answers_out, commands_in)
        os.read(answers_out, 1)  # it is ready

    def _remove(self, pid: int) -> int:
        _, status = os.waitpid(pid, 0)
        for fd in self._members.pop(pid):
            os.close(fd)
        return int(os.WIFSIGNALED(status))

    async def _serve(self, commands: int, answers: int) -> None:
        offset, die_at = 0.0, ""

        def step(name: str) -> None:
            # Only who holds the lock comes past a step worth dying at, so nobody else can read this.
            if name == die_at and self._first[0]:
                self._first[0] = 0
                _die()

        async with self._place.keeper(lambda: time.time() + offset, step) as keeper:
            os.write(answers, b".")
            while line := await asyncio.to_thread(os.read, commands, 4096):
                text, die_at = line.decode().rstrip("\n").split(" ", 1)
                offset = float(text)
                os.write(answers, _said(await keeper.fresh(KEY)).encode() + b"\n")


def _main() -> None:
    _, home, port, ca_file = sys.argv
    place = Place(Path(home), int(port), Path(ca_file))
    herd = _Herd(place)
    for line in sys.stdin:
        command = _COMMAND.validate_json(line)
        done = _once(place, command) if isinstance(command, Once) else herd.ask(command)
        print(_DONE.dump_json(done).decode(), flush=True)
    herd.end()


class Forks:
    """The forking process, as a test sees it."""

    def __init__(self, place: Place) -> None:
        argv = [sys.executable, "-m", "tests.heavy.forks", str(place.home), str(place.port)]
        self._process = subprocess.Popen(
            [*argv, str(place.ca_file)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=ANSWER_WAIT)
        finally:
            self._process.kill()
            self._process.wait()

    def do(self, command: Once | Ask) -> Done:
        """Carry a command out."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(_COMMAND.dump_python(command)) + "\n")
        self._process.stdin.flush()
        return _DONE.validate_json(self._process.stdout.readline())


if __name__ == "__main__":
    _main()
