"""The TLS contexts of a run: one for each rule host towards the child, one towards the upstreams.

HTTP/1.1 is all that is offered on either side. mitmproxy's HTTP/2 has no backpressure across
flow-control windows, so one slow client could fill the proxy's memory.
"""

from __future__ import annotations

import re
from typing import Final

from OpenSSL import SSL, crypto

from proxy.authority import Leaf

ALPN: Final = b"http/1.1"
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NO_PARTIAL_WILDCARDS: Final = 0x4
"""X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS of X509_check_host(3)."""
_NEVER_CHECK_SUBJECT: Final = 0x20
"""X509_CHECK_FLAG_NEVER_CHECK_SUBJECT: the common name is no host name (RFC 9525 section 6.3)."""


def server_context(leaf: Leaf) -> SSL.Context:
    """Speak to the child as the leaf's host."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.use_certificate(leaf.certificate)
    context.use_privatekey(leaf.key)
    context.set_alpn_select_callback(_select_http1)
    return context


def _select_http1(_: SSL.Connection, offered: list[bytes]) -> bytes:
    if ALPN in offered:
        return ALPN
    # Ends the handshake (RFC 7301 section 3.2); the library's other way of saying no goes on without.
    raise SSL.Error([("", "", "no application protocol")])


def client_context(roots: str) -> SSL.Context:
    """Speak to upstreams whose certificates chain to one of `roots` (PEM), be it itself signed by another."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_alpn_protos([ALPN])
    store = context.get_cert_store()
    if store is None:
        raise RuntimeError("OpenSSL gave a context without a certificate store")
    for block in _CERTIFICATE.findall(roots):
        # By OpenSSL alone: old roots break rules that other parsers enforce or warn of.
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_PEM, block.encode("ascii")))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    return context


def verified_connection(context: SSL.Context, host: str) -> SSL.Connection:
    """A client connection that completes its handshake only with a certificate for `host`."""
    connection = SSL.Connection(context)
    connection.set_tlsext_host_name(host.encode())
    # pyOpenSSL has no public call for this. A failure raises, and the connection is never made.
    library = SSL._lib  # type: ignore[attr-defined]
    parameters = library.SSL_get0_param(connection._ssl)
    library.X509_VERIFY_PARAM_set_hostflags(parameters, _NO_PARTIAL_WILDCARDS | _NEVER_CHECK_SUBJECT)
    name = host.encode()
    SSL._openssl_assert(library.X509_VERIFY_PARAM_set1_host(parameters, name, len(name)) == 1)
    connection.set_connect_state()
    return connection
