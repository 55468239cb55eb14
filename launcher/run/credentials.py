"""The keeper as the proxy sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

from pydantic import SecretStr

from oauth.keeper.keeper import FreshCredential, Keeper, NotUsable, Outcome, Why
from proxy.model import CredentialAnswer, Fresh, Reason, Unavailable
from vault.model import ConnectionKey


class KeeperSource:
    """Credentials of the connections of one run, by the name that the rules give them."""

    def __init__(
        self, keeper: Keeper, keys: Sequence[ConnectionKey], words: Callable[[str], str] = str
    ) -> None:
        """`words` makes of a message what the child is told."""
        self._keeper = keeper
        self._words = words
        self._keys: Mapping[str, ConnectionKey] = {str(key): key for key in keys}
        self._version: int | None = None
        self._stored: tuple[SecretStr, ...] = ()

    async def fresh(self, connection: str) -> CredentialAnswer:
        """The credential of a connection of this run."""
        return self._answer(await self._keeper.fresh(self._keys[connection]))

    async def fresh_once(self, connection: str) -> CredentialAnswer:
        """The same for a request that cannot be sent again."""
        return self._answer(await self._keeper.fresh_once(self._keys[connection]))

    def ended(self, connection: str, generation: int) -> None:
        """Such a request has been answered, or never will be."""
        self._keeper.ended(self._keys[connection], generation)

    def rejected(self, connection: str, generation: int, body: bytes = b"") -> None:
        """The provider answered 401, with `body`, to this credential, and the child got that answer."""
        self._keeper.reject(self._keys[connection], generation, body)

    def accepted(self, connection: str, generation: int) -> None:
        """The provider took this credential."""
        self._keeper.accept(self._keys[connection], generation)

    def stored(self) -> Sequence[SecretStr]:
        """The credentials of all connections of this run as they are stored now."""
        version = self._keeper.version()
        if version is None or version != self._version:
            found = [self._keeper.stored(key) for key in self._keys.values()]
            self._stored = tuple(value for value in found if value is not None)
            self._version = version
        return self._stored

    async def recovered(self, connection: str, generation: int, body: bytes = b"") -> CredentialAnswer:
        """A credential to replay a request with that was answered 401; or why there is none."""
        return self._answer(await self._keeper.recovered(self._keys[connection], generation, body))

    def _answer(self, outcome: Outcome) -> CredentialAnswer:
        match outcome:
            case FreshCredential(value=value, generation=generation):
                return Fresh(value, generation)
            case NotUsable(why=Why.DEAD, message=message, command=command, body=body, proven=proven):
                reason = Reason.LOGIN_NEEDED if proven or body is None else Reason.CREDENTIAL_DEAD
                return Unavailable(reason, self._words(message), self._words(command), body)
            case NotUsable(why=why, message=message, hint=hint, command=command):
                return Unavailable(_reason(why), self._words(message), self._words(command or hint))
            case _:
                assert_never(outcome)


def _reason(why: Why) -> Reason:
    match why:
        case Why.NOT_CONNECTED | Why.LOGIN_NEEDED | Why.DEAD | Why.UNCONFIRMED:
            return Reason.LOGIN_NEEDED
        case Why.UNAVAILABLE | Why.VOUCHED:
            return Reason.CREDENTIAL_UNAVAILABLE
        case _:
            assert_never(why)
