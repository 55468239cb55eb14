"""What the child tells the launcher about its set-up, with the listeners it hands over."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from launcher.isolation.steps import Step, StepFailed

_MAX: Final = 4096
"""Bytes of a report."""
_MAX_SOCKETS: Final = 250
"""The kernel passes at most 253 descriptors at once (unix(7))."""


@dataclass(frozen=True, slots=True)
class Ready:
    """All is set up; the child waits for its order."""

    missing: tuple[Step, ...]
    """Second fences that this system does not have; what the level promises holds without them."""
    sockets: tuple[socket.socket, ...]
    """The plan's listeners, in its order."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed, and nothing will be executed."""

    step: Step
    number: int
    """The errno, 0 where there is none."""


Progress = Ready | Failed


def report_channel() -> tuple[socket.socket, socket.socket]:
    """Two ends: for the launcher, which receives, and for the child."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_ready(sender: socket.socket, missing: Sequence[Step], sockets: Sequence[socket.socket]) -> None:
    """Raises: OSError."""
    text = json.dumps({"missing": [str(name) for name in missing]}).encode()
    if sockets:
        socket.send_fds(sender, [text], [listener.fileno() for listener in sockets])
    else:
        sender.send(text)


def send_failed(sender: socket.socket, failure: StepFailed) -> None:
    """Raises: OSError."""
    sender.send(json.dumps({"step": str(failure.step), "errno": failure.number}).encode())


def receive(receiver: socket.socket) -> Progress:
    """Wait for the child's report; at the end `receiver` is closed.

    A child that ended without one counts as failed. Raises: OSError.
    """
    with receiver:
        text, descriptors, _, _ = socket.recv_fds(receiver, _MAX, _MAX_SOCKETS)
    sockets = tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
    if not text:
        return Failed(Step.REPORT, 0)
    found = json.loads(text)
    if "step" in found:
        return Failed(Step(found["step"]), int(found["errno"]))
    return Ready(tuple(Step(name) for name in found["missing"]), sockets)
