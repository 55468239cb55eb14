"""The token and revocation endpoints: POST /api/oauth2/token and /api/oauth2/token/revoke."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from tests.standin.http import Answer, Json, Request, json_answer
from tests.standin.scopes import INVALID_SCOPE, allowed
from tests.standin.state import App, Code, Discord, Tokens

HEADERS = (
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
    ("Via", "1.1 google"),
    ("Server", "cloudflare"),
)
"""What every answer of these endpoints carries beside its Content-Type."""

FORM = "application/x-www-form-urlencoded"

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1

Form = dict[str, str]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error answer (RFC 6749 section 5.2)."""

    error: str
    description: str = ""
    status: int = 400


async def token(discord: Discord, request: Request) -> Answer:
    """Give tokens for a code, a refresh token or the client's own credentials."""
    form = await _form(request)
    grant = _GRANTS.get(form.get("grant_type", ""))
    if grant is None:
        return _refused(Problem("unsupported_grant_type"))
    if (malformed := _malformed(form)) is not None:
        return malformed
    app = _client(discord, request, form)
    outcome = app if isinstance(app, Problem) else grant(discord, app, form)
    match outcome:
        case Problem():
            return _refused(outcome)
        case Tokens():
            return _granted(discord, outcome)


async def revoke(discord: Discord, request: Request) -> Answer:
    """Kill all tokens of the user and application that one token belongs to; unknown tokens are no error."""
    form = await _form(request)
    if not form.get("token"):
        return _refused(Problem("invalid_request"))
    if (malformed := _malformed(form)) is not None:
        return malformed
    app = _client(discord, request, form)
    if isinstance(app, Problem):
        return _refused(app)
    discord.revoke_token(form["token"], app)
    return json_answer(200, {}, HEADERS)


async def _form(request: Request) -> Form:
    """Parameters of a form body; everything else (JSON, the query) counts as none."""
    body = await request.body()
    if request.header(b"content-type").partition(";")[0].strip().lower() != FORM:
        return {}
    return dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))


def _malformed(form: Form) -> Answer | None:
    """The answer to a client ID that is no snowflake, in the shape of the API and not of OAuth."""
    client_id = form.get("client_id", "")
    if not client_id or client_id.isdecimal():
        return None
    text = f'Value "{client_id}" is not snowflake.'
    errors: dict[str, Json] = {"client_id": {"_errors": [{"code": "NUMBER_TYPE_COERCE", "message": text}]}}
    return json_answer(400, {"message": "Invalid Form Body", "code": 50035, "errors": errors}, HEADERS)


def _client(discord: Discord, request: Request, form: Form) -> App | Problem:
    basic = _basic(request.header(b"authorization"))
    client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret", ""))
    app = discord.app(client_id)
    if app is None:
        return Problem("invalid_client", status=401 if basic else 400)
    if app.public and not secret:
        return app
    if not secrets.compare_digest(secret.encode(), app.client_secret.encode()):
        return Problem("invalid_client", status=401)
    return app


def _basic(value: str) -> tuple[str, str] | None:
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    client_id, _, secret = decoded.partition(":")
    return client_id, secret


def _authorization_code(discord: Discord, app: App, form: Form) -> Tokens | Problem:
    bad_code = Problem("invalid_grant", 'Invalid "code" in request.')
    code = discord.code(form.get("code", ""), app)
    if code is None:
        return bad_code
    if form.get("redirect_uri") != code.redirect_uri:
        return Problem("invalid_grant", 'Invalid "redirect_uri" in request.')
    problem = _pkce(code, form.get("code_verifier", ""))
    if problem is not None:
        return problem
    return discord.grant(app, code.user, code.scopes) if discord.use_code(code) else bad_code


def _pkce(code: Code, verifier: str) -> Problem | None:
    """RFC 7636 section 4.6. A verifier without a challenge fails too (RFC 9700 section 2.1.1)."""
    if not code.challenge and not verifier:
        return None
    if not verifier:
        return Problem("invalid_request", 'Missing "code_verifier"')
    if not _VERIFIER.fullmatch(verifier):
        return Problem("invalid_request", 'Invalid "code_verifier"')
    digest = hashlib.sha256(verifier.encode()).digest()
    if base64.urlsafe_b64encode(digest).decode().rstrip("=") != code.challenge:
        return Problem("invalid_grant", "Code challenge failed.")
    return None


def _refresh_token(discord: Discord, app: App, form: Form) -> Tokens | Problem:
    dead = Problem("invalid_grant", 'Invalid "refresh_token" in request')
    old = discord.refreshable(form.get("refresh_token", ""), app)
    if old is None:
        return dead
    scopes = tuple(form.get("scope", "").split()) or old.scopes
    if not set(scopes) <= set(old.scopes):
        return Problem("invalid_scope", INVALID_SCOPE)
    return discord.rotate(old, scopes) or dead


def _client_credentials(discord: Discord, app: App, form: Form) -> Tokens | Problem:
    """The token is for the application's owner."""
    scopes = form.get("scope", "").split()
    if not allowed(app, scopes, user_present=False):
        return Problem("invalid_scope", INVALID_SCOPE)
    return discord.grant(app, app.owner, scopes, refresh=False)


_GRANTS: dict[str, Callable[[Discord, App, Form], Tokens | Problem]] = {
    "authorization_code": _authorization_code,
    "refresh_token": _refresh_token,
    "client_credentials": _client_credentials,
}


def _granted(discord: Discord, tokens: Tokens) -> Answer:
    answer: dict[str, str | int] = {
        "token_type": "Bearer",
        "access_token": tokens.access_token,
        "expires_in": round(tokens.expires_at - discord.clock()),
    }
    if tokens.refresh_token is not None:
        answer["refresh_token"] = tokens.refresh_token
    return json_answer(200, answer | {"scope": tokens.scope}, HEADERS)


def _refused(problem: Problem) -> Answer:
    body = {"error": problem.error}
    if problem.description:
        body["error_description"] = problem.description
    return json_answer(problem.status, body, HEADERS)
