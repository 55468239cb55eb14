"""What somebody perhaps meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def near(typed: str, names: Iterable[str]) -> Sequence[str]:
    """The names that look like what was typed, the likeliest first."""
    from difflib import get_close_matches  # here: only who mistypes waits for its import

    return get_close_matches(typed, names)


def did_you_mean(found: Sequence[str], hint: str) -> str:
    """A hint with the likeliest name before it, if there is one."""
    return f"did you mean {found[0]!r}? {hint}" if found else hint
