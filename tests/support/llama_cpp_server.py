"""llama.cpp's server as a program: `python -m tests.support.llama_cpp_server GGUF TEMPLATE_FILE NAME CONTEXT PORT`."""

import signal
import sys
from pathlib import Path

import xllamacpp


def main(gguf: str, template: str, name: str, context: str, port: str) -> None:
    """Serve until a signal comes."""
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.model_alias = {name}
    params.chat_template = Path(template).read_text("utf-8")
    params.use_jinja = True
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.warmup = False
    server = xllamacpp.Server(params)
    sys.stderr.write(f"listening on {server.listening_address}\n")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(*sys.argv[1:])
