"""Keeps the credentials of a run out of the answers it gets: headers, bodies, and what follows an upgrade."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from proxy.decode import Decoder, decoders_for
from proxy.model import PLACEHOLDER
from proxy.scrub import MIN_SECRET, Needle, Scrubber, scrub
from proxy.slots import Headers, values

MAX_REMEMBERED: Final = 32
"""Credentials that are looked for; a run over a month of hourly refreshes still knows the last day's."""

_PLACEHOLDER: Final = PLACEHOLDER.encode()
_LENGTH_AND_CODING: Final = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})

Filter = Callable[[bytes], list[bytes]]
"""Takes a body's chunks in order, then an empty one; gives what is to be sent in their place."""


class Unsearchable(Exception):
    """The body is in a coding that cannot be undone here, so it is not passed on."""


class Cleanser:
    """Knows the credentials of a run's connections."""

    def __init__(self) -> None:
        self._needles: dict[str, Needle] = {}

    def remember(self, credential: str) -> None:
        """Look for this credential from now on."""
        if len(credential) < MIN_SECRET:
            return
        if needle := self._needles.pop(credential, None):
            self._needles[credential] = needle  # the latest used is the last to be forgotten
            return
        while len(self._needles) >= MAX_REMEMBERED:
            del self._needles[next(iter(self._needles))]
        self._needles[credential] = Needle(credential)

    @property
    def needles(self) -> Sequence[Needle]:
        return tuple(self._needles.values())

    def headers(self, headers: Headers) -> Headers:
        """The headers of an answer, with credentials replaced."""
        needles = self.needles
        whole = b"\n".join(name + b":" + value for name, value in headers)
        if not any(needle.find(whole) for needle in needles):
            return headers
        return tuple(
            (scrub(name, needles, _PLACEHOLDER), scrub(value, needles, _PLACEHOLDER))
            for name, value in headers
        )

    def body(self, headers: Headers) -> tuple[Headers, Filter | None]:
        """How a body with these headers is to be sent on, and the filter for it; None leaves it alone.

        A body in a content coding is sent on decoded. Raises: Unsearchable.
        """
        needles = self.needles
        if not needles:
            return headers, None
        if any(value.strip().lower() != b"chunked" for value in values(headers, b"transfer-encoding")):
            raise Unsearchable  # coded on the way as well, which only the recipient undoes
        codings = [value.decode("latin-1") for value in values(headers, b"content-encoding")]
        decoders = decoders_for(codings)
        if decoders is None:
            raise Unsearchable
        if decoders:
            kept = tuple(pair for pair in headers if pair[0].lower() not in _LENGTH_AND_CODING)
            headers = (*kept, (b"Transfer-Encoding", b"chunked"))
        return headers, _filter(decoders, Scrubber(needles, _PLACEHOLDER))

    def whole(self, headers: Headers, body: bytes) -> bytes:
        """A body that is at hand as a whole: decoded, and with credentials replaced.

        Raises: Unsearchable, ValueError where it is not in the coding that its headers say.
        """
        _, body_filter = self.body(headers)
        if body_filter is None:
            return body
        return b"".join([*(body_filter(body) if body else []), *body_filter(b"")])

    def exposes(self, data: bytes) -> bool:
        """Whether a credential stands in `data`."""
        return any(needle.find(data) for needle in self.needles)

    @property
    def longest(self) -> int:
        """Bytes that the longest form of a credential takes; 0 where none is known."""
        return max((needle.longest for needle in self.needles), default=0)


def _filter(decoders: Iterable[Decoder], scrubber: Scrubber) -> Filter:
    chain = tuple(decoders)

    def filtered(chunk: bytes) -> list[bytes]:
        if not chunk:
            out = scrubber.finish()
        else:
            for decoder in chain:
                chunk = decoder.decode(chunk)
            out = scrubber.feed(chunk)
        # An empty chunk would be taken for the end of a chunked body.
        return [out] if out else []

    return filtered
