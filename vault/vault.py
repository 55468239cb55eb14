"""Storage, sealing and key joined: the only place where plaintext and disk meet."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self, assert_never

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from vault.envelope import NONCE_BYTES, SLOT, Kind, RecordId, profile_key, seal, unseal
from vault.errors import (
    Conflict,
    FormatTooNew,
    KeyUnavailable,
    LockTimeout,
    PremiseChanged,
    RecordDamaged,
    StorageUnavailable,
)
from vault.keys.file import KeySource
from vault.keys.opening import Opened, create_vault, settle, unlocked
from vault.model import NAME, ClientRegistration, Connection, ConnectionKey, Versioned
from vault.storage import Storage, StoredRecord

PAYLOAD_SCHEMA: Final = 2
"""The shape of what is sealed; every version reads all shapes up to its own."""


_NOT_NOW: Final = (Conflict, FormatTooNew, LockTimeout, PremiseChanged, StorageUnavailable)
"""What keeps something that was set aside waiting, and must not keep the vault closed."""


StoredConnection = Versioned[Connection] | RecordDamaged | FormatTooNew
"""One of many: where it does not open, its error."""


def readable(stored: StoredConnection) -> Connection:
    """Raises: RecordDamaged, FormatTooNew."""
    match stored:
        case Versioned(value=connection):
            return connection
        case RecordDamaged() | FormatTooNew():
            raise stored
        case never:
            assert_never(never)


class _PayloadSchema(BaseModel):
    """Read first and alone, so that a newer shape is not called damaged."""

    model_config = ConfigDict(strict=True)

    payload: int


class _Payload[T: BaseModel](BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    payload: Literal[1, 2]
    value: T


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that cannot be used, and why."""

    record: RecordId
    trouble: str


