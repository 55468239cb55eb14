"""Real processes, started together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(*words: str | Path, umask: int = -1) -> Iterator[subprocess.Popen[str]]:
    """A process of `tests.vault.worker` that is ready and waits to be told to go; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.vault.worker", *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        umask=umask,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Let all begin at once and wait for them; returns what each printed."""
    for process in processes:
        wait_ready(process)
    for process in processes:
        go(process)
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), err
        printed.append(out)
    return printed
