"""The page on which a user lets an application in: /oauth2/authorize."""

from __future__ import annotations

import html
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.standin.http import Answer, Request, html_answer, redirect
from tests.standin.scopes import ALWAYS_ASK, INVALID_SCOPE, allowed
from tests.standin.state import App, Discord

DENIED = "The resource owner or authorization server denied the request"

_STYLE = """body{font:16px/1.5 sans-serif;max-width:30em;margin:4em auto;padding:0 1em}
button{font:inherit;padding:.5em 1.5em;margin-right:1em}"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a valid authorization request asks for."""

    app: App
    scopes: tuple[str, ...]
    redirect_uri: str
    state: str | None
    challenge: str


async def authorize(discord: Discord, request: Request) -> Answer:
    """Show the page, or carry out the decision that it posts."""
    asked = _asked(discord, request.raw_query)
    if isinstance(asked, Answer):
        return asked
    if request.method == "POST":
        form = parse_qs((await request.body()).decode("latin-1"))
        if form.get("decision") == ["approve"]:
            return _approved(discord, asked)
        return _back(asked.redirect_uri, asked.state, error="access_denied", error_description=DENIED)
    if request.query("prompt") == "none" and _silent(discord, asked):
        return _approved(discord, asked)
    return html_answer(200, _page(discord, asked, request.target))


def _asked(discord: Discord, query: str) -> Asked | Answer:
    """The request, or the answer that refuses it.

    Nothing is redirected before client and redirect URI are known to belong together
    (RFC 6749 section 4.1.2.1).
    """
    values = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
    app = discord.app(values.get("client_id", ""))
    if app is None:
        return _error_page("Unknown Application")
    redirect_uri = values.get("redirect_uri", app.redirect_uris[0])
    if redirect_uri not in app.redirect_uris:
        return _error_page("Invalid OAuth2 redirect_uri")
    scopes = tuple(dict.fromkeys(values.get("scope", "").split()))
    asked = Asked(app, scopes, redirect_uri, values.get("state"), values.get("code_challenge", ""))
    problem = _problem(asked, values.get("response_type", ""), values.get("code_challenge_method", ""))
    return _back(redirect_uri, asked.state, **problem) if problem else asked


def _problem(asked: Asked, response_type: str, method: str) -> dict[str, str]:
    if response_type != "code":
        return {"error": "unsupported_response_type"}
    if asked.challenge and method != "S256":
        return {"error": "invalid_request", "error_description": 'Unsupported "code_challenge_method"'}
    refused = "role_connections.write" in asked.scopes and asked.challenge
    if refused or not allowed(asked.app, asked.scopes, user_present=True):
        return {"error": "invalid_scope", "error_description": INVALID_SCOPE}
    return {}


def _silent(discord: Discord, asked: Asked) -> bool:
    return not ALWAYS_ASK.intersection(asked.scopes) and discord.consented(asked.app, asked.scopes)


def _approved(discord: Discord, asked: Asked) -> Answer:
    code = discord.new_code(asked.app, asked.scopes, asked.redirect_uri, asked.challenge)
    return _back(asked.redirect_uri, asked.state, code=code.value)


def _back(redirect_uri: str, state: str | None, **values: str) -> Answer:
    if state is not None:
        values["state"] = state
    joint = "&" if urlsplit(redirect_uri).query else "?"
    return redirect(f"{redirect_uri}{joint}{urlencode(values)}")


def _error_page(message: str) -> Answer:
    return html_answer(400, _document("Error", f"<h1>Error</h1><p id=error>{html.escape(message)}</p>"))


def _page(discord: Discord, asked: Asked, target: str) -> str:
    scopes = "".join(f"<li>{html.escape(scope)}</li>" for scope in asked.scopes)
    return _document(
        "Authorize",
        f"""<h1>{html.escape(asked.app.name)}</h1>
<p>wants to access the account of <b>{html.escape(discord.logged_in.username)}</b>:</p>
<ul id=scopes>{scopes}</ul>
<form method=post action="{html.escape(target)}">
<button id=approve name=decision value=approve>Approve</button>
<button id=deny name=decision value=deny>Deny</button>
</form>
<p><small>This is a local stand-in for Discord.</small></p>""",
    )


def _document(title: str, body: str) -> str:
    head = f"<meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}{body}</html>"
