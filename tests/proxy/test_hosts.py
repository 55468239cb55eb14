import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.hosts import canonical_host, parse_authority
from proxy.model import Origin


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("discord.com", "discord.com"),
        ("Discord.COM", "discord.com"),
        ("discord.com.", "discord.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("localhost", "localhost"),
    ],
)
def test_a_host_has_one_spelling(text: str, host: str) -> None:
    assert canonical_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "discord.com..",
        "discord..com",
        "discord.com\x00.evil.example",
        "discord.com/",
        "discord.com evil.example",
        "user@discord.com",
        "discord.com%2eevil.example",
        "d\N{LATIN SMALL LETTER DOTLESS I}scord.com",
        "discord\N{FULLWIDTH FULL STOP}com",
        "disc\N{KELVIN SIGN}ord.com",
        "0x7f.0.0.1",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "::1",
        "[::1",
        "[127.0.0.1]",
        "[fe80::1%eth0]",
        "-discord.com",
        "a" * 64 + ".com",
        ".".join(["a" * 60] * 5),
    ],
)
def test_what_parsers_could_read_differently_is_no_host(text: str) -> None:
    assert canonical_host(text) is None


@pytest.mark.parametrize(
    ("text", "default", "origin"),
    [
        ("discord.com:443", None, Origin("discord.com", 443)),
        ("discord.com", 443, Origin("discord.com", 443)),
        ("DISCORD.com.:8443", 443, Origin("discord.com", 8443)),
        ("[::1]:80", None, Origin("::1", 80)),
        ("[::1]", 443, Origin("::1", 443)),
    ],
)
def test_an_authority_is_a_host_and_a_port(text: str, default: int | None, origin: Origin) -> None:
    assert parse_authority(text, default) == origin


@pytest.mark.parametrize(
    "text",
    [
        "discord.com",
        "discord.com:",
        "discord.com:0",
        "discord.com:65536",
        "discord.com:+443",
        "discord.com: 443",
        "discord.com:\N{FULLWIDTH DIGIT FOUR}43",
        "discord.com:443:443",
        "user@discord.com:443",
        "user:443@discord.com",
        ":443",
        "",
        "[::1]443",
        "::1:443",
    ],
)
def test_anything_else_is_no_authority(text: str) -> None:
    assert parse_authority(text) is None


@given(st.text())
def test_no_text_makes_the_parser_raise(text: str) -> None:
    host = canonical_host(text)
    assert host is None or canonical_host(f"[{host}]" if ":" in host else host) == host
    parse_authority(text, 443)


@given(st.from_regex(r"[a-z0-9.:@\[\]%/-]{0,12}discord\.com[a-z0-9.:@\[\]%/-]{0,12}", fullmatch=True))
def test_only_the_name_itself_is_discord(text: str) -> None:
    origin = parse_authority(text, 443)
    if origin is not None and origin.host == "discord.com":
        assert text.removesuffix(f":{origin.port}").removesuffix(".") == "discord.com"
