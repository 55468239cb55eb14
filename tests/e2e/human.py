"""Stands in for browser and user: opens the address of a login, fills in the form, presses Approve.

Started by `authsome login` through the BROWSER variable. Tells with HUMAN_* where the stand-in is.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from tests.standin import CLIENT_ID, CLIENT_SECRET
from tests.standin.client import client_at, press


def main(opened: str) -> None:
    context = ssl.create_default_context(cafile=os.environ["HUMAN_CA"])
    port = int(os.environ["HUMAN_PORT"])
    letter = Path(unquote(urlsplit(opened).path))
    link = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', letter.read_text())
    assert link
    with httpx.Client(trust_env=False) as browser, client_at(port, port, context) as discord:
        url = authorize_url(browser, link[1])
        with Path(os.environ["HUMAN_LOG"]).open("a") as log:
            log.write(f"{url}\n")
        browser.get(press(discord, url))


def authorize_url(browser: httpx.Client, address: str) -> str:
    """Where the one-time address of a login leads, by way of the form if there is one."""
    answer = browser.get(address)
    if answer.status_code == 200:
        form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        answer = browser.post(address, data=form, headers={"Origin": address.rpartition("/")[0]})
    assert answer.status_code == 303
    return answer.headers["location"]


if __name__ == "__main__":
    main(sys.argv[1])
