"""What scrubbing costs: the same requests with a credential, which are scrubbed, and without, interleaved."""

import json
import statistics
from pathlib import Path

import pytest

from tests.e2e.desk import PYTHON, Desk, finished
from tests.memory import peak_memory
from tests.standin import StandIn

ROUNDS = 7
GIGABYTE = 10**9

CHILD = """
import json, os, sys, time, httpx
token = os.environ["DISCORD_ACCESS_TOKEN"]
auth = {"Authorization": "Bearer " + token} if sys.argv[1] == "scrubbed" else {}
with httpx.Client() as http:
    http.get("https://discord.com/standin/echo", headers=auth)
    delays = []
    for _ in range(5):
        start = time.perf_counter()
        url = "https://discord.com/standin/events?n=2&interval=0.05"
        with http.stream("GET", url, headers=auth) as answer:
            for chunk in answer.iter_raw():
                delays.append(time.perf_counter() - start)
                break
    start, size = time.perf_counter(), 0
    url = f"https://discord.com/standin/download?bytes={sys.argv[2]}"
    with http.stream("GET", url, headers=auth) as answer:
        for chunk in answer.iter_raw():
            size += len(chunk)
    print(json.dumps([min(delays), time.perf_counter() - start, size]))
"""


@pytest.mark.heavy
def test_the_cost_of_scrubbing_is_printed(tmp_path: Path) -> None:
    figures: dict[str, list[tuple[float, float]]] = {"scrubbed": [], "plain": []}
    with StandIn() as standin:
        desk = Desk(standin, tmp_path)
        desk.login()
        for _ in range(ROUNDS):
            for kind, seen in figures.items():
                done = desk.python(CHILD, kind, str(GIGABYTE // 10))
                assert done.returncode == 0, done.stderr
                first, whole, size = json.loads(done.stdout)
                assert size == GIGABYTE // 10
                seen.append((first, whole))
        peaks = {kind: peak(desk, kind) for kind in figures}
    first = {kind: statistics.median(f for f, _ in seen) for kind, seen in figures.items()}
    whole = {kind: statistics.median(w for _, w in seen) for kind, seen in figures.items()}
    print(f"\nfirst event, scrubbed to plain: {first['scrubbed'] / first['plain']:.2f}")
    print(f"100 MB, time scrubbed to plain: {whole['scrubbed'] / whole['plain']:.2f}")
    print(f"1 GB, peak memory of the run: scrubbed {peaks['scrubbed']} KiB, plain {peaks['plain']} KiB")
    assert peaks["scrubbed"] < peaks["plain"] + 64 * 1024


def peak(desk: Desk, kind: str) -> int:
    """Peak memory of a run in which a gigabyte is downloaded, in KiB."""
    download = f"[sys.executable, '-c', {CHILD!r}, {kind!r}, '{GIGABYTE}']"
    script = f"import subprocess, sys\nsubprocess.run({download})\ninput()"
    process = desk.start("run", "--", PYTHON, "-c", script)
    with finished(process):
        assert process.stdout
        assert process.stdout.readline().startswith("[")
        found = peak_memory(process.pid)
        process.communicate("\n", timeout=60)
    return found
