"""How a client of Parley's servers is safe: TLS, whom it trusts, and what shows who it is."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from services.common.tls import check_authorities, check_pair
from services.common.watched_files import WatchedFiles

BEARER = "Bearer "
AUTHORIZATION = "authorization"


@dataclass(frozen=True)
class ClientSecurity:
    """Files may be replaced at any time: what connects or calls next uses what is in them then. All are PEM.

    Attributes:
        tls: whether the connection is encrypted.
        ca: who has signed the servers' certificates; None trusts those that browsers do.
        cert: what the client shows to servers that ask for a certificate, with its `key`; None has none.
        key: of `cert`.
        server_name: the name that the servers' certificates have, where that is not the target's.
        token: shown with every call; empty is none.
        token_file: a file that has it instead.
    """

    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    token: str = ""
    token_file: Path | None = None

    def credentials(self) -> Callable[[], grpc.ChannelCredentials]:
        """Makes the same object as long as the files are the same.

        Raises:
            OSError, ValueError: a file is missing, or is not what it should be.
        """
        ca, pair = self.ca, (self.key, self.cert)

        def make(*contents: bytes) -> grpc.ChannelCredentials:
            if ca is not None:
                check_authorities(ca)
            if self.cert is not None and self.key is not None:
                check_pair(self.cert, self.key)
            read = iter(contents)
            roots, key, cert = (None if path is None else next(read) for path in (ca, *pair))
            return grpc.ssl_channel_credentials(roots, key, cert)

        return WatchedFiles([path for path in (ca, *pair) if path is not None], make).get

    def authorization(self) -> Callable[[], str]:
        """The value of the metadata `authorization`, empty where there is no token.

        Raises:
            OSError, ValueError: the file is missing, or has no token.
        """
        if self.token_file is not None:
            return WatchedFiles([self.token_file], _from_file).get
        value = BEARER + self.token if self.token else ""
        return lambda: value

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """Of the channel."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


PLAIN = ClientSecurity()


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host never leaves this machine. Names are not looked up."""
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def stays_here(target: str) -> bool:
    """Whether all that a gRPC target names is this machine: `host:port`, `dns:///host:port`, `ipv4:a:1,b:2`."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    addresses = target.rpartition("/")[2].removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:")
    return all(is_loopback(address.rpartition(":")[0] or address) for address in addresses.split(","))


def _from_file(content: bytes) -> str:
    token = content.decode("ascii", "replace").strip()
    if not token.isprintable() or not token or " " in token:
        raise ValueError("the file has no token: one line, without spaces")
    return BEARER + token
