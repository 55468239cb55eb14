"""What further connections cost: requests/s with 1, 10 and 100 of them offered, taking turns."""

from __future__ import annotations

import statistics
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.desk import PYTHON, Desk, finished
from tests.heavy.home import WEEK, put_tokens
from tests.keyed import add_keyed
from tests.oauth.process import KEY
from tests.standin import StandIn

pytestmark = pytest.mark.heavy

COUNTS = (1, 10, 100)
ROUNDS = 9

CHILD = """
import os, sys, time, httpx
auth = {"Authorization": "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"]}
with httpx.Client() as http:
    for line in sys.stdin:
        kind, url, count = line.split()
        begun = time.perf_counter()
        for _ in range(int(count)):
            answer = http.get(url, headers=auth)
            assert answer.status_code == 200, answer.text
            assert "echo" not in url or "authsome-proxy-managed" in answer.text
        print(int(count) / (time.perf_counter() - begun), flush=True)
"""

KINDS = {
    "small answers": "small https://discord.com/api/v10/users/@me 300",
    "answers that echo": "echo https://discord.com/standin/echo 200",
    "1 MB answers": "large https://discord.com/standin/download?bytes=1000000 20",
}


def test_the_cost_of_further_connections_is_printed(tmp_path: Path) -> None:
    figures: dict[tuple[str, int], list[float]] = {(kind, n): [] for kind in KINDS for n in COUNTS}
    with StandIn() as standin, ExitStack() as stack:
        children: dict[int, subprocess.Popen[str]] = {}
        tokens = []
        for count in COUNTS:
            folder = tmp_path / str(count)
            folder.mkdir()
            desk = Desk(standin, folder)
            put_tokens(desk.home, standin, KEY, lifetime=WEEK)
            add_keyed(desk.home, count - 1)
            tokens.append(desk.access_token())
            children[count] = desk.start("run", "--", PYTHON, "-uc", CHILD)
            stack.enter_context(finished(children[count]))
        for _ in range(ROUNDS):
            for kind, asked in KINDS.items():
                for count, child in children.items():
                    assert child.stdin
                    assert child.stdout
                    child.stdin.write(asked + "\n")
                    child.stdin.flush()
                    figures[kind, count].append(float(child.stdout.readline()))
        for child in children.values():
            out, err = child.communicate(timeout=30)
            assert child.returncode == 0, err
            assert not any(token in out + err for token in tokens)
    for kind in KINDS:
        rates = {count: statistics.median(figures[kind, count]) for count in COUNTS}
        ratios = ", ".join(f"{count}: {rates[count] / rates[1]:.2f}" for count in COUNTS)
        print(f"\n{kind}, requests/s with 1 connection {rates[1]:.0f}; ratios to that with {ratios}")
        assert min(rates.values()) > 0
