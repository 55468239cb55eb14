"""Stands in for browser and user: opens the address of a login, fills in the form, presses Approve.

Started by `authsome login` through the BROWSER variable. Tells with HUMAN_* where the stand-in is.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from pathlib import Path

import httpx

from tests.standin import CLIENT_ID, CLIENT_SECRET
from tests.standin.client import client_at, press


def main(url: str) -> None:
    context = ssl.create_default_context(cafile=os.environ["HUMAN_CA"])
    if url.startswith("http://127.0.0.1:7998/"):
        url = fill_in(url)
    with Path(os.environ["HUMAN_LOG"]).open("a") as log:
        log.write(f"{url}\n")
    port = int(os.environ["HUMAN_PORT"])
    with client_at(port, port, context) as discord:
        location = press(discord, url)
    httpx.get(location, trust_env=False)


def fill_in(url: str) -> str:
    """Send the form; the answer leads to the provider."""
    origin = url.rstrip("/")
    with httpx.Client(trust_env=False) as browser:
        guard = re.search(r'name="guard" value="([^"]+)"', browser.get(url).text)
        assert guard
        form = {"guard": guard[1], "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        answer = browser.post(f"{origin}/client", data=form, headers={"Origin": origin})
    assert answer.status_code == 303
    return answer.headers["location"]


if __name__ == "__main__":
    main(sys.argv[1])
