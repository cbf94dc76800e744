"""The LLM service as a program: `python -m services.llm`."""

from services.common.server import main as serve
from services.common.settings import load_or_exit
from services.llm.backends.batching.memory import share_heaps
from services.llm.service import LlmService
from services.llm.settings import LlmSettings


def main() -> None:
    """Read the flags and serve until a signal comes."""
    share_heaps()
    settings = load_or_exit(LlmSettings, "parley-llm")
    serve(LlmService(settings), settings)


if __name__ == "__main__":
    main()
