"""`python -m services.stt`: the STT server."""

import os

# NumPy's BLAS threads spin for a while after each product; the small ones of a spectrogram would cost a third of a
# decode's processor time so. NumPy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from services.common import server
from services.common.settings import load_or_exit
from services.stt.service import SttService
from services.stt.settings import SttSettings


def main() -> None:
    """Serve until a signal."""
    settings = load_or_exit(SttSettings, "parley-stt")
    server.main(SttService(settings), settings)


if __name__ == "__main__":
    main()
