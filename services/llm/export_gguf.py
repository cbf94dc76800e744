"""Converts a GGUF file into a folder of safetensors, as `python -m services.llm.export_gguf FILE FOLDER DTYPE`.

Dequantizing takes 12 s and is the same each time; the folder loads in half a second.
"""

import sys
from pathlib import Path
from typing import Any


def export(source: Path, folder: Path, dtype: str) -> None:
    """Write weights, configuration, tokenizer and chat template of `source` into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, dtype=getattr(torch, dtype), **where)
    # What was loaded is not quantized any more, but says that it is, and then refuses to be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
