"""The key slot: the vault's key, wrapped by a key from a source."""

from __future__ import annotations

import json

import pytest

from vault.errors import FormatTooNew, RecordDamaged
from vault.keys.wrapping import (
    FromDescriptor,
    FromFile,
    FromKeyring,
    FromPassphrase,
    KeyOrigin,
    KeySlot,
    Source,
    encode,
    key_id,
    parse,
    unwrap,
    wrap,
)

KEY = bytes(range(32))
VAULT_KEY = bytes(range(32, 64))
NONCE = bytes(range(12))
PASSPHRASE = FromPassphrase(iterations=3, lanes=4, memory_kib=65536, salt="00" * 16)
ORIGINS: list[KeyOrigin] = [FromFile(), FromDescriptor(), FromKeyring(entry=f"{'ab' * 8}-1"), PASSPHRASE]

# Kept for ever: what a version once stored, every later version must open.
SLOT_1 = (
    b'\x01{"origin": {"source": "passphrase", "algorithm": "argon2id", "iterations": 3, "lanes": 4,'
    b' "memory_kib": 65536, "salt": "00000000000000000000000000000000"}, "key_id": "0da0b65c87b9d125",'
    b' "created_at": 1700000000, "wrapped": "000102030405060708090a0b6723f438e1c0e43ca568bda09dc45642b3e7'
    b'b507c44e694b005edfbe21543e8da76e8747f83a3ad373c03500c8f89149"}'
)


def made(origin: KeyOrigin = PASSPHRASE) -> KeySlot:
    return wrap(KEY, NONCE, VAULT_KEY, origin, 1_700_000_000)


def changed(**fields: object) -> bytes:
    content = {**json.loads(encode(made())[1:]), **fields}
    return b"\x01" + json.dumps(content).encode()


def test_a_slot_of_format_1_is_opened() -> None:
    assert unwrap(KEY, parse(SLOT_1)) == VAULT_KEY
    assert encode(made()) == SLOT_1


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_vaults_key_comes_back_from_every_kind_of_slot(origin: KeyOrigin) -> None:
    slot = parse(encode(made(origin)))

    assert slot == made(origin)
    assert slot.source is Source(origin.source)
    assert unwrap(KEY, slot) == VAULT_KEY


def test_neither_key_is_in_the_slot() -> None:
    stored = encode(made())

    for secret in (KEY, VAULT_KEY):
        assert secret not in stored
        assert secret.hex().encode() not in stored


def test_another_key_does_not_open_a_slot() -> None:
    with pytest.raises(RecordDamaged):
        unwrap(bytes(32), made())


def test_a_key_has_an_id_that_is_its_own_and_not_part_of_it() -> None:
    assert key_id(KEY) == made().key_id
    assert key_id(KEY) != key_id(VAULT_KEY)
    assert bytes.fromhex(key_id(KEY)) not in KEY


@pytest.mark.parametrize(
    "fields",
    [
        {"created_at": 1_700_000_001},
        {"key_id": "0" * 16},
        {"origin": {"source": "file"}},
        {"origin": PASSPHRASE.model_copy(update={"iterations": 2}).model_dump()},
        {"origin": PASSPHRASE.model_copy(update={"lanes": 2}).model_dump()},
        {"origin": PASSPHRASE.model_copy(update={"memory_kib": 1024}).model_dump()},
        {"origin": PASSPHRASE.model_copy(update={"salt": "11" * 16}).model_dump()},
        {"wrapped": "00" * 60},
    ],
)
def test_a_slot_of_which_anything_was_changed_does_not_open(fields: dict[str, object]) -> None:
    assert unwrap(KEY, parse(changed())) == VAULT_KEY
    with pytest.raises(RecordDamaged):
        unwrap(KEY, parse(changed(**fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"more": 1},
        {"key_id": "0" * 17},
        {"key_id": "X" * 16},
        {"created_at": -1},
        {"created_at": "1700000000"},
        {"wrapped": ""},
        {"wrapped": "00" * 61},
        {"origin": {"source": "unheard of"}},
        {"origin": {"source": "file", "path": "/etc/passwd"}},
        {"origin": {"source": "keyring", "entry": "../../x"}},
        {"origin": {**PASSPHRASE.model_dump(), "algorithm": "md5"}},
        {"origin": {**PASSPHRASE.model_dump(), "salt": ""}},
        {"origin": {**PASSPHRASE.model_dump(), "memory_kib": 2**31}},
        {"origin": {**PASSPHRASE.model_dump(), "iterations": 2**31}},
        {"origin": {**PASSPHRASE.model_dump(), "iterations": 0}},
        {"origin": {**PASSPHRASE.model_dump(), "lanes": 1000}},
    ],
)
def test_a_slot_that_is_out_of_bounds_is_refused_before_any_key_is_derived(fields: dict[str, object]) -> None:
    with pytest.raises(RecordDamaged, match="key slot was changed or damaged"):
        parse(changed(**fields))


@pytest.mark.parametrize("stored", [b"", b"\x00", b"\x01", b"\x01{}", b"\x01[]", b"\x00{}", b"\x01{"])
def test_what_is_no_slot_is_damaged(stored: bytes) -> None:
    with pytest.raises(RecordDamaged):
        parse(stored)


def test_a_slot_in_a_newer_format_is_called_newer() -> None:
    with pytest.raises(FormatTooNew):
        parse(b"\x02" + SLOT_1[1:])


@pytest.mark.parametrize(
    ("key", "nonce", "vault_key"),
    [(KEY[1:], NONCE, VAULT_KEY), (KEY, NONCE[1:], VAULT_KEY), (KEY, NONCE, VAULT_KEY[1:])],
)
def test_a_key_or_nonce_of_another_length_is_not_used(key: bytes, nonce: bytes, vault_key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        wrap(key, nonce, vault_key, FromFile(), 0)
