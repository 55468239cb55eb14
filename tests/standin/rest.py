"""The REST endpoints that a user's token can reach."""

from __future__ import annotations

import base64
import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from tests.standin.http import Answer, Headers, Json, Request, json_answer
from tests.standin.state import Discord, RateLimit, Tokens, User


def error(message: str, code: int) -> dict[str, Json]:
    """Discord's error body, which is not that of OAuth."""
    return {"message": message, "code": code}


UNAUTHORIZED = error("401: Unauthorized", 0)
NOT_FOUND = error("404: Not Found", 0)
NOT_ALLOWED = error("405: Method Not Allowed", 0)
MISSING_SCOPE = error("Missing required OAuth2 scope", 50026)
INVALID_VERSION = error("Invalid API version", 50041)

SERVER = (("Via", "1.1 google"), ("Server", "cloudflare"))
"""Clients take a 429 without this Via for a block by Cloudflare."""

_MODULUS = base64.urlsafe_b64encode(b"\xc1" + secrets.token_bytes(511)).decode().rstrip("=")
"""The size of an RSA-4096 modulus. Nothing is signed here, so no private key belongs to it."""

View = Callable[[Tokens, Request], Json]


@dataclass(frozen=True, slots=True)
class Operation:
    """One GET operation and the scope it needs; None where any Bearer token will do."""

    scope: str | None
    view: View


def _user(user: User) -> dict[str, Json]:
    return {
        "id": user.id,
        "username": user.username,
        "avatar": None,
        "discriminator": "0",
        "public_flags": 0,
        "flags": 0,
        "banner": None,
        "accent_color": None,
        "global_name": user.username.title(),
        "avatar_decoration_data": None,
        "collectibles": None,
        "primary_guild": None,
    }


def _me(tokens: Tokens, request: Request) -> Json:
    me = _user(tokens.user) | {"mfa_enabled": True, "locale": "en-US", "premium_type": 0}
    if "email" in tokens.scopes:
        me |= {"email": tokens.user.email, "verified": True}
    return me


def _guilds(tokens: Tokens, request: Request) -> Json:
    """In order of id; `before`, `after`, `limit` and `with_counts` as documented."""
    before, after = request.query("before"), request.query("after")
    guilds = sorted(tokens.user.guilds, key=lambda guild: int(guild.id))
    if before:
        guilds = [guild for guild in guilds if int(guild.id) < int(before)]
    if after:
        guilds = [guild for guild in guilds if int(guild.id) > int(after)]
    counts = request.query("with_counts").lower() in ("true", "1")
    limit = int(request.query("limit", "200"))
    page = guilds[-limit:] if before and not after else guilds[:limit]
    return [
        {
            "id": guild.id,
            "name": guild.name,
            "icon": None,
            "banner": None,
            "owner": guild.owner,
            "permissions": "2251799813685247" if guild.owner else "104324673",
            "features": ["COMMUNITY"],
        }
        | ({"approximate_member_count": guild.members, "approximate_presence_count": 7} if counts else {})
        for guild in page
    ]


def _connections(tokens: Tokens, request: Request) -> Json:
    return [
        {
            "id": "583231",
            "name": tokens.user.username,
            "type": "github",
            "friend_sync": False,
            "show_activity": True,
            "two_way_link": False,
            "verified": True,
            "visibility": 1,
        }
    ]


def _authorization(tokens: Tokens, request: Request) -> Json:
    application: dict[str, Json] = {
        "id": tokens.app.client_id,
        "name": tokens.app.name,
        "icon": None,
        "description": "",
        "type": None,
        "flags": 0,
        "flags_new": "0",
        "hook": True,
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": "00" * 32,
    }
    authorization: dict[str, Json] = {
        "application": application,
        "scopes": list(tokens.scopes),
        "expires": dt.datetime.fromtimestamp(tokens.expires_at, dt.UTC).isoformat(),
    }
    if "identify" in tokens.scopes:
        authorization["user"] = _user(tokens.user)
    return authorization


def _userinfo(tokens: Tokens, request: Request) -> Json:
    info: dict[str, Json] = {"sub": tokens.user.id}
    if "email" in tokens.scopes:
        info |= {"email": tokens.user.email, "email_verified": True}
    if "identify" in tokens.scopes:
        info |= {
            "preferred_username": tokens.user.username,
            "nickname": tokens.user.username.title(),
            "picture": "https://cdn.discordapp.com/embed/avatars/0.png",
            "locale": "en-US",
        }
    return info


