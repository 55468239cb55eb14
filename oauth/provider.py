"""The schema of a provider file: one JSON object that says how to log in and where a credential may go.

Pure. Strict on purpose: an unknown key is an error, because a misspelt restriction that is silently
dropped would widen where a credential can go.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, assert_never
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from oauth.errors import ProviderInvalid
from vault.model import NAME

SCHEMA_VERSION: Final = 1
"""The only value of a provider file's `schema` that this version understands."""

DEFAULT_HTTPS_PORT: Final = 443

DEFAULT_USER_AGENT: Final = "authsome"
"""How our own requests name themselves where a provider file says nothing (RFC 9110 section 10.1.5). Without
a version: nobody is to serve one version otherwise than another. The name of an HTTP library is what fronts
such as Cloudflare's block first."""

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?P<host>(?:{_LABEL}\.)+(?!\d+(?::|$)){_LABEL})(?::(?P<port>[1-9]\d{{0,4}}))?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_USER_AGENT = re.compile(r"[!-~](?:[ -~]{0,198}[!-~])?")  # RFC 9110 section 5.5, as far as a product needs
_PERMIT = re.compile(r"(?:\*|[A-Z]+(?:,[A-Z]+)*) /[!-~]*")
_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_OF_THE_PROGRAM: Final = re.compile(
    r"""PATH|HOME|SHELL|USER|LOGNAME|PWD|TMPDIR|LANG|TERM|IFS|ENV|BASH_ENV
    |(?:LD|DYLD|LC|AUTHSOME|NODE|GIT|SSL)_.*|PYTHON.*
    |.*_PROXY|NPM_CONFIG_(?:NOPROXY|CAFILE)
    |.*_CA_(?:BUNDLE|FILE)|(?:PIP|DENO)_CERT|NIX_SSL_CERT_FILE|CARGO_HTTP_CAINFO
    |HTTPLIB2_CA_CERTS|GRPC_DEFAULT_SSL_ROOTS_FILE_PATH|CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE
    |DENO_NO_UPDATE_CHECK|(?:MITMPROXY_)?SSLKEYLOGFILE""",
    re.VERBOSE,
)
"""Variables that say how a program runs, and by which proxy and certificates it talks. A run takes out of its
program's environment what a definition names, and sets it to the placeholder."""

_MEMBER = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")

SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""What one scope may be (RFC 6749 section 3.3)."""


def _https_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise ValueError("must be an https:// URL")
    if parts.username or parts.password or parts.fragment or re.search(r"[^!-~]|\\", url):
        raise ValueError("must be a plain URL without user name, password or fragment")
    return url


def _host(host: str) -> str:
    match = _HOST.fullmatch(host)
    port = int(match["port"] or 0) if match else 0
    if not match or len(match["host"]) > 253 or port > 65535 or port == DEFAULT_HTTPS_PORT:
        raise ValueError("must be a lower-case host name such as 'api.example.com', with ':port' unless 443")
    return host


def _path(path: str) -> str:
    if not path.startswith("/") or re.search(r"[^!-~]|[?#%\\]|//|/\.\.?(?:/|$)", path):
        raise ValueError("must be a path such as '/api/oauth2/token'")
    if any("*" in segment and segment != "*" for segment in path.split("/")):
        raise ValueError("has a '*' that is not a whole segment of the path")
    return path


def _text(text: str) -> str:
    # Shown in a terminal and on a page: control characters could rewrite what stands around it.
    if not text.isprintable() or not text.strip():
        raise ValueError("must be a line of printable text")
    return text


def _env_name(name: str) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise ValueError("is not an environment variable name in upper case")
    if _OF_THE_PROGRAM.fullmatch(name):
        raise ValueError(f"is {name}, which programs read for something else")
    return name


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"is not {what}")
        return text

    return AfterValidator(check)


HttpsUrl = Annotated[str, AfterValidator(_https_url)]
HostName = Annotated[str, AfterValidator(_host)]
Path = Annotated[str, AfterValidator(_path)]
Text = Annotated[str, Field(max_length=300), AfterValidator(_text)]
HeaderName = Annotated[str, _matching(_TOKEN, "a header name")]
EnvName = Annotated[str, AfterValidator(_env_name)]
UserAgent = Annotated[str, _matching(_USER_AGENT, "a User-Agent of printable ASCII characters")]
Member = Annotated[str, _matching(_MEMBER, "the name of a member such as 'application.id'")]
Scope = Annotated[str, _matching(SCOPE, "a scope (RFC 6749 section 3.3)")]
PermitText = Annotated[str, _matching(_PERMIT, "'METHOD /path', such as 'GET /api/*/users/@me'")]
ProviderName = Annotated[str, _matching(NAME, "a name of lower-case letters, digits, '.', '_' and '-'")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class OAuth2(_Strict):
    """How to log in with OAuth 2.0."""

    type: Literal["oauth2"]
    flow: Literal["pkce"]
    """The browser flow: authorization code over a loopback redirect (RFC 8252 section 7.3)."""
    pkce: bool
    """Whether the provider takes PKCE S256 (RFC 7636); without it the plain code flow is run."""
    device_code: Literal[False] = False
    """Reserved for RFC 8628."""
    dcr: Literal[False] = False
    """Reserved for dynamic client registration, RFC 7591."""
    authorization_url: HttpsUrl
    token_url: HttpsUrl
    revocation_url: HttpsUrl | None = None
    revocation_note: Text | None = None
    """What else dies with a revoked token; told to the user at logout."""
    userinfo_url: HttpsUrl | None = None
    account_field: Text | None = None
    """The member of the user-info answer that names the account."""
    check_url: HttpsUrl | None = None
    """Answers 200 to a good token, of any scope, and 401 to any other; `userinfo_url` where it is missing."""
    check_client_field: Member | None = None
    """The member of that answer with the client id that the token was issued to."""
    check_scopes_field: Member | None = None
    """The member of that answer with the token's scopes: a list, or one text with spaces between them."""
    error_fields: tuple[Member, ...] = Field(default=(), strict=False)
    """The members that every error answer of the API has; a 401 without them is not the API's own."""
    user_agent: UserAgent = DEFAULT_USER_AGENT
    """How our own requests name themselves; those of a program say what the program says."""
    client_auth: Literal["client_secret_post", "client_secret_basic", "none"]
    """How the client authenticates at the token endpoint (RFC 6749 section 2.3.1)."""
    client_setup_url: HttpsUrl | None = None
    """Where the user registers an application."""
    client_setup_steps: tuple[Text, ...] = Field(default=(), strict=False)
    scopes: tuple[Scope, ...] = Field(strict=False)
    """Requested unless the user names others."""
    known_scopes: tuple[Scope, ...] = Field(default=(), strict=False)
    """Every scope the provider documents; empty where that is not known."""
    approval_scopes: tuple[Scope, ...] = Field(default=(), strict=False)
    """Scopes the provider grants only to applications it has approved."""


