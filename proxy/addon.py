"""The mitmproxy addon: measures where a request is really going, asks `decide()`, and acts on the answer.

The only file that knows mitmproxy's flows. Its hooks have mitmproxy's names and may raise: whoever
dispatches them must refuse the request then (mitmproxy's own dispatcher logs and forwards).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, assert_never

from mitmproxy import http, tcp, tls
from mitmproxy.net.http.http1 import expected_http_body_size
from OpenSSL import SSL
from pydantic import SecretStr

from proxy import audit, slots
from proxy.hosts import canonical_host
from proxy.model import (
    AuditSink,
    CredentialSource,
    Decision,
    Event,
    Fresh,
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
from proxy.resend import Resend, is_repeatable
from proxy.search.cleanse import Cleanser, Unsearchable
from proxy.tls import verified_connection

CREDENTIAL_TIMEOUT: Final = 60.0
"""Seconds a request waits for its credential; longer than whoever hands it out may take to say no."""

_NOTES: Final = "authsome"
"""The key of our notes in a flow's metadata."""

MAX_KEPT_BACK: Final = 64 * 1024
"""Bytes of a 401's body; Discord's has 43."""

_REPLACED: Final = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})
"""Headers that say how a body is framed; set anew where the body is."""

_CHUNKED: Final = frozenset({b"transfer-encoding"})

_CODINGS: Final = Slot("Accept-Encoding", None)
"""Asked to be `identity` with a credential, so that the answer can be searched as it streams by."""

_HOP_BY_HOP: Final = frozenset({b"proxy-authorization", b"proxy-connection", b"proxy-authenticate"})
"""Between the child and this proxy only (RFC 9110 section 11.7); one of them is the run's password."""

_PIECEMEAL: Final = frozenset({b"range", b"if-range", b"te"})
"""Ask for a part of an answer, or for one in a transfer coding: neither could be searched, and what a
server keeps of one request may stand in the answer to another. A server may pass over both (RFC 9110
sections 10.1.4 and 14.2)."""

_LEADING_AROUND: Final = _HOP_BY_HOP | {b"alt-svc"}
"""Headers of an answer that would have the child leave this proxy (RFC 7838), or that are not for it."""

_VERIFY_FAILED: Final = "certificate verify failed"
"""OpenSSL's words, and mitmproxy's."""

_UNSEARCHABLE: Final = Refuse(
    Reason.UNSEARCHABLE, "the answer is in a coding that cannot be searched for credentials", status=502
)

_FAILED: Final = Refuse(Reason.INTERNAL_ERROR, "authsome failed on this request")

MIN_TAIL: Final = 4096
"""Bytes after an upgrade that are kept at least: what becomes known later may have begun in them."""

_COMPRESSION: Final = frozenset({b"sec-websocket-extensions"})
"""Messages after an upgrade that are compressed (RFC 7692) could not be searched."""


