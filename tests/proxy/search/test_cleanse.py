"""A server that hands the credential back, in every way it could: the child reads the placeholder."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import brotli
import pytest
import zstandard
from pydantic import SecretStr

from proxy.dial import Dialer
from proxy.model import Event
from proxy.search.cleanse import MAX_PAST, Cleanser, Unsearchable
from proxy.search.scrub import Search
from proxy.server import RunningProxy, running_proxy
from tests.proxy.wire import AUTH, CANARY, DISCORD, Connection, Source, never_again, tunnel
from tests.standin.authority import Authority

STAND_IN = b"authsome-proxy-managed"


@asynccontextmanager
async def upstream(
    folder: Path,
    say: Callable[[bytes], list[bytes]],
    *,
    once: bool = False,
    source: Source | None = None,
    events: list[Event] | None = None,
) -> AsyncIterator[RunningProxy]:
    """A proxy before a server that says `say(request head)`, piece by piece, and with `once` then ends."""
    audit = [] if events is None else events
    authority = Authority(folder)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                for piece in say(head):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if once:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    context = authority.server_context("discord.com", require_client=False)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with running_proxy(
        rules=(DISCORD,),
        source=source or Source(),
        audit=audit.append,
        roots=authority.ca_file.read_text(),
        dialer=Dialer(lambda _host, _port: ("127.0.0.1", port), lambda host, port: None),
        resend=never_again,
    ) as proxy:
        yield proxy
    server.close()


async def connected(proxy: RunningProxy) -> Connection:
    connection = await tunnel(proxy, "discord.com:443")
    await connection.start_tls(proxy.certificate, "discord.com")
    return connection


async def received(proxy: RunningProxy, request: str = "GET / HTTP/1.1", auth: str = AUTH) -> bytes:
    """All that the child reads of one answer."""
    connection = await connected(proxy)
    connection.writer.write(f"{request}\r\nHost: discord.com\r\nConnection: close\r\n{auth}\r\n".encode())
    data = b""
    async with asyncio.timeout(10):
        try:
            while piece := await connection.reader.read(65536):
                data += piece
        except OSError:
            pass
    connection.close()
    return data


def whole(body: bytes, headers: str = "", status: str = "200 OK") -> list[bytes]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return [head.encode() + body]


FORMS = {
    "as it is": CANARY,
    "with its scheme": f"Bearer {CANARY}",
    "percent-encoded": "".join(f"%{ord(letter):02x}" for letter in CANARY),
    "quoted": quote(CANARY, safe=""),
    "json": json.dumps({"error": f"bad token {CANARY}"}),
    "json escapes": "".join(f"\\u{ord(letter):04x}" for letter in CANARY),
    "base64": base64.b64encode(f"Authorization: Bearer {CANARY}\n".encode()).decode(),
    "basic": base64.b64encode(f"user:{CANARY}".encode()).decode(),
}


def gives_away(data: bytes) -> list[str]:
    """The forms of the credential that stand in `data`."""
    return [name for name, form in FORMS.items() if form.encode() in data]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_body_is_scrubbed_at_its_length(tmp_path: Path, form: str) -> None:
    body = f"before {form} after".encode()
    async with upstream(tmp_path, lambda _: whole(body)) as proxy:
        data = await received(proxy)
    head, _, got = data.partition(b"\r\n\r\n")
    assert gives_away(data) == []
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(got) == len(body)
    assert got.startswith(b"before ")
    assert got.endswith(b" after")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_headers_are_scrubbed(tmp_path: Path, form: str) -> None:
    async with upstream(tmp_path, lambda _: whole(b"", f"X-Echo: a{form}b\r\n")) as proxy:
        data = await received(proxy)
    assert gives_away(data) == []
    assert b"X-Echo: a" in data


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("status", ["200", "401"])
async def test_the_words_after_the_status_are_scrubbed(tmp_path: Path, form: str, status: str) -> None:
    async with upstream(tmp_path, lambda _: whole(b"ok", status=f"{status} a{form}b")) as proxy:
        data = await received(proxy)
    assert gives_away(data) == []
    assert data.startswith(f"HTTP/1.1 {status} a".encode())


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", ENCODERS)
async def test_a_compressed_body_is_scrubbed_although_none_was_asked_for(tmp_path: Path, coding: str) -> None:
    asked: list[bytes] = []
    body = ENCODERS[coding](b"x" * 5000 + CANARY.encode() + b"y" * 5000)

    def say(head: bytes) -> list[bytes]:
        asked.append(head)
        return whole(body, f"Content-Encoding: {coding}\r\n")

    async with upstream(tmp_path, say) as proxy:
        data = await received(proxy, "GET / HTTP/1.1\r\nAccept-Encoding: gzip, br")
    assert b"Accept-Encoding: identity\r\n" in asked[0]
    assert gives_away(data) == []
    assert STAND_IN in data
    assert b"content-encoding" not in data.lower()
    assert b"chunked" in data.lower()
    assert data.endswith(b"0\r\n\r\n")


async def test_a_credential_split_over_chunks_is_found(tmp_path: Path) -> None:
    pieces = [bytes([byte]) for byte in f"a{CANARY}b{CANARY}".encode()]
    chunked = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]

    def say(_: bytes) -> list[bytes]:
        return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunked, b"0\r\n\r\n"]

    async with upstream(tmp_path, say) as proxy:
        data = await received(proxy)
    assert data.endswith(b"0\r\n\r\n")
    plain = b"".join(data.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2])
    replaced = Search([CANARY], STAND_IN).stand_in(len(CANARY))
    assert plain == b"a" + replaced + b"b" + replaced


async def sizes(folder: Path, texts: list[bytes]) -> list[int]:
    """The sizes of the chunks in which texts reach the child that are sent as one chunk each."""
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(text), text) for text in texts)

    def say(_: bytes) -> list[bytes]:
        return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked, b"0\r\n\r\n"]

    async with upstream(folder, say) as proxy:
        body = (await received(proxy)).partition(b"\r\n\r\n")[2]
    assert body.endswith(b"0\r\n\r\n")
    return [int(size, 16) for size in body.split(b"\r\n")[0:-2:2]]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_the_sizes_of_what_arrives_do_not_tell_a_right_letter_from_a_wrong_one(
    tmp_path: Path, form: str
) -> None:
    """The child stored its guesses at a server, which gives them back."""
    begun = [form[:n] for n in range(1, len(form)) if form[n - 1].isalnum() and CANARY not in form[:n]]
    right = [text for guess in begun for text in (f"a\n{guess}".encode(), b"\n")]
    wrong = [text for guess in begun for text in (f"a\n{guess[:-1]}-".encode(), b"\n")]
    seen = await sizes(tmp_path, right)
    assert seen == await sizes(tmp_path, wrong)
    # The negative twin: a word that has ended is there at once, and that can be seen.
    ended = [text.replace(b"a\n", b"a ") + b"\n" for text in right]
    assert seen != await sizes(tmp_path, ended)


async def test_a_body_in_an_unknown_coding_is_not_passed_on(tmp_path: Path) -> None:
    body = CANARY.encode()[::-1] * 10
    async with upstream(tmp_path, lambda _: whole(body, "Content-Encoding: compress\r\n")) as proxy:
        data = await received(proxy)
    assert data.startswith(b"HTTP/1.1 502")
    assert b"X-Authsome-Refused: unsearchable" in data
    assert body not in data


async def test_a_body_that_does_not_decode_ends_the_connection(tmp_path: Path) -> None:
    async with upstream(tmp_path, lambda _: whole(CANARY.encode(), "Content-Encoding: gzip\r\n")) as proxy:
        data = await received(proxy)
    assert gives_away(data) == []


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_a_body_keeps_its_headers(tmp_path: Path, status: str) -> None:
    def say(_: bytes) -> list[bytes]:
        return [f"HTTP/1.1 {status}\r\nContent-Encoding: compress\r\nETag: x\r\n\r\n".encode()]

    async with upstream(tmp_path, say) as proxy:
        data = await received(proxy)
    assert status.encode() in data
    assert b"ETag: x" in data


async def test_a_request_without_a_placeholder_gets_no_credential_back_either(tmp_path: Path) -> None:
    """What one request stored at the server, another must not read."""
    async with upstream(tmp_path, lambda _: whole(CANARY.encode())) as proxy:
        await received(proxy)
        connection = await connected(proxy)
        reply = await connection.ask("GET / HTTP/1.1\r\nHost: discord.com\r\n\r\n")
        connection.close()
    assert CANARY.encode() not in reply.body


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
UPGRADE = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"


async def test_a_credential_that_comes_back_after_an_upgrade_ends_the_connection(tmp_path: Path) -> None:
    """What one request stored at the server, an upgrade of another must not bring either."""
    half = len(CANARY) // 2
    pieces = [b"\x82\x05hello", CANARY[:half].encode(), CANARY[half:].encode(), b"never"]

    def say(head: bytes) -> list[bytes]:
        return [SWITCH, *pieces] if b"Upgrade" in head else whole(b"ok")

    async with upstream(tmp_path, say) as proxy:
        await received(proxy)
        data = await received(proxy, UPGRADE, auth="")
    assert b"hello" in data
    assert CANARY.encode() not in data
    assert b"never" not in data


async def test_what_follows_an_upgrade_is_never_compressed(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def say(head: bytes) -> list[bytes]:
        asked.append(head)
        return whole(b"no")

    async with upstream(tmp_path, say) as proxy:
        await received(proxy, f"{UPGRADE}\r\nSec-WebSocket-Extensions: permessage-deflate", auth="")
    assert b"Upgrade: websocket" in asked[0]
    assert b"permessage-deflate" not in asked[0]


async def test_a_credential_is_not_sent_with_an_upgrade(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def say(head: bytes) -> list[bytes]:
        asked.append(head)
        return [SWITCH, b"hello"]

    async with upstream(tmp_path, say, once=True) as proxy:
        refused = await received(proxy, UPGRADE)
        passed = await received(proxy, UPGRADE, auth="")
    assert b"X-Authsome-Refused: method" in refused
    assert b"hello" in passed
    assert len(asked) == 1
    assert CANARY.encode() not in asked[0]


async def test_a_switch_of_protocols_that_nobody_asked_for_ends_the_connection(tmp_path: Path) -> None:
    async with upstream(tmp_path, lambda _: [SWITCH, b"hello", CANARY[:9].encode(), b"more"]) as proxy:
        assert await received(proxy) == b""


async def test_a_whole_answer_is_asked_for_and_no_transfer_coding(tmp_path: Path) -> None:
    """Without a credential too: the answer may show one that the server has kept."""
    asked: list[bytes] = []
    wishes = ("Range: bytes=0-40", 'If-Range: "x"', "TE: gzip")

    def say(head: bytes) -> list[bytes]:
        asked.append(head)
        return whole(b"ok")

    async with upstream(tmp_path, say) as proxy:
        for auth in (AUTH, ""):
            await received(proxy, "\r\n".join(("GET / HTTP/1.1", *wishes)), auth)
    assert [CANARY.encode() in head for head in asked] == [True, False]
    assert not any(wish.encode() in head for wish in wishes for head in asked)


@pytest.mark.parametrize("codings", ["gzip, chunked", "gzip", "deflate", "identity"])
async def test_a_body_in_another_transfer_coding_than_chunked_is_not_passed_on(
    tmp_path: Path, codings: str
) -> None:
    body = gzip.compress(CANARY.encode())
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if "chunked" in codings else body
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {codings}\r\nConnection: close\r\n\r\n".encode()
    async with upstream(tmp_path, lambda _: [head + sent], once=True) as proxy:
        data = await received(proxy)
    assert data.startswith(b"HTTP/1.1 502")
    assert b"X-Authsome-Refused: unsearchable" in data
    assert body not in data


STATUSES = ("099", "99", "0", "-5", "000", "-200", "+200", "2_00", "0200", "20", "600", "999", "1000", "²00")


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "HEAD / HTTP/1.1", "head / HTTP/1.1"])
@pytest.mark.parametrize("status", STATUSES)
async def test_an_answer_of_no_status_that_there_is_is_not_passed_on(
    tmp_path: Path, status: str, request_line: str
) -> None:
    events: list[Event] = []
    said = whole(CANARY.encode(), status=f"{status} x")
    async with upstream(tmp_path, lambda _: said, once=True, events=events) as proxy:
        data = await received(proxy, request_line)
    assert gives_away(data) == []
    assert data.startswith(b"HTTP/1.1 502")
    assert [(event.decision, event.status) for event in events] == [("inject", None)]


@pytest.mark.parametrize(
    "line",
    ["HTTP/2.0 200 OK", "HTTP/0.9 200 OK", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 200\x0bOK"],
)
async def test_an_answer_whose_first_line_can_be_read_in_two_ways_is_not_passed_on(
    tmp_path: Path, line: str
) -> None:
    said = f"{line}\r\nContent-Length: {len(CANARY)}\r\n\r\n{CANARY}".encode()
    async with upstream(tmp_path, lambda _: [said], once=True) as proxy:
        data = await received(proxy)
    assert gives_away(data) == []
    assert data.startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize(
    "line", ["HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 599 \xe9t\xe9"]
)
async def test_an_answer_with_any_words_after_its_status_is_passed_on(tmp_path: Path, line: str) -> None:
    said = f"{line}\r\nContent-Length: 2\r\n\r\nok".encode("latin-1")
    async with upstream(tmp_path, lambda _: [said]) as proxy:
        data = await received(proxy)
    assert data.startswith(line.encode("latin-1"))
    assert data.endswith(b"\r\n\r\nok")


BODILESS = [("GET", status) for status in ("100", "102", "103", "199", "204", "304")] + [
    ("HEAD", status) for status in ("200", "205", "401", "500")
]


@pytest.mark.parametrize("framing", ["Content-Length: {length}", "Transfer-Encoding: chunked", "X: none"])
@pytest.mark.parametrize(("method", "status"), BODILESS)
async def test_a_body_that_an_answer_cannot_have_does_not_come_down(
    tmp_path: Path, method: str, status: str, framing: str
) -> None:
    head = f"HTTP/1.1 {status} x\r\n{framing.format(length=len(CANARY))}\r\n\r\n"
    chunked = f"{len(CANARY):x}\r\n{CANARY}\r\n0\r\n\r\n" if "chunked" in framing else CANARY
    async with upstream(tmp_path, lambda _: [head.encode(), chunked.encode()], once=True) as proxy:
        data = await received(proxy, f"{method} / HTTP/1.1")
    assert gives_away(data) == []
    # Nor anything that the next answer's head would be taken for.
    assert data.startswith(b"HTTP/1.1 502") or data.endswith(b"\r\n\r\n")
    assert data.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("status", ["200", "205", "301", "401", "403", "500", "599"])
async def test_every_body_that_is_sent_on_is_searched(tmp_path: Path, status: str) -> None:
    async with upstream(tmp_path, lambda _: whole(CANARY.encode(), status=f"{status} x")) as proxy:
        data = await received(proxy)
    assert data.startswith(f"HTTP/1.1 {status}".encode())
    assert STAND_IN[:5] in data.partition(b"\r\n\r\n")[2]
    assert gives_away(data) == []


BROKEN = {
    "status": f"HTTP/1.1 {CANARY} x\r\n\r\n",
    "version": f"{CANARY} 200 OK\r\n\r\n",
    "length": f"HTTP/1.1 200 OK\r\nContent-Length: {CANARY}\r\n\r\n",
    "transfer coding": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {CANARY}\r\n\r\n",
    "name": f"HTTP/1.1 200 OK\r\n{CANARY} : x\r\nContent-Length: 0\r\n\r\n",
    "line": f"HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n",
    "no line": CANARY,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_not_http_is_not_quoted(tmp_path: Path, broken: str) -> None:
    async with upstream(tmp_path, lambda _: [broken.encode()], once=True) as proxy:
        data = await received(proxy)
    assert gives_away(data) == []
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502")
    assert b"X-Authsome-Refused: upstream-unreachable" in head
    assert json.loads(body)["message"] == "there was no answer, or one that is not valid HTTP/1.1"


async def test_a_request_that_is_not_http_is_not_quoted_and_told_so(tmp_path: Path) -> None:
    async with upstream(tmp_path, lambda _: whole(b"ok")) as proxy:
        data = await received(proxy, "GET / HTTP/1.1\r\nContent-Length: mine")
    assert data.startswith(b"HTTP/1.1 400")
    assert b"X-Authsome-Refused: malformed-header" in data
    assert b"mine" not in data


async def test_a_credential_that_another_run_has_used_is_not_shown(tmp_path: Path) -> None:
    """The server kept it then; this run has not used it yet."""
    source = Source()
    async with upstream(tmp_path, lambda _: whole(CANARY.encode()), source=source) as proxy:
        assert gives_away(await received(proxy, auth="")) != []  # stored nowhere: not known
        source.known = (SecretStr(CANARY),)
        assert gives_away(await received(proxy, auth="")) == []


OTHER = "credential-of-another-run-0001"


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "401 Unauthorized without a length"])
@pytest.mark.parametrize("body", ["", "Content-Length: 2\r\n\r\nhi"], ids=["repeatable", "not"])
async def test_what_another_run_refreshed_during_the_request_is_not_shown(
    tmp_path: Path, status: str, body: str
) -> None:
    source, asked = Source(), 0

    def say(_: bytes) -> list[bytes]:
        nonlocal asked
        asked += 1
        source.known = (SecretStr(OTHER),)
        text = f"x {OTHER} {CANARY} x".encode()
        if "without" in status:
            head = f"HTTP/1.1 {status}\r\nX-Token: {OTHER}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            return [head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)]
        return whole(text, f"X-Token: {OTHER}\r\n", status)

    async with upstream(tmp_path, say, source=source) as proxy:
        data = await received(proxy, "POST / HTTP/1.1", AUTH + body)
    assert asked == 1
    assert STAND_IN in data
    assert OTHER.encode() not in data
    assert gives_away(data) == []


async def test_what_another_run_refreshes_during_an_answer_is_not_shown(tmp_path: Path) -> None:
    source = Source()

    class Later(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            yield b"5\r\nwait\n\r\n"
            source.known = (SecretStr(OTHER),)
            yield b"%x\r\n%b\r\n" % (len(OTHER), OTHER.encode())
            yield b"0\r\n\r\n"

    async with upstream(tmp_path, lambda _: Later(), source=source) as proxy:
        data = await received(proxy)
    assert b"wait" in data
    assert STAND_IN in data
    assert OTHER.encode() not in data


async def test_what_another_run_refreshes_after_an_upgrade_ends_the_connection(tmp_path: Path) -> None:
    source = Source()

    class Later(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            yield SWITCH
            yield b"\x82\x05hello"
            yield OTHER[:9].encode()
            source.known = (SecretStr(OTHER),)
            yield OTHER[9:].encode()
            yield b"never"

    async with upstream(tmp_path, lambda _: Later(), source=source) as proxy:
        data = await received(proxy, UPGRADE, auth="")
    assert b"hello" in data
    assert OTHER[9:].encode() not in data
    assert b"never" not in data


async def test_of_any_number_of_connections_the_credential_of_the_request_is_looked_for(
    tmp_path: Path,
) -> None:
    others = tuple(SecretStr(f"credential-of-another-{number:04}") for number in range(100))
    for known in ((*others, SecretStr(CANARY)), (SecretStr(CANARY), *others), others):
        source = Source(known=known)
        text = f"x {CANARY} {others[0].get_secret_value()} {others[-1].get_secret_value()}".encode()
        async with upstream(tmp_path, lambda _, text=text: whole(text), source=source) as proxy:  # type: ignore[misc]
            data = await received(proxy)
        assert STAND_IN in data
        assert gives_away(data) == []
        assert b"credential-of-another" not in data


@pytest.mark.parametrize("body", ["", "Content-Length: 2\r\n\r\nhi"], ids=["repeatable", "not"])
async def test_a_401_in_an_unknown_coding_is_not_passed_on(tmp_path: Path, body: str) -> None:
    events: list[Event] = []
    answer = whole(CANARY.encode(), "Content-Encoding: compress\r\n", "401 Unauthorized")
    async with upstream(tmp_path, lambda _: answer, events=events) as proxy:
        data = await received(proxy, "POST / HTTP/1.1", AUTH + body)
    assert data.startswith(b"HTTP/1.1 502")
    assert b"unsearchable" in data
    assert gives_away(data) == []
    assert [(event.decision, event.status) for event in events] == [("inject", 502)]


async def test_an_answer_that_breaks_off_is_recorded_once(tmp_path: Path) -> None:
    events: list[Event] = []
    cut = [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel"]
    async with upstream(tmp_path, lambda _: cut, once=True, events=events) as proxy:
        assert b"hel" not in (await received(proxy)).partition(b"\r\n\r\n")[0]
    assert [(event.decision, event.status) for event in events] == [("inject", 200)]


async def test_what_comes_after_a_body_is_not_passed_on(tmp_path: Path) -> None:
    """Trailers are headers that nobody has searched."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Token: %b\r\n\r\n"
    async with upstream(tmp_path, lambda _: [answer % CANARY.encode()]) as proxy:
        data = await received(proxy)
    assert data.endswith(b"2\r\nok\r\n0\r\n\r\n")
    assert gives_away(data) == []


