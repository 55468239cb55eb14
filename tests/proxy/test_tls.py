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

    def sign(self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder(_named(self.name), _named(name), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(days=1))
            .not_valid_after(NOW + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        certificate = (self.above or self).sign(self.name, self.key, authority=True)
        return certificate.public_bytes(Encoding.PEM).decode()


def shakes_hands(roots: str, issuer: Issuer, host: str) -> bool:
    """Whether a client that trusts `roots` accepts a server for `host` that shows nothing but its leaf."""
    key = ec.generate_private_key(ec.SECP256R1())
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(issuer.sign(host, key, authority=False))
    context.use_privatekey(key)
    server, client = SSL.Connection(context), verified_connection(client_context(roots), "discord.com")
    server.set_accept_state()
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
            with suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    return done == {client, server}


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
