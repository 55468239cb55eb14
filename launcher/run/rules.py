"""The proxy's rules for the connections of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.errors import UsageProblem
from oauth.provider import DEFAULT_HTTPS_PORT, Provider
from oauth.reach import never_paths
from proxy.model import Origin, Rule, Slot
from proxy.permits import Permit, parse_permit
from vault.model import ConnectionKey


def rules_for(
    keys: Sequence[ConnectionKey],
    providers: Mapping[str, Provider],
    limits: Sequence[tuple[Permit, ...]] = (),
) -> tuple[Rule, ...]:
    """One rule for each host of each connection; `limits` narrow what each provider's own file permits.

    Raises: UsageProblem where two connections would fill the same slot at the same host, because
    nothing in a request says which of the two is meant.
    """
    rules: dict[tuple[Origin, str], Rule] = {}
    for key in keys:
        for rule in _rules(key, providers[key.provider], limits):
            place = (rule.origin, rule.slot.header.lower())
            if place in rules:
                raise UsageProblem(
                    f"{rules[place].connection} and {rule.connection} both go to {rule.origin}",
                    "choose one of them with <set connection>, or start two runs",
                )
            rules[place] = rule
    return tuple(rules.values())


def _rules(key: ConnectionKey, provider: Provider, limits: Sequence[tuple[Permit, ...]]) -> list[Rule]:
    slot = Slot(provider.proxy.header, provider.proxy.scheme)
    own = permits(provider.proxy.allow, f"the definition of {provider.name}")
    return [
        Rule(
            connection=str(key),
            origin=_origin(host),
            slot=slot,
            never_paths=never_paths(provider, host),
            permits=tuple(group for group in (own, *limits) if group),
        )
        for host in provider.proxy.hosts
    ]


def permits(texts: Sequence[str], source: str) -> tuple[Permit, ...]:
    """Parse limits; `source` is where they were written. Raises: UsageProblem."""
    parsed = []
    for text in texts:
        try:
            parsed.append(parse_permit(text))
        except ValueError as error:
            raise UsageProblem(
                f"{source}: {text!r} {error}", "for example 'GET /api/*/users/@me', or 'GET,POST /api/**'"
            ) from None
    return tuple(parsed)


def _origin(host: str) -> Origin:
    name, _, port = host.partition(":")
    return Origin(name, int(port) if port else DEFAULT_HTTPS_PORT)
