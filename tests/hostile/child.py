"""A hostile program inside of a run: tries the attacks that it is told, one JSON line each.

`python -m tests.hostile.child ATTACK …`. A line holds the attack's name, what came of it, and what was got,
in base64. Whether that is worth anything is judged by whoever reads it: this program knows no secret.

Outcomes: `blocked` (by the system, or nothing was found), `open` (something was reached), `planted` (left
for later), `refused` (by the proxy), `cut` (no answer), `harmless` (an answer), `-` (not possible here).
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable

from tests.hostile import commands, daemons, later, logins, machine, processes, wire
from tests.isolation import attacks

WORDS = {b"absent": "-", b"planted": "planted", b"": "blocked"}

Attack = Callable[[], bytes | tuple[str, bytes]]


def known() -> dict[str, Attack]:
    """All attacks by name, those of the isolation's own tests among them."""
    found: dict[str, Attack] = {
        name: function
        for name, function in vars(attacks).items()
        if callable(function) and getattr(function, "__module__", "") == attacks.__name__
    }
    for module in (machine, processes, commands, daemons, later, logins):
        found |= {function.__name__: function for function in module.ATTACKS}
    return found | wire.attacks()


def attempt(attack: Attack) -> tuple[str, bytes]:
    try:
        got = attack()
    except (OSError, ssl.SSLError, subprocess.SubprocessError) as error:
        text = f"{error}".encode(errors="replace")
        return ("refused" if b"X-Authsome-Refused" in text or b"HTTP/1.1 4" in text else "blocked"), text
    if isinstance(got, tuple):
        return got
    return WORDS.get(got, "open"), got


def main() -> None:
    every = known()
    for name in sys.argv[1:]:
        begun = time.monotonic()
        outcome, loot = attempt(every[name])
        line = {
            "attack": name,
            "outcome": outcome,
            "seconds": round(time.monotonic() - begun, 2),
            "loot": base64.b64encode(loot).decode(),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