@dataclass(frozen=True, slots=True)
class _Notes:
    """What was decided for a flow, until its response comes."""

    target: Target
    decision: Decision
    generation: int = 0
    credential: SecretStr | None = None
    """What was sent with the request, to be searched for until its answer has ended."""
    once: bool = False
    """The request cannot be sent again, and has no answer yet."""
    recorded: bool = False

    @property
    def own(self) -> str | None:
        return self.credential.get_secret_value() if self.credential else None


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
        resend: Resend,
    ) -> None:
        self._rules = tuple(rules)
        self._hosts = frozenset(rule.origin.host for rule in rules)
        self._source = source
        self._sink = sink
        self._child_contexts = child_contexts
        self._upstream_context = upstream_context
        self._resend = resend
        self._cleanser = Cleanser(source.stored)
        self._recorded = True

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
        unsearchable = _COMPRESSION | _PIECEMEAL if self._is_searched(flow) else frozenset()
        _drop(flow.request.headers, _HOP_BY_HOP | unsearchable)
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
            case unknown:
                # First, for a dispatcher that only logs what is raised and forwards the request.
                self._refuse(flow, target, _FAILED)
                assert_never(unknown)

    async def _inject(self, flow: http.HTTPFlow, target: Target, rule: Rule) -> None:
        once = not is_repeatable(target.method, target.headers)
        try:
            async with asyncio.timeout(CREDENTIAL_TIMEOUT):
                answer = await (self._source.fresh_once if once else self._source.fresh)(rule.connection)
        except TimeoutError:
            answer = Unavailable(
                Reason.CREDENTIAL_UNAVAILABLE, f"no credential for {rule.connection} in time"
            )
        match answer:
            case Fresh():
                self._send(flow, target, rule, answer, once)
            case Unavailable():
                self._tell(flow, target, rule, answer)
            case unknown:
                assert_never(unknown)

    def _tell(self, flow: http.HTTPFlow, target: Target, rule: Rule, answer: Unavailable) -> None:
        refusal = Refuse(answer.reason, answer.message, answer.fix, connection=rule.connection)
        self._refuse(flow, target, refusal)
        if answer.body is not None:
            response = _as_the_provider(answer, answer.body)
            self._cleanse_whole(response)
            flow.response = _fitting(flow, response)

    def _send(self, flow: http.HTTPFlow, target: Target, rule: Rule, answer: Fresh, once: bool) -> None:
        if not self._recorded:
            if once:
                self._source.ended(rule.connection, answer.generation)
            # Else a child that fills the disk would use the account unseen.
            message = "the audit could not be written, so no credential is sent"
            self._refuse(flow, target, Refuse(Reason.INTERNAL_ERROR, message))
            return
        flow.request.headers.fields = self._filled(target, rule, answer)
        flow.metadata[_NOTES] = _Notes(target, Inject(rule), answer.generation, answer.value, once)
        flow.request.stream = True

    def _filled(self, target: Target, rule: Rule, answer: Fresh) -> slots.Headers:
        """The headers to send: the credential in its slot, and a whole answer without codings asked for."""
        value = answer.value.get_secret_value()
        self._cleanser.remember(value)
        filled = slots.fill(target.headers, rule.slot, value.encode("ascii"))
        return slots.fill(filled, _CODINGS, b"identity")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Stream the answer on, less what would lead the child around the proxy."""
        notes = flow.metadata.get(_NOTES)
        if flow.response is None or not isinstance(notes, _Notes):
            raise TypeError("an answer to a request that was not decided on")
        match notes.decision:
            case Refuse():
                return  # an answer of ours
            case PassThrough():
                pass
            case Inject(rule):
                notes = self._answered(flow, notes)
                if flow.response.status_code == 101:
                    flow.kill()  # a switch of protocols, which nobody asked for
                    return
                if _is_short_401(flow.response):
                    return  # kept back: `response` decides what the child gets
                self._learn(notes, rule, flow.response.status_code)
            case unknown:
                assert_never(unknown)
        _drop(flow.response.headers, _LEADING_AROUND)
        if self._is_searched(flow):
            self._cleanse(flow, flow.response, notes.own)
        else:
            flow.response.stream = True
        self._record_once(flow, notes, flow.response.status_code)

    async def response(self, flow: http.HTTPFlow) -> None:
        """Recover from a 401 that the child has not seen: with another credential, once."""
        notes = flow.metadata.get(_NOTES)
        response = flow.response
        if not isinstance(notes, _Notes) or response is None:
            return
        rule = _injected(notes.decision)
        if rule is None or response.stream or not _is_short_401(response):
            return
        try:
            response = await self._recovered(notes, rule, response)
            _drop(response.headers, _LEADING_AROUND)
            self._cleanse_whole(response, notes.own)
            flow.response = _fitting(flow, response)
        except (Unsearchable, ValueError):
            flow.response = _fitting(flow, refusing(_UNSEARCHABLE))
        except BaseException:
            self._record_once(flow, notes, None)
            raise
        self._record_once(flow, notes, flow.response.status_code)

    async def _recovered(self, notes: _Notes, rule: Rule, response: http.Response) -> http.Response:
        """The answer to the same request with another credential, or `response`, which is a 401."""
        body = response.raw_content or b""
        if not is_repeatable(notes.target.method, notes.target.headers):
            self._source.rejected(rule.connection, notes.generation, body)
            return response
        async with asyncio.timeout(CREDENTIAL_TIMEOUT):
            answer = await self._source.recovered(rule.connection, notes.generation, body)
        match answer:
            case Fresh():
                return await self._send_again(notes.target, rule, answer) or response
            case Unavailable():
                return response
            case unknown:
                assert_never(unknown)

    async def _send_again(self, target: Target, rule: Rule, answer: Fresh) -> http.Response | None:
        headers = self._filled(target, rule, answer)
        again = await self._resend(target.origin, target.method, target.path, headers)
        if again is None:
            return None
        if again.status == 401:
            self._source.rejected(rule.connection, answer.generation, again.body)
        else:
            self._source.accepted(rule.connection, answer.generation)
        response = http.Response.make(again.status, b"", http.Headers(again.headers))
        response.raw_content = again.body  # as it came: `_cleanse_whole` undoes its content coding
        return response

    def _learn(self, notes: _Notes, rule: Rule, status: int) -> None:
        if status == 401:
            self._source.rejected(rule.connection, notes.generation)
        else:
            self._source.accepted(rule.connection, notes.generation)

    def error(self, flow: http.HTTPFlow) -> None:
        """Record a request that got no answer: reset, timeout, or refused by mitmproxy's own checks."""
        notes = flow.metadata.get(_NOTES)
        if isinstance(notes, _Notes):
            self._record_once(flow, self._answered(flow, notes), None)
        else:
            refusal = Refuse(Reason.MALFORMED_HEADER, "not valid HTTP/1.1")
            self._record(audit.reason_of(_measure(flow), refusal, 400))

    def _answered(self, flow: http.HTTPFlow, notes: _Notes) -> _Notes:
        """Let the credential of a request that cannot be sent again end its life from now on."""
        if notes.once and (rule := _injected(notes.decision)):
            self._source.ended(rule.connection, notes.generation)
            notes = flow.metadata[_NOTES] = replace(notes, once=False)
        return notes

    def _is_searched(self, flow: http.HTTPFlow) -> bool:
        """Whether the answer is a rule host's: over cleartext, too, it may show what the server knows."""
        return flow.client_conn.tls or canonical_host(_origin(flow).host) in self._hosts

    def _cleanse(self, flow: http.HTTPFlow, response: http.Response, own: str | None) -> None:
        """Have credentials replaced in the answer on its way: those of earlier and other runs too."""
        has_body = _has_body(flow.request, response)
        self._cleanse_head(response, own)
        response.stream = True
        if not has_body:
            _drop(response.headers, _CHUNKED)  # else mitmproxy ends a body that is none
            return
        try:
            response.headers.fields, body = self._cleanser.body(tuple(response.headers.fields), own)
        except Unsearchable:
            flow.response = _in_place_of(_UNSEARCHABLE)
        else:
            response.stream = body

    def _cleanse_whole(self, response: http.Response, own: str | None = None) -> None:
        """The same for an answer that is at hand as a whole."""
        self._cleanse_head(response, own)
        headers = tuple(response.headers.fields)
        response.headers.fields = tuple(pair for pair in headers if pair[0].lower() not in _REPLACED)
        response.content = self._cleanser.whole(headers, response.raw_content or b"", own)

    def _cleanse_head(self, response: http.Response, own: str | None) -> None:
        """Headers, and the words after the status, which are the server's too (RFC 9112 section 4)."""
        reason = (b"", response.data.reason)
        (_, response.data.reason), *fields = self._cleanser.headers((reason, *response.headers.fields), own)
        response.headers.fields = tuple(fields)

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """After a protocol switch: end the connection if a credential comes back.

        What follows has no frames that are known here, so nothing can be held back or replaced.
        """
        message = flow.messages[-1]
        if not message.from_client:
            tail = flow.metadata.get(_NOTES, b"")
            seen = (tail if isinstance(tail, bytes) else b"") + message.content
            search = self._cleanser.search()
            if search.exposes(seen):
                message.content = b""
                flow.kill()
            flow.metadata[_NOTES] = seen[-max(search.longest, MIN_TAIL) :]
        flow.messages.clear()  # mitmproxy would keep every message

    def refuse_after_fault(self, flow: http.HTTPFlow) -> None:
        """The dispatcher's answer when a hook raised: nothing may go upstream."""
        flow.response = _fitting(flow, refusing(_FAILED))
        flow.request.stream = False
        notes = flow.metadata.get(_NOTES)
        recorded = isinstance(notes, _Notes) and notes.recorded
        with suppress(OSError):
            self._record_once(flow, _Notes(_measure(flow), _FAILED, recorded=recorded), _FAILED.status)

    def _refuse(self, flow: http.HTTPFlow, target: Target, refusal: Refuse) -> None:
        flow.response = _fitting(flow, refusing(refusal))
        self._record_once(flow, _Notes(target, refusal), refusal.status)

    def _record_once(self, flow: http.HTTPFlow, notes: _Notes, status: int | None) -> None:
        """Keep the event of a flow, which may fail once more when its answer is on its way already."""
        flow.metadata[_NOTES] = replace(notes, recorded=True)
        if not notes.recorded:
            self._record(audit.reason_of(notes.target, notes.decision, status))

    def _record(self, event: Event) -> None:
        """Keep an event. Raises: whatever the sink does, and then no credential is sent until it does not."""
        self._recorded = False
        self._sink(event)
        self._recorded = True


