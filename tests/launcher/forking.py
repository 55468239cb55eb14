"""Calls of the program as forks of one process that has imported it: the start of Python is the larger part.

Each call is a process of its own as ever, with standard streams, an environment and a folder of its own, and
goes through `launcher.__main__.main`. What only a fresh process can show (what is imported, and when, the
streams that are closed, signals, what lies in /proc) is tested with `Program.fresh` and `Program.started`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_SECONDS: Final = 60
_LONGEST: Final = 1 << 20


def authsome() -> Callable[[], int]:
    """The program, with all that it imports anywhere."""
    from launcher import __main__ as program
    from launcher.cli import COMMANDS
    from launcher.startup import load_everything

    for name in COMMANDS:
        importlib.import_module(f"launcher.commands.{name}")
    load_everything()
    return program.main


def isolation() -> Callable[[], int]:
    """The launcher in small of the tests of isolation."""
    from tests.isolation import launch

    return launch.main


PROGRAMS: Final = {"authsome": authsome, "isolation": isolation}


def serve(control: socket.socket, main: Callable[[], int]) -> None:
    """Fork for each order that comes, say the process id, and later how it ended."""
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, _LONGEST, 3)
        if not order:
            return
        pid = os.fork()
        if not pid:
            control.close()
            _become(json.loads(order), descriptors)
            status = 1
            try:
                status = main()
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 1
            except BaseException:  # noqa: BLE001  (as the interpreter would)
                sys.excepthook(*sys.exc_info())
            _leave(status)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(pid).encode())
        control.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(order: dict[str, object], descriptors: Sequence[int]) -> None:
    """What a fresh process finds."""
    from launcher.startup import hold_back_library_variables

    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    environ, arguments, folder = order["environ"], order["arguments"], order["folder"]
    limit = order["core_limit"]
    assert isinstance(environ, dict)
    assert isinstance(arguments, list)
    assert isinstance(limit, list)
    resource.setrlimit(resource.RLIMIT_CORE, (limit[0], limit[1]))
    os.chdir(str(folder))
    os.environ.clear()
    os.environ.update(environ)
    hold_back_library_variables()
    sys.argv = [sys.argv[0], *arguments]
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _leave(status: int) -> None:
    """End as an interpreter does, without what the parent has to do at its end."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120
    os._exit(status & 0xFF)


@dataclass
class Server:
    """The process that forks, started when it is first needed, one for each process of the tests."""

    program: str
    """One of `PROGRAMS`."""
    _process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def call(
        self, arguments: Sequence[str], environ: Mapping[str, str], stdin: str, folder: Path
    ) -> tuple[int, str, str] | None:
        """The status and what was said; None while another thread has a call that has not ended."""
        if not self._busy.acquire(blocking=False):
            return None
        try:
            return self._call(arguments, environ, stdin, folder)
        finally:
            self._busy.release()

    @property
    def pid(self) -> int:
        """Its process id; 0, which no process has, where it was not needed yet."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        if self._process and self._control:
            self._control.close()
            self._process.wait()
        self._process = self._control = None

    def _started(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for end in (self._control, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LONGEST)
            environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", __file__, self.program, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=environ,
                )
        return self._control

    def _call(
        self, arguments: Sequence[str], environ: Mapping[str, str], stdin: str, folder: Path
    ) -> tuple[int, str, str]:
        control = self._started()
        order = {
            "arguments": list(arguments),
            "environ": dict(environ),
            "folder": str(folder),
            "core_limit": resource.getrlimit(resource.RLIMIT_CORE),
        }
        (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err) = os.pipe(), os.pipe(), os.pipe()
        theirs = [theirs_in, theirs_out, theirs_err]
        try:
            socket.send_fds(control, [json.dumps(order).encode()], theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        pid = int(control.recv(64))
        try:
            said = _conversation(ours_in, ours_out, ours_err, stdin.encode())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            status = int(control.recv(64))
        return status, *said


def _conversation(ours_in: int, ours_out: int, ours_err: int, given: bytes) -> tuple[str, str]:
    """Give what there is to give, until both streams have ended."""
    end = time.monotonic() + _SECONDS
    said: dict[int, bytes] = {ours_out: b"", ours_err: b""}
    reading, writing = set(said), {ours_in}
    try:
        while reading:
            ready, free, _ = select.select(reading, writing, [], max(0.0, end - time.monotonic()))
            if not ready and not free:
                raise TimeoutError(f"the program has not ended in {_SECONDS} s: {said}")
            for descriptor in ready:
                if piece := os.read(descriptor, 1 << 16):
                    said[descriptor] += piece
                else:
                    reading.discard(descriptor)
            if free:
                try:
                    given = given[os.write(ours_in, given[: select.PIPE_BUF]) :] if given else b""
                except BrokenPipeError:  # it is not read, as with subprocess.run
                    given = b""
                if not given:
                    writing.clear()
                    os.close(ours_in)
                    ours_in = -1
    finally:
        for descriptor in (ours_in, ours_out, ours_err):
            if descriptor >= 0:
                os.close(descriptor)
    return _text(said[ours_out]), _text(said[ours_err])


def _text(said: bytes) -> str:
    return said.decode().replace("\r\n", "\n").replace("\r", "\n")


AUTHSOME: Final = Server("authsome")
ISOLATION: Final = Server("isolation")
SERVERS: Final = (AUTHSOME, ISOLATION)

if __name__ == "__main__":
    sys.path.append(str(ROOT))
    with socket.socket(fileno=int(sys.argv[2])) as control_:
        control_.set_inheritable(False)
        serve(control_, PROGRAMS[sys.argv[1]]())
