"""What somebody else on this machine gets from the page of a login: another user, another program."""

from __future__ import annotations

import asyncio
import re

import pytest
from pydantic import SecretStr

from oauth.login.page import Code
from oauth.login.page_http import COOKIE
from tests.oauth.login.test_page import (
    AUTHORIZE,
    CALLBACK,
    CLIENT,
    DISCORD,
    HOME,
    SEAL,
    STATE,
    Answer,
    Served,
    connection,
    form,
    key_page,
    login_page,
)

SET_COOKIE = f"{COOKIE}={SEAL}; path=/; httponly; samesite=lax"


async def stranger(page: Served, method: str, target: str, body: str = "", cookie: str = "") -> Answer:
    """Another client than the browser in which the login began."""
    if method == "GET":
        return await page.get(target, cookie=cookie)
    return await page.post(target, body, cookie=cookie)


def shows_nothing(answer: Answer) -> bool:
    hidden = (STATE, SEAL, HOME, AUTHORIZE, "client_id", "<form", "set-cookie", "location")
    return not [word for word in hidden if word in answer.text]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/client",
        "/key",
        "/?x",
        "/index.html",
        HOME[:-1],
        f"{HOME}x",
        f"{HOME}/client",
        f"/x{HOME}",
        HOME.upper(),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_is_served_without_the_one_time_address(target: str, method: str, known: bool) -> None:
    async with login_page(known=known) as page:
        answer = await stranger(page, method, target, form())
        assert answer.status == 404
        assert shows_nothing(answer)
        assert page.registered == []
        assert (await page.get(HOME)).status == (303 if known else 200), "with it there is something"


async def test_a_key_is_not_taken_without_the_one_time_address() -> None:
    async with key_page() as (page, key):
        for target in ("/", "/key", f"{HOME}/key"):
            assert (await stranger(page, "POST", target, "key=theirs")).status == 404
        await page.get(HOME, cookie="")
        assert (await stranger(page, "POST", HOME, "key=theirs")).status == 403
        assert not key.taken
        asked = asyncio.create_task(page.post(HOME, "key=mine"))
        assert await key.wait(5) == SecretStr("mine")
        key.show(connection(), DISCORD)
        await asked


@pytest.mark.parametrize("known", [True, False])
async def test_the_address_is_good_for_the_browser_that_opens_it_first(known: bool) -> None:
    async with login_page(known=known) as page:
        first = await page.get(HOME, cookie="")
        assert first.headers["set-cookie"] == SET_COOKIE
        for cookie in ("", f"{COOKIE}=", f"{COOKIE}={SEAL}x", f"{COOKIE}x={SEAL}", f"x={COOKIE}={SEAL}"):
            for method in ("GET", "POST"):
                later = await stranger(page, method, HOME, form(), cookie)
                assert later.status == 403
                assert shows_nothing(later)
        assert page.registered == []
        assert (await page.get(HOME)).status == first.status
        assert page.warnings == [
            "the address of this login was opened in a second browser, which was refused; "
            "if that was not you, press Ctrl-C and log in again"
        ]


async def test_a_form_is_not_taken_before_a_browser_has_come() -> None:
    async with login_page() as page:
        assert (await stranger(page, "POST", HOME, form())).status == 403
        assert page.registered == []
        assert (await page.get(HOME, cookie="")).status == 200


async def test_a_cookie_that_another_page_of_this_address_has_set_is_no_hindrance() -> None:
    async with login_page() as page:
        assert (await page.get(HOME, cookie=f"{COOKIE}=theirs; {COOKIE}={SEAL}")).status == 200


@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=theirs"])
async def test_a_callback_in_another_browser_is_refused_though_it_has_the_state(cookie: str) -> None:
    """A state can be read where the browser keeps its history; with it an account of somebody else's
    would be logged in."""
    async with login_page(known=True) as page:
        await page.get(HOME, cookie="")
        answer = await page.get(f"{CALLBACK}?code=theirs&state={STATE}", cookie=cookie)
        assert answer.status == 400
        assert "another browser" in answer.body
        assert shows_nothing(answer)
        assert not page.callback.taken
        assert page.warnings == ["refused a callback that does not belong to this login; still waiting"]
        asked = asyncio.create_task(page.get(f"{CALLBACK}?code=mine&state={STATE}"))
        assert await page.callback.wait(5) == Code(CLIENT, SecretStr("mine"))
        page.callback.show(connection(), DISCORD)
        assert (await asked).status == 200


async def test_what_came_of_a_login_is_shown_to_its_browser_alone() -> None:
    async with login_page(known=True) as page:
        await page.get(HOME, cookie="")
        asked = asyncio.create_task(page.get(f"{CALLBACK}?code=c&state={STATE}"))
        await page.callback.wait(5)
        page.callback.show(connection(), DISCORD)
        assert "nelly" in (await asked).body
        assert "nelly" in (await page.get(HOME)).body
        for target in (HOME, "/", f"{CALLBACK}?code=c&state={STATE}", CALLBACK):
            answer = await stranger(page, "GET", target)
            assert answer.status >= 400
            assert "nelly" not in answer.body


UNASKED = [
    ("GET", {"sec_purpose": "prefetch"}),
    ("GET", {"sec_purpose": "prefetch;prerender"}),
    ("GET", {"sec_purpose": "prefetch;anonymous-client-ip"}),
    ("GET", {"purpose": "prefetch"}),
    ("GET", {"purpose": "Prefetch"}),
    ("GET", {"x_purpose": "preview"}),
    ("GET", {"x_moz": "prefetch"}),
    ("HEAD", {}),
]


@pytest.mark.parametrize(("method", "headers"), UNASKED)
async def test_a_look_beforehand_does_nothing(method: str, headers: dict[str, str]) -> None:
    async with login_page(known=True) as page:
        for target in (HOME, f"{CALLBACK}?code=early&state={STATE}"):
            for cookie in ({"cookie": ""}, {}):
                answer = await page.raw(page.head(method, target, {**headers, **cookie}) + b"\r\n")
                assert (answer.status, answer.body) == (204, "")
                assert shows_nothing(answer)
        assert not page.callback.taken
        assert (await page.get(HOME, cookie="")).status == 303, "the address is not used up"
        asked = asyncio.create_task(
            page.get(f"{CALLBACK}?code=mine&state={STATE}", sec_purpose="", purpose="x")
        )
        assert await page.callback.wait(5) == Code(CLIENT, SecretStr("mine"))
        page.callback.show(connection(), DISCORD)
        assert (await asked).status == 200
    assert page.warnings == []


async def test_no_page_makes_the_browser_ask_for_more() -> None:
    async with login_page() as page:
        assert re.search(r'<link rel="icon" href="data:,">', (await page.get(HOME)).body)
