"""The places in a request that carry a credential: find the placeholder, strip, then set.

Pure, on the header pairs as they came off the wire.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from proxy.model import Slot

Headers = tuple[tuple[bytes, bytes], ...]


class Content(Enum):
    """What the child put into a slot."""

    NOTHING = auto()
    PLACEHOLDER = auto()
    OTHER = auto()
    """A value of the child's own; none of our business."""
    AMBIGUOUS = auto()
    """The header occurs more than once and a placeholder is among its values."""


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Every value of a header, in order; names compare without case (RFC 9110 section 5.1)."""
    wanted = name.lower()
    return [value for key, value in headers if key.lower() == wanted]


def content(headers: Headers, slot: Slot, placeholder: bytes) -> Content:
    """What `slot` holds. Only the whole value counts: a placeholder inside a longer value is inert."""
    found = values(headers, slot.header.encode())
    if not found:
        return Content.NOTHING
    if len(found) > 1 and any(placeholder in value for value in found):
        return Content.AMBIGUOUS
    if any(_is_placeholder(value, slot.scheme, placeholder) for value in found):
        return Content.PLACEHOLDER
    return Content.OTHER


def _is_placeholder(value: bytes, scheme: str | None, placeholder: bytes) -> bool:
    text = value.strip(b" \t")
    if scheme is None:
        return text == placeholder
    # The scheme compares without case and is followed by spaces (RFC 9110 section 11.4).
    return (
        re.fullmatch(rb"(?i:%b) +%b" % (re.escape(scheme.encode()), re.escape(placeholder)), text) is not None
    )


def fill(headers: Headers, slot: Slot, credential: bytes) -> Headers:
    """The headers with everything stripped from `slot` and the credential set once, in its place."""
    name = slot.header.encode()
    value = credential if slot.scheme is None else slot.scheme.encode() + b" " + credential
    filled: list[tuple[bytes, bytes]] = []
    done = False
    for key, old in headers:
        if key.lower() != name.lower():
            filled.append((key, old))
        elif not done:
            filled.append((key, value))
            done = True
    return tuple(filled) if done else (*filled, (name, value))


def carries(headers: Headers, path: str, placeholder: bytes) -> bool:
    """Whether the placeholder stands anywhere in the head of a request."""
    return placeholder in path.encode(errors="surrogateescape") or any(
        placeholder in key or placeholder in value for key, value in headers
    )
