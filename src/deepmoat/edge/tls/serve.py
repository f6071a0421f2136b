"""Certificates on disk as contexts of OpenSSL, one for each, chosen by the name a client asks for."""

import ssl
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cryptography import x509

from deepmoat.edge.balance.settings import BackendTlsSettings
from deepmoat.edge.settings import CertificateSettings, TlsSettings
from deepmoat.kit.errors import ConfigError

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_WHERE = "[[edge.tls.certificates]]"


class Certificates:
    """The contexts of one version of the files. Raises ConfigError naming the file that cannot be used."""

    def __init__(self, settings: TlsSettings) -> None:
        self.settings = settings
        if not settings.certificates:
            hint = "add [[edge.tls.certificates]] with certificate and key"
            raise ConfigError("TLS wants a certificate", where="[edge.tls] listen", hint=hint)
        self._stamps = self._stamp()
        self._by_name: dict[str, ssl.SSLContext] = {}
        contexts = [self._add(one) for one in settings.certificates]
        self._first = contexts[0]

    def context(self, server_name: str) -> ssl.SSLContext:
        """The context for the name a client asks for ("" for none): its own, a wildcard's, or the first."""
        name = server_name.lower().rstrip(".")
        found = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        return found or self._first

    def changed(self) -> bool:
        """Is any file another than the one that was read?"""
        return self._stamp() != self._stamps

    def _stamp(self) -> list[tuple[float, int]]:
        files = [f for one in self.settings.certificates for f in (one.certificate, one.key)]
        return [_stat(Path(f)) for f in files]

    def _add(self, one: CertificateSettings) -> ssl.SSLContext:
        context = _context(one, self.settings)
        for name in one.names or _names(Path(one.certificate)):
            self._by_name.setdefault(name.lower(), context)
        return context


def _context(one: CertificateSettings, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[settings.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["h2", "http/1.1"] if settings.http2 else ["http/1.1"])
    try:
        if settings.ciphers:
            context.set_ciphers(settings.ciphers)
        context.load_cert_chain(one.certificate, one.key)
    except (OSError, ssl.SSLError) as exc:
        reason = exc.strerror or getattr(exc, "reason", "") or str(exc)
        raise ConfigError(
            f"cannot be used: {reason}", where=f"{_WHERE} {one.certificate}, {one.key}"
        ) from exc
    return context


def _names(path: Path) -> Sequence[str]:
    """The names a certificate is made out to: DNS names and addresses (RFC 6125)."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (OSError, ValueError) as exc:
        raise ConfigError(f"cannot be read: {exc}", where=f"{_WHERE} {path}") from exc
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *map(str, addresses))


def _stat(path: Path) -> tuple[float, int]:
    try:
        found = path.stat()
    except OSError:
        return (0.0, 0)
    return found.st_mtime, found.st_ino


@lru_cache(256)
def backend_context(settings: BackendTlsSettings) -> ssl.SSLContext:
    """How a backend's certificate is checked. Raises ConfigError naming what cannot be used."""
    where = "[edge.backends.tls]"
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key or None)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"cannot be used: {exc}", where=where) from exc
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
