"""llama.cpp's OpenAI-compatible server, of the image llama-cpp: `python -m llama_cpp_server`.

It calls its model llama-cpp. Environment: LLAMA_MODEL (a GGUF file), LLAMA_CONTEXT (tokens of each answer's context),
LLAMA_PARALLEL (answers at a time), LLAMA_PORT.
"""

import os
import signal
import sys

import xllamacpp


def main() -> None:
    """Serve until a signal comes."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    params = xllamacpp.CommonParams()
    params.model.path = os.environ["LLAMA_MODEL"]
    params.model_alias = {"llama-cpp"}
    params.use_jinja = True
    params.n_parallel = int(os.environ.get("LLAMA_PARALLEL", "4"))
    params.n_ctx = int(os.environ.get("LLAMA_CONTEXT", "4096")) * params.n_parallel
    params.cpuparams.n_threads = len(os.sched_getaffinity(0))
    params.hostnames = ["0.0.0.0"]
    params.port = int(os.environ.get("LLAMA_PORT", "8080"))
    server = xllamacpp.Server(params)
    sys.stderr.write(f"listening on {server.listening_address}\n")
    signal.sigwait(signals)
    del server


if __name__ == "__main__":
    main()
