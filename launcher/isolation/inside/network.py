"""The network of a sandbox: every address leads to listeners that the launcher holds."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from launcher.isolation.model import Listen, Use
from launcher.isolation.steps import Step, step

BACKLOG: Final = 512
"""Connections that may wait to be accepted."""

IP_PKTINFO: Final = 8
"""linux/in.h. Tells to which address a datagram was sent, so that the answer can come from there."""

_IPV6_FREEBIND: Final = 78
"""linux/in6.h. An answer may come from an address that no interface has; version 4 asks for no leave."""

_NLMSG_ERROR: Final = 2
_RTM_NEWLINK: Final = 16
_RTM_NEWROUTE: Final = 24
_NLM_F_REQUEST_ACK: Final = 1 | 4
_NLM_F_CREATE: Final = 0x400
_IFF_UP: Final = 1
_RT_TABLE_LOCAL: Final = 255
_RTPROT_STATIC: Final = 4
_RT_SCOPE: Final = {socket.AF_INET: 254, socket.AF_INET6: 0}
"""Host for version 4; version 6 has no scopes of routes."""
_RTN_LOCAL: Final = 2
_RTA_OIF: Final = 4
_LOOPBACK: Final = 1
"""Index of the loopback interface, the first in every network namespace."""
"""linux/netlink.h, linux/rtnetlink.h"""


def open_network(listeners: Sequence[Listen]) -> list[socket.socket]:
    """Bring up a new network namespace and listen in it. Raises: StepFailed."""
    with step(Step.LINK):
        _ask(_RTM_NEWLINK, 0, struct.pack("BxHiII", socket.AF_UNSPEC, 0, _LOOPBACK, _IFF_UP, _IFF_UP))
    with step(Step.ROUTES):
        _route_everything(socket.AF_INET)
        if any(":" in wanted.address for wanted in listeners):
            _route_everything(socket.AF_INET6)
    with step(Step.LISTEN):
        return [_open(wanted) for wanted in listeners]


def _route_everything(family: socket.AddressFamily) -> None:
    """`ip route add local default dev lo`: each address of the world is one of this machine."""
    route = struct.pack(
        "BBBBBBBBI", family, 0, 0, 0, _RT_TABLE_LOCAL, _RTPROT_STATIC, _RT_SCOPE[family], _RTN_LOCAL, 0
    )
    _ask(_RTM_NEWROUTE, _NLM_F_CREATE, route + struct.pack("HHi", 8, _RTA_OIF, _LOOPBACK))


def _ask(kind: int, flags: int, body: bytes) -> None:
    """One request of rtnetlink(7), and its acknowledgement. Raises: OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(struct.pack("IHHII", 16 + len(body), kind, flags | _NLM_F_REQUEST_ACK, 1, 0) + body)
        answer = kernel.recv(4096)
    answered, number = struct.unpack_from("H", answer, 4)[0], struct.unpack_from("i", answer, 16)[0]
    if answered != _NLMSG_ERROR or number:
        raise OSError(-number or errno.EPROTO, os.strerror(-number or errno.EPROTO))


def _open(wanted: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in wanted.address else socket.AF_INET
    datagram = wanted.use is Use.DNS_DATAGRAM
    kind, protocol = (
        (socket.SOCK_DGRAM, socket.IPPROTO_UDP) if datagram else (socket.SOCK_STREAM, socket.IPPROTO_TCP)
    )
    listener = socket.socket(family, kind, protocol)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if datagram:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    listener.bind((wanted.address, wanted.port))
    if not datagram:
        listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