class Vault:
    """Connections and client registrations, sealed before they are stored and opened when they are read.

    May be used from several threads. Goes on when another process changes the vault's key, if its key
    source can tell the new one. Every method may raise StorageUnavailable, and KeyUnavailable if it cannot.
    """

    def __init__(
        self,
        storage: Storage,
        key_source: KeySource,
        opened: Opened,
        randbytes: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._key_source = key_source
        self._opened = opened
        self._opening = threading.Lock()
        self._randbytes = randbytes

    @classmethod
    def open(
        cls,
        storage: Storage,
        key_source: KeySource,
        *,
        create: bool = False,
        randbytes: Callable[[int], bytes] = os.urandom,
        now: Callable[[], float] = time.time,
    ) -> Self:
        """Open the vault in `storage`, which is the vault's from here on, and closed if this raises.

        `create` makes the vault, and its key, where there is none yet. An existing vault gets no new
        key, and nothing of it is changed.

        Raises: KeyUnavailable when the key is missing or another vault's; RecordDamaged, FormatTooNew,
        LoosePermissions, LockTimeout.
        """
        with ExitStack() as undo:
            undo.callback(storage.close)
            if create and storage.get(SLOT) is None:
                create_vault(storage, key_source, randbytes, now)
            opened = unlocked(storage, key_source)
            settle(storage, key_source)
            vault = cls(storage, key_source, opened, randbytes)
            vault._recall_all()
            undo.pop_all()
            return vault

    def connection(self, key: ConnectionKey) -> Versioned[Connection] | None:
        """Raises: RecordDamaged, FormatTooNew."""
        return self._get(_connection_record(key), _Payload[Connection])

    def connections(self, profile: str) -> list[tuple[ConnectionKey, StoredConnection]]:
        """Every connection of a profile, sorted; one that does not open is there as its error."""
        found: list[tuple[ConnectionKey, StoredConnection]] = []
        for record in self._storage.records(profile, Kind.CONNECTION):
            # A row that somebody wrote under an impossible name cannot be opened, nor shown safely.
            if not (NAME.fullmatch(record.provider) and NAME.fullmatch(record.name)):
                continue
            key = ConnectionKey(profile, record.provider, record.name)
            try:
                value = self.connection(key)
            except (RecordDamaged, FormatTooNew) as error:
                found.append((key, error))
                continue
            if value is not None:  # None: deleted since it was listed
                found.append((key, value))
        return found

    def put_connection(self, key: ConnectionKey, connection: Connection, *, expected: int | None) -> int:
        """Store a connection durably and return its new generation.

        `expected` is the generation that was read; None where there was no connection.

        Raises: Conflict, and nothing was stored; KeptAside within `secured`.
        """
        return self._put(_connection_record(key), connection, expected)

    def secured(self, key: ConnectionKey) -> AbstractContextManager[None]:
        """Whatever is put in the block is kept, also where the disk becomes full or busy meanwhile.

        Hold `lock(key)`. Raises: StorageUnavailable at the beginning, where it could not be kept.
        """
        return self._storage.secured(_connection_record(key))

    def recall(self, key: ConnectionKey) -> None:
        """Store what was kept aside for a connection and could not be stored then. Hold `lock(key)`.

        Raises: StorageUnavailable where it still cannot be; what is stored is then out of date.
        """
        self._recall(_connection_record(key))

    def delete_connection(self, key: ConnectionKey) -> bool:
        """Forget a connection; False where there was none.

        Hold `lock(key)` meanwhile: the next login begins again at generation 1, and a refresh that read
        before the deletion could take the new connection for the old one.
        """
        return self._storage.delete(_connection_record(key))

    def client(self, profile: str, provider: str) -> Versioned[ClientRegistration] | None:
        """Raises: RecordDamaged, FormatTooNew."""
        return self._get(_client_record(profile, provider), _Payload[ClientRegistration])

    def put_client(
        self, profile: str, provider: str, client: ClientRegistration, *, expected: int | None
    ) -> int:
        """As `put_connection`, for the registration that all connections of a provider share."""
        return self._put(_client_record(profile, provider), client, expected)

    def delete_client(self, profile: str, provider: str) -> bool:
        """Forget a registration; False where there was none."""
        return self._storage.delete(_client_record(profile, provider))

    def lock(self, key: ConnectionKey, timeout: float) -> AbstractContextManager[None]:
        """Hold a connection against every other thread and process; `timeout` is in seconds.

        Not re-entrant. Raises: LockTimeout.
        """
        return self._storage.lock(_connection_record(key), timeout)

    def verify(self) -> tuple[int, list[Problem]]:
        """Open every record of every profile: how many there are, and what is wrong with which."""
        records = sorted(record for record in self._storage.everything() if record != SLOT)
        found = [(record, self._trouble(record)) for record in records]
        found += [(record, "its last write is not there") for record in self._storage.lost()]
        return len(records), [Problem(record, trouble) for record, trouble in found if trouble]

    def is_copy(self, key: ConnectionKey) -> bool:
        """Whether the connection was put back or copied here, so that another copy may have gone on."""
        return self._storage.is_copy(_connection_record(key))

    def _trouble(self, record: RecordId) -> str | None:
        if not _is_possible(record):
            return "no record is called so"
        try:
            match record.kind:
                case Kind.CONNECTION:
                    self._get(record, _Payload[Connection])
                case Kind.CLIENT:
                    self._get(record, _Payload[ClientRegistration])
                case _:
                    return "this version of authsome does not know its kind"
        except (RecordDamaged, FormatTooNew) as error:
            return str(error)
        return None

    def version(self) -> int:
        """A number that is another one after any process has changed anything; costs microseconds."""
        return self._storage.version()

    def close(self) -> None:
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _recall_all(self) -> None:
        with suppress(*_NOT_NOW):
            for record in self._storage.set_aside():
                with suppress(*_NOT_NOW), self._storage.lock(record, 0.0):
                    self._recall(record)

    def _recall(self, record: RecordId) -> None:
        opened, aside = self._opened, self._storage.aside(record)
        if aside is not None and _opens(opened, record, aside):
            self._storage.put(record, aside.blob, aside.generation, premise=opened.premise)
        self._storage.drop_aside(record)

    def _get[T: BaseModel](self, record: RecordId, shape: type[_Payload[T]]) -> Versioned[T] | None:
        while True:
            opened = self._opened
            stored = self._storage.get(record)
            if stored is None:
                return None
            try:
                plaintext = _unsealed(opened, record, stored)
            except RecordDamaged:
                if self._reopened(opened):
                    continue
                raise
            return Versioned(_parsed(plaintext, record, shape), stored.generation)

    def _put(self, record: RecordId, value: BaseModel, expected: int | None) -> int:
        generation = 1 if expected is None else expected + 1
        while True:
            opened = self._opened
            key = profile_key(opened.key, record.profile)
            sealed = seal(key, self._randbytes(NONCE_BYTES), record, generation, _revealed(value))
            try:
                # Sealed under a key that was replaced meanwhile, it could never be opened again.
                self._storage.put(record, sealed, generation, premise=opened.premise)
            except PremiseChanged:
                if self._reopened(opened):
                    continue
                raise
            return generation

    def _reopened(self, before: Opened) -> bool:
        """Whether the vault's key was changed since; it is known then. Raises: KeyUnavailable."""
        with self._opening:
            if self._opened is not before:  # another thread was here first
                return True
            if self._storage.get(SLOT) == before.stored:
                return False
            try:
                self._opened = unlocked(self._storage, self._key_source)
            except KeyUnavailable as exc:
                raise KeyUnavailable(
                    "the vault's key was changed by another process meanwhile", "start this command again"
                ) from exc
            return True


def _unsealed(opened: Opened, record: RecordId, stored: StoredRecord) -> bytes:
    return unseal(profile_key(opened.key, record.profile), record, stored.generation, stored.blob)


def _opens(opened: Opened, record: RecordId, stored: StoredRecord) -> bool:
    """Whether it is what it should be: a write may have been cut off. Raises: FormatTooNew."""
    try:
        _unsealed(opened, record, stored)
    except RecordDamaged:
        return False
    return True


def _is_possible(record: RecordId) -> bool:
    name = bool(NAME.fullmatch(record.name)) if record.kind != Kind.CLIENT else record.name == ""
    return name and all(NAME.fullmatch(word) for word in (record.profile, record.provider))


def _connection_record(key: ConnectionKey) -> RecordId:
    return RecordId(key.profile, key.provider, key.name, Kind.CONNECTION)


def _client_record(profile: str, provider: str) -> RecordId:
    return RecordId(profile, provider, "", Kind.CLIENT)


def _revealed(value: BaseModel) -> bytes:
    """The JSON that is sealed: the one place where a stored secret is written out."""

    def secret(part: object) -> str:
        if isinstance(part, SecretStr):
            return part.get_secret_value()
        raise TypeError(f"a {type(part).__name__} cannot be stored")

    content = {"payload": PAYLOAD_SCHEMA, "value": value.model_dump()}
    return json.dumps(content, default=secret, allow_nan=False).encode()


def _parsed[T: BaseModel](plaintext: bytes, record: RecordId, shape: type[_Payload[T]]) -> T:
    try:
        schema = _PayloadSchema.model_validate_json(plaintext)
        if schema.payload > PAYLOAD_SCHEMA:
            raise FormatTooNew(f"{record} was stored by a newer version of authsome", "update authsome")
        return shape.model_validate_json(plaintext).value
    except ValidationError:
        # Not `from` it: a validation error quotes its input, which is the secret.
        raise RecordDamaged(
            f"{record} holds something that this version of authsome does not understand",
            "update authsome, or log in again",
        ) from None
