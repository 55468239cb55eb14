"""What `authsome doctor` prints."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Final, assert_never

from launcher.actions.doctor import Diagnosis
from launcher.isolation.causes import explain
from launcher.isolation.model import Level
from launcher.isolation.outside.probe import Fails, Probe, Works, read_host
from launcher.text.render import printable, table
from launcher.text.words import words

COMMANDS: Final = {"authsome run": Level.GUARD, "authsome run --sandbox": Level.SANDBOX}
"""The level that each wants."""


def as_tables(diagnosis: Diagnosis) -> str:
    """For people: three tables, and below each why and what to do."""
    commands = [(name, diagnosis.level(wanted) or "refused") for name, wanted in COMMANDS.items()]
    checks = [(found.name, found.state, words(found.text)) for found in diagnosis.findings]
    parts = [
        table(("LEVEL", "STATE", "STEP"), [_row(probe) for probe in diagnosis.probes]),
        *_reasons(diagnosis.probes),
        table(("COMMAND", "LEVEL HERE"), commands),
        table(("CHECK", "STATE", "FOUND"), checks),
        *(printable(f"{found.name}: {words(found.remedy)}") for found in diagnosis.findings if found.remedy),
    ]
    return "\n\n".join(parts)


def as_json_text(diagnosis: Diagnosis) -> str:
    """For programs: the same."""
    checks = [
        {
            "name": found.name,
            "state": found.state,
            "text": words(found.text),
            "remedy": words(found.remedy) or None,
        }
        for found in diagnosis.findings
    ]
    commands = {name: diagnosis.level(wanted) for name, wanted in COMMANDS.items()}
    levels = [_member(probe) for probe in diagnosis.probes]
    return json.dumps({"levels": levels, "commands": commands, "checks": checks}, indent=2)


def _row(probe: Probe) -> tuple[str, str, str]:
    match probe:
        case Works(level):
            return level, "works", ""
        case Fails(level, step):
            return level, "does not work", f"could not {step}"
        case never:
            assert_never(never)


def _member(probe: Probe) -> dict[str, object]:
    match probe:
        case Works(level, missing):
            return {"level": level, "works": True, "missing": list(missing)}
        case Fails(level, step, number, cause):
            remedy = None if _is_circular(cause.remedy) else words(cause.remedy)
            why = {"step": step, "errno": number, "cause": words(cause.text), "remedy": remedy}
            return {"level": level, "works": False, **why}
        case never:
            assert_never(never)


def _reasons(probes: tuple[Probe, ...]) -> Iterator[str]:
    """Cause and remedy; levels of which the same is to be said are named together."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for probe in probes:
        match probe:
            case Works(level, ()):
                continue
            case Works(level, missing):
                reason = (
                    f"works, but could not {missing[0]}",
                    explain(missing[0], errno.ENOSYS, read_host()).remedy,
                )
            case Fails(level, _, _, cause):
                reason = (cause.text, cause.remedy)
        reasons.setdefault(reason, []).append(level)
    for (text, remedy), levels in reasons.items():
        lines = [f"{', '.join(levels)}: {text}"]
        if not _is_circular(remedy):
            lines.append(f"  remedy: {remedy}")
        yield "\n".join(printable(words(line)) for line in lines)


def _is_circular(remedy: str) -> bool:
    """What `run` advises where it has nothing better is this very command."""
    return "<doctor>" in remedy
