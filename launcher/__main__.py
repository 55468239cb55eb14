"""The program `authsome`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
if str(_ROOT) not in sys.path:
    # Run as `python -I /path/launcher/__main__.py`. At the end: the standard library must win.
    sys.path.append(str(_ROOT))

from launcher.startup import foreign_packages, isolate  # noqa: E402


def main() -> int:
    """Run the command line; the return value is the exit status."""
    isolate(Path(__file__).resolve())
    problems = foreign_packages(_ROOT)
    if problems:
        print(f"authsome: error: {problems[0]}", file=sys.stderr)
        print("authsome: hint: install authsome in an environment of its own", file=sys.stderr)
        return 1
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries mean nothing to who reads standard error
    from launcher.cli import run_command_line

    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
