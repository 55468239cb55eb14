"""The mitmproxy addon: measures where a request is really going, asks `decide()`, and acts on the answer.

The only file that knows mitmproxy's flows. Its hooks have mitmproxy's names and may raise: whoever
dispatches them must refuse the request then (mitmproxy's own dispatcher logs and forwards).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mitmproxy import http, tcp, tls
from OpenSSL import SSL

from proxy import audit, slots
from proxy.cleanse import Cleanser, Unsearchable
from proxy.model import (
    AuditSink,
    CredentialSource,
    Decision,
    Inject,
    Origin,
    PassThrough,
    Reason,
    Refuse,
    Rule,
    Slot,
    Target,
    Unavailable,
)
from proxy.policy import decide
from proxy.tls import verified_connection

CREDENTIAL_TIMEOUT: Final = 60.0
"""Seconds a request waits for its credential; longer than any single refresh may take."""

_NOTES: Final = "authsome"
"""The key of our notes in a flow's metadata."""

_CODINGS: Final = Slot("Accept-Encoding", None)
"""Asked to be `identity` with a credential, so that the answer can be searched as it streams by."""

_HOP_BY_HOP: Final = frozenset({b"proxy-authorization", b"proxy-connection", b"proxy-authenticate"})
"""Between the child and this proxy only (RFC 9110 section 11.7); one of them is the run's password."""


@dataclass(frozen=True, slots=True)
class _Notes:
    """What was decided for a flow, until its response comes."""

    target: Target
    decision: Decision
    generation: int = 0


class Addon:
    """Injects credentials by the rules of one run."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        source: CredentialSource,
        sink: AuditSink,
        child_contexts: Mapping[str, SSL.Context],
        upstream_context: SSL.Context,
    ) -> None:
        self._rules = tuple(rules)
        self._source = source
        self._sink = sink
        self._child_contexts = child_contexts
        self._upstream_context = upstream_context
        self._cleanser = Cleanser()

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Verify the upstream before the child's handshake ends, so that `decide()` can know of it."""
        data.establish_server_tls_first = True

    def tls_start_client(self, data: tls.TlsData) -> None:
        """Speak to the child as the host it asked for, whatever server name it sends."""
        address = data.context.server.address
        if address is None:
            raise RuntimeError("TLS without a CONNECT target")
        data.ssl_conn = SSL.Connection(self._child_contexts[address[0]])
        data.ssl_conn.set_accept_state()

    def tls_start_server(self, data: tls.TlsData) -> None:
        """Verify the upstream for the host that the child asked for, never for the child's server name."""
        address = data.context.server.address
        if address is None:
            raise RuntimeError("TLS without an address")
        data.conn.sni = address[0]
        data.ssl_conn = verified_connection(self._upstream_context, address[0])

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """A CONNECT inside a tunnel or after a cleartext request leads around the front: refuse."""
        message = "CONNECT needs a connection of its own"
        self._refuse(flow, _measure(flow), Refuse(Reason.METHOD, message))

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Decide, and inject, forward or refuse."""
        if flow.error is not None:
            return  # mitmproxy has refused the request already; `error` records it
        _drop(flow.request.headers, _HOP_BY_HOP)
        target = _measure(flow)
        decision = _connection_refusal(flow) or decide(self._rules, target)
        match decision:
            case Inject(rule):
                await self._inject(flow, target, rule)
            case PassThrough():
                flow.metadata[_NOTES] = _Notes(target, decision)
                flow.request.stream = True
            case Refuse():
                self._refuse(flow, target, decision)

    async def _inject(self, flow: http.HTTPFlow, target: Target, rule: Rule) -> None:
        try:
            async with asyncio.timeout(CREDENTIAL_TIMEOUT):
                answer = await self._source.fresh(rule.connection)
        except TimeoutError:
            answer = Unavailable(
                Reason.CREDENTIAL_UNAVAILABLE, f"no credential for {rule.connection} in time"
            )
        if isinstance(answer, Unavailable):
            self._refuse(flow, target, Refuse(answer.reason, answer.message, answer.fix))
            return
        value = answer.value.get_secret_value()
        self._cleanser.remember(value)
        filled = slots.fill(target.headers, rule.slot, value.encode("ascii"))
        flow.request.headers.fields = slots.fill(filled, _CODINGS, b"identity")
        flow.metadata[_NOTES] = _Notes(target, Inject(rule), answer.generation)
        flow.request.stream = True

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Stream the answer on, less what would lead the child around the proxy."""
        notes = flow.metadata.get(_NOTES)
        if flow.response is None or not isinstance(notes, _Notes) or isinstance(notes.decision, Refuse):
            return
        _drop(flow.response.headers, _HOP_BY_HOP | {b"alt-svc"})
        if notes.target.scheme == "https":
            self._cleanse(flow, flow.response)
        else:
            flow.response.stream = True
        if isinstance(notes.decision, Inject) and flow.response.status_code == 401:
            self._source.rejected(notes.decision.rule.connection, notes.generation)
        self._sink(audit.describe(notes.target, notes.decision, flow.response.status_code))

    def error(self, flow: http.HTTPFlow) -> None:
        """Record a request that got no answer: reset, timeout, or refused by mitmproxy's own checks."""
        notes = flow.metadata.get(_NOTES)
        if isinstance(notes, _Notes):
            self._sink(audit.describe(notes.target, notes.decision, None))
        else:
            refusal = Refuse(Reason.MALFORMED_HEADER, "not valid HTTP/1.1")
            self._sink(audit.describe(_measure(flow), refusal, 400))

    def _cleanse(self, flow: http.HTTPFlow, response: http.Response) -> None:
        """Have credentials replaced in the answer on its way."""
        response.headers.fields = self._cleanser.headers(tuple(response.headers.fields))
        response.stream = True
        if not _has_body(flow.request.method, response):
            return
        try:
            response.headers.fields, body = self._cleanser.body(tuple(response.headers.fields))
        except Unsearchable:
            message = "the answer is in a content coding that cannot be searched for credentials"
            flow.response = _in_place_of(Refuse(Reason.UNSEARCHABLE, message, status=502))
        else:
            response.stream = body or True

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """After a protocol switch: end the connection if a credential comes back.

        What follows has no frames that are known here, so nothing can be held back or replaced.
        """
        message = flow.messages[-1]
        if not message.from_client:
            tail = flow.metadata.get(_NOTES, b"")
            seen = (tail if isinstance(tail, bytes) else b"") + message.content
            if self._cleanser.exposes(seen):
                message.content = b""
                flow.kill()
            flow.metadata[_NOTES] = seen[-self._cleanser.longest :] if self._cleanser.longest else b""
        flow.messages.clear()  # mitmproxy would keep every message

    def refuse_after_fault(self, flow: http.HTTPFlow) -> None:
        """The dispatcher's answer when a hook raised: nothing may go upstream."""
        flow.metadata.pop(_NOTES, None)
        flow.response = _response(Refuse(Reason.INTERNAL_ERROR, "authsome failed on this request"))
        flow.request.stream = False

    def _refuse(self, flow: http.HTTPFlow, target: Target, refusal: Refuse) -> None:
        flow.metadata[_NOTES] = _Notes(target, refusal)
        flow.response = _response(refusal)
        self._sink(audit.describe(target, refusal, refusal.status))


