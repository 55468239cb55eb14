"""The program `authsome`."""

import os
import sys

if __name__ == "__main__" and not sys.flags.isolated:
    # Before any other import, `__future__` too: the working folder, PYTHONPATH and the user's site-packages
    # could put code of their own in its place. These two are in the interpreter itself.
    os.execv(sys.executable, [sys.executable, "-I", __file__, *sys.argv[1:]])  # noqa: S606

import signal

while (_opened := os.open(os.devnull, os.O_RDWR)) < 3:
    pass  # a standard stream was closed: what is opened next would take its place
os.close(_opened)


def _interrupted(*_: object) -> None:
    """Ends the process in the midst of an import, where an exception would come out as a traceback."""
    try:
        os.write(2, b"authsome: error: interrupted\n")
    finally:
        os._exit(130)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, and stays so
    signal.signal(signal.SIGINT, _interrupted)

import threading  # noqa: E402
import warnings  # noqa: E402
from contextlib import suppress  # noqa: E402
from pathlib import Path  # noqa: E402

_ROOT = Path(__file__).resolve().parent.parent
if str(_ROOT) not in sys.path:
    # Run as `python -I /path/launcher/__main__.py`, which may be in the user's site-packages.
    # At the end: the standard library must win.
    sys.path.append(str(_ROOT))

from launcher.startup import foreign_packages, hold_back_library_variables  # noqa: E402

hold_back_library_variables()


def main() -> int:
    """Run the command line; the return value is the exit status."""
    problems = foreign_packages(_ROOT)
    if problems:
        print(f"authsome: error: {problems[0]}", file=sys.stderr)
        print("authsome: hint: install authsome in an environment of its own", file=sys.stderr)
        return 1
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries mean nothing to who reads standard error
    from launcher.cli import run_command_line

    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return _leave(run_command_line(sys.argv[1:]))


def _leave(status: int) -> int:
    """End the process at once where a thread is left; nothing else is by now.

    A run may end while a name is still being looked up, and nobody waits for that. Until Python 3.14 a
    finalizing interpreter ends a thread that comes back with pthread_exit(3), which unwinds through an
    extension written in Rust: the process crashes, and its status is no longer the child's.
    """
    if threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
