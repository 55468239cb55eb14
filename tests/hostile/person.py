"""Somebody who logs in while the hostile program is at work, and then comes with a browser."""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.hostile.world import House
from tests.isolation.world import ROOT
from tests.standin import client_of, press

_BROWSER: Final = '#!/bin/sh\nwhile [ -e "$HOME/.authsome/login.html" ]; do sleep 0.1; done\n'
"""One that has not come yet, as long as the login waits."""


@dataclass
class Person:
    house: House
    name: str
    """The connection that is made."""
    login: subprocess.Popen[str]
    address: str
    browser: httpx.Client

    def come(self) -> None:
        """Open the address. What a browser would keep can be read by everybody; so can the callback of
        somebody who has approved with an account of his own."""
        theirs = press_approve(self.house, self.browser.get(self.address).headers["location"])
        history = self.house.project / "history"
        unfinished = history.with_name("history.part")
        unfinished.write_text(f"{self.address}\n{theirs}\n")
        unfinished.rename(history)

    def finish(self) -> str:
        """Approve, as far as the page lets; the access token that is stored then."""
        location = self.browser.get(self.address).headers["location"]
        assert "is connected" in self.browser.get(press_approve(self.house, location)).text
        assert self.login.wait(30) == 0
        return self.stored()

    def stored(self) -> str:
        """The access token of the connection that is made, or nothing."""
        export = ("export", "discord", "--connection", self.name, "--format", "json")
        done = subprocess.run(
            self.house.command("none", self.house.authsome, *export),
            cwd=ROOT,
            env=self.house.environ(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return str(json.loads(done.stdout)["DISCORD_ACCESS_TOKEN"]) if done.stdout else ""


def press_approve(house: House, url: str) -> str:
    with client_of(house.standin) as provider:
        return press(provider, url)


@contextmanager
def logging_in(house: House) -> Iterator[Person]:
    """A login that waits, until the block ends. The person comes when the hostile program asks."""
    browser = house.project / "browser"
    browser.write_text(_BROWSER)
    browser.chmod(0o755)
    for name in ("come-now", "history"):
        (house.project / name).unlink(missing_ok=True)
    name = f"of-{secrets.token_hex(4)}"
    command = house.command("none", house.authsome, "login", "discord", "--connection", name)
    environ = house.environ() | {"BROWSER": f"{browser} %s &"}
    stop = threading.Event()
    with (
        subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as login,
        httpx.Client(trust_env=False, timeout=30) as client,
    ):
        try:
            person = Person(house, name, login, _address(login), client)
            _wait_for(house.home / ".authsome/login.html")

            def wait() -> None:
                while not stop.wait(0.02):
                    if (house.project / "come-now").exists():
                        person.come()
                        return

            thread = threading.Thread(target=wait)
            thread.start()
            try:
                yield person
            finally:
                stop.set()
                thread.join()
        finally:
            login.send_signal(signal.SIGINT)
            login.wait(30)


def _address(login: subprocess.Popen[str]) -> str:
    assert login.stderr
    said = ""
    for line in login.stderr:
        said += line
        if found := re.search(r"log in at (\S+)", line):
            return found[1]
    raise AssertionError(said)


def _wait_for(file: Path) -> None:
    waiting = threading.Event()
    for _ in range(500):
        if file.exists():
            return
        waiting.wait(0.02)
    raise AssertionError(f"no {file}")
