"""Keeps the credentials of a run out of the answers it gets: headers, bodies, and what follows an upgrade."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pydantic import SecretStr

from proxy.model import PLACEHOLDER
from proxy.search.decode import Decoder, decoders_for
from proxy.search.scrub import Scrubber, Search
from proxy.search.spelling import MIN_SECRET
from proxy.slots import Headers, values

MAX_PAST: Final = 256
"""Credentials that are looked for although they are stored no longer, besides those whose answers still come:
of one connection that is refreshed each hour, those of ten days."""

_PLACEHOLDER: Final = PLACEHOLDER.encode()
_LENGTH_AND_CODING: Final = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})

Filter = Callable[[bytes], list[bytes]]
"""Takes a body's chunks in order, then an empty one; gives what is to be sent in their place."""


class Unsearchable(Exception):
    """The body is in a coding that cannot be undone here, so it is not passed on."""


class Cleanser:
    """Knows the credentials of a run's connections: those that `stored` gives, and those in use before.

    `stored` is asked anew for each header, body, piece of a body, and message: another run may have refreshed
    a credential meanwhile. It gives the same object while nothing has changed.
    """

    def __init__(self, stored: Callable[[], Sequence[SecretStr]]) -> None:
        self._stored = stored
        self._seen: Sequence[SecretStr] | None = None
        self._current: dict[str, None] = {}
        self._past: dict[str, None] = {}
        self._search: Search | None = None

    def remember(self, credential: str) -> None:
        """Look for this credential from now on, stored or not."""
        if credential in self._current:
            return
        if self._past.pop(credential, self) is self:
            self._search = None
        self._past[credential] = None  # the latest used is the last to be forgotten
        if len(self._past) > MAX_PAST:
            del self._past[next(iter(self._past))]

    def search(self, own: str | None = None) -> Search:
        """The search for all that is known now; `own` is the credential of the request that is answered."""
        stored = self._stored()
        if stored is not self._seen:
            before, self._seen, self._search = self._current, stored, None
            self._current = {value.get_secret_value(): None for value in stored}
            for credential in before:
                self.remember(credential)
        if own is not None:
            self.remember(own)
        if self._search is None:
            known = (*self._current, *self._past)
            self._search = Search((text for text in known if len(text) >= MIN_SECRET), _PLACEHOLDER)
        return self._search

    def headers(self, headers: Headers, own: str | None = None) -> Headers:
        """The headers of an answer, with credentials replaced."""
        search = self.search(own)
        if not search.exposes(b"\n".join(name + b":" + value for name, value in headers)):
            return headers
        return tuple((search.replaced(name), search.replaced(value)) for name, value in headers)

    def body(self, headers: Headers, own: str | None = None) -> tuple[Headers, Filter]:
        """How a body with these headers is to be sent on, and the filter for it.

        A body in a content coding is sent on decoded. Raises: Unsearchable.
        """
        if any(value.strip().lower() != b"chunked" for value in values(headers, b"transfer-encoding")):
            raise Unsearchable  # coded on the way as well, which only the recipient undoes
        codings = [value.decode("latin-1") for value in values(headers, b"content-encoding")]
        decoders = decoders_for(codings)
        if decoders is None:
            raise Unsearchable
        if decoders:
            kept = tuple(pair for pair in headers if pair[0].lower() not in _LENGTH_AND_CODING)
            headers = (*kept, (b"Transfer-Encoding", b"chunked"))
        return headers, _filter(decoders, Scrubber(lambda: self.search(own)))

    def whole(self, headers: Headers, body: bytes, own: str | None = None) -> bytes:
        """A body that is at hand as a whole: decoded, and with credentials replaced.

        Raises: Unsearchable, ValueError where it is not in the coding that its headers say.
        """
        _, body_filter = self.body(headers, own)
        return b"".join([*(body_filter(body) if body else []), *body_filter(b"")])


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
