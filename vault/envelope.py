"""One record, sealed and opened.

Pure: the nonce is an argument, and nothing here reads a file or a clock. A sealed record is

    version (1 byte) | nonce (12 bytes) | AES-256-GCM ciphertext and tag (NIST SP 800-38D)

Its associated data names the record and its generation, so that a sealed record opens only in the
place, and as the write, that it was made for. What this cannot notice is an older copy of the whole
store put back in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.errors import FormatTooNew, RecordDamaged

FORMAT: Final = 1
"""The first byte of what this version seals; every version opens all formats up to its own."""

KEY_BYTES: Final = 32
"""Length of every key: AES-256."""

NONCE_BYTES: Final = 12
"""The nonce length that GCM is specified for (SP 800-38D section 5.2.1.1).

Nonces are random: with one key that is sound for 2**32 writes (section 8.3), and each profile has its own.
"""

_TAG_BYTES: Final = 16
_GENERATION_BYTES: Final = 8
_LENGTH_BYTES: Final = 4
_RECORD_PURPOSE: Final = b"authsome vault record"
_KEY_PURPOSE: Final = b"authsome vault profile key"


class Kind(StrEnum):
    """What a record holds; a value is never reused for something else."""

    CONNECTION = "connection"
    CLIENT = "client"
    SLOT = "slot"
    """The key slot; not sealed as the others are, see `vault.keys.wrapping`."""


@dataclass(frozen=True, slots=True, order=True)
class RecordId:
    """The place of one record. `name` is empty for a client, all three words are for the key slot."""

    profile: str
    provider: str
    name: str
    kind: str
    """A `Kind`, or what a newer version wrote or somebody else put there."""

    def encoded(self) -> bytes:
        """The same bytes for the same record, and for no other."""
        return joined(*(word.encode() for word in (self.profile, self.provider, self.name, self.kind)))

    def __str__(self) -> str:
        match self.kind:
            case Kind.CONNECTION:
                return f"{self.provider}/{self.name}"
            case Kind.CLIENT:
                return f"the client registration of {self.provider}"
            case Kind.SLOT:
                return "the vault's key slot"
            case _:
                return f"a record of {self.provider} of an unknown kind"


SLOT: Final = RecordId("", "", "", Kind.SLOT)
"""The one record that says how the vault's key is kept."""


def profile_key(vault_key: bytes, profile: str) -> bytes:
    """The key that seals one profile's records: HKDF-SHA256 (RFC 5869) without salt."""
    if len(vault_key) != KEY_BYTES:
        raise ValueError("a vault key has 32 bytes")
    info = joined(_KEY_PURPOSE, bytes([FORMAT]), profile.encode())
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(vault_key)


def seal(key: bytes, nonce: bytes, record: RecordId, generation: int, plaintext: bytes) -> bytes:
    """Encrypt one write of a record. `nonce` must never have been used with `key` before."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("a key has 32 bytes and a nonce 12")
    ciphertext = AESGCM(key).encrypt(nonce, plaintext, _bound_to(record, generation))
    return bytes([FORMAT]) + nonce + ciphertext


def unseal(key: bytes, record: RecordId, generation: int, sealed: bytes) -> bytes:
    """Decrypt one write of a record.

    Raises: FormatTooNew, RecordDamaged.
    """
    # The version comes first: what a newer authsome wrote must not be called damaged.
    if sealed and sealed[0] > FORMAT:
        raise FormatTooNew(f"{record} was stored by a newer version of authsome", "update authsome")
    if len(sealed) < 1 + NONCE_BYTES + _TAG_BYTES or sealed[0] != FORMAT:
        raise _damaged(record)
    nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, _bound_to(record, generation))
    except InvalidTag as exc:
        raise _damaged(record) from exc


def _damaged(record: RecordId) -> RecordDamaged:
    return RecordDamaged(
        f"{record} does not open: it was changed, swapped for another, or sealed under another key",
        "restore the vault from a backup, or log in again",
    )


def _bound_to(record: RecordId, generation: int) -> bytes:
    count = generation.to_bytes(_GENERATION_BYTES, "big")
    return joined(_RECORD_PURPOSE, bytes([FORMAT]), record.encoded(), count)


def joined(*parts: bytes) -> bytes:
    """Each part after its length: no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)
