"""The one port of the login page, for test processes that run beside each other.

It is fixed, as providers compare the address that they send a browser back to; so what the tests start needs
the real one. Where we may, each test process has a network of its own, and with it a port of its own;
elsewhere whoever needs the port waits for it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
"""netdevice(7); <net/if.h>"""

_IFREQ: Final = "16sh22x"
"""struct ifreq: a name, and flags."""

_LOCK: Final = Path(tempfile.gettempdir()) / f"authsome-tests-{os.getuid()}.login-port"

_own_network = False
_depth = 0


def take_a_network_of_our_own() -> bool:
    """Leave the machine's network for one with nothing but loopback; whether that was possible."""
    global _own_network
    try:
        os.unshare(os.CLONE_NEWNET)
    except (AttributeError, OSError):  # not on Linux; not root
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        named = struct.pack(_IFREQ, b"lo", 0)
        _, flags = struct.unpack(_IFREQ, fcntl.ioctl(any_socket, _SIOCGIFFLAGS, named))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))
    _own_network = True
    return True


@contextmanager
def login_port() -> Iterator[None]:
    """Have the port to ourselves. May be entered again by the process that is in it."""
    global _depth
    if _own_network or _depth:
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
        return
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _depth = 1
        try:
            yield
        finally:
            _depth = 0
    finally:
        os.close(descriptor)
