"""A program that behaves like one of Parley's, or misbehaves as told: for tests of whoever starts them.

`python toy_program.py --port=0 [--dies=MESSAGE or exit code] [--stubborn] [--says=LINE] [--stt_target=…]`
"""

import argparse
import asyncio
import json
import signal
import sys

import grpc
from grpc_health.v1 import health, health_pb2_grpc


async def run(flags: argparse.Namespace) -> None:
    """Serve health checks until SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, (lambda: None) if flags.stubborn else ended.set)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port(f"127.0.0.1:{flags.port}")
    if flags.says:
        sys.stderr.write(flags.says + "\n")
    targets = {name: value for name, value in vars(flags).items() if name.endswith("_target") and value}
    sys.stderr.write(json.dumps({"message": "listening", "level": "INFO", "port": port, **targets}) + "\n")
    sys.stderr.flush()
    if flags.dies:
        raise SystemExit(int(flags.dies) if flags.dies.isdigit() else f"parley-stt: {flags.dies}")
    await server.start()
    await ended.wait()
    await server.stop(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for flag in ("port", "dies", "says", "stt_target", "llm_target", "tts_target"):
        parser.add_argument(f"--{flag}", default="")
    parser.add_argument("--stubborn", action="store_true")
    asyncio.run(run(parser.parse_args()))
