"""One record, sealed and opened."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.envelope import FORMAT, SLOT, Kind, RecordId, profile_key, seal, unseal
from vault.errors import FormatTooNew, RecordDamaged

MASTER = bytes(range(32))
KEY = profile_key(MASTER, "default")
NONCE = bytes(range(100, 112))
RECORD = RecordId("default", "discord", "work", Kind.CONNECTION)
GENERATION = 7
PLAINTEXT = b'{"a":1}'

# Kept for ever: what a version once sealed, every later version must open.
PROFILE_KEY_1 = bytes.fromhex("e210347df7c4db1a4a84e69edbe1222351ef4c2182dfb8b2e3d8939c565c83b1")
SEALED_1 = bytes.fromhex("016465666768696a6b6c6d6e6f76a1c49b0aa2ea3b16fbb58f7a00d29f6f62ca985e4fb1")

words = st.text(max_size=12)
records = st.builds(RecordId, words, words, words, st.sampled_from(Kind))
generations = st.integers(min_value=1, max_value=2**63 - 1)


def test_a_profile_key_of_format_1_never_changes() -> None:
    assert KEY == PROFILE_KEY_1


def test_a_profile_key_is_hkdf_sha256_as_rfc_5869_writes_it() -> None:
    parts = (b"authsome vault profile key", bytes([1]), b"work")
    info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    extracted = hmac.digest(bytes(32), MASTER, hashlib.sha256)
    expanded = hmac.digest(extracted, info + b"\x01", hashlib.sha256)

    assert profile_key(MASTER, "work") == expanded


def test_a_record_sealed_by_format_1_opens() -> None:
    assert unseal(KEY, RECORD, GENERATION, SEALED_1) == PLAINTEXT


def test_sealing_gives_the_bytes_of_format_1() -> None:
    assert seal(KEY, NONCE, RECORD, GENERATION, PLAINTEXT) == SEALED_1


@given(records, generations, st.binary(max_size=200), st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens_as_it_was(
    record: RecordId, generation: int, plaintext: bytes, nonce: bytes
) -> None:
    assert unseal(KEY, record, generation, seal(KEY, nonce, record, generation, plaintext)) == plaintext


@given(st.integers(min_value=1, max_value=len(SEALED_1) - 1), st.integers(min_value=1, max_value=255))
def test_a_record_with_any_byte_changed_is_damaged(place: int, change: int) -> None:
    sealed = bytearray(SEALED_1)
    sealed[place] ^= change

    with pytest.raises(RecordDamaged):
        unseal(KEY, RECORD, GENERATION, bytes(sealed))


@given(st.integers(min_value=0, max_value=len(SEALED_1) - 1))
def test_a_record_cut_short_is_damaged(length: int) -> None:
    with pytest.raises(RecordDamaged):
        unseal(KEY, RECORD, GENERATION, SEALED_1[:length])


@given(st.binary(min_size=1, max_size=20))
def test_a_record_with_something_after_it_is_damaged(more: bytes) -> None:
    with pytest.raises(RecordDamaged):
        unseal(KEY, RECORD, GENERATION, SEALED_1 + more)


@pytest.mark.parametrize("version", range(FORMAT + 1, 256))
def test_a_later_version_byte_is_called_newer_and_never_damaged(version: int) -> None:
    with pytest.raises(FormatTooNew):
        unseal(KEY, RECORD, GENERATION, bytes([version]) + SEALED_1[1:])
    with pytest.raises(FormatTooNew):
        unseal(KEY, RECORD, GENERATION, bytes([version]))


def test_a_version_byte_that_never_was_is_damaged() -> None:
    with pytest.raises(RecordDamaged):
        unseal(KEY, RECORD, GENERATION, b"\x00" + SEALED_1[1:])


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(RECORD, profile="other"),
        replace(RECORD, provider="example"),
        replace(RECORD, name="default"),
        replace(RECORD, kind=Kind.CLIENT),
        replace(RECORD, kind=Kind.SLOT),
        # The same letters, divided otherwise.
        RecordId("defaultd", "iscord", "work", Kind.CONNECTION),
        RecordId("default", "discordwork", "", Kind.CONNECTION),
    ],
)
def test_a_record_put_in_the_place_of_another_is_damaged(elsewhere: RecordId) -> None:
    with pytest.raises(RecordDamaged):
        unseal(KEY, elsewhere, GENERATION, SEALED_1)


@given(records, records, generations, generations)
def test_a_record_opens_in_its_own_place_and_generation_only(
    record: RecordId, other: RecordId, generation: int, later: int
) -> None:
    sealed = seal(KEY, NONCE, record, generation, PLAINTEXT)
    if (record, generation) == (other, later):
        assert unseal(KEY, other, later, sealed) == PLAINTEXT
    else:
        with pytest.raises(RecordDamaged):
            unseal(KEY, other, later, sealed)


def test_another_generation_of_the_same_record_is_damaged() -> None:
    for generation in (GENERATION - 1, GENERATION + 1):
        with pytest.raises(RecordDamaged):
            unseal(KEY, RECORD, generation, SEALED_1)


def test_another_profiles_key_does_not_open_a_record() -> None:
    with pytest.raises(RecordDamaged):
        unseal(profile_key(MASTER, "other"), RECORD, GENERATION, SEALED_1)


def test_keys_and_nonces_of_a_wrong_length_are_not_used() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        profile_key(MASTER[:16], "default")
    with pytest.raises(ValueError, match="32 bytes"):
        seal(KEY[:16], NONCE, RECORD, GENERATION, PLAINTEXT)
    with pytest.raises(ValueError, match="a nonce 12"):
        seal(KEY, NONCE[:8], RECORD, GENERATION, PLAINTEXT)


@given(records, records)
def test_two_records_have_the_same_encoding_only_if_they_are_the_same(
    record: RecordId, other: RecordId
) -> None:
    assert (record.encoded() == other.encoded()) == (record == other)


def test_a_record_is_named_as_the_user_knows_it() -> None:
    assert str(RECORD) == "discord/work"
    assert str(replace(RECORD, name="", kind=Kind.CLIENT)) == "the client registration of discord"
    assert str(SLOT) == "the vault's key slot"
    assert str(replace(RECORD, kind="other")) == "a record of discord of an unknown kind"
