import datetime as dt
import ssl
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from launcher.errors import LauncherError
from launcher.setup.trust import certificates, joined, provider_context, root_certificates
from tests.proxy.test_tls import Issuer, serving


def authority(name: str = "a private root") -> tuple[str, str]:
    """A self-signed certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def test_the_systems_roots_are_trusted_without_any_variable() -> None:
    assert len(certificates(root_certificates({}))) > 20


def test_the_file_named_by_ssl_cert_file_is_trusted_besides_the_system(tmp_path: Path) -> None:
    certificate, _ = authority()
    file = tmp_path / "private.pem"
    file.write_text(certificate)
    roots = root_certificates({"SSL_CERT_FILE": str(file)})
    assert certificate in roots
    assert len(certificates(roots)) == len(certificates(root_certificates({}))) + 1
    assert certificate not in root_certificates({})


def test_a_private_key_beside_the_certificates_is_left_out(tmp_path: Path) -> None:
    certificate, key = authority()
    file = tmp_path / "both.pem"
    file.write_text(f"# ours\n{key}{certificate}")
    roots = root_certificates({"SSL_CERT_FILE": str(file)})
    assert certificate in roots
    assert "PRIVATE" not in roots
    assert "# ours" not in roots


@pytest.mark.parametrize("content", [None, "", "not a certificate\n"])
def test_an_ssl_cert_file_without_certificates_is_an_error_that_names_it(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "roots.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(LauncherError, match="SSL_CERT_FILE") as caught:
        root_certificates({"SSL_CERT_FILE": str(file)})
    assert str(file) in str(caught.value)
    assert caught.value.hint


def test_an_ssl_cert_file_with_a_broken_certificate_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(LauncherError, match="cannot be read"):
        root_certificates({"SSL_CERT_FILE": str(file)})


def test_each_certificate_stands_once_also_with_other_line_ends() -> None:
    certificate, _ = authority()
    assert joined([certificate, certificate.replace("\n", "\r\n"), certificate]) == certificate


def test_the_context_verifies_and_trusts_the_given_roots_alone() -> None:
    certificate, _ = authority()
    context = provider_context(certificate)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509"] == 1
    assert context.keylog_filename is None


@pytest.mark.parametrize("alternative", [True, False])
def test_a_common_name_is_no_host_name_to_our_own_requests(alternative: bool) -> None:
    root = Issuer("root")
    server = SSL.Connection(serving(root, "discord.com", alternative=alternative))
    server.set_accept_state()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = provider_context(root.pem).wrap_bio(incoming, outgoing, server_hostname="discord.com")

    def shake_hands() -> None:
        for _ in range(3):
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
            if said := outgoing.read():
                server.bio_write(said)
            with suppress(SSL.WantReadError):
                server.do_handshake()
            with suppress(SSL.WantReadError):
                incoming.write(server.bio_read(65536))

    with nullcontext() if alternative else pytest.raises(ssl.SSLCertVerificationError):
        shake_hands()
    assert (client.version() is not None) is alternative


def test_our_own_requests_are_not_renegotiated() -> None:
    """A second handshake could show another certificate than the one that was verified."""
    assert provider_context(Issuer("root").pem).options & ssl.OP_NO_RENEGOTIATION
