"""The environment of a child, from the environment of the launcher. Pure: one table, a reason a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, assert_never

from launcher.setup.settings import OWN_PREFIX, ROOTS_VARIABLE, RUN_VARIABLE

LOOPBACK: Final = "localhost,127.0.0.1,::1,127.0.0.0/8"
"""What a child reaches directly. The largest value that every client can parse: `[::1]` breaks httpx."""


class Value(Enum):
    """What a variable is set to in the child."""

    PROXY = auto()
    """The URL of the run's proxy, with the run's user name and password."""
    LOOPBACK = auto()
    BUNDLE = auto()
    """A file with the system's roots, the user's, and the run's own certificate."""
    EXTRA = auto()
    """A file with the run's certificate, for variables that add to the built-in roots."""
    ON = auto()
    REMOVED = auto()


@dataclass(frozen=True, slots=True)
class VariableRow:
    """Variables that are treated alike, and why. Whatever their case, inherited ones are removed first:
    urllib and npm, among others, read names in any case."""

    names: tuple[str, ...]
    value: Value
    reason: str


TABLE: Final = (
    VariableRow(("HTTPS_PROXY", "https_proxy"), Value.PROXY, "nearly every client; some read one case only"),
    VariableRow(
        ("HTTP_PROXY", "http_proxy"), Value.PROXY, "cleartext is refused for rule hosts, so it has to come by"
    ),
    VariableRow(
        ("WSS_PROXY", "wss_proxy", "WS_PROXY", "ws_proxy"),
        Value.PROXY,
        "aiohttp and websockets, for WebSockets",
    ),
    VariableRow(
        ("NO_PROXY", "no_proxy"), Value.LOOPBACK, "local servers are reached directly; nothing else is"
    ),
    VariableRow(
        ("ALL_PROXY", "all_proxy"), Value.REMOVED, "would name another proxy to clients that prefer it"
    ),
    VariableRow(
        ("PIP_PROXY", "npm_config_proxy", "npm_config_https_proxy"),
        Value.REMOVED,
        "would win over HTTPS_PROXY",
    ),
    VariableRow(("npm_config_noproxy",), Value.REMOVED, "would win over NO_PROXY"),
    VariableRow((ROOTS_VARIABLE,), Value.BUNDLE, "OpenSSL, Go, rustls: Python, curl, gh, uv, Ruby, bun"),
    VariableRow(("REQUESTS_CA_BUNDLE",), Value.BUNDLE, "requests ignores SSL_CERT_FILE"),
    VariableRow(("CURL_CA_BUNDLE",), Value.BUNDLE, "wins over SSL_CERT_FILE in curl"),
    VariableRow(("AWS_CA_BUNDLE",), Value.BUNDLE, "boto3 and the AWS tools"),
    VariableRow(("PIP_CERT",), Value.BUNDLE, "wins over SSL_CERT_FILE in pip"),
    VariableRow(("GIT_SSL_CAINFO",), Value.BUNDLE, "git built with GnuTLS ignores SSL_CERT_FILE"),
    VariableRow(("HTTPLIB2_CA_CERTS",), Value.BUNDLE, "httplib2"),
    VariableRow(("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",), Value.BUNDLE, "gRPC has its own roots built in"),
    VariableRow(("npm_config_cafile",), Value.BUNDLE, "npm"),
    VariableRow(("PERL_LWP_SSL_CA_FILE", "MOJO_CA_FILE"), Value.BUNDLE, "Perl's LWP and Mojolicious"),
    VariableRow(("CARGO_HTTP_CAINFO",), Value.BUNDLE, "cargo"),
    VariableRow(("NIX_SSL_CERT_FILE",), Value.BUNDLE, "wins over SSL_CERT_FILE in programs from Nix"),
    VariableRow(("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",), Value.BUNDLE, "gcloud"),
    VariableRow(("NODE_EXTRA_CA_CERTS",), Value.EXTRA, "Node.js and bun; adds to the built-in roots"),
    VariableRow(("DENO_CERT",), Value.EXTRA, "Deno; adds to the built-in roots"),
    VariableRow(
        ("NODE_USE_ENV_PROXY",),
        Value.ON,
        "Node.js from 22.21 and 24 on ignores the proxy variables without it",
    ),
    VariableRow(("PERL_LWP_ENV_PROXY",), Value.ON, "LWP ignores the proxy variables without it"),
    VariableRow(("MOJO_PROXY",), Value.ON, "Mojolicious ignores the proxy variables without it"),
    VariableRow(
        ("DENO_NO_UPDATE_CHECK",), Value.ON, "Deno's check is made without the proxy and delays its exit"
    ),
    VariableRow(
        ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"), Value.REMOVED, "writes down the keys of TLS connections"
    ),
)
"""Known clients and what they read. Tools that take neither variable are not listed."""

_NAMES: Final = frozenset(name.upper() for row in TABLE for name in row.names)


@dataclass(frozen=True, slots=True)
class RunValues:
    """What one run puts into its child's environment."""

    run: str
    proxy_url: str
    """Holds the run's proxy password, which is worth nothing outside of the run."""
    bundle: str
    """Path of the file for `Value.BUNDLE`."""
    extra: str
    """Path of the file for `Value.EXTRA`."""
    placeholder: str
    offered: tuple[str, ...]
    """Names of the variables that hold the placeholder."""


def is_ours(name: str, credential_names: Collection[str]) -> bool:
    """Whether a run sets this variable or takes it out, whatever anybody wishes."""
    return name.upper() in _NAMES or name.upper() in credential_names or name.startswith(OWN_PREFIX)


def passed_on(parent: Mapping[str, str], credential_names: Iterable[str]) -> dict[str, str]:
    """What a child inherits at most."""
    credentials = frozenset(credential_names)
    return {name: value for name, value in parent.items() if not is_ours(name, credentials)}


def child_environment(
    parent: Mapping[str, str], values: RunValues, credential_names: Iterable[str]
) -> dict[str, str]:
    """What the child gets.

    `credential_names` are the variables that any provider declares: a real token that was exported
    into the launcher's environment does not reach the child.
    """
    child = passed_on(parent, credential_names)
    for row in TABLE:
        text = _text(row.value, values)
        child.update({name: text for name in row.names if text is not None})
    child.update(dict.fromkeys(values.offered, values.placeholder))
    child[RUN_VARIABLE] = values.run  # so that `export` can refuse inside of a run
    return child


def inherited_files(parent: Mapping[str, str], value: Value) -> list[str]:
    """The files that inherited variables of this kind name, so that their certificates stay trusted."""
    names = {name for row in TABLE if row.value is value for name in row.names}
    return list(dict.fromkeys(parent[name] for name in sorted(names) if parent.get(name)))


def _text(value: Value, values: RunValues) -> str | None:
    match value:
        case Value.PROXY:
            return values.proxy_url
        case Value.LOOPBACK:
            return LOOPBACK
        case Value.BUNDLE:
            return values.bundle
        case Value.EXTRA:
            return values.extra
        case Value.ON:
            return "1"
        case Value.REMOVED:
            return None
        case _:
            assert_never(value)
