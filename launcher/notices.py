"""What a command says while it is at it, to whoever listens: a terminal, a page, a test."""

from __future__ import annotations

from typing import Protocol


class Notices(Protocol):
    """Who is told. Never raises."""

    def warning(self, message: str, hint: str = "") -> None:
        """What the user should know although it goes on, and what helps."""

    def note(self, message: str) -> None:
        """How it goes."""

    def words(self, text: str) -> str:
        """A message or hint in the words of whoever is told: what is typed, pressed or called."""


class Silent:
    """Tells nobody."""

    def warning(self, message: str, hint: str = "") -> None: ...

    def note(self, message: str) -> None: ...

    def words(self, text: str) -> str:
        return text