class StaticKey(_Strict):
    """How to log in with a key that the provider shows once and that does not expire."""

    type: Literal["api_key"]
    key_setup_url: HttpsUrl | None = None
    """Where the user finds the key."""
    check_url: HttpsUrl | None = None
    """Answers 200 to a good key, sent in the slot of `proxy`, and 401 to any other."""
    check_field: Member | None = None
    """A member that the answer to a good key has."""
    error_fields: tuple[Member, ...] = Field(default=(), strict=False)
    """As with OAuth."""
    user_agent: UserAgent = DEFAULT_USER_AGENT
    """As with OAuth."""


class Injection(_Strict):
    """Where the credential may go, and in which slot."""

    hosts: tuple[HostName, ...] = Field(min_length=1, strict=False)
    header: HeaderName = "Authorization"
    scheme: HeaderName | None = None
    """The authentication scheme before the value (RFC 9110 section 11.1); None: the value stands alone."""
    never_paths: tuple[Path, ...] = Field(default=(), strict=False)
    """Paths that never get the credential, besides the token and revocation endpoints; `*` stands for one
    segment."""
    allow: tuple[PermitText, ...] = Field(default=(), strict=False)
    """Methods and paths that get it, such as `GET /api/*/users/@me`; empty for all."""


class EnvNames(_Strict):
    """Which environment variable stands for which credential."""

    access_token: EnvName | None = None
    refresh_token: EnvName | None = None
    """Removed from a child's environment and never set: refresh tokens are not exported."""
    api_key: EnvName | None = None
    secrets: tuple[EnvName, ...] = Field(default=(), strict=False)
    """Usual names of variables with other secrets of this provider; removed from a child's environment."""


Auth = OAuth2 | StaticKey
"""How one logs in."""


def as_oauth2(auth: Auth) -> OAuth2 | None:
    """None where one logs in otherwise."""
    match auth:
        case OAuth2():
            return auth
        case StaticKey():
            return None
        case never:
            assert_never(never)


class Provider(_Strict):
    """One service with an API and a way to log in."""

    schema_: Literal[1] = Field(alias="schema")
    name: ProviderName
    display_name: Text = Field(max_length=64)
    docs_url: HttpsUrl | None = None
    base_url: HttpsUrl | None = None
    """Where the API lives; shown to the user, trusted for nothing."""
    auth: Auth = Field(discriminator="type")
    proxy: Injection
    env: EnvNames

    @property
    def env_name(self) -> str | None:
        """The variable that holds the placeholder in a child's environment."""
        match self.auth:
            case OAuth2():
                return self.env.access_token
            case StaticKey():
                return self.env.api_key


def parse_provider(text: bytes, source: str) -> Provider:
    """Validate a provider file.

    `source` is what the reader calls the file; it stands in the error.

    Raises: ProviderInvalid, naming the file and the first field that is wrong.
    """
    try:
        return Provider.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        # A misspelt key also shows as a missing one; the misspelling is what the reader can correct.
        worst = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        raise ProviderInvalid(
            f"{source}: {_problem(worst)}", "compare with the output of <inspect discord>"
        ) from None


def _problem(details: ErrorDetails) -> str:
    path = [str(part) for part in details["loc"]]
    if path[:1] == ["auth"] and len(path) > 1:
        del path[1]  # the tag of the union, which is no key of the file
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        message = f"unknown key {path.pop()!r}"
    return ": ".join(filter(None, (".".join(path), message[:1].lower() + message[1:])))
