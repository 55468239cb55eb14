"""Host names as they are compared.

Pure. Comparison is of parsed origins, never of strings, suffixes or patterns. What two parsers could
read differently is not a host name here, so it can match no rule.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from proxy.model import Origin

MAX_HOST: Final = 253
"""Characters; RFC 1035 section 2.3.4 less the root label."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")


def canonical_host(text: str) -> str | None:
    """A host in the one spelling that is compared, or None where there is none.

    Lower case, without one final dot; IP addresses as `ipaddress` writes them. A name that is not
    ASCII is refused: on the wire internationalised names are A-labels (RFC 5890 section 2.3.2.1).
    """
    host = text.lower().removesuffix(".")
    if host.startswith("[") and host.endswith("]"):
        return _ip(host[1:-1], 6)
    labels = host.split(".")
    # A last label of digits is an IPv4 address to some parsers, however the rest is spelled.
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        return _ip(host, 4)
    if not text.isascii() or len(host) > MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        return None
    return host


def _ip(text: str, version: int) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.version != version or "%" in text:
        return None
    return str(address)


def parse_authority(text: str, default_port: int | None = None) -> Origin | None:
    """`host[:port]` of RFC 9110 section 7.2 as an origin, or None. User information is never accepted."""
    host, colon, digits = text.rpartition(":")
    if not colon or "]" in digits:
        host, digits = text, ""
    if colon and not digits and host != text:
        return None
    name = canonical_host(host)
    if not digits:
        return None if name is None or default_port is None else Origin(name, default_port)
    if name is None or not _PORT.fullmatch(digits) or not 0 < int(digits) < 65536:
        return None
    return Origin(name, int(digits))
