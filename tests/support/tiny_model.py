"""A chat model of 3 million random numbers on the embedded model's tokenizer: it knows nothing, and is fast."""

import shutil
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_model(embedded: Path, folder: Path, *, context: int = 2048, template: str = TEMPLATE) -> Path:
    """Write the model's folder as the transformers library does.

    Args:
        embedded: the folder of the unpacked embedded model, for its tokenizer.
        context: tokens of context and answer together.
        template: the chat template; "" for none.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(embedded, local_files_only=True)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.6,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.chat_template = template or None
    tokenizer.save_pretrained(folder)
    if not template:
        for file in folder.glob("chat_template*"):
            file.unlink() if file.is_file() else shutil.rmtree(file)
    return folder
