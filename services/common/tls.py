"""TLS of servers: certificates from files, which may be replaced while the server runs.

Each new connection is shown the certificate that is in the files then; connections that are there stay.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from services.common.errors import StartupError, first_line
from services.common.watched_files import WatchedFiles

T = TypeVar("T")
_HTTP_1 = ("http/1.1",)
"""WebSockets begin as HTTP/1.1 (RFC 6455)."""


@dataclass(frozen=True)
class ServerTls:
    """What a server shows and asks for; all files are PEM.

    Attributes:
        cert: its certificate, with the chain.
        key: of the certificate, without a password.
        client_ca: who has signed the certificates of clients, all of whom must have one then; None asks for none.
    """

    cert: Path
    key: Path
    client_ca: Path | None

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`.

        Raises:
            StartupError: where a file is missing, or is not what it should be.
        """
        files = self._watched(_grpc_configuration)
        return grpc.dynamic_ssl_server_credentials(files.get(), files.get, self.client_ca is not None)

    def http_context(self) -> ssl.SSLContext:
        """For a server of Python's own TLS.

        Raises:
            StartupError: as above.
        """
        files = self._watched(lambda *_: self._http_context())
        first = files.get()

        def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            """Python asks this at each handshake, whether the client names the server (SNI) or not."""
            connection.context = files.get()

        first.sni_callback = renew
        return first

    def _watched(self, make: Callable[..., T]) -> WatchedFiles[T]:
        def checked(*contents: bytes) -> T:
            self._check()
            return make(*contents)

        paths = [self.key, self.cert, *([self.client_ca] if self.client_ca else [])]
        try:
            return WatchedFiles(paths, checked)
        except (OSError, ValueError) as error:
            raise StartupError(f"TLS: {first_line(error)}") from None

    def _check(self) -> None:
        check_pair(self.cert, self.key)
        if self.client_ca is not None:
            check_authorities(self.client_ca)

    def _http_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.client_ca)
        context.load_cert_chain(self.cert, self.key)
        context.set_alpn_protocols(_HTTP_1)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def check_pair(cert: Path, key: Path) -> None:
    """Raise ValueError where the files are no certificate and its key: gRPC would only tell who connects."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise ValueError(f"{cert} and {key} are not a certificate and its key in PEM: {error.reason}") from None


def check_authorities(path: Path) -> None:
    """Raise ValueError where a file has no certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} has no certificates in PEM: {error.reason}") from None


def _no_password() -> str:
    """Instead of a prompt in the terminal."""
    raise ValueError("the key has a password, which a server cannot be asked for")


def _grpc_configuration(key: bytes, cert: bytes, client_ca: bytes | None = None) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca)
