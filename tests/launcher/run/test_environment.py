import pytest

from launcher.run.environment import (
    LOOPBACK,
    TABLE,
    RunValues,
    Value,
    child_environment,
    inherited_files,
)

VALUES = RunValues(
    run="r1",
    proxy_url="http://authsome:pw@127.0.0.1:5",
    bundle="/run/bundle.pem",
    extra="/run/ca.pem",
    placeholder="authsome-proxy-managed",
    offered=("DISCORD_ACCESS_TOKEN",),
)
DECLARED = ("DISCORD_ACCESS_TOKEN", "DISCORD_REFRESH_TOKEN", "ACME_TOKEN")


def child(**parent: str) -> dict[str, str]:
    return child_environment(parent, VALUES, DECLARED)


def test_what_is_not_in_the_table_reaches_the_child_unchanged() -> None:
    given = {"PATH": "/bin", "HOME": "/h", "TERM": "xterm", "SSL_CERT_DIR": "/etc/certs", "EMPTY": ""}
    assert child(**given).items() >= given.items()


def test_the_offered_variable_holds_the_placeholder_whatever_stood_there() -> None:
    assert child(DISCORD_ACCESS_TOKEN="real")["DISCORD_ACCESS_TOKEN"] == "authsome-proxy-managed"


@pytest.mark.parametrize("name", ["DISCORD_REFRESH_TOKEN", "ACME_TOKEN", "acme_token"])
def test_a_token_that_was_exported_before_does_not_reach_the_child(name: str) -> None:
    made = child(**{name: "CANARY"})
    assert name not in made
    assert "CANARY" not in made.values()


def test_variables_of_ours_are_removed_but_for_the_name_of_the_run() -> None:
    made = child(AUTHSOME_HOME="/h", AUTHSOME_CONNECT_TO="a:1:b:2", AUTHSOME_RUN="outer", AUTHSOME_NEW="x")
    assert {name: value for name, value in made.items() if name.startswith("AUTHSOME")} == {
        "AUTHSOME_RUN": "r1"
    }


@pytest.mark.parametrize(
    "name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "WSS_PROXY", "ws_proxy"]
)
def test_the_proxy_is_set_in_both_cases_over_an_inherited_one(name: str) -> None:
    assert child(**{name: "http://corporate:3128"})[name] == VALUES.proxy_url


@pytest.mark.parametrize(
    "name",
    [
        "ALL_PROXY",
        "all_proxy",
        "SSLKEYLOGFILE",
        "MITMPROXY_SSLKEYLOGFILE",
        "PIP_PROXY",
        "NPM_CONFIG_PROXY",
        "npm_config_https_proxy",
    ],
)
def test_what_leads_around_the_proxy_or_leaks_keys_is_removed(name: str) -> None:
    assert name not in child(**{name: "x"})


def test_an_inherited_variable_in_mixed_case_does_not_survive() -> None:
    made = child(Https_Proxy="http://corporate:3128", NPM_CONFIG_CAFILE="/corporate.pem", No_Proxy="*")
    assert not {"Https_Proxy", "NPM_CONFIG_CAFILE", "No_Proxy"} & made.keys()


def test_only_loopback_is_reached_without_the_proxy() -> None:
    made = child(NO_PROXY="discord.com", no_proxy="*")
    assert made["NO_PROXY"] == made["no_proxy"] == LOOPBACK
    assert "[" not in LOOPBACK


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"])
def test_variables_that_replace_the_roots_get_the_whole_bundle(name: str) -> None:
    assert child(**{name: "/corporate.pem"})[name] == "/run/bundle.pem"


@pytest.mark.parametrize("name", ["NODE_EXTRA_CA_CERTS", "DENO_CERT"])
def test_variables_that_add_to_the_roots_get_the_runs_certificate(name: str) -> None:
    assert child(**{name: "/corporate.pem"})[name] == "/run/ca.pem"


def test_files_that_inherited_variables_name_are_known_once_each() -> None:
    parent = {
        "REQUESTS_CA_BUNDLE": "/a",
        "CURL_CA_BUNDLE": "/a",
        "PIP_CERT": "/b",
        "NODE_EXTRA_CA_CERTS": "/c",
    }
    assert inherited_files(parent, Value.BUNDLE) == ["/a", "/b"]
    assert inherited_files(parent, Value.EXTRA) == ["/c"]


def test_every_row_has_a_reason_and_no_variable_stands_twice() -> None:
    names = [name for row in TABLE for name in row.names]
    assert all(row.reason for row in TABLE)
    assert len(names) == len(set(names))
