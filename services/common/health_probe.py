"""Whether the server of this container is ready: `python -m services.common.health_probe [HOST:PORT]`.

Exit code 0 where it says SERVING, 1 with a line otherwise. Without an address it asks this host at `PARLEY_PORT`.
"""

import os
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT_S = 4.0


def main() -> None:
    """Ask once."""
    address = sys.argv[1] if len(sys.argv) > 1 else f"127.0.0.1:{os.environ['PARLEY_PORT']}"
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            status = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S).status
        except grpc.RpcError as error:
            sys.exit(f"{address}: {error.code().name}")
    if status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")


if __name__ == "__main__":
    main()
