"""What is read of a provider's answer, and what is not."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth.answer import read_json, read_object, read_tokens

MEMBERS: dict[str, object] = {
    "access_token": "canary-a",
    "token_type": "Bearer",
    "expires_in": 604800,
    "refresh_token": "canary-r",
    "scope": "identify email",
}
TEXT = json.dumps(MEMBERS)
BODY = TEXT.encode()


def tokens(body: bytes) -> Mapping[str, object]:
    found = read_tokens(body)
    assert found is not None
    return found


@pytest.mark.parametrize("charset", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"])
@pytest.mark.parametrize("blank", ["", "\r\n \t"])
def test_every_unicode_charset_is_read_with_and_without_a_byte_order_mark(
    charset: str, mark: str, blank: str
) -> None:
    body = f"{mark}{blank}{TEXT}{blank}\0".encode(charset)
    if not mark and blank and charset != "utf-8":
        body = f"{TEXT}{blank}".encode(charset)
    assert tokens(body) == read_object(body) == MEMBERS


@pytest.mark.parametrize("charset", ["latin-1", "cp1252", "iso8859-15", "utf-8"])
def test_what_else_stands_in_an_answer_may_be_in_any_charset_of_bytes(charset: str) -> None:
    body = json.dumps({**MEMBERS, "guild": {"name": "café"}}, ensure_ascii=False).encode(charset)
    assert tokens(body)["refresh_token"] == "canary-r"


@pytest.mark.parametrize(
    "before", ["", ")]}',\n", "while(1);", "for (;;);", "/**/callback(", "<html><pre>", "{ oops ", "[1]"]
)
@pytest.mark.parametrize(
    "after", ["", ");", "\n\n", "</pre></html>", "}", "{}", "\0\0", "<!-- served in 3 ms -->"]
)
def test_junk_around_an_answer_does_not_matter(before: str, after: str) -> None:
    assert tokens((before + TEXT + after).encode()) == MEMBERS


@pytest.mark.parametrize(
    "body",
    [
        f'{{"data": {TEXT}}}',
        f'{{"ok": true, "error": null, "result": {{"token": {TEXT}}}}}',
        f"[{TEXT}]",
        f'[[], {{"x": [{TEXT}]}}]',
        json.dumps(TEXT),
        json.dumps({"statusCode": 200, "body": TEXT}),
        f'{{"access_token": null, "data": {TEXT}}}',
    ],
)
def test_tokens_in_a_wrapper_are_taken_where_they_are_the_only_ones(body: str) -> None:
    assert tokens(body.encode()) == MEMBERS


@pytest.mark.parametrize(
    "body",
    [
        f'{{"user": {TEXT}, "bot": {{"access_token": "other"}}}}',
        f'[{TEXT}, {{"access_token": "other"}}]',
        f'{{"error": "not yours", "data": {TEXT}}}',
    ],
)
def test_tokens_in_a_wrapper_are_left_where_it_is_not_sure_which_are_meant(body: str) -> None:
    assert read_tokens(body.encode()) is None


def test_the_tokens_of_the_answer_itself_count_before_any_within_it() -> None:
    body = json.dumps({**MEMBERS, "authed_user": {"access_token": "other"}}).encode()
    assert tokens(body)["access_token"] == "canary-a"


@pytest.mark.parametrize(
    ("body", "access", "refresh"),
    [
        ('{"access_token": "old", "access_token": "new"}', "new", None),
        ('{"access_token": "a", "access_token": null}', "a", None),
        ('{"access_token": "a", "refresh_token": "r", "refresh_token": ""}', "a", "r"),
        ('{"access_token": "", "access_token": "a"}', "a", None),
    ],
)
def test_of_a_member_that_is_there_twice_the_last_that_says_something_counts(
    body: str, access: str, refresh: str | None
) -> None:
    found = tokens(body.encode())
    assert (found["access_token"], found.get("refresh_token")) == (access, refresh)


@pytest.mark.parametrize(
    "text",
    [
        "access_token=canary-a&token_type=bearer&scope=a%20b&refresh_token=canary-r",
        "refresh_token=canary-r&access_token=canary-a\r\n",
    ],
)
def test_an_answer_that_is_a_form_is_read(text: str) -> None:
    assert tokens(text.encode())["access_token"] == "canary-a"
    assert tokens(text.encode())["refresh_token"] == "canary-r"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"<html>access_token=x</html>",
        b"error=access_denied",
        b"access_token=",
        b"see access_token=x",
        b'{"error": "invalid_grant"}',
        b"{}",
        b"[]",
        b"null",
        b'"x"',
        BODY[:-9],
        b'{"access_token": "a b"}',
        b'{"access_token": 7}',
        b'{"access_token": ["a"]}',
        b'{"oops": 1} {"access_token": "a"}',
    ],
)
def test_what_holds_no_tokens_gives_none(body: bytes) -> None:
    assert read_tokens(body) is None


@pytest.mark.parametrize(
    "body",
    [b")]}'\n{}", b"{}x", b"{} {}", b"<html>{}", b"error=invalid_grant", b"{'a': 1}", b'{"a": 1', b"[1]"],
)
def test_what_may_condemn_a_login_is_one_whole_object(body: bytes) -> None:
    assert read_object(body) is None


def test_any_json_is_json() -> None:
    assert read_json(b" [1] ") == [1]
    assert read_json(codecs.BOM_UTF8 + b'"x"') == "x"
    assert read_json(b"<html>") is None


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b"{" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"a":"{' * 140_000,
        b'["' * 500_000,
        b'{"a":' + b"9" * 1_000_000 + b"}",
        b"\0" * 1_000_000,
        BODY[:-1] + b',"x":[' + b'{"y":"{"},' * 90_000 + b"0]}",
        b"a=b&" * 250_000,
        b"x" * 1_000_000,
        json.dumps({"a": [{"access_token": n} for n in range(30_000)]}).encode(),
    ],
)
def test_the_largest_answers_are_read_or_given_up_in_little_time(body: bytes) -> None:
    began = time.process_time()  # of this process alone, whatever else the machine does
    read_tokens(body)
    read_object(body)
    assert time.process_time() - began < 5


@given(st.binary(max_size=300))
def test_no_bytes_break_it(body: bytes) -> None:
    read_tokens(body)
    read_object(body)
