"""The stand-in as a process of its own."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.memory import peak_memory

ROOT = Path(__file__).parents[2]


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A stand-in that is ready; killed if the test leaves it running."""
    ready = folder / "ready"
    command = [sys.executable, "-m", "tests.standin", "--dir", str(folder), "--ready-file", str(ready)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            while not ready.exists():
                assert process.poll() is None
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def fetch(folder: Path, method: str, path: str, content: Iterator[bytes] | None = None) -> tuple[int, bytes]:
    """Stream one request and its answer; gives how many bytes came, and the last of them."""
    facts = json.loads((folder / "standin.json").read_text())
    context = ssl.create_default_context(cafile=facts["ca_file"])
    url = f"https://127.0.0.1:{facts['https_port']}{path}"
    headers = {"Host": "discord.com", "Authorization": "Bearer canary"}
    with (
        httpx.Client(verify=context, trust_env=False, timeout=30) as client,
        client.stream(
            method, url, headers=headers, content=content, extensions={"sni_hostname": "discord.com"}
        ) as answer,
    ):
        received, last = 0, b""
        for last in answer.raise_for_status().iter_raw():
            received += len(last)
        return received, last


def test_it_says_where_it_listens_and_what_it_received(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        facts = json.loads((tmp_path / "standin.json").read_text())
        fetch(tmp_path, "GET", "/standin/echo")
        assert process.poll() is None
    (line,) = (tmp_path / "seen.jsonl").read_text().splitlines()
    seen = json.loads(line)
    assert f"discord.com:443:127.0.0.1:{facts['https_port']}" in facts["connect_to"]
    assert facts["client_id"].isdecimal()
    assert facts["client_secret"]
    assert (seen["host"], seen["method"], seen["target"]) == ("discord.com", "GET", "/standin/echo")
    assert ["Authorization", "Bearer canary"] in seen["headers"]


def test_its_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes) >= {"standin.json", "seen.jsonl", "ca.pem", "ready"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_without_a_word(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as process:
        process.send_signal(number)
        _, complaint = process.communicate(timeout=10)
    assert (process.returncode, complaint) == (0, b"")


def test_the_end_of_standard_input_ends_it(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        _, complaint = process.communicate(timeout=10)
    assert (process.returncode, complaint) == (0, b"")


def test_long_bodies_leave_its_memory_flat(tmp_path: Path) -> None:
    size = 192 * 1024 * 1024
    with running(tmp_path) as process:
        received, _ = fetch(tmp_path, "GET", f"/standin/download?bytes={size}")
        _, told = fetch(tmp_path, "POST", "/standin/upload", (b"x" * 65536 for _ in range(size // 65536)))
        peak = peak_memory(process.pid)
    assert (received, json.loads(told)) == (size, {"received": size})
    assert peak * 1024 < size / 2
