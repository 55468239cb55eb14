"""Draws the house as it is: `python -m tests.house` prints who imports whom and how long things are.

`python -m tests.house FOLDER` measures another checkout, to compare with.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.test_architecture import FLOORS, OURS, ROOT, arrows, room


@dataclass(frozen=True, slots=True)
class Measures:
    """What can be counted in a set of files."""

    files: Sequence[int]
    """Lines of each file that has any."""
    functions: Sequence[int]
    """Lines of each function, its decorators left out."""
    comments: int
    """Lines that are a comment or end in one."""
    broad: int
    """`except` of everything, or of Exception or BaseException."""
    mocks: int
    """Imports of unittest.mock, and uses of monkeypatch."""


def measure(paths: Sequence[Path]) -> Measures:
    """Count in the files."""
    texts = [path.read_text() for path in paths]
    trees = [ast.parse(text) for text in texts]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return Measures(
        files=[lines for text in texts if (lines := text.count("\n"))],
        functions=[
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ],
        comments=sum(map(_comments, texts)),
        broad=sum(isinstance(node, ast.ExceptHandler) and _is_broad(node) for node in nodes),
        mocks=sum(map(_is_mock, nodes)),
    )


def _comments(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def _is_broad(handler: ast.ExceptHandler) -> bool:
    match handler.type:
        case None:
            return True
        case ast.Name(id=name):
            return name in ("Exception", "BaseException")
        case _:
            return False


def _is_mock(node: ast.AST) -> bool:
    match node:
        case ast.ImportFrom(module=str(module)):
            return module.startswith("unittest.mock")
        case ast.Import(names=names):
            return any(alias.name.startswith("unittest.mock") for alias in names)
        case ast.arg(arg=name):
            return name in ("monkeypatch", "mocker")
        case _:
            return False


def measured(root: Path) -> Iterator[str]:
    """The measures of a checkout, a line each."""
    source = sorted(path for package in OURS for path in (root / package).rglob("*.py"))
    tests = sorted((root / "tests").rglob("*.py"))
    found = [("source", measure(source)), ("tests", measure(tests))]
    yield (
        f"{'':<10}{'files':>7}{'lines':>8}{'median':>8}{'most':>6}{'functions':>11}{'median':>8}{'most':>6}"
        + (f"{'comments':>10}{'broad':>7}{'mocks':>7}")
    )
    for name, m in found:
        yield (
            f"{name:<10}{len(m.files):>7}{sum(m.files):>8}{median(m.files):>8.0f}{max(m.files):>6}"
            f"{len(m.functions):>11}{median(m.functions):>8.0f}{max(m.functions):>6}"
            f"{m.comments:>10}{m.broad:>7}{m.mocks:>7}"
        )
    (_, ours), (_, theirs) = found
    yield f"{sum(theirs.files) / sum(ours.files):.2f} lines of tests to one of source"


def drawn() -> Iterator[str]:
    """Each room from the roof down, with the rooms that it imports from and how often."""
    counted = Counter((room(importer), room(used)) for importer, used in arrows())
    for place in (place for floor in FLOORS for place in floor):
        below = [
            f"{used} {number}" for (importer, used), number in sorted(counted.items()) if importer == place
        ]
        yield f"{place:<28}{'-> ' + ', '.join(below) if below else ''}".rstrip()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(*drawn(), sep="\n", end="\n\n")
    print(*measured(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT), sep="\n")
