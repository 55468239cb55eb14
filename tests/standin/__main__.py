"""Run a stand-in in the foreground until SIGTERM, Ctrl-C or the end of standard input.

`DIR/standin.json` says where it listens; `DIR/seen.jsonl` gets one line for each request.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.standin.seen import Seen
from tests.standin.server import StandIn


def main() -> int:
    """Parse the command line, serve, return 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="an existing folder for all it writes")
    parser.add_argument("--ready-file", type=Path, help="a file to create once it listens")
    parser.add_argument("--token-lifetime", type=float, default=604800.0, help="seconds (default: a week)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    _serve(options.dir.resolve(), options.ready_file, options.token_lifetime)
    return 0


def _serve(folder: Path, ready_file: Path | None, token_lifetime: float) -> None:
    with open(os.open(folder / "seen.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as log:

        def keep(seen: Seen) -> None:
            log.write(_line(seen))
            log.flush()

        with StandIn(directory=folder, token_lifetime=token_lifetime, on_seen=keep) as server:
            _write(folder / "standin.json", _facts(server))
            if ready_file is not None:
                _write(ready_file, "ready\n")
            _wait()


def _wait() -> None:
    try:
        sys.stdin.buffer.read()
    except SystemExit:
        return


def _stop(number: int, frame: FrameType | None) -> None:
    """End the read in `_wait`; a signal before that ends the process by the same exception."""
    raise SystemExit(0)


def _facts(server: StandIn) -> str:
    app = server.discord.register_app()
    facts = {
        "https_port": server.https_port,
        "http_port": server.http_port,
        "ca_file": str(server.ca_file),
        "connect_to": server.connect_to,
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "redirect_uri": app.redirect_uris[0],
    }
    return json.dumps(facts, indent=2) + "\n"


def _line(seen: Seen) -> str:
    facts = {
        "host": seen.host,
        "sni": seen.sni,
        "tls": seen.tls,
        "alpn": seen.alpn,
        "method": seen.method,
        "target": seen.target,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in seen.headers],
        "body": seen.body.decode("latin-1"),
        "wire": seen.wire.decode("latin-1"),
    }
    return json.dumps(facts) + "\n"


def _write(path: Path, text: str) -> None:
    """Whole or not at all: others wait for the file to appear."""
    partial = path.with_name(f"{path.name}.partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
