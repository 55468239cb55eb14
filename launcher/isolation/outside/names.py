"""Names inside of a sandbox: each gets an address of its own, by which a connection tells its name. Pure.

Nothing is looked up here, so a name cannot carry data out; what has no name in a rule or is not reachable
shows when the launcher connects.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Final

POOL: Final = IPv4Network("198.18.0.0/15")
"""For measurements between networks, so no real service has an address in it (RFC 2544, RFC 6890)."""

TTL: Final = 60
"""Seconds a client may remember an answer. An address changes its name only after all others were used."""

_HEADER: Final = struct.Struct("!HHHHHH")
_ANSWER: Final = struct.Struct("!HHHIH")
_IS_ANSWER: Final = 0x8000
_OPERATION: Final = 0x7800
_RECURSION_WANTED: Final = 0x0100
_RECURSION_OFFERED: Final = 0x0080
_NOT_UNDERSTOOD: Final = 1
_NOT_IMPLEMENTED: Final = 4
_NAME_AT_START: Final = 0xC00C
"""A pointer to the question's name (RFC 1035 section 4.1.4)."""
_TYPE_A: Final = 1
_CLASS_IN: Final = 1
_MAX_NAME: Final = 253


class Names:
    """Which address stands for which name; the longest unused give way when all are taken."""

    def __init__(self, pool: IPv4Network = POOL) -> None:
        self._pool = pool
        self._next = 1  # the first looks like a network's own
        self._by_name: OrderedDict[str, IPv4Address] = OrderedDict()
        self._by_address: dict[IPv4Address, str] = {}

    def address_of(self, name: str) -> IPv4Address:
        """The address that stands for `name` from now on."""
        if name in self._by_name:
            self._by_name.move_to_end(name)
            return self._by_name[name]
        if self._next < self._pool.num_addresses:
            address = self._pool[self._next]
            self._next += 1
        else:
            _, address = self._by_name.popitem(last=False)
        self._by_name[name] = address
        self._by_address[address] = name
        return address

    def asked_for(self, address: str) -> str | None:
        """What a client meant by connecting to `address`: a name, or the address itself.

        None for an address of the pool that stands for nothing: nobody knows what was meant.
        """
        try:
            found = IPv4Address(address)
        except AddressValueError:
            return address.partition("%")[0]
        return self._by_address.get(found) if found in self._pool else address


def answer(query: bytes, names: Names) -> bytes | None:
    """The answer to one DNS message (RFC 1035), None where there is none to give.

    Every name exists. It has an address of version 4 and nothing else: clients that ask for more, such as
    AAAA or HTTPS records, are told that there is none and use what there is.
    """
    if len(query) < _HEADER.size:
        return None
    number, flags, questions, *_ = _HEADER.unpack_from(query)
    if flags & _IS_ANSWER:
        return None
    kept = _IS_ANSWER | _RECURSION_OFFERED | flags & (_RECURSION_WANTED | _OPERATION)
    if flags & _OPERATION:
        return _HEADER.pack(number, kept | _NOT_IMPLEMENTED, 0, 0, 0, 0)
    question = _question(query) if questions == 1 else None
    if question is None:
        return _HEADER.pack(number, kept | _NOT_UNDERSTOOD, 0, 0, 0, 0)
    name, kind, class_, end = question
    asked = query[_HEADER.size : end]
    if (kind, class_) != (_TYPE_A, _CLASS_IN):
        return _HEADER.pack(number, kept, 1, 0, 0, 0) + asked
    record = _ANSWER.pack(_NAME_AT_START, _TYPE_A, _CLASS_IN, TTL, 4) + _address(name, names).packed
    return _HEADER.pack(number, kept, 1, 1, 0, 0) + asked + record


def _address(name: str, names: Names) -> IPv4Address:
    # RFC 6761 section 6.3: this name stays on the machine.
    if name == "localhost" or name.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    return names.address_of(name)


def _question(query: bytes) -> tuple[str, int, int, int] | None:
    """Name, type and class of the question, and where it ends; None where it is not well formed."""
    labels, at = [], _HEADER.size
    while at < len(query) and (length := query[at]):
        label = query[at + 1 : at + 1 + length]
        if length > 63 or len(label) != length or not _is_plain(label):
            return None
        labels.append(label.decode("ascii").lower())
        at += 1 + length
    name = ".".join(labels)
    if not labels or len(name) > _MAX_NAME or at + 5 > len(query):
        return None
    kind, class_ = struct.unpack_from("!HH", query, at + 1)
    return name, kind, class_, at + 5


def _is_plain(label: bytes) -> bool:
    """Letters, digits, hyphen and underscore: with a dot inside, two names would look the same."""
    return label.isascii() and label.replace(b"-", b"a").replace(b"_", b"a").isalnum()
