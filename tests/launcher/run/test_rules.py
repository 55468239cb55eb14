import json
from typing import Any

import pytest

from launcher.errors import UsageProblem
from launcher.run.rules import permits, rules_for
from oauth.provider import Provider, parse_provider
from proxy.model import Origin, Slot
from proxy.permits import READ_ONLY
from vault.model import ConnectionKey


def provider(name: str, hosts: list[str], header: str = "Authorization", **auth: object) -> Provider:
    oauth: dict[str, Any] = {
        "type": "oauth2",
        "flow": "pkce",
        "pkce": True,
        "authorization_url": "https://acme.example/authorize",
        "token_url": "https://api.acme.example:8443/token",
        "revocation_url": "https://acme.example/revoke",
        "client_auth": "none",
        "scopes": ["read"],
        **auth,
    }
    proxy = {"hosts": hosts, "header": header, "scheme": "Bearer", "never_paths": ["/admin"]}
    text = {
        "schema": 1,
        "name": name,
        "display_name": name,
        "auth": oauth,
        "proxy": proxy,
        "env": {"access_token": f"{name.upper()}_TOKEN"},
    }
    return parse_provider(json.dumps(text).encode(), name)


def key(provider: str, name: str = "default", profile: str = "default") -> ConnectionKey:
    return ConnectionKey(profile, provider, name)


def test_there_is_a_rule_for_each_host_with_its_slot() -> None:
    providers = {"acme": provider("acme", ["acme.example", "api.acme.example:8443"])}
    rules = rules_for([key("acme", "work")], providers)
    assert [rule.origin for rule in rules] == [Origin("acme.example", 443), Origin("api.acme.example", 8443)]
    assert {rule.connection for rule in rules} == {"acme/work"}
    assert {rule.slot for rule in rules} == {Slot("Authorization", "Bearer")}


def test_token_and_revocation_endpoints_are_barred_at_the_host_they_are_on() -> None:
    providers = {"acme": provider("acme", ["acme.example", "api.acme.example:8443"])}
    first, second = rules_for([key("acme")], providers)
    assert first.never_paths == ("/admin", "/revoke")
    assert second.never_paths == ("/admin", "/token")


def test_two_connections_for_one_slot_of_one_host_are_refused_by_name() -> None:
    providers = {"acme": provider("acme", ["acme.example"])}
    with pytest.raises(UsageProblem, match=r"acme/default and acme/work both go to acme\.example"):
        rules_for([key("acme"), key("acme", "work")], providers)


def test_a_header_in_another_case_is_the_same_slot() -> None:
    providers = {"a": provider("a", ["x.example"]), "b": provider("b", ["x.example"], header="authorization")}
    with pytest.raises(UsageProblem):
        rules_for([key("a"), key("b")], providers)


def test_another_header_or_another_port_is_another_place() -> None:
    providers = {
        "a": provider("a", ["x.example"]),
        "b": provider("b", ["x.example"], header="X-Api-Key"),
        "c": provider("c", ["x.example:8443"]),
    }
    assert len(rules_for([key("a"), key("b"), key("c")], providers)) == 3


def test_the_limits_of_a_run_narrow_those_of_the_provider() -> None:
    open_to_all = rules_for([key("acme")], {"acme": provider("acme", ["acme.example"])}, [(), (READ_ONLY,)])
    assert open_to_all[0].permits == ((READ_ONLY,),)
    own = provider("acme", ["acme.example"])
    limited = own.model_copy(update={"proxy": own.proxy.model_copy(update={"allow": ("GET /a",)})})
    rules = rules_for([key("acme")], {"acme": limited}, [permits(["* /a"], "--allow")])
    assert [[permit.text for permit in group] for group in rules[0].permits] == [["GET /a"], ["* /a"]]


def test_a_limit_that_is_none_names_where_it_was_written() -> None:
    with pytest.raises(UsageProblem, match=r"--allow: 'GET' is not 'METHOD /path'"):
        permits(["GET"], "--allow")
