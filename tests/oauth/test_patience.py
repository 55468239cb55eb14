"""A limit that a stopped process does not run into."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oauth.patience import patience
from tests.oauth.endpoint import Endpoint, answer

ROOT = Path(__file__).parents[2]
SECONDS = 0.6
STOPPED = 1.5
"""Seconds; longer than anything that is waited for."""


def waiter(how: str, *words: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.oauth.waiter", how, str(SECONDS), *map(str, words)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def sleeps(pid: int) -> bool:
    """Whether the process waits for something to happen."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize(("how", "came"), [("patience", "answer"), ("timeout", "nothing")])
def test_what_came_while_the_process_was_stopped_is_read_before_it_gives_up(how: str, came: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with waiter(how, listener.getsockname()[1]) as process:
            connection, _ = listener.accept()
            assert process.stdout
            assert process.stdout.readline() == "waiting\n"
            while not sleeps(process.pid):
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(STOPPED)
            connection.sendall(b"answer")
            os.kill(process.pid, signal.SIGCONT)
            assert process.communicate(timeout=20)[0] == f"{came}\n"
        connection.close()


def test_an_exchange_keeps_the_answer_that_came_while_its_process_was_stopped(tmp_path: Path) -> None:
    def stopping(connection: ssl.SSLSocket) -> None:
        os.kill(process.pid, signal.SIGSTOP)
        connection.sendall(answer(200, b'{"access_token": "new", "refresh_token": "r2"}'))
        time.sleep(STOPPED)
        os.kill(process.pid, signal.SIGCONT)

    with (
        Endpoint(tmp_path) as endpoint,
        waiter("exchange", endpoint.url.rpartition(":")[2], endpoint.ca_file) as process,
    ):
        endpoint.answers.append(stopping)
        assert process.communicate(timeout=20)[0] == "new\n"


async def test_patience_ends_where_nothing_comes() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with patience(0.3, 0.1):
            await asyncio.sleep(60)
    assert 0.3 <= time.monotonic() - began < 10


async def test_patience_leaves_nothing_behind() -> None:
    async with patience(60):
        pass
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
