"""Text for people. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """`text` with an escape for each character that a terminal would act on, wherever it came from."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in aligned columns under a head; an empty cell is a `-`."""
    lines = [list(head), *([printable(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def shell_quoted(text: str) -> str:
    """`text` as one word of a POSIX shell, in single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def dotenv_quoted(text: str) -> str:
    """`text` as dotenv files quote it: in double quotes, with backslashes before what is special there."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n")
    return f'"{escaped}"'
