import re

import pytest

from launcher.run.formats import FORMATS, is_secret

LONG = "0123456789abcdefABCDEF" * 4


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "TWINE_PASSWORD",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "NPM_TOKEN",
        "my_app_secret",
        "TOKEN",
        "GH_PAT",
    ],
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret(name, "x" * 8)
    assert not is_secret(name, "x" * 7)


# Put together here, so that nobody who searches these files for secrets takes them for some.
VALUES = [
    "gh" + f"s_{LONG[:36]}",
    "github" + f"_pat_{LONG[:22]}_{LONG[:59]}",
    "gl" + f"pat-{LONG[:20]}",
    "AK" + "IA" + "A2B3C4D5E6F7A2B3",
    "xo" + f"xb-{LONG[:24]}",
    "xa" + f"pp-1-{LONG[:24]}",
    "https://hooks.slack.com/" + "services/T0/B0/x",
    "https://discord.com/api/" + f"webhooks/123/{LONG[:68]}",
    "MTEwMDAwMDAwMDAwMDAwMDAwMA" + f".GaBcDe.{LONG[:38]}",
    "sk" + f"-proj-{LONG}",
    "sk" + f"-ant-api03-{LONG}",
    "sk" + f"_live_{LONG[:24]}",
    "npm" + f"_{LONG[:36]}",
    "hf" + f"_{LONG[:34]}",
    "AI" + f"za{LONG[:35]}",
    "-----BEGIN RSA PRIVATE" + " KEY-----\nMII",
    "ey" + f"J{LONG[:20]}.eyJ{LONG[:20]}.{LONG[:20]}",
    "postgres://user:" + "password@db.example/app",
    "Bearer " + LONG[:24],
    "prefix gh" + f"o_{LONG[:36]}",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_secret_is_known_by_its_format(value: str) -> None:
    assert is_secret("PLAIN", value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/usr/local/bin:/usr/bin"),
        ("MAX_TOKENS", "1000000000"),
        ("TOKENIZERS_PARALLELISM", "false-and-more"),
        ("AWS_REGION", "eu-central-1"),
        ("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567"),
        ("URL", "https://user@host.example:8080/path"),
        ("NODE_OPTIONS", "--max-old-space-size=4096"),
        ("LS_COLORS", "rs=0:di=01;34:ln=01;36"),
        ("SSH_AUTH_SOCK", "/run/user/1000/keyring/ssh"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus"),
        ("TASK", "risk-management-and-more-of-it"),
        ("SECRET_SANTA", "tuesday evening"),
        ("DISCORD_PUBLIC_KEY", "0123456789abcdef" * 4),
    ],
)
def test_what_is_no_secret_is_not_taken_for_one(name: str, value: str) -> None:
    assert not is_secret(name, value)


def test_every_format_has_a_source_and_a_mark_that_its_pattern_demands() -> None:
    for known in FORMATS:
        assert known.source
        assert known.marks
        re.compile(known.pattern)
    for value in VALUES:
        matching = [known for known in FORMATS if re.search(known.pattern, value)]
        assert matching
        assert all(any(mark in value for mark in known.marks) for known in matching)
