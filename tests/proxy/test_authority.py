import datetime as dt
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from proxy.authority import CLOCK_SKEW, LIFETIME, Leaf, make_authority

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


def test_each_host_gets_a_leaf_that_its_authority_vouches_for() -> None:
    authority = make_authority(["discord.com", "acme.example", "discord.com"], NOW)
    assert set(authority.leaves) == {"discord.com", "acme.example"}
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    for host, leaf in authority.leaves.items():
        verifier = PolicyBuilder().store(Store([root])).time(NOW).build_server_verifier(x509.DNSName(host))
        assert verifier.verify(leaf.certificate, [])
        other = (
            PolicyBuilder().store(Store([root])).time(NOW).build_server_verifier(x509.DNSName("evil.example"))
        )
        with pytest.raises(VerificationError):
            other.verify(leaf.certificate, [])


def test_the_authority_may_sign_for_its_hosts_only_and_for_no_address() -> None:
    root = x509.load_pem_x509_certificate(make_authority(["discord.com"], NOW).certificate.encode())
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName("discord.com")]
    assert {str(name.value) for name in constraints.value.excluded_subtrees or ()} == {"0.0.0.0/0", "::/0"}
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value == x509.BasicConstraints(ca=True, path_length=0)


def test_no_private_key_of_the_authority_is_left() -> None:
    authority = make_authority(["discord.com"], NOW)
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    for leaf in authority.leaves.values():
        assert leaf.key.public_key() != root.public_key()
        assert leaf.key.public_key() == leaf.certificate.public_key()
        assert "key" not in repr(leaf)


def test_two_runs_never_share_an_authority() -> None:
    assert (
        make_authority(["discord.com"], NOW).certificate != make_authority(["discord.com"], NOW).certificate
    )


def test_certificates_are_valid_from_a_little_before_now() -> None:
    leaf = make_authority(["discord.com"], NOW).leaves["discord.com"].certificate
    assert leaf.not_valid_before_utc == NOW - CLOCK_SKEW
    assert leaf.not_valid_after_utc == NOW + LIFETIME


def test_openssl_in_strict_mode_accepts_the_chain(tmp_path: Path) -> None:
    authority = make_authority(["discord.com"], NOW)
    (tmp_path / "ca.pem").write_text(authority.certificate)
    leaf = authority.leaves["discord.com"].certificate.public_bytes(Encoding.PEM)
    (tmp_path / "leaf.pem").write_bytes(leaf)
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", "-verify_hostname"]
    assert subprocess.run([*command, "discord.com", "leaf.pem"], cwd=tmp_path, check=False).returncode == 0
    assert subprocess.run([*command, "evil.example", "leaf.pem"], cwd=tmp_path, check=False).returncode != 0


def test_python_refuses_what_the_constraints_exclude(tmp_path: Path) -> None:
    """Were the key of an authority not dropped, a leaf for another name would still be worth nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    good = make_authority(["discord.com"], NOW)
    root = x509.load_pem_x509_certificate(good.certificate.encode())
    stolen = x509.CertificateBuilder(
        issuer_name=root.subject,
        subject_name=root.subject,
        public_key=key.public_key(),
        serial_number=root.serial_number,
        not_valid_before=root.not_valid_before_utc,
        not_valid_after=root.not_valid_after_utc,
        extensions=[
            extension
            for extension in root.extensions
            if not isinstance(extension.value, x509.SubjectKeyIdentifier)
        ],
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    certificate = stolen.sign(key, hashes.SHA256())
    for host, accepted in (("discord.com", True), ("evil.example", False)):
        assert handshake(tmp_path, certificate, forge(host, certificate, key), host) is accepted


def forge(host: str, root: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Leaf:
    own = ec.generate_private_key(ec.SECP256R1())
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(root.subject)
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(NOW - CLOCK_SKEW)
        .not_valid_after(NOW + CLOCK_SKEW)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Leaf(built, own)


def handshake(folder: Path, root: x509.Certificate, leaf: Leaf, host: str) -> bool:
    """Whether a client that trusts `root` completes a TLS handshake with `leaf`."""
    pem = leaf.certificate.public_bytes(Encoding.PEM) + leaf.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (folder / "leaf.pem").write_bytes(pem)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / "leaf.pem")
    client_context = ssl.create_default_context(cadata=root.public_bytes(Encoding.PEM).decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return client.version() is not None
