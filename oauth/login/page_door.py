"""Who may use the login page: the browser that opens its one-time address first, and nobody else.

Every program of the machine, other users' too, and every web page can ask on the page's port. Whoever
was shown the state could have the login end with an account of his own (RFC 6749 section 10.12, RFC 8252
section 8.9), and whoever was shown the form, with an application or a key of his own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from oauth.login.page_html import notice
from oauth.login.page_http import Page, Request, Response
from oauth.protocol import same_state

_TWICE: Final = (
    "the address of this login was opened in a second browser, which was refused; if that was not you, "
    "press Ctrl-C and log in again"
)


class Door:
    """Lets requests in by the one-time address `path`, from the browser that holds the cookie `seal`.

    Both are random and of this login alone. The first browser gets the cookie, so that the address is worth
    nothing to who sees it later: in a history, a list of processes, on a screen.
    """

    def __init__(self, path: str, seal: str, warn: Callable[[str], None]) -> None:
        self.opened = False
        """Whether a browser has come."""
        self._path = path
        self._seal = seal
        self._warn = warn
        self._warned = False

    def refuse(self, request: Request) -> Response | None:
        """What a request for any address but the callback is refused with; None for the one browser."""
        if not same_state(self._path, request.path.removesuffix("/")):
            message, hint = "there is nothing at this address", "open the one that the terminal shows"
            return Page(notice("Not available", message, hint, good=False), 404)
        if self.knows(request):
            return None
        if not self.opened and request.method == "GET":
            self.opened = True
            return None
        if not self._warned:  # once: it could fill the terminal
            self._warn(_TWICE)
        self._warned = True
        message = "this address is good for one browser, and was opened in another one or without cookies"
        hint = "if that was not you, press Ctrl-C in the terminal; else go on there, or log in again"
        return Page(notice("Not available", message, hint, good=False), 403)

    def knows(self, request: Request) -> bool:
        """Whether it comes from the browser that was let in."""
        return any(same_state(self._seal, seal) for seal in request.seals)

    def sealed(self, response: Response) -> Response:
        """The same for the browser that was let in, which is known from now on."""
        return replace(response, seal=self._seal)
