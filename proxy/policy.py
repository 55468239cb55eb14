"""`decide()`: what happens to one request.

Pure, and the only place where that question is answered. Everything ambiguous refuses.

| measured                                        | decision                        |
|-------------------------------------------------|---------------------------------|
| method that is no token                         | refuse: method                  |
| request line's scheme not the connection's      | refuse: not-origin-form         |
| cleartext, slot without a placeholder           | pass                            |
| cleartext to a rule's host, placeholder in slot | refuse: cleartext               |
| NUL, CR or LF inside a header                   | refuse: malformed-header        |
| request line not in origin form                 | refuse: not-origin-form         |
| not exactly one Host, or not the dialled origin | refuse: host-mismatch           |
| SNI of either side is not the dialled host      | refuse: sni-mismatch            |
| upstream's certificate not verified             | refuse: upstream-untrusted      |
| TRACE, TRACK, CONNECT                           | refuse: method                  |
| the slot's header twice, or two slots filled    | refuse: duplicate-slot          |
| more header bytes than MAX_HEADERS              | refuse: too-large               |
| placeholder in a slot, and an Upgrade           | refuse: method                  |
| placeholder in a slot, and a transfer coding    | refuse: malformed-header        |
| placeholder in a slot, path in doubt            | refuse: ambiguous-path          |
| placeholder is the whole value of one slot      | inject, unless the path forbids |
| anything else                                   | pass                            |

The checks that need no placeholder are made first: a connection whose names disagree is not one that
an honest client makes, and the proxy ended its TLS only to reach the rule's host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never

from proxy import slots
from proxy.hosts import canonical_host, parse_authority
from proxy.model import (
    PLACEHOLDER,
    Decision,
    Inject,
    PassThrough,
    Reason,
    Refuse,
    Rule,
    Target,
)
from proxy.paths import is_barred, readings
from proxy.permits import OVERRIDING_METHOD, OVERRIDING_TARGET, has_header, permitted
from proxy.slots import Content

ECHOING_METHODS: Final = frozenset({"TRACE", "TRACK", "CONNECT"})
"""Methods whose answer may repeat the request's headers (RFC 9110 section 9.3.8), or that open a tunnel."""

MAX_HEADERS: Final = 64 * 1024
"""Bytes of all headers of a request; servers in use take 8 to 32 KiB."""

