"""Whole runs of the real `authsome` in a world, as its user and on other kinds of machines."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.isolation.world import ROOT, World, world
from tests.launcher.cli import PROGRAM, Said, connected
from tests.standin import StandIn, Tokens

FILES: Final = "files.example"
"""A host that no provider names: what goes there is passed through."""

PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Runner:
    """A user with a connection, and the way to the servers of the test."""

    around: World
    tokens: Tokens
    environ: dict[str, str]

    def begun(self, *arguments: str) -> subprocess.Popen[str]:
        """The real program, to be waited for; its process is the launcher's."""
        order = {
            "argv": [*PROGRAM, *arguments],
            "uid": self.around.uid,
            "host": "",
            "folder": str(self.around.home / "project"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.isolation.on_host", json.dumps(order)],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def authsome(self, *arguments: str, host: str = "", folder: str = "") -> Said:
        """The real program, on this kind of machine, in the user's folder `project` if in no other."""
        order = {
            "argv": [*PROGRAM, *arguments],
            "uid": self.around.uid,
            "host": host,
            "folder": folder or str(self.around.home / "project"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.isolation.on_host", json.dumps(order)],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


@contextmanager
def runner(user: str) -> Iterator[Runner]:
    """For one of `world.USERS`."""
    with world(user) as around, StandIn() as standin, _files(around.folder / "files", standin) as port:
        shutil.rmtree(around.vault)
        _, tokens = connected(around.vault, standin)
        shutil.copyfile(standin.ca_file, around.folder / "ca.pem")
        for path in (around.vault, *around.vault.rglob("*")):
            os.chown(path, around.folder.stat().st_uid, around.folder.stat().st_gid)
        connect_to = ",".join([*standin.connect_to, f"{FILES}:443:127.0.0.1:{port}"])
        yield Runner(
            around,
            tokens,
            {
                **{key: value for key, value in around.environ.items() if key in _KEPT},
                "PATH": PATH,
                "LANG": "C.UTF-8",
                "AUTHSOME_CONNECT_TO": connect_to,
                "SSL_CERT_FILE": str(around.folder / "ca.pem"),
            },
        )


_KEPT: Final = (
    "HOME",
    "VAULT",
    "TEMPORARY",
    "PATH_SOCKET",
    "ABSTRACT_SOCKET",
    "LOOPBACK_PORT",
    "DAEMON",
    "TERMINAL",
)
"""Variables of the world that its programs need."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is none of ours."""


@contextmanager
def _files(folder: Path, standin: StandIn) -> Iterator[int]:
    """A folder served at https://files.example; the port is given."""
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(standin.client_certificate(FILES))
    with _Server(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            with contextlib.suppress(OSError):
                server.shutdown()
            thread.join()