def _measure(flow: http.HTTPFlow) -> Target:
    """Where the request is going, from the connection; what the child says of it is kept apart."""
    client, server, request = flow.client_conn, flow.server_conn, flow.request
    tls_on_both = client.tls_established and server.tls_established
    if client.tls and server.address is not None:
        origin = Origin(*server.address[:2])
    else:
        origin = Origin(request.host, request.port)
    return Target(
        scheme="https" if client.tls else "http",
        origin=origin,
        client_sni=client.sni,
        upstream_sni=server.sni,
        # The context verifies: an established connection is a verified one.
        upstream_verified=tls_on_both and server.error is None,
        authority=request.authority,
        method=request.method,
        path=request.path,
        headers=tuple(request.headers.fields),
    )


def _connection_refusal(flow: http.HTTPFlow) -> Refuse | None:
    """What to tell the child when the upstream could not be reached, or is not who it should be."""
    server = flow.server_conn
    if server.error is None:
        return None
    host = server.address[0] if server.address else ""
    if server.timestamp_tcp_setup is None:
        return Refuse(Reason.UPSTREAM_UNREACHABLE, server.error, status=502)
    message = f"the certificate of {host} is not trusted: {server.error}"
    return Refuse(Reason.UPSTREAM_UNTRUSTED, message, status=502)


def _response(refusal: Refuse) -> http.Response:
    body = {"error": "authsome_refused", "reason": refusal.reason, "message": refusal.message}
    if refusal.fix:
        body["fix"] = refusal.fix
    headers = {"Content-Type": "application/json", "X-Authsome-Refused": refusal.reason}
    return http.Response.make(refusal.status, json.dumps(body), headers)


def _in_place_of(refusal: Refuse) -> http.Response:
    """A refusal that is sent in place of an answer whose body still arrives, and is dropped."""
    response = _response(refusal)
    body = response.raw_content or b""

    def replaced(chunk: bytes) -> list[bytes]:
        return [] if chunk else [body]

    response.stream = replaced
    return response


def _has_body(method: str, response: http.Response) -> bool:
    """Whether an answer has a body at all (RFC 9112 section 6.3)."""
    status = response.status_code
    empty = response.headers.get("Content-Length") == "0"
    return not empty and method != "HEAD" and status >= 200 and status not in (204, 304)


def _drop(headers: http.Headers, names: frozenset[bytes]) -> None:
    headers.fields = tuple(pair for pair in headers.fields if pair[0].lower() not in names)
