"""Streams stay streams, big bodies stay out of memory, tunnels stay opaque."""

import json
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.desk import PYTHON, Desk, finished
from tests.memory import peak_memory
from tests.standin import StandIn

GIGABYTE = 10**9
MEMORY_MARGIN = 64 * 1024
"""KiB that a run may grow by while a gigabyte goes through: buffers, and nothing near the body's size."""

EVENTS = """
import os, sys, time, httpx
headers = {"Authorization": "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"]}
with httpx.stream("GET", "https://discord.com/standin/events?n=4&interval=0.3", headers=headers) as answer:
    for line in answer.iter_lines():
        if line.startswith("data:"):
            print(time.monotonic(), flush=True)
"""


def test_server_sent_events_arrive_one_by_one(connected: Desk) -> None:
    done = connected.python(EVENTS)
    assert done.returncode == 0, done.stderr
    times = [float(line) for line in done.stdout.split()]
    assert len(times) == 4
    assert all(later - earlier > 0.15 for earlier, later in pairwise(times))


WARM = (
    'curl -sS -o /dev/null -H "Authorization: Bearer $DISCORD_ACCESS_TOKEN" https://discord.com/standin/echo'
)
DOWN = (
    "curl -sS -o /dev/null -w '%{size_download}' -H \"Authorization: Bearer $DISCORD_ACCESS_TOKEN\" "
    f"'https://discord.com/standin/download?bytes={GIGABYTE}'"
)
UP = (
    "head -c 1000000000 /dev/zero | curl -sS -T - -X POST -H 'Expect:' "
    '-H "Authorization: Bearer $DISCORD_ACCESS_TOKEN" https://discord.com/standin/upload'
)


@pytest.mark.parametrize(("command", "answer"), [(DOWN, str(GIGABYTE)), (UP, f'{{"received": {GIGABYTE}}}')])
def test_a_gigabyte_leaves_memory_flat(connected: Desk, command: str, answer: str) -> None:
    script = f"{WARM}; echo warm; read go; {command}; echo; read go"
    process = connected.start("run", "--", "sh", "-c", script)
    with finished(process):
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "warm\n"
        before = peak_memory(process.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == answer
        grown = peak_memory(process.pid) - before
        process.stdin.write("go\n")
        process.stdin.close()
        process.stdin = None
        process.communicate(timeout=30)
    assert grown < MEMORY_MARGIN, f"grew by {grown} KiB"


def test_a_client_certificate_reaches_a_host_that_no_rule_names(connected: Desk, tmp_path: Path) -> None:
    with StandIn(require_client_certificate=True) as strict:
        certificate = strict.client_certificate()
        bundle = tmp_path / "roots.pem"
        bundle.write_text(strict.ca_file.read_text() + connected.standin.ca_file.read_text())
        connect_to = f"evil.example:443:127.0.0.1:{strict.https_port}"
        command = ["curl", "-sS", "-E", str(certificate), "https://evil.example/standin/echo"]
        extra = {"SSL_CERT_FILE": str(bundle)}
        done = connected.authsome("run", "--connect-to", connect_to, "--", *command, extra=extra)
        without = connected.authsome(
            "run", "--connect-to", connect_to, "--", *command[:2], command[-1], extra=extra
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["method"] == "GET"
        assert without.returncode != 0
        assert len(strict.seen) == 1


def test_two_runs_side_by_side_do_not_disturb_each_other(connected: Desk) -> None:
    script = (
        "import json, os, time, urllib.request as u\n"
        "url = 'https://discord.com/api/v10/users/@me'\n"
        "headers = {'Authorization': 'Bearer ' + os.environ['DISCORD_ACCESS_TOKEN']}\n"
        "ask = lambda: u.urlopen(u.Request(url, headers=headers)).status\n"
        "print(ask(), flush=True)\ninput()\nprint(ask(), os.path.exists(os.environ['SSL_CERT_FILE']))"
    )
    first = connected.start("run", "--", PYTHON, "-c", script)
    second = connected.start("run", "--", PYTHON, "-c", script)
    with finished(first), finished(second):
        for process in (first, second):
            assert process.stdout
            assert process.stdout.readline() == "200\n"
        out, _ = first.communicate("\n", timeout=30)
        assert out == "200 True\n"
        out, _ = second.communicate("\n", timeout=30)
        assert out == "200 True\n"
    assert [path for path in (connected.home / "runs").iterdir() if path.is_dir()] == []


def test_a_slow_answer_is_waited_for(connected: Desk) -> None:
    start = time.monotonic()
    done = connected.run("sh", "-c", WARM.replace("/standin/echo", "/standin/slow?seconds=2"))
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start > 2


def test_pipes_of_the_shell_work_through_a_run(connected: Desk) -> None:
    done = subprocess.run(
        ["sh", "-c", "printf 'b\\na\\n' | authsome run -- sort | head -1"],
        env=connected.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a\n"
