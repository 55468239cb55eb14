"""The keeper as the proxy sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from oauth.keeper import FreshCredential, Keeper, NotUsable, Why
from proxy.model import Fresh, Reason, Unavailable
from vault.model import ConnectionKey


class KeeperSource:
    """Credentials of the connections of one run, by the name that the rules give them."""

    def __init__(self, keeper: Keeper, keys: Sequence[ConnectionKey]) -> None:
        self._keeper = keeper
        self._keys: Mapping[str, ConnectionKey] = {str(key): key for key in keys}

    async def fresh(self, connection: str) -> Fresh | Unavailable:
        """The credential of a connection of this run."""
        outcome = await self._keeper.fresh(self._keys[connection])
        match outcome:
            case FreshCredential(value=value, generation=generation):
                return Fresh(value, generation)
            case NotUsable(why=why, message=message, hint=hint, command=command):
                return Unavailable(_reason(why), message, command or hint)
            case _:
                assert_never(outcome)

    def rejected(self, connection: str, generation: int) -> None:
        """The provider answered 401 to this credential."""
        self._keeper.reject(self._keys[connection], generation)


def _reason(why: Why) -> Reason:
    match why:
        case Why.NOT_CONNECTED | Why.LOGIN_NEEDED:
            return Reason.LOGIN_NEEDED
        case Why.UNAVAILABLE:
            return Reason.CREDENTIAL_UNAVAILABLE
        case _:
            assert_never(why)