def _measure(flow: http.HTTPFlow) -> Target:
    """Where the request is going, from the connection; what the child says of it is kept apart."""
    client, server, request = flow.client_conn, flow.server_conn, flow.request
    tls_on_both = client.tls_established and server.tls_established
    return Target(
        scheme="https" if client.tls else "http",
        origin=_origin(flow),
        client_sni=client.sni,
        upstream_sni=server.sni,
        # The context verifies: an established connection is a verified one.
        upstream_verified=tls_on_both and server.error is None,
        authority=request.authority,
        method=request.data.method.decode("latin-1"),  # as it is sent on: `request.method` is in capitals
        path=request.path,
        headers=tuple(request.headers.fields),
        asked_scheme=request.scheme,
    )


def _origin(flow: http.HTTPFlow) -> Origin:
    if flow.client_conn.tls and flow.server_conn.address is not None:
        return Origin(*flow.server_conn.address[:2])
    return Origin(flow.request.host, flow.request.port)


def _connection_refusal(flow: http.HTTPFlow) -> Refuse | None:
    """What to tell the child when the upstream could not be reached, or is not who it should be."""
    server = flow.server_conn
    if server.error is None:
        return None
    host = server.address[0] if server.address else ""
    if server.timestamp_tcp_setup is None:
        return Refuse(Reason.UPSTREAM_UNREACHABLE, server.error, status=502)
    if _VERIFY_FAILED in server.error.lower():
        message = f"the certificate of {host} is not trusted: {server.error}"
        return Refuse(Reason.UPSTREAM_UNTRUSTED, message, status=502)
    return Refuse(Reason.UPSTREAM_UNREACHABLE, f"no TLS with {host}: {server.error}", status=502)


