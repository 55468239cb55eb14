"""Where the secrets of a connection may go, and whether that is more than the user agreed to. Pure.

A login agrees to the definition of its provider as it is then. A definition that changes later must not
carry the credential to more places by itself: whoever can write the file could take the token so.
"""

from __future__ import annotations

from typing import assert_never
from urllib.parse import SplitResult, urlsplit

from oauth.provider import DEFAULT_HTTPS_PORT, Auth, OAuth2, Provider, StaticKey
from vault.model import Reach, ReachedSlot


def reach_of(provider: Provider) -> Reach:
    """Everything in a definition that says where a token, a key or the client's secret is sent."""
    injection = provider.proxy
    return Reach(
        slots=tuple(
            ReachedSlot(host=host, header=injection.header, scheme=injection.scheme)
            for host in injection.hosts
        ),
        endpoints=tuple(dict.fromkeys(filter(None, _endpoints(provider.auth)))),
        never_paths=tuple(
            dict.fromkeys(path for host in injection.hosts for path in never_paths(provider, host))
        ),
        allow=injection.allow,
    )


def never_paths(provider: Provider, host: str) -> tuple[str, ...]:
    """The paths at one of a provider's hosts that get nothing: those that the definition names, and where
    tokens are made and revoked, as a child has no business there with the user's credential.
    """
    auth = provider.auth
    urls = _token_endpoints(auth)
    barred = [part.path or "/" for part in (urlsplit(url) for url in urls if url) if _host(part) == host]
    return tuple(dict.fromkeys([*provider.proxy.never_paths, *barred]))


def _host(url: SplitResult) -> str:
    """As a definition writes it."""
    port = url.port or DEFAULT_HTTPS_PORT
    return f"{url.hostname}" if port == DEFAULT_HTTPS_PORT else f"{url.hostname}:{port}"


def _token_endpoints(auth: Auth) -> tuple[str | None, ...]:
    match auth:
        case OAuth2():
            return auth.token_url, auth.revocation_url
        case StaticKey():
            return ()
        case never:
            assert_never(never)


def _endpoints(auth: Auth) -> tuple[str | None, ...]:
    match auth:
        case OAuth2():
            return auth.token_url, auth.revocation_url, auth.userinfo_url, auth.check_url
        case StaticKey():
            return (auth.check_url,)
        case never:
            assert_never(never)


def _said(slot: ReachedSlot) -> str:
    return f"{slot.host} in '{': '.join(filter(None, (slot.header, slot.scheme)))}'"


def widened(agreed: Reach, wanted: Reach) -> list[str]:
    """What `wanted` sends that was not agreed to, a phrase each; empty where it is no wider."""
    if agreed == wanted:
        return []
    ways = [f"the token to {_said(slot)}" for slot in wanted.slots if slot not in agreed.slots]
    ways += [f"secrets to {url}" for url in wanted.endpoints if url not in agreed.endpoints]
    ways += [f"the token to the path {path}" for path in agreed.never_paths if path not in wanted.never_paths]
    if agreed.allow and not wanted.allow:
        ways.append("the token in requests of every method and path")
    elif agreed.allow:
        more = [permit for permit in wanted.allow if permit not in agreed.allow]
        ways += [f"the token in requests of {permit}" for permit in more]
    return ways
