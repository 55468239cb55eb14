"""How much of the audit one run may fill."""

from __future__ import annotations

from launcher.run.audit_share import MAX_SUMS, SUM_PAUSE, Entry, Limit, Share
from proxy.model import Event

USED = Event("GET", "discord.com", "/a", "inject", "discord/default", None, 200)
REFUSED = Event("GET", "discord.com", "/a", "refuse", None, "not-permitted", 403)
SUM = Event("GET", "discord.com", "", "refuse", None, "not-permitted")


def share() -> Share:
    return Share(injected=Limit(5, 10.0), other=Limit(3, 60.0))


def written(share: Share, event: Event, times: int, now: float = 0.0) -> list[Entry]:
    return [entry for _ in range(times) for entry in share.take(event, now)]


def test_a_run_writes_its_share_in_full() -> None:
    assert written(share(), REFUSED, 3) == [Entry(REFUSED)] * 3


def test_what_comes_beyond_is_summed_now_and_then_and_nothing_is_forgotten() -> None:
    one = share()
    entries = written(one, REFUSED, 100_003)
    assert entries[3:] == [Entry(SUM, 100), Entry(SUM, 1000), Entry(SUM, 10_000)]
    assert one.rest(0.0) == [Entry(SUM, 100_000 - 11_100)]
    assert one.rest(0.0) == []


def test_one_kind_of_decision_takes_nothing_of_the_share_of_another() -> None:
    one = share()
    written(one, REFUSED, 1000)
    assert written(one, USED, 5) == [Entry(USED)] * 5
    tunnel = Event("CONNECT", "example.org", "", "tunnel")
    assert written(one, tunnel, 3) == [Entry(tunnel)] * 3


def test_the_share_is_given_back_with_time_and_never_grows() -> None:
    one = share()
    written(one, REFUSED, 50)
    assert written(one, REFUSED, 1, 59.0) == []
    assert written(one, REFUSED, 2, 61.0) == [Entry(REFUSED)]
    assert len([e for e in written(one, REFUSED, 50, 1e9) if e.count == 1]) == 3
    assert written(one, REFUSED, 1, 0.0) == [], "a clock that was set back gives nothing"


def test_a_sum_is_told_after_an_hour_however_few_it_has() -> None:
    one = Share(other=Limit(1, 1e9))
    written(one, REFUSED, 8)
    assert one.take(REFUSED, SUM_PAUSE) == [Entry(SUM, 8)]


def test_reasons_connections_and_methods_have_sums_of_their_own() -> None:
    one = Share(injected=Limit(0, 1e9))
    for method in ("GET", "GET", "DELETE"):
        one.take(Event(method, "discord.com", "/a", "inject", "discord/default", None, 200), 0.0)
    told = {(entry.event.method, entry.event.path): entry.count for entry in one.rest(0.0)}
    assert told == {("GET", ""): 2, ("DELETE", ""): 1}


def test_the_number_of_sums_is_bounded_whatever_hosts_a_program_thinks_of() -> None:
    one = Share(other=Limit(0, 1e9))
    for number in range(5000):
        one.take(Event("CONNECT", f"h{number}.example", "", "tunnel"), 0.0)
    rest = one.rest(0.0)
    assert len(rest) == MAX_SUMS + 1
    assert rest[-1].event == Event("", "", "", "tunnel")
