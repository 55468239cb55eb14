"""Which certificate authorities are trusted: the system's, and those the user names."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from launcher.errors import LauncherError
from launcher.setup.settings import ROOTS_VARIABLE

SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older Fedora and RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS, the BSDs
)
"""Where systems keep their store as one file; looked at in this order."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def root_certificates(environ: Mapping[str, str]) -> str:
    """The trusted roots as PEM: the system's store and what SSL_CERT_FILE names.

    Raises: LauncherError where SSL_CERT_FILE is set and holds no certificates.
    """
    named = environ.get(ROOTS_VARIABLE)
    return joined([_system_store(), _named_file(named) if named else ""])


def certificates(text: str) -> list[str]:
    """The certificates of a PEM text, without what else stands there: a bundle may hold a private key."""
    return [re.sub(r"\s*\n\s*", "\n", block) for block in _CERTIFICATE.findall(text)]


def joined(texts: Iterable[str]) -> str:
    """The certificates of several PEM texts as one, each once."""
    blocks = dict.fromkeys(block for text in texts for block in certificates(text))
    return "".join(f"{block}\n" for block in blocks)


def read_certificates(path: Path) -> str:
    """The certificates in a PEM file. Raises: OSError."""
    return joined([path.read_text(encoding="ascii", errors="replace")])


def provider_context(roots: str) -> ssl.SSLContext:
    """TLS towards providers: `roots` and nothing else is trusted.

    It is made by hand because `ssl.create_default_context` writes every session's keys to the file
    that SSLKEYLOGFILE names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.hostname_checks_common_name = False  # it is no host name (RFC 9525 section 6.3)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=roots)
    return context


def _system_store() -> str:
    compiled_in = ssl.get_default_verify_paths().openssl_cafile
    for path in (compiled_in, *SYSTEM_BUNDLES):
        try:
            found = read_certificates(Path(path))
        except OSError:
            continue
        if found:
            return found
    import certifi

    return read_certificates(Path(certifi.where()))


def _named_file(name: str) -> str:
    hint = f"let {ROOTS_VARIABLE} name a PEM file of certificates, or unset it"
    try:
        found = read_certificates(Path(name))
    except OSError as error:
        problem = error.strerror or "unreadable"
        raise LauncherError(f"cannot read {ROOTS_VARIABLE} {name!r}: {problem.lower()}", hint) from error
    if not found:
        raise LauncherError(f"{ROOTS_VARIABLE} {name!r} holds no certificate", hint)
    try:
        provider_context(found)
    except ssl.SSLError as error:
        raise LauncherError(
            f"{ROOTS_VARIABLE} {name!r} holds a certificate that cannot be read", hint
        ) from error
    return found
