"""The utility routes, which exist on every tenant."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from tests.standin import HOSTS, StandIn, client_of


@pytest.mark.parametrize("host", [HOSTS[0], HOSTS[1]])
def test_echo_tells_the_request_as_it_arrived(standin: StandIn, host: str) -> None:
    with client_of(standin) as client:
        url = f"https://{host}/standin/echo?a=1"
        echo = client.put(url, headers={"X-One": "1"}, content=b"body").json()
    assert (echo["method"], echo["target"], echo["body"]) == ("PUT", "/standin/echo?a=1", "body")
    assert ["X-One", "1"] in echo["headers"]


def test_events_arrive_one_by_one(standin: StandIn) -> None:
    arrivals: list[float] = []
    lines: list[str] = []
    url = "https://discord.com/standin/events?n=3&interval=0.1"
    with client_of(standin) as client, client.stream("GET", url) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line.startswith("data:"):
                arrivals.append(time.monotonic())
                lines.append(line)
    assert lines == ["data: event 0", "data: event 1", "data: event 2"]
    assert all(later - earlier > 0.05 for earlier, later in pairwise(arrivals))


@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_001])
def test_download_has_exactly_the_size_that_was_asked_for(standin: StandIn, size: int) -> None:
    with client_of(standin) as client:
        answer = client.get(f"https://discord.com/standin/download?bytes={size}")
    assert answer.headers["content-length"] == str(size)
    assert len(answer.content) == size


def test_upload_counts_chunked_bodies_too(standin: StandIn) -> None:
    with client_of(standin) as client:
        answer = client.post("https://discord.com/standin/upload", content=iter([b"abc"] * 1000))
    assert answer.json() == {"received": 3000}


@pytest.mark.parametrize("status", [200, 204, 304, 404, 418, 500, 503])
def test_status_answers_with_that_status(standin: StandIn, status: int) -> None:
    with client_of(standin) as client:
        assert client.get(f"https://discord.com/standin/status/{status}").status_code == status
        assert client.get("https://discord.com/standin/echo").status_code == 200
    assert standin.connections == 1


def test_alt_svc_offers_another_way_in(standin: StandIn) -> None:
    with client_of(standin) as client:
        assert "h3=" in client.get("https://discord.com/standin/alt-svc").headers["alt-svc"]
        assert "alt-svc" not in client.get("https://discord.com/standin/echo").headers


def test_slow_takes_its_time(standin: StandIn) -> None:
    with client_of(standin) as client:
        start = time.monotonic()
        client.get("https://discord.com/standin/slow?seconds=0.1")
    assert time.monotonic() - start >= 0.1


def test_an_unknown_utility_is_not_found(standin: StandIn) -> None:
    with client_of(standin) as client:
        assert client.get("https://discord.com/standin/nothing").status_code == 404
