"""What the audit is told about a request. Pure; no field of an event can hold a credential."""

from __future__ import annotations

import re
from typing import Final, assert_never

from proxy.model import Decision, Event, Inject, PassThrough, Refuse, Target

DECISION_INJECT: Final = "inject"
DECISION_PASS: Final = "pass"  # noqa: S105  (a decision, not a password)
DECISION_REFUSE: Final = "refuse"
DECISION_TUNNEL: Final = "tunnel"
DECISION_EXPORT: Final = "export"
"""Not about a request: the credential itself was handed out."""

DECISION_CIRCUIT: Final = "circuit"
"""Not about one request: why a run kept requests of a connection from the provider, and how many."""

MAX_SEGMENT: Final = 32
"""Characters of a path segment that are kept whole.

Longer ones may be secrets that the provider put there, such as the 68-character token of a Discord webhook.
"""

MAX_PATH: Final = 512
"""Characters of a path in an event."""

INERT_PLACEHOLDER: Final = "inert-placeholder"
"""The reason of a pass whose placeholder stood where it means nothing."""


def reason_of(target: Target, decision: Decision, status: int | None) -> Event:
    """The event of one decided request."""
    connection: str | None = None
    reason: str | None = None
    match decision:
        case Inject(rule):
            what, connection = DECISION_INJECT, rule.connection
        case PassThrough(inert_placeholder=inert):
            what, reason = DECISION_PASS, INERT_PLACEHOLDER if inert else None
        case Refuse(reason=why, connection=connection):
            what, reason = DECISION_REFUSE, str(why)
        case unknown:
            assert_never(unknown)
    return Event(
        method=target.method[:16],
        host=str(target.origin),
        path=shown_path(target.path),
        decision=what,
        connection=connection,
        reason=reason,
        status=status,
    )


def shown_path(target: str) -> str:
    """A request target without its query, with long segments cut to their first characters."""
    path = re.split(r"[?#]", target, maxsplit=1)[0]
    segments = (part if len(part) <= MAX_SEGMENT else f"{part[:4]}…" for part in path.split("/"))
    return "/".join(segments)[:MAX_PATH]
