"""A stand-in Discord: real TLS, a private CA, neighbours on the same front. For tests and the demo."""

from tests.standin.client import client_of, press
from tests.standin.http import Answer, Ending, Mishap
from tests.standin.seen import Seen
from tests.standin.server import HOSTS, StandIn
from tests.standin.state import (
    CLIENT_ID,
    CLIENT_SECRET,
    REDIRECT_URI,
    App,
    Discord,
    Guild,
    RateLimit,
    Tokens,
    User,
)

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "HOSTS",
    "REDIRECT_URI",
    "Answer",
    "App",
    "Discord",
    "Ending",
    "Guild",
    "Mishap",
    "RateLimit",
    "Seen",
    "StandIn",
    "Tokens",
    "User",
    "client_of",
    "press",
]