async def test_without_scrubbing_the_same_server_gives_the_credential_away(tmp_path: Path) -> None:
    """The negative twin: what the tests above look for is really sent."""
    body = CANARY.encode()
    said: list[bytes] = []

    def say(_: bytes) -> list[bytes]:
        said.extend(whole(body))
        return whole(body)

    async with upstream(tmp_path, say) as proxy:
        await received(proxy)
    assert "as it is" in gives_away(b"".join(said))


def values_of(*texts: str) -> tuple[SecretStr, ...]:
    return tuple(map(SecretStr, texts))


def test_of_those_that_are_stored_no_longer_only_the_newest_are_remembered() -> None:
    cleanser = Cleanser(lambda: ())
    for number in range(MAX_PAST + 5):
        cleanser.remember(f"credential-{number:04}")
    cleanser.remember("short")
    assert not cleanser.search().exposes(b"credential-0000")
    assert cleanser.search().exposes(f"credential-{MAX_PAST + 4:04}".encode())
    assert not cleanser.search().exposes(b"short")


def test_of_those_that_are_stored_any_number_is_looked_for() -> None:
    stored = values_of(*(f"credential-{number:04}" for number in range(4 * MAX_PAST)))
    cleanser = Cleanser(lambda: stored)
    for value in stored:
        cleanser.remember(value.get_secret_value())
    assert all(cleanser.search().exposes(value.get_secret_value().encode()) for value in stored)


