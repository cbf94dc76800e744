"""Whether the server of this container is ready: `python -m services.common.health_probe [HOST:PORT]`.

Exit code 0 where it says SERVING, 1 with a line otherwise. Without an address it asks this host, at
`PARLEY_HEALTH_PORT` (without TLS) or else `PARLEY_PORT`. Where `PARLEY_TLS_CERT` and `PARLEY_TLS_KEY` are set it uses
TLS and shows them; it trusts `PARLEY_TLS_CA`, or that certificate itself. No token is needed.
"""

import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT_S = 4.0


def main() -> None:
    """Ask once."""
    health_port = os.environ.get("PARLEY_HEALTH_PORT", "-1")
    given = sys.argv[1] if len(sys.argv) > 1 else ""
    plain = not given and health_port != "-1"
    address = given or f"127.0.0.1:{health_port if plain else os.environ['PARLEY_PORT']}"
    try:
        with _channel(address) if not plain else grpc.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            status = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S).status
    except grpc.RpcError as error:
        sys.exit(f"{address}: {error.code().name}")
    except OSError as error:
        sys.exit(f"{address}: {error}")
    if status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")


def _channel(address: str) -> grpc.Channel:
    cert, key = (os.environ.get(f"PARLEY_TLS_{name}", "") for name in ("CERT", "KEY"))
    ca = os.environ.get("PARLEY_TLS_CA") or cert
    if not ca:
        return grpc.insecure_channel(address)
    name = os.environ.get("PARLEY_TLS_SERVER_NAME") or _certified_name(address, ca, cert, key)
    pair = (Path(key).read_bytes(), Path(cert).read_bytes()) if cert else (None, None)
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes(), *pair)
    return grpc.secure_channel(address, credentials, options=(("grpc.ssl_target_name_override", name),))


def _certified_name(address: str, ca: str, cert: str, key: str) -> str:
    """A name that the server's certificate has: an address of this host is hardly ever one."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate may be its own authority here
    if cert:
        context.load_cert_chain(cert, key)
    host, _, port = address.rpartition(":")
    connecting = socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_S)
    with connecting as plain, context.wrap_socket(plain) as tls:
        certificate: Any = tls.getpeercert()
    names: list[str] = [name for kind, name in certificate["subjectAltName"] if kind in ("DNS", "IP Address")]
    return names[0]


if __name__ == "__main__":
    main()
