"""A private certificate authority and the TLS contexts it serves."""

from __future__ import annotations

import datetime as dt
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_USAGE = {"key_cert_sign": True, "crl_sign": True, "digital_signature": False}
_LEAF_USAGE = {"key_cert_sign": False, "crl_sign": False, "digital_signature": True}
_NO_USAGE = {
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


class Authority:
    """Mints certificates into `folder`; its own certificate is `ca_file`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._minted: set[str] = set()
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _name("stand-in private CA")
        self._certificate = (
            self._builder(subject, subject, self._key.public_key(), _CA_USAGE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / "ca.pem"
        _write(self.ca_file, self._certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(self, name: str) -> Path:
        """A PEM file with a key and a certificate for one host or client, made at the first call."""
        path = self._folder / f"leaf-{name}.pem"
        if name not in self._minted:
            _write(path, self._mint(name))
            self._minted.add(name)
        return path

    def server_context(self, host: str, require_client: bool) -> ssl.SSLContext:
        """A context that shows the certificate of `host` and offers HTTP/1.1 only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.leaf(host))
        context.set_alpn_protocols(["http/1.1"])
        if require_client:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _mint(self, name: str) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._builder(_name(name[:64]), self._certificate.subject, key.public_key(), _LEAF_USAGE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ) + certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        usage: dict[str, bool],
    ) -> x509.CertificateBuilder:
        """What every certificate has: Python 3.13 refuses those without key identifiers (X509_STRICT)."""
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.KeyUsage(**_NO_USAGE, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
