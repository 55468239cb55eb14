"""When to stop sending a credential that the provider answers with 401. Pure.

Discord bans an address for 10,000 answers of 401, 403 or 429 in 10 minutes
(https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans), and a
client that retries in a loop gets there alone. A credential that is proven dead is marked so in the vault
and never sent; this is for one that is only suspected. Time is an argument, in seconds of a clock that
is never set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from vault.model import ConnectionKey

STRIKES: Final = 3
"""Answers of 401 in a row, after an attempt at recovery, that open the circuit."""

PROBE_PAUSE: Final = 60.0
"""Seconds after which one request is let through to learn whether the provider has changed its mind;
doubled each time. Without it a key that works at all endpoints but one would be lost to the run."""

LONGEST_PROBE_PAUSE: Final = 3600.0
"""Seconds."""

MAX_BODY: Final = 1024
"""Bytes of a 401's body that are kept to be repeated; Discord's has 43."""

_JSON_OBJECT = TypeAdapter(dict[str, object])


@dataclass(frozen=True, slots=True)
class CircuitState:
    """What is known of a connection whose requests are, or may soon be, answered locally."""

    key: ConnectionKey
    open: bool
    reason: str
    """One sentence, fit to be shown."""
    strikes: int
    """Answers of 401 in a row that nothing could explain."""
    answered: int
    """Requests that were answered locally."""


class Circuit:
    """The 401s of one connection; a new generation begins anew."""

    def __init__(self) -> None:
        self.answered = 0
        self.body: bytes | None = None
        """The provider's last 401 body, where it is small and JSON."""
        self.strikes = 0
        self._generation = 0
        self._pause = 0.0
        self._probe_at = 0.0

    def struck(self, generation: int, now: float) -> None:
        """Count a 401 that recovery could not explain."""
        if generation != self._generation:
            self._generation, self.strikes = generation, 0
            self._pause = self._probe_at = 0.0
        self.strikes += 1
        if self.strikes >= STRIKES and now >= self._probe_at:
            self._pause = min(LONGEST_PROBE_PAUSE, self._pause * 2 or PROBE_PAUSE)
            self._probe_at = now + self._pause

    def cleared(self, generation: int) -> None:
        """The provider accepted this generation, or says that it is good."""
        if generation == self._generation:
            self.strikes = 0
            self._pause = self._probe_at = 0.0

    def is_open(self, generation: int) -> bool:
        """Whether requests with this generation are answered locally, save for a probe now and then."""
        return generation == self._generation and self.strikes >= STRIKES

    def refuses(self, generation: int, now: float) -> bool:
        """Whether this request is to be answered locally; a probe is let through once."""
        if not self.is_open(generation):
            return False
        if now < self._probe_at:
            return True
        self._pause = min(LONGEST_PROBE_PAUSE, self._pause * 2)
        self._probe_at = now + self._pause
        return False

    def remember(self, body: bytes) -> None:
        """Keep the body of a 401 to be repeated."""
        if not 0 < len(body) <= MAX_BODY:
            return
        try:
            _JSON_OBJECT.validate_json(body)
        except ValidationError:
            return
        self.body = body
