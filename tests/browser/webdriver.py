"""A headless Chromium, driven through chromedriver's HTTP API (W3C WebDriver)."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from pydantic import BaseModel

SCREENSHOTS: Final = Path(__file__).parents[2] / ".screenshots"
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver section 12.1
_STARTED: Final = b"started successfully on port "
_STARTS: Final = 5
_TIMEOUTS: Final = {"implicit": 10_000, "pageLoad": 30_000}
"""Milliseconds that a search waits for a match, and a navigation for its page."""

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1000,1100",
    # The stand-in's authority is private; only this throw-away browser overlooks that.
    "--ignore-certificate-errors",
)


class _Reply(BaseModel):
    value: object


class Browser:
    """One browsing session."""

    def __init__(self, driver: httpx.AsyncClient, session: str) -> None:
        self._driver = driver
        self._session = session

    async def open(self, url: str) -> None:
        """Navigate, and wait until the page has loaded."""
        await self._do("POST", "url", {"url": url})

    async def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        await self._do("POST", f"element/{await self._find(selector)}/value", {"text": text})

    async def click(self, selector: str) -> None:
        """Click, and wait for the page it leads to."""
        await self._do("POST", f"element/{await self._find(selector)}/click", {})

    async def text(self, selector: str) -> str:
        """What the first match shows."""
        return str(await self._do("GET", f"element/{await self._find(selector)}/text"))

    async def style(self, selector: str, name: str) -> str:
        """A computed style of the first match."""
        return str(await self._do("GET", f"element/{await self._find(selector)}/css/{name}"))

    async def url(self) -> str:
        """The address of the page shown."""
        return str(await self._do("GET", "url"))

    async def source(self) -> str:
        """The page shown, as HTML."""
        return str(await self._do("GET", "source"))

    async def run(self, script: str) -> None:
        """Run a script in the page shown."""
        await self._do("POST", "execute/sync", {"script": script, "args": []})

    async def shows(self, text: str) -> None:
        """Wait until an element holds `text`, which has no double quote."""
        await self._find(f'//*[contains(text(), "{text}")]', "xpath")

    async def frame_source(self, selector: str) -> str:
        """The document inside a frame, as HTML."""
        frame = {_ELEMENT: await self._find(selector)}
        await self._do("POST", "frame", {"id": frame})
        source = await self.source()
        await self._do("POST", "frame", {"id": None})
        return source

    async def screenshot(self, name: str) -> None:
        """Write `.screenshots/NAME.png` and, in the dark scheme, `.screenshots/NAME-dark.png`."""
        SCREENSHOTS.mkdir(exist_ok=True)
        for scheme, suffix in (("light", ""), ("dark", "-dark")):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            await self._do("POST", "goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": media})
            image = base64.b64decode(str(await self._do("GET", "screenshot")))
            (SCREENSHOTS / f"{name}{suffix}.png").write_bytes(image)

    async def _find(self, selector: str, using: str = "css selector") -> str:
        found = await self._do("POST", "element", {"using": using, "value": selector})
        assert isinstance(found, dict)
        return str(found[_ELEMENT])

    async def _do(self, method: str, command: str, body: object = None) -> object:
        return await _ask(self._driver, method, f"/session/{self._session}/{command}", body)


@asynccontextmanager
async def chromium(hosts: dict[str, str]) -> AsyncIterator[Browser]:
    """A fresh browser in which each name of `hosts` is the given `ADDRESS:PORT`, and no other name exists."""
    rules = [f"MAP {host} {address}" for host, address in hosts.items()]
    rules += ["MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"]
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as home:
        flags = [*_FLAGS, f"--user-data-dir={home}/data", f"--host-resolver-rules={','.join(rules)}"]
        options = {"binary": _program("chromium"), "args": flags}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": _TIMEOUTS}}}
        async with _chromedriver(home) as address, httpx.AsyncClient(base_url=address, timeout=60) as driver:
            made = await _ask(driver, "POST", "/session", wanted)
            assert isinstance(made, dict)
            session = str(made["sessionId"])
            try:
                yield Browser(driver, session)
            finally:
                await _ask(driver, "DELETE", f"/session/{session}")


@asynccontextmanager
async def _chromedriver(home: str) -> AsyncIterator[str]:
    # Its own HOME, so that no profile, cache or proxy setting of the user's plays a part.
    environment = {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home}
    for _ in range(_STARTS):
        process = await asyncio.create_subprocess_exec(
            _program("chromedriver"), "--port=0", env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            address = await _address(process)
            if address is not None:
                yield address
                return
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()
    raise AssertionError(f"chromedriver ended {_STARTS} times before it was ready")


async def _address(process: asyncio.subprocess.Process) -> str | None:
    """Where it listens, or None if it ended: it takes a free port of one address family, and ends where
    the other family's is taken."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        async for line in process.stdout:
            if _STARTED in line:
                return f"http://127.0.0.1:{line.partition(_STARTED)[2].decode().strip().rstrip('.')}"
        await process.wait()
    return None


async def _ask(driver: httpx.AsyncClient, method: str, path: str, body: object = None) -> object:
    answer = await driver.request(method, path, json=body)
    assert answer.status_code == 200, answer.text[:500]
    return _Reply.model_validate_json(answer.content).value


def _program(name: str) -> str:
    """Raises: a failure of the test, because a browser test that is skipped proves nothing."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: run 'make browser', which installs it")
    return path
