"""A key source that keeps nothing: the key is derived from a passphrase."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vault.envelope import KEY_BYTES
from vault.errors import KeyUnavailable
from vault.keys.file import ANEW, NewKey, NothingKept
from vault.keys.wrapping import FromDescriptor, FromFile, FromKeyring, FromPassphrase, KeySlot, key_id

MIN_LENGTH: Final = 8
"""Characters; the least that NIST SP 800-63B (2017) section 5.1.1.1 allows."""

_SALT_BYTES: Final = 16
"""RFC 9106 section 4: 128 bits are enough for all applications."""


@dataclass(frozen=True, slots=True)
class Argon2Profile:
    """What deriving a key from a passphrase costs."""

    iterations: int
    lanes: int
    memory_kib: int


RFC_9106_SECOND: Final = Argon2Profile(iterations=3, lanes=4, memory_kib=64 * 1024)
"""The second recommended option of RFC 9106 section 4, for machines that may be short of memory."""


class Passphrase(NothingKept):
    """Asks for the passphrase once at most, so that nothing prompts in the middle of a run.

    `ask` gives the present passphrase and `ask_new` a new one; both may raise what they like.
    """

    def __init__(
        self,
        ask: Callable[[], str],
        ask_new: Callable[[], str],
        *,
        profile: Argon2Profile = RFC_9106_SECOND,
        randbytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._ask = ask
        self._ask_new = ask_new
        self._profile = profile
        self._randbytes = randbytes
        self._answer: str | None = None

    def create(self) -> NewKey:
        passphrase = self._ask_new()
        if len(passphrase) < MIN_LENGTH:
            raise KeyUnavailable(
                "the passphrase is too short", f"choose one of at least {MIN_LENGTH} characters"
            )
        self._answer = passphrase
        origin = FromPassphrase(
            iterations=self._profile.iterations,
            lanes=self._profile.lanes,
            memory_kib=self._profile.memory_kib,
            salt=self._randbytes(_SALT_BYTES).hex(),
        )
        return NewKey(_derived(passphrase, origin), origin)

    def unlock(self, slot: KeySlot) -> bytes:
        match slot.origin:
            case FromPassphrase() as origin:
                pass
            case FromFile() | FromDescriptor() | FromKeyring():
                raise KeyUnavailable("this vault is not opened by a passphrase", "see <vault key>")
            case never:
                assert_never(never)
        if self._answer is None:
            self._answer = self._ask()
        key = _derived(self._answer, origin)
        if key_id(key) != slot.key_id:
            raise KeyUnavailable("the passphrase is wrong", f"try again; {ANEW}")
        return key

    def stage(self, present: KeySlot) -> NewKey:  # noqa: ARG002  (other sources need it)
        return self.create()


def _derived(passphrase: str, origin: FromPassphrase) -> bytes:
    # The same text has several encodings, and keyboards differ (RFC 8265 section 4.2.2, rule 4).
    text = unicodedata.normalize("NFC", passphrase).encode()
    try:
        kdf = Argon2id(
            salt=bytes.fromhex(origin.salt),
            length=KEY_BYTES,
            iterations=origin.iterations,
            lanes=origin.lanes,
            memory_cost=origin.memory_kib,
        )
        return kdf.derive(text)
    except UnsupportedAlgorithm as exc:
        raise KeyUnavailable(
            "this build of the cryptography library has no Argon2id",
            "install cryptography from its wheels, or use another key source",
        ) from exc
    except MemoryError as exc:
        raise KeyUnavailable(
            "there is not enough memory to derive the key from the passphrase",
            f"free {origin.memory_kib // 1024} MiB, then try again",
        ) from exc
