"""A certificate authority for one run.

It signs one leaf per rule host and forgets its key before anything else happens: nothing is stored, and
nothing can ever be signed for another name, whoever reads the proxy's memory.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = dt.timedelta(days=199)
"""How long a run can last; public authorities may issue for less than 200 days (CA/B Forum BR 6.3.2)."""

CLOCK_SKEW: Final = dt.timedelta(hours=1)
"""A child in a container may have a clock that is a little behind."""

_SIGNING_ONLY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate for one host, and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authority:
    """What is left of a run's authority: its certificate and the leaves it signed."""

    certificate: str
    """PEM; what the child is told to trust."""
    leaves: Mapping[str, Leaf]


def make_authority(hosts: Iterable[str], now: dt.datetime) -> Authority:
    """A name-constrained authority (RFC 5280 section 4.2.1.10) and a leaf for each of `hosts`."""
    names = sorted(set(hosts))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authsome run")])
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(name) for name in names],
        # Without this a forged certificate for an IP address is accepted by some clients.
        excluded_subtrees=[
            x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
            x509.IPAddress(ipaddress.ip_network("::/0")),
        ],
    )
    root = (
        _builder(subject, subject, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNING_ONLY, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(constraints, critical=True)
        .sign(key, hashes.SHA256())
    )
    leaves = {name: _leaf(name, subject, key, now) for name in names}
    return Authority(root.public_bytes(Encoding.PEM).decode(), leaves)


def _leaf(host: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> Leaf:
    own = ec.generate_private_key(ec.SECP256R1())
    # The name is in the SAN only: a common name has a limit of 64 characters that hosts need not keep.
    certificate = (
        _builder(x509.Name([]), issuer, own.public_key(), now)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Leaf(certificate, own)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )
