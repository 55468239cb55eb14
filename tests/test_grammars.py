"""What a provider file may say is what the proxy understands, though neither package knows the other."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from oauth.provider import DEFAULT_HTTPS_PORT, HostName, PermitText
from proxy.hosts import MAX_HOST, canonical_host, parse_authority
from proxy.permits import parse_permit

HOSTS = TypeAdapter[str](HostName)
PERMITS = TypeAdapter[str](PermitText)

LABELS = st.from_regex(r"[a-z0-9_.-]{1,12}|[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


def takes(grammar: TypeAdapter[str], text: str) -> bool:
    try:
        grammar.validate_python(text)
    except ValidationError:
        return False
    return True


@given(st.lists(LABELS, min_size=1, max_size=4).map(".".join), st.none() | st.integers(0, 70000))
def test_a_host_of_a_provider_file_is_spelt_as_hosts_are_compared(host: str, port: int | None) -> None:
    text = host if port is None else f"{host}:{port}"
    assume(takes(HOSTS, text))
    assume(not host.rpartition(".")[2].startswith("0x"))  # matches no target: some parsers read an address
    assert canonical_host(host) == host
    assert len(host) <= MAX_HOST
    origin = parse_authority(text, DEFAULT_HTTPS_PORT)
    assert origin is not None
    assert str(origin) == text


@given(st.from_regex(r"(\*|[A-Za-z,]{0,8}) ?/?[!-~ ]{0,20}", fullmatch=True))
def test_a_permit_that_the_proxy_understands_may_stand_in_a_provider_file(text: str) -> None:
    try:
        parse_permit(text)
    except ValueError:
        return
    assert takes(PERMITS, text)