def refusing(refusal: Refuse) -> http.Response:
    """The answer to a request that is refused."""
    body = {"error": "authsome_refused", "reason": refusal.reason, "message": refusal.message}
    if refusal.fix:
        body["fix"] = refusal.fix
    headers = {"Content-Type": "application/json", "X-Authsome-Refused": refusal.reason}
    return http.Response.make(refusal.status, json.dumps(body), headers)


def _is_short_401(response: http.Response) -> bool:
    """Whether an answer says that the credential is not good, and can be kept back while that is checked."""
    length = response.headers.get("Content-Length", "")
    return response.status_code == 401 and length.isdigit() and int(length) <= MAX_KEPT_BACK


def _injected(decision: Decision) -> Rule | None:
    """By which rule a request carries a credential."""
    match decision:
        case Inject(rule):
            return rule
        case PassThrough() | Refuse():
            return None
        case unknown:
            assert_never(unknown)


def _as_the_provider(answer: Unavailable, body: bytes) -> http.Response:
    """An answer in the provider's own words: clients know what they mean, and stop.

    Where only a login helps it is a refusal all the same, and names the command beside them.
    """
    refusal = Refuse(answer.reason, answer.message, answer.fix)
    if answer.reason is Reason.CREDENTIAL_DEAD:
        response = refusing(replace(refusal, status=401))
        response.content = body
        return response
    response = refusing(refusal)
    ours = json.loads(response.content or b"{}")
    theirs = json.loads(body)
    response.content = json.dumps({**ours, "detail": answer.message, **theirs}).encode()
    return response


def _in_place_of(refusal: Refuse) -> http.Response:
    """A refusal that is sent in place of an answer whose body still arrives, and is dropped."""
    response = refusing(refusal)
    body = response.raw_content or b""

    def replaced(chunk: bytes) -> list[bytes]:
        return [] if chunk else [body]

    response.stream = replaced
    return response


def _fitting(flow: http.HTTPFlow, response: http.Response) -> http.Response:
    """An answer of ours as this request can take it.

    A HEAD's has no body (RFC 9110 section 9.3.2). After a failed upstream connection, mitmproxy would go on
    to refuse every later request of this child's connection for the same reason, so it is closed.
    """
    if flow.request.method == "HEAD":
        response.content = b""
    if flow.server_conn.error is not None:
        response.headers["Connection"] = "close"
    return response


def _has_body(request: http.Request, response: http.Response) -> bool:
    """Whether an answer has a body (RFC 9112 section 6.3): by the rule that it is read and sent on by."""
    return expected_http_body_size(request, response) != 0


def _drop(headers: http.Headers, names: frozenset[bytes]) -> None:
    headers.fields = tuple(pair for pair in headers.fields if pair[0].lower() not in names)
