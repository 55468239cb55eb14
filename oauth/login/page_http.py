"""Just enough HTTP/1.1 for the login page: one request a connection, strict, nothing optional.

Pure. The page faces every web page the user has open and every program of the machine, so whatever
is not exactly what a browser sends for it is refused.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never
from urllib.parse import parse_qsl

MAX_HEAD: Final = 16 * 1024
"""Bytes of request line and headers; browsers with many cookies of other loopback pages stay below it."""

MAX_BODY: Final = 8 * 1024
"""Bytes of a submitted form; a client id and secret need some hundred."""

COOKIE: Final = "authsome-login"
"""Its value tells the browser in which a login began from every other client of the page."""

_MAX_FIELDS: Final = 16
_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,16}) (/[!-~]{0,8192}) HTTP/1\.[01]")
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_PURPOSES: Final = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_FORM: Final = "application/x-www-form-urlencoded"

_REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    303: "See Other",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
}


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body; the query holds a code or a state."""

    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name; each name came once."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a browser sent, after every check that needs no knowledge of the login."""

    method: str
    path: str
    fields: Mapping[str, str] = field(repr=False)
    """The query of a GET, the form of a POST; each name came once. May hold a secret."""
    seals: tuple[str, ...] = field(default=(), repr=False)
    """The values of this page's cookie. Several where another page of this address has set one, too:
    cookies know no ports (RFC 6265 section 8.5)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not answered; `message` is one sentence for whoever reads the page."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML answer. `form` pages may submit to this server."""

    html: str
    status: int = 200
    form: bool = False
    seal: str | None = field(default=None, repr=False)
    """The value of the cookie to be set."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the browser on with a GET; the location holds the state."""

    location: str = field(repr=False)
    seal: str | None = field(default=None, repr=False)
    """The value of the cookie to be set."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """An answer without a content: nothing was done, and nothing is shown."""


Response = Page | Redirect


def parse_head(data: bytes) -> Head | Refused:
    """Parse all up to and with the empty line (RFC 9112), refusing what could be read in two ways."""
    first, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    if not request_line:
        return Refused(400, "the request line is malformed")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if not header or header[1].lower() in headers:
            return Refused(400, "a header is malformed or came twice")
        headers[header[1].lower()] = header[2]
    path, _, query = request_line[2].partition("?")
    return Head(request_line[1], path, query, headers)


def is_unasked(head: Head) -> bool:
    """Whether nobody has gone to this address yet: a browser or a preview looks at it beforehand.

    Such a request spends a code that the person's own one then has no use for. `Sec-Purpose` is from the
    Fetch standard; older browsers and previews send one of the others.
    """
    if head.method == "HEAD":
        return True
    purposes = " ".join(head.headers.get(name, "") for name in _PURPOSES).lower()
    return any(word in purposes for word in ("prefetch", "prerender", "preview"))


def refuse_stranger(head: Head, authority: str) -> Refused | None:
    """Refuse what another web page could cause.

    `authority` is the page's own `127.0.0.1:PORT`. A name in Host, though it may resolve here, is
    how DNS rebinding makes another site same-origin with this page. Sec-Fetch-* cannot be set by
    scripts (W3C Fetch Metadata); where a browser sends it, only a top-level navigation is served,
    so no frame, image or fetch ever is.
    """
    if head.headers.get("host") != authority:
        return Refused(421, f"this page answers only as http://{authority}")
    if head.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return Refused(403, "this page is not for scripts")
    if head.headers.get("sec-fetch-dest", "document") != "document":
        return Refused(403, "this page does not open inside another one")
    if head.method == "POST":
        if head.headers.get("origin") != f"http://{authority}":
            return Refused(403, "this form was not sent from this page")
        if head.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return Refused(403, "this form was not sent from this page")
    return None


def body_length(head: Head) -> int | Refused:
    """How many bytes of body follow."""
    if "transfer-encoding" in head.headers:
        return Refused(400, "a body must come with its length")
    text = head.headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,19}", text):
        return Refused(400, "the length of the body is malformed")
    length = int(text)
    if length > MAX_BODY:
        return Refused(413, "the form is too large")
    if length and head.method != "POST":
        return Refused(400, "only a form has a body")
    return length


def parse_fields(head: Head, body: bytes) -> Request | Refused:
    """Read the query of a GET or the form of a POST."""
    text = head.query
    if head.method == "POST":
        if head.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            return Refused(415, "only a form can be sent here")
        text = body.decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return Refused(400, "there are too many fields")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        return Refused(400, "a field came twice")
    return Request(head.method, head.path, fields, _seals(head.headers.get("cookie", "")))


def _seals(cookies: str) -> tuple[str, ...]:
    pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
    return tuple(value for name, _, value in pairs if name == COOKIE)


def style_hash(css: str) -> str:
    """The source expression that allows this one inline style (CSP level 2, section 4.2.5)."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def encode(response: Response | Nothing, style: str) -> bytes:
    """The whole answer as bytes; `style` is the CSP source of the pages' one style sheet."""
    match response:
        case Page(html, status, form, seal):
            more = [("Allow", "GET, POST")] if status == 405 else []
            return _encode(status, html.encode(), _policy(style, form), form, [*more, *_cookie(seal)])
        case Redirect(location, seal):
            if not location.isascii() or not location.isprintable():
                raise ValueError("a location must be printable ascii")
            more = [("Location", location), *_cookie(seal)]
            return _encode(303, b"", _policy(style, False), False, more)
        case Nothing():
            return b"HTTP/1.1 204 No Content\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n"
        case _:
            assert_never(response)


def _cookie(seal: str | None) -> list[tuple[str, str]]:
    # Lax and not Strict: the provider's page sends the browser to the callback. For this session alone.
    return [("Set-Cookie", f"{COOKIE}={seal}; Path=/; HttpOnly; SameSite=Lax")] if seal else []


def _policy(style: str, form: bool) -> str:
    # Chromium applies form-action to each redirect that follows a submitted form, and a provider may
    # send the browser through several hosts to its own login: hence every https origin, no other.
    action = "'self' https:" if form else "'none'"
    sources = f"default-src 'none'; style-src {style}; form-action {action}"
    return f"{sources}; base-uri 'none'; frame-ancestors 'none'"


def _encode(status: int, body: bytes, policy: str, form: bool, more: list[tuple[str, str]]) -> bytes:
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", policy),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        # With no-referrer a browser sends `Origin: null` even for the page's own form (Fetch, "append a
        # request Origin header"), and the check of Origin would refuse it.
        ("Referrer-Policy", "same-origin" if form else "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        *more,
    ]
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