def test_the_credential_of_an_answer_is_looked_for_until_it_has_ended() -> None:
    cleanser = Cleanser(lambda: ())
    _, answer = cleanser.body((), own=CANARY)
    assert answer(b"begun\n") == [b"begun\n"]
    for number in range(2 * MAX_PAST):
        cleanser.remember(f"credential-{number:04}")
    assert not cleanser.search().exposes(CANARY.encode()), "the negative twin"
    assert CANARY.encode() not in b"".join([*answer(CANARY.encode()), *answer(b"")])


def test_what_was_stored_before_is_looked_for_as_well_as_what_is_now() -> None:
    stored = values_of("credential-before")
    cleanser = Cleanser(lambda: stored)
    _, answer = cleanser.body(())
    assert not any(b"credential" in piece for piece in answer(b"credential-before\n"))
    stored = values_of("credential-now")
    assert answer(b"credential-then\n") == [b"credential-then\n"]
    assert not any(b"credential" in piece for piece in answer(b"credential-now credential-before\n"))


def test_what_becomes_known_while_a_word_is_held_back_is_not_passed_on() -> None:
    stored = values_of("credential-before")
    cleanser = Cleanser(lambda: stored)
    _, answer = cleanser.body(())
    assert answer(b"credential-now") == []
    stored = values_of("credential-now")
    assert b"credential" not in b"".join(answer(b""))


def test_an_unknown_coding_is_not_passed_on_before_any_credential_is_known_either() -> None:
    with pytest.raises(Unsearchable):
        Cleanser(lambda: ()).body(((b"Content-Encoding", b"compress"),))
