"""The values a decision is made from, and the decision.

Pure data. `proxy` knows connections only by the name the launcher gives them ("discord/default").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from pydantic import SecretStr

from proxy.permits import Permit

PLACEHOLDER: Final = "authsome-proxy-managed"
"""What a child holds in place of a credential. Public, and worth nothing anywhere else."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A host and port as compared: lower case, A-labels, no final dot."""

    host: str
    port: int

    def __str__(self) -> str:
        return self.host if self.port == 443 else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Slot:
    """The header that carries a credential, and the scheme in front of it."""

    header: str
    scheme: str | None
    """`Bearer` in `Authorization: Bearer …`; None where the value stands alone."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where one connection's credential may go."""

    connection: str
    """The connection as the user writes it: `discord/default`."""
    origin: Origin
    slot: Slot
    never_paths: tuple[str, ...] = ()
    """Paths that never get the credential: token and revocation endpoints; `*` stands for one segment."""
    permits: tuple[tuple[Permit, ...], ...] = ()
    """Sets of methods and paths; each set that is not empty must cover a request."""


class Reason(StrEnum):
    """Why a request was refused; the value of `X-Authsome-Refused`."""

    CLEARTEXT = "cleartext"
    HOST_MISMATCH = "host-mismatch"
    SNI_MISMATCH = "sni-mismatch"
    NOT_ORIGIN_FORM = "not-origin-form"
    METHOD = "method"
    TOKEN_ENDPOINT = "token-endpoint"  # noqa: S105  (a reason, not a secret)
    AMBIGUOUS_PATH = "ambiguous-path"
    DUPLICATE_SLOT = "duplicate-slot"
    MALFORMED_HEADER = "malformed-header"
    NOT_PERMITTED = "not-permitted"
    TOO_LARGE = "too-large"
    LOGIN_NEEDED = "login-needed"
    CREDENTIAL_DEAD = "credential-dead"
    CREDENTIAL_UNAVAILABLE = "credential-unavailable"
    UPSTREAM_UNREACHABLE = "upstream-unreachable"
    UPSTREAM_UNTRUSTED = "upstream-untrusted"
    UNSEARCHABLE = "unsearchable"
    INTERNAL_ERROR = "internal-error"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request is really going, as the proxy measured it; nothing here is taken on trust."""

    scheme: str
    """`https` once both sides speak TLS, else `http`."""
    origin: Origin
    """The CONNECT authority, or the authority of an absolute-form request: what is dialled."""
    client_sni: str | None
    upstream_sni: str | None
    upstream_verified: bool
    """The upstream's certificate chain and name were verified for `origin.host`."""
    authority: str
    """The authority of the request line; empty in origin form."""
    method: str
    path: str
    """The request target with its query, as received."""
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """Name and value as received; may hold what the child considers secret."""
    asked_scheme: str = ""
    """The scheme of the request line; empty in origin form."""


@dataclass(frozen=True, slots=True)
class Inject:
    """Replace the placeholder in `rule.slot` by the credential of `rule.connection`."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class PassThrough:
    """Forward the request as it is."""

    inert_placeholder: bool = False
    """The placeholder stands somewhere that is no slot; it is forwarded as it is, and recorded."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer locally; nothing is sent upstream."""

    reason: Reason
    message: str
    fix: str = ""
    """A command the reader can type."""
    status: int = 403
    connection: str | None = None
    """Whose credential the request would have got; None where it would have got none."""


Decision = Inject | PassThrough | Refuse


@dataclass(frozen=True, slots=True)
class Fresh:
    """A credential that is good now."""

    value: SecretStr
    generation: int
    """Which write of the stored record it came from; handed back in `rejected`."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """There is no usable credential; the request is refused."""

    reason: Reason
    message: str
    fix: str = ""
    body: bytes | None = None
    """A JSON object that the provider itself answered last, to be answered in its place."""


CredentialAnswer = Fresh | Unavailable


class CredentialSource(Protocol):
    """Hands out credentials at the moment a request needs one."""

    async def fresh(self, connection: str) -> CredentialAnswer:
        """The credential of `connection`, refreshed when due."""
        ...

    async def fresh_once(self, connection: str) -> CredentialAnswer:
        """The same for a request that cannot be sent again: until `ended` the credential should stay good."""
        ...

    def ended(self, connection: str, generation: int) -> None:
        """Such a request has its answer's status, or will never have one."""
        ...

    def accepted(self, connection: str, generation: int) -> None:
        """The provider took this credential."""
        ...

    def rejected(self, connection: str, generation: int, body: bytes = b"") -> None:
        """The provider answered 401, with `body`, and the child has that answer: a hint, not proof."""
        ...

    def stored(self) -> Sequence[SecretStr]:
        """The credentials of all connections as they are stored now: no answer may show one.

        Asked for each piece of each answer. The same object while nothing has changed.
        """
        ...

    async def recovered(self, connection: str, generation: int, body: bytes = b"") -> CredentialAnswer:
        """The same, with the answer still at hand: another credential to send the request with again."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """One decision, for the audit. No field can hold a credential."""

    method: str
    host: str
    path: str
    """Without its query; long segments, which may be secrets of the provider's, are cut."""
    decision: str
    """`inject`, `pass`, `refuse` or `tunnel`; about no single request are `export` and `circuit`."""
    connection: str | None = None
    reason: str | None = None
    status: int | None = None
    """The response's status; None where none came."""


AuditSink = Callable[[Event], None]
"""Takes an event, and raises OSError where it cannot keep it."""