_PLACEHOLDER: Final = PLACEHOLDER.encode()
_BROKEN = re.compile(rb"[\x00\r\n]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What a method is made of (RFC 9110 sections 5.6.2 and 9.1)."""


def decide(rules: Sequence[Rule], target: Target) -> Decision:
    """Inject, pass through or refuse, from the run's rules and what was measured of one request."""
    if not _TOKEN.fullmatch(target.method):
        return _refuse(Reason.METHOD, "the method is not one that HTTP has a name for")
    if target.asked_scheme not in ("", target.scheme):
        # mitmproxy would make TLS of its own for it, in a request that is measured as cleartext.
        return _refuse(Reason.NOT_ORIGIN_FORM, "https needs a tunnel of its own: use CONNECT")
    if target.scheme != "https":
        return _decide_cleartext(rules, target)
    mine = [rule for rule in rules if rule.origin == target.origin]
    if not mine:
        # The proxy ends TLS for rule origins only; anything else here is a fault of ours.
        return _refuse(Reason.HOST_MISMATCH, "no rule names this host")
    if refusal := _structural_refusal(target):
        return refusal
    filled = _filled(mine, target)
    if len(filled) > 1:
        return _refuse(Reason.DUPLICATE_SLOT, "the placeholder stands in more than one header")
    if filled:
        refusal = _use_refusal(filled[0], target)
        return replace(refusal, connection=filled[0].connection) if refusal else Inject(filled[0])
    return PassThrough(inert_placeholder=slots.carries(target.headers, target.path, _PLACEHOLDER))


def _decide_cleartext(rules: Sequence[Rule], target: Target) -> Decision:
    host = canonical_host(target.origin.host)  # as the child has spelt it
    for rule in _filled([rule for rule in rules if rule.origin.host == host], target):
        return _refuse(Reason.CLEARTEXT, f"a credential for {rule.origin} goes over https only")
    return PassThrough(inert_placeholder=slots.carries(target.headers, target.path, _PLACEHOLDER))


def _filled(rules: Sequence[Rule], target: Target) -> list[Rule]:
    """The rules whose slot holds the placeholder; one whose slot holds it in doubt stands there twice."""
    filled: list[Rule] = []
    for rule in rules:
        match slots.content(target.headers, rule.slot, _PLACEHOLDER):
            case Content.NOTHING | Content.OTHER:
                pass
            case Content.PLACEHOLDER:
                filled.append(rule)
            case Content.AMBIGUOUS:
                filled += [rule, rule]
            case unknown:
                assert_never(unknown)
    return filled


def _structural_refusal(target: Target) -> Refuse | None:
    host = target.origin.host
    if sum(len(name) + len(value) + 4 for name, value in target.headers) > MAX_HEADERS:
        return _refuse(Reason.TOO_LARGE, f"the headers have more than {MAX_HEADERS} bytes", status=431)
    if any(_BROKEN.search(name) or _BROKEN.search(value) for name, value in target.headers):
        return _refuse(Reason.MALFORMED_HEADER, "a header holds a NUL, CR or LF")
    if target.authority or not target.path.startswith("/"):
        return _refuse(Reason.NOT_ORIGIN_FORM, "inside a tunnel the request line must be in origin form")
    named = slots.values(target.headers, b"host")
    if len(named) != 1 or parse_authority(named[0].decode("latin-1").strip(" \t"), 443) != target.origin:
        return _refuse(Reason.HOST_MISMATCH, f"the Host header must be {target.origin}, once")
    if canonical_host(target.client_sni or "") != host or canonical_host(target.upstream_sni or "") != host:
        return _refuse(Reason.SNI_MISMATCH, f"the TLS server name must be {host}")
    if not target.upstream_verified:
        return _refuse(Reason.UPSTREAM_UNTRUSTED, f"the certificate of {host} was not verified", status=502)
    if target.method.upper() in ECHOING_METHODS:
        return _refuse(Reason.METHOD, f"the method {target.method.upper()} is not forwarded")
    return None


def _use_refusal(rule: Rule, target: Target) -> Refuse | None:
    """Why a credential is not put into a request that is in order otherwise."""
    if slots.values(target.headers, b"upgrade"):
        # What follows a switch has no frames that are known here, and could not be searched.
        return _refuse(Reason.METHOD, "a credential is not sent with a protocol upgrade")
    if any(
        coding.strip(b" \t").lower() != b"chunked"
        for coding in slots.values(target.headers, b"transfer-encoding")
    ):
        return _refuse(Reason.MALFORMED_HEADER, "a credential goes in no other transfer coding than chunked")
    paths = readings(target.path)
    if not paths:
        return _refuse(Reason.AMBIGUOUS_PATH, "servers could read this path differently")
    if has_header(target.headers, OVERRIDING_TARGET):
        return _refuse(
            Reason.AMBIGUOUS_PATH, "a header names another host or path, which servers could go by"
        )
    if any(is_barred(never, path) for never in rule.never_paths for path in paths):
        return _refuse(Reason.TOKEN_ENDPOINT, "a credential is never sent to a token endpoint")
    if not any(rule.permits):
        return None
    if has_header(target.headers, OVERRIDING_METHOD):
        return _refuse(Reason.NOT_PERMITTED, "a header that overrides the method is not forwarded")
    if not permitted(rule.permits, target.method, paths):
        limits = "; ".join(permit.text for group in rule.permits for permit in group)
        return _refuse(Reason.NOT_PERMITTED, f"{rule.connection} is limited to: {limits}")
    return None


def _refuse(reason: Reason, message: str, status: int = 403) -> Refuse:
    return Refuse(reason, message, status=status)
