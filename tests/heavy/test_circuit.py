"""What a child with a dead credential costs the provider."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.heavy.home import make_home
from tests.heavy.live import get, live
from tests.oauth.process import KEY
from tests.standin import StandIn


@pytest.mark.parametrize("requests", [100, pytest.param(10_000, marks=pytest.mark.heavy)])
async def test_any_number_of_requests_with_a_revoked_token_costs_the_provider_less_than_five(
    tmp_path: Path, requests: int
) -> None:
    home = tmp_path / "home"
    with StandIn() as standin:
        make_home(home, standin)
        async with live(home, standin, [KEY]) as run:
            client = await run.client("discord.com")
            assert (await get(client, "discord.com")).status == 200
            granted = standin.discord.issued[-1]
            standin.discord.revoke(granted.user, granted.app)
            standin.forget()
            statuses = Counter[int]()
            for _ in range(requests):
                reply = await get(client, "discord.com")
                statuses[reply.status] += 1
            (circuit,) = run.keeper.circuits()
            client.close()
        cost = [f"{seen.method} {seen.target}" for seen in standin.seen]
    print(f"\n{requests} requests, answered {dict(statuses)}: cost the provider {len(cost)}: {cost}")
    print(f"{circuit.key}: {circuit.reason}; {circuit.answered} requests answered locally")
    assert statuses == {401: 1, 403: requests - 1}
    assert reply.refused == "login-needed"
    answered = json.loads(reply.body)
    assert (answered["message"], answered["code"]) == ("401: Unauthorized", 0)
    assert answered["fix"] == "<login default/discord/default>"
    assert len(cost) < 5
    assert circuit.open
    assert circuit.answered >= requests - len(cost)
