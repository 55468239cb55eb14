"""Which inherited variables do not reach a child, and which of those that do may be secrets. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from launcher.run.formats import SHORTEST, is_secret
from launcher.run.identities import copies, identities


@dataclass(frozen=True, slots=True)
class Judged:
    """Names alone, sorted; each stands once."""

    identities: tuple[str, ...]
    """Taken out: by them the job shows who it is."""
    managed: tuple[str, ...]
    """Taken out: what a provider's definition calls its secrets, and what holds one of the vault's."""
    others: tuple[str, ...]
    """What may be other secrets."""


def judge(
    environ: Mapping[str, str], *, secrets: Collection[str], stored: Collection[str], kept: Collection[str]
) -> Judged:
    """Judge the variables that would be passed on.

    `secrets` are names that providers declare; `stored` is what the vault holds, which goes to nobody: a
    name in `kept` is passed on unless it holds that.
    """
    own = {name for name, value in environ.items() if _holds(value, stored)}
    free = {name: value for name, value in environ.items() if name not in own and name not in kept}
    declared = {name for name, value in free.items() if name.upper() in secrets and value}
    declared |= copies(free, declared)
    job = [name for name in identities(free) if name not in declared]
    others = [
        name for name, value in free.items() if name not in {*declared, *job} and is_secret(name, value)
    ]
    return Judged(tuple(job), tuple(sorted(own | declared)), tuple(sorted(others)))


def _holds(value: str, stored: Collection[str]) -> bool:
    return any(secret in value for secret in stored if len(secret) >= SHORTEST)
