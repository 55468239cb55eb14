"""Which upstreams are trusted."""

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from proxy.tls import client_context, verified_connection

NOW = dt.datetime.now(dt.UTC)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


@dataclass
class Issuer:
    """A certificate authority, signed by itself or by another."""

    name: str
    above: "Issuer | None" = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool, alternative: bool = True
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder(_named(self.name), _named(name), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(days=1))
            .not_valid_after(NOW + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if alternative:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        certificate = (self.above or self).sign(self.name, self.key, authority=True)
        return certificate.public_bytes(Encoding.PEM).decode()


def serving(issuer: Issuer, host: str, *, alternative: bool = True) -> SSL.Context:
    """A server for `host` that shows nothing but its leaf."""
    key = ec.generate_private_key(ec.SECP256R1())
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(issuer.sign(host, key, authority=False, alternative=alternative))
    context.use_privatekey(key)
    return context


def shake_hands(client: SSL.Connection, server: SSL.Connection) -> bool:
    """Whether both are content."""
    done = set()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
                done.add(one)
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return False
            carry(one, other)
    return done == {client, server}


def carry(one: SSL.Connection, other: SSL.Connection) -> None:
    with suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(65536))


def both(context: SSL.Context, server: SSL.Context, host: str) -> tuple[SSL.Connection, SSL.Connection]:
    ends = verified_connection(context, host), SSL.Connection(server)
    ends[1].set_accept_state()
    return ends


def shakes_hands(roots: str, issuer: Issuer, host: str) -> bool:
    """Whether a client that trusts `roots` accepts a server for `host`."""
    return shake_hands(*both(client_context(roots), serving(issuer, host), "discord.com"))


ROOT = Issuer("root")
MIDDLE = Issuer("middle", ROOT)


@pytest.mark.parametrize(
    ("roots", "issuer", "host", "trusted"),
    [
        (ROOT, ROOT, "discord.com", True),
        (MIDDLE, MIDDLE, "discord.com", True),
        (MIDDLE, MIDDLE, "evil.example", False),
        (MIDDLE, ROOT, "discord.com", False),
        (Issuer("middle", Issuer("root")), MIDDLE, "discord.com", False),
    ],
)
def test_an_upstream_is_trusted_by_a_root_or_by_what_the_user_names_in_its_place(
    roots: Issuer, issuer: Issuer, host: str, trusted: bool
) -> None:
    """As `ssl` does with VERIFY_X509_PARTIAL_CHAIN: logging in and running must agree."""
    assert shakes_hands(roots.pem, issuer, host) is trusted


def test_a_common_name_is_no_host_name() -> None:
    for alternative in (True, False):
        server = serving(ROOT, "discord.com", alternative=alternative)
        ends = both(client_context(ROOT.pem), server, "discord.com")
        assert shake_hands(*ends) is alternative


@pytest.mark.parametrize(("name", "trusted"), [("*.discord.com", True), ("a*.discord.com", False)])
def test_a_star_in_a_certificate_stands_for_a_whole_label(name: str, trusted: bool) -> None:
    ends = both(client_context(ROOT.pem), serving(ROOT, name), "api.discord.com")
    assert shake_hands(*ends) is trusted


@pytest.mark.parametrize(
    ("newest", "trusted"),
    [
        (SSL.TLS1_3_VERSION, True),
        (SSL.TLS1_2_VERSION, True),
        (SSL.TLS1_1_VERSION, False),
        (SSL.TLS1_VERSION, False),
    ],
)
def test_nothing_older_than_tls_1_2_is_spoken(newest: int, trusted: bool) -> None:
    """With ciphers of all strengths, as OpenSSL's own choice of them leaves older versions none."""
    client, server = client_context(ROOT.pem), serving(ROOT, "discord.com")
    server.set_max_proto_version(newest)
    for context in (client, server):
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
    assert shake_hands(*both(client, server, "discord.com")) is trusted


@pytest.mark.parametrize("ours", [True, False])
def test_an_upstream_cannot_renegotiate(ours: bool) -> None:
    """A second handshake could show another certificate than the one that was verified."""
    server = serving(ROOT, "discord.com")
    server.set_max_proto_version(SSL.TLS1_2_VERSION)
    context = client_context(ROOT.pem) if ours else SSL.Context(SSL.TLS_CLIENT_METHOD)
    client, upstream = ends = both(context, server, "discord.com") if ours else unverified(context, server)
    assert shake_hands(*ends)
    assert upstream.renegotiate()
    for _ in range(3):
        upstream.do_handshake()
        carry(upstream, client)
        with suppress(SSL.WantReadError):
            client.recv(1)
        carry(client, upstream)
    assert client.total_renegotiations() == (0 if ours else 1)


def unverified(context: SSL.Context, server: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
    ends = SSL.Connection(context), SSL.Connection(server)
    ends[0].set_connect_state()
    ends[1].set_accept_state()
    return ends
