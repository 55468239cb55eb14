"""Discord's scopes, and which of them an application may ask for (OAuth2 documentation)."""

from __future__ import annotations

from collections.abc import Sequence

from tests.standin.state import App

OPEN = frozenset(
    {
        "applications.builds.read",
        "applications.commands",
        "applications.commands.permissions.update",
        "applications.entitlements",
        "applications.store.update",
        "bot",
        "connections",
        "email",
        "gdm.join",
        "guilds",
        "guilds.join",
        "guilds.members.read",
        "identify",
        "messages.read",
        "openid",
        "role_connections.write",
        "webhook.incoming",
    }
)
"""Any application may ask for these on the authorize page."""

CLIENT_ONLY = frozenset({"applications.commands.update"})
"""Granted by the client credentials grant alone."""

NEEDS_APPROVAL = frozenset(
    {
        "activities.invites.write",
        "activities.read",
        "activities.write",
        "applications.builds.upload",
        "dm_channels.read",
        "identify.premium",
        "relationships.read",
        "rpc",
        "rpc.activities.write",
        "rpc.notifications.read",
        "rpc.screenshare.read",
        "rpc.screenshare.write",
        "rpc.video.read",
        "rpc.video.write",
        "rpc.voice.read",
        "rpc.voice.write",
        "sdk.social_layer",
        "sdk.social_layer_presence",
        "voice",
    }
)

ALWAYS_ASK = frozenset({"bot", "webhook.incoming"})
"""The consent screen is shown for these even with `prompt=none`."""

INVALID_SCOPE = "The requested scope is invalid, unknown, or malformed."


def allowed(app: App, scopes: Sequence[str], *, user_present: bool) -> bool:
    """Whether `app` may have all of `scopes`; none at all is not allowed."""
    may = OPEN | (NEEDS_APPROVAL & app.approved_scopes) | (frozenset() if user_present else CLIENT_ONLY)
    return bool(scopes) and may.issuperset(scopes)
