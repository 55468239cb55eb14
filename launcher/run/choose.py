"""Which connections a run offers to its child. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from launcher.errors import LoginNeeded, UnknownConnection, UsageProblem, not_connected
from vault.model import DEFAULT_NAME, NAME, ConnectionKey


def choose(
    available: Iterable[ConnectionKey], profile: str, providers: Sequence[str], connections: Sequence[str]
) -> list[ConnectionKey]:
    """The connections that `--provider P` and `--connection [P/]NAME` name, or every `default`.

    A NAME without a provider is meant for each `--provider`, or else for every provider that has it.

    Raises: LoginNeeded, UnknownConnection, UsageProblem.
    """
    present = sorted(available)
    if not providers and not connections:
        chosen = [key for key in present if key.name == DEFAULT_NAME]
        if not chosen:
            raise LoginNeeded("there is no connection to offer", _advice(present))
        return chosen
    exact, names = _parsed(profile, connections)
    # A provider that is named together with one of its connections adds no `default` of its own.
    open_providers = [name for name in providers if name not in {key.provider for key in exact}]
    if providers:
        exact += [
            ConnectionKey(profile, provider, name)
            for provider in open_providers
            for name in names or [DEFAULT_NAME]
        ]
    else:
        exact += _everywhere(present, names)
    for key in exact:
        if key not in present:
            raise not_connected(key)
    return list(dict.fromkeys(exact))


def named_providers(providers: Sequence[str], connections: Sequence[str]) -> list[str]:
    """Every provider that the options name; a word that is no name is left to `choose`."""
    pairs = filter(None, map(_pair, connections))
    return list(dict.fromkeys([*providers, *(provider for provider, _ in pairs if provider)]))


def _pair(text: str) -> tuple[str, str] | None:
    """Provider, empty where there is none, and name of NAME or PROVIDER/NAME; None where it is neither."""
    provider, slash, name = text.rpartition("/")
    if not NAME.fullmatch(name) or (slash and not NAME.fullmatch(provider)):
        return None
    return provider, name


def _parsed(profile: str, connections: Sequence[str]) -> tuple[list[ConnectionKey], list[str]]:
    exact: list[ConnectionKey] = []
    names: list[str] = []
    for text in connections:
        pair = _pair(text)
        if pair is None:
            raise UsageProblem(
                f"<set connection> {text!r} is not NAME or PROVIDER/NAME", "for example discord/work"
            )
        provider, name = pair
        if provider:
            exact.append(ConnectionKey(profile, provider, name))
        else:
            names.append(name)
    return exact, names


def _everywhere(present: Sequence[ConnectionKey], names: Sequence[str]) -> list[ConnectionKey]:
    found = [key for name in names for key in present if key.name == name]
    for name in names:
        if name not in {key.name for key in found}:
            raise UnknownConnection(f"no provider has a connection {name!r}", "see <list>")
    return found


def _advice(present: Sequence[ConnectionKey]) -> str:
    if present:
        return f"name one, for example <set connection> {present[0]}"
    return "run <login discord>, or see <list> for other providers"