OPEN: dict[str, Json] = {
    "/gateway": {"url": "wss://gateway.discord.gg"},
    "/oauth2/keys": {
        "keys": [{"kty": "RSA", "use": "sig", "kid": "stand-in", "n": _MODULUS, "e": "AQAB", "alg": "RS256"}]
    },
}
"""Answers that need no credential."""

BEARER = {
    "/users/@me": Operation("identify", _me),
    "/users/@me/guilds": Operation("guilds", _guilds),
    "/users/@me/connections": Operation("connections", _connections),
    "/oauth2/@me": Operation(None, _authorization),
    "/oauth2/userinfo": Operation("openid", _userinfo),
}


class Rest:
    """Answers REST requests and counts them against the rate limit."""

    def __init__(self, discord: Discord) -> None:
        self._discord = discord
        self._counts: dict[tuple[str, str, int], int] = {}

    def serve(self, path: str, request: Request) -> Answer:
        """`path` is that below the version."""
        if path not in OPEN and path not in BEARER:
            return json_answer(404, NOT_FOUND, SERVER)
        if request.method not in ("GET", "HEAD"):
            return json_answer(405, NOT_ALLOWED, (("Allow", "GET"), *SERVER))
        limits, exhausted = self._count(path, request.header(b"authorization"))
        if exhausted is not None:
            return _limited(self._discord.rate_limit, exhausted, (*limits, *SERVER))
        status, body = self._outcome(path, request)
        return json_answer(status, body, (*limits, *SERVER))

    def _outcome(self, path: str, request: Request) -> tuple[int, Json]:
        operation = BEARER.get(path)
        if operation is None:
            return 200, OPEN[path]
        scheme, _, value = request.header(b"authorization").partition(" ")
        tokens = self._discord.access(value) if scheme == "Bearer" else None
        if tokens is None:
            return 401, UNAUTHORIZED
        if operation.scope is not None and operation.scope not in tokens.scopes:
            return 403, MISSING_SCOPE
        if path == "/users/@me/guilds" and (errors := _form_errors(request)):
            return 400, error("Invalid Form Body", 50035) | {"errors": errors}
        return 200, operation.view(tokens, request)

    def _count(self, path: str, credential: str) -> tuple[Headers, float | None]:
        """Rate-limit fields, and the seconds to wait where the limit is used up."""
        limit, now = self._discord.rate_limit, self._discord.clock()
        window = int(now // limit.window)
        key = (path, credential, window)
        used = self._counts[key] = self._counts.get(key, 0) + 1
        resets_at = (window + 1) * limit.window
        headers = (
            ("X-RateLimit-Limit", str(limit.limit)),
            ("X-RateLimit-Remaining", str(max(0, limit.limit - used))),
            ("X-RateLimit-Reset", f"{resets_at:.3f}"),
            ("X-RateLimit-Reset-After", f"{resets_at - now:.3f}"),
            ("X-RateLimit-Bucket", path.encode().hex()[:32]),
        )
        return headers, resets_at - now if used > limit.limit else None


def _form_errors(request: Request) -> dict[str, Json]:
    """The documented bounds of the query of GET /users/@me/guilds."""
    errors: dict[str, Json] = {}
    for name in ("before", "after"):
        if not request.query(name, "0").isdecimal():
            text = f'Value "{request.query(name)}" is not snowflake.'
            errors[name] = {"_errors": [{"code": "NUMBER_TYPE_COERCE", "message": text}]}
    limit = request.query("limit", "200")
    if not limit.isdecimal() or not 1 <= int(limit) <= 200:
        text = "int value should be between 1 and 200."
        errors["limit"] = {"_errors": [{"code": "NUMBER_TYPE_MAX", "message": text}]}
    return errors


def _limited(limit: RateLimit, wait: float, headers: Headers) -> Answer:
    everywhere = limit.scope == "global"
    body = error("You are being rate limited.", 0) | {"retry_after": round(wait, 3), "global": everywhere}
    extra = (("Retry-After", str(ceil(wait))), ("X-RateLimit-Scope", limit.scope))
    return json_answer(
        429, body, (*extra, *((("X-RateLimit-Global", "true"),) if everywhere else ()), *headers)
    )
