"""The key slot: the vault's own key, wrapped by a key that a key source keeps or derives.

Pure: keys, nonces and times are arguments. Two keys, so that the source can change in the write of one
record, and so that what a source holds never seals anything but the vault's key. A stored slot is

    version (1 byte) | JSON

All of it but the wrapped key is public, and is authenticated together with it.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vault.envelope import KEY_BYTES, NONCE_BYTES, joined
from vault.errors import FormatTooNew, RecordDamaged

SLOT_FORMAT: Final = 1
"""The first byte of what this version stores; every version reads all formats up to its own."""

_WRAP_PURPOSE: Final = b"authsome vault key"
_ID_PURPOSE: Final = b"authsome key id"
_ID_BYTES: Final = 8
_TAG_BYTES: Final = 16


class Source(StrEnum):
    """Where the key that opens a vault comes from; a value is never reused for something else."""

    FILE = "file"
    PASSPHRASE = "passphrase"  # noqa: S105  (a kind, not a password)
    KEYRING = "keyring"
    DESCRIPTOR = "fd"


class _Public(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FromFile(_Public):
    """A key in a file; which file is up to who opens the vault."""

    source: Literal["file"] = "file"


class FromDescriptor(_Public):
    """A key that is given anew each time."""

    source: Literal["fd"] = "fd"


class FromKeyring(_Public):
    """A key in the operating system's keyring."""

    source: Literal["keyring"] = "keyring"
    entry: str = Field(pattern=r"^[0-9a-f]{16}-[12]$")
    """The vault's own name in the keyring, and which of its two places holds the key."""


class FromPassphrase(_Public):
    """A key that Argon2id (RFC 9106) derives; the bounds keep a changed slot from taking all memory."""

    source: Literal["passphrase"] = "passphrase"
    algorithm: Literal["argon2id"] = "argon2id"
    iterations: int = Field(ge=1, le=16)
    lanes: int = Field(ge=1, le=16)
    memory_kib: int = Field(ge=128, le=1024 * 1024)
    """Argon2 wants 8 KiB a lane at least (RFC 9106 section 3.1)."""
    salt: str = Field(pattern=r"^[0-9a-f]{32}$")


KeyOrigin = Annotated[FromFile | FromDescriptor | FromKeyring | FromPassphrase, Field(discriminator="source")]


class KeySlot(_Public):
    """How the vault's key is kept."""

    origin: KeyOrigin
    key_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Of the key that unwraps, so that it is recognised among others; says nothing about the key."""
    created_at: int = Field(ge=0, le=2**40)
    """Seconds since the epoch."""
    wrapped: str = Field(pattern=rf"^[0-9a-f]{{{2 * (NONCE_BYTES + KEY_BYTES + _TAG_BYTES)}}}$")
    """Nonce, ciphertext and tag of the vault's key under AES-256-GCM, in hexadecimal digits."""

    @property
    def source(self) -> Source:
        """Where the key comes from."""
        return Source(self.origin.source)


def key_id(key: bytes) -> str:
    """A public name of a key: HKDF-SHA256 (RFC 5869), so that it shows nothing of the key."""
    hkdf = HKDF(algorithm=SHA256(), length=_ID_BYTES, salt=None, info=joined(_ID_PURPOSE))
    return hkdf.derive(key).hex()


def wrap(key: bytes, nonce: bytes, vault_key: bytes, origin: KeyOrigin, created_at: int) -> KeySlot:
    """Wrap the vault's key. `nonce` must never have been used with `key` before."""
    if not len(key) == len(vault_key) == KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("a key has 32 bytes and a nonce 12")
    public = _public(origin, key_id(key), created_at)
    wrapped = nonce + AESGCM(key).encrypt(nonce, vault_key, public)
    return KeySlot(origin=origin, key_id=key_id(key), created_at=created_at, wrapped=wrapped.hex())


def unwrap(key: bytes, slot: KeySlot) -> bytes:
    """The vault's key. `key` is the one that `slot.key_id` names.

    Raises: RecordDamaged.
    """
    wrapped = bytes.fromhex(slot.wrapped)
    public = _public(slot.origin, slot.key_id, slot.created_at)
    try:
        return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], public)
    except InvalidTag as exc:
        raise _damaged() from exc


def encode(slot: KeySlot) -> bytes:
    """The bytes that are stored."""
    return bytes([SLOT_FORMAT]) + json.dumps(slot.model_dump()).encode()


def parse(stored: bytes) -> KeySlot:
    """Raises: FormatTooNew, RecordDamaged."""
    # The version comes first: what a newer authsome wrote must not be called damaged.
    if stored and stored[0] > SLOT_FORMAT:
        raise FormatTooNew("the vault's key slot was made by a newer version of authsome", "update authsome")
    if not stored or stored[0] != SLOT_FORMAT:
        raise _damaged()
    try:
        return KeySlot.model_validate_json(stored[1:])
    except ValidationError as exc:
        raise _damaged() from exc


def _public(origin: KeyOrigin, name: str, created_at: int) -> bytes:
    text = json.dumps(origin.model_dump(), sort_keys=True, separators=(",", ":"))
    return joined(_WRAP_PURPOSE, bytes([SLOT_FORMAT]), text.encode(), name.encode(), str(created_at).encode())


def _damaged() -> RecordDamaged:
    return RecordDamaged("the vault's key slot was changed or damaged", "restore the vault from a backup")
