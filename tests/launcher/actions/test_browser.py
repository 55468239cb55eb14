"""How a login opens the browser: nobody else on the machine is told where it is."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launcher.cli import Program

BROWSER = """
import json, os, sys
from pathlib import Path
from urllib.parse import unquote, urlsplit
file = Path(unquote(urlsplit(sys.argv[1]).path))
told = {"arguments": sys.argv[1:], "mode": file.stat().st_mode, "text": file.read_text()}
Path(__file__).with_name("told.tmp").write_text(json.dumps(told))
Path(__file__).with_name("told.tmp").rename(Path(__file__).with_name("told"))
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """`authsome` whose browser writes down what it is told."""
    script = tmp_path / "browser.py"
    script.write_text(BROWSER)
    return Program(tmp_path / "a home", {"BROWSER": f"{sys.executable} {script} %s"})


def ended(program: Program, *options: str) -> str:
    said = program("login", "discord", "--timeout", "2", *options)
    assert said.status == 1
    return said.err


def test_the_address_is_in_a_private_file_and_in_no_argument(program: Program, tmp_path: Path) -> None:
    address = re.search(r"log in at (http://127\.0\.0\.1:7998/[\w-]{43})\n", ended(program))
    assert address
    told = json.loads((tmp_path / "told").read_text())
    assert told["arguments"] == [(program.home / "login.html").as_uri()]
    assert stat.S_IMODE(told["mode"]) == 0o600
    assert f'content="0; url={address[1]}"' in told["text"]
    assert f'<a href="{address[1]}">' in told["text"]


def test_the_file_is_gone_afterwards(program: Program, tmp_path: Path) -> None:
    ended(program)
    assert (tmp_path / "told").exists()
    assert not [path for path in program.home.iterdir() if "login" in path.name]


def test_a_file_that_a_killed_login_left_is_replaced(program: Program, tmp_path: Path) -> None:
    program("list")
    program.home.mkdir(mode=0o700, exist_ok=True)
    (program.home / "login.html").symlink_to(tmp_path / "elsewhere")
    ended(program)
    assert "http-equiv" in json.loads((tmp_path / "told").read_text())["text"]
    assert not (tmp_path / "elsewhere").exists()


def test_without_a_browser_no_file_is_written(program: Program, tmp_path: Path) -> None:
    assert "open that address by hand" in ended(program, "--no-browser")
    assert not (tmp_path / "told").exists()


def test_ctrl_c_leaves_no_file(program: Program, tmp_path: Path) -> None:
    with program.started("login", "discord") as process:
        assert process.stderr
        for line in process.stderr:
            if "log in at" in line:
                break
        subprocess.run(
            ["sh", "-c", f"until [ -e '{tmp_path}/told' ]; do sleep 0.05; done"], timeout=20, check=True
        )
        process.send_signal(2)
        process.wait(20)
    assert not (program.home / "login.html").exists()
