"""Who listens where Parley's programs listen unless told otherwise."""

import asyncio
import socket
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.checks import Check, Verdict
from cli.programs import LOOPBACK, ORCHESTRATOR, PROGRAMS, Program
from services.common.channel import open_channel

_ANSWER_TIMEOUT_S = 2.0


async def port_checks() -> list[Check]:
    """A check for each program's default port."""
    return list(await asyncio.gather(*(port_check(program, program.default_port) for program in PROGRAMS)))


async def port_check(program: Program, port: int) -> Check:
    """Whether a port is free, or taken by Parley itself, which answers health checks."""
    name = f"port {port} ({program.name})"
    if _is_free(port):
        return Check(name, Verdict.OK, "free")
    async with open_channel(f"{LOOPBACK}:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            flag = "port" if program is ORCHESTRATOR else f"{program.name}_port"
            return Check(name, Verdict.MISSING, "taken by another program", f"choose another with --{flag}")
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return Check(name, Verdict.OK, "Parley is serving here" if serving else "Parley is loading here")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
