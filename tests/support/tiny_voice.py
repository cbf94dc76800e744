"""A VITS model of random numbers: it babbles, one length of sound for a text, and is fast."""

import json
from pathlib import Path


def save_tiny_voice(folder: Path, *, language: str | None = "eng", letters: str = "abcdefghijklmnopqrstuvwxyz") -> Path:
    """Write the model's folder as the transformers library does, in the manner of MMS.

    Args:
        language: ISO 639-3; None where the model does not tell.
        letters: that it knows.
    """
    import torch
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(["_", " ", "'", "-", *letters, "<unk>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    VitsTokenizer(
        str(folder / "vocab.json"), pad_token="_", language=language, phonemize=False, normalize=True
    ).save_pretrained(folder)
    torch.manual_seed(1)
    config = VitsConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=32,
        flow_size=16,
        spectrogram_bins=9,
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        use_stochastic_duration_prediction=False,
        depth_separable_num_layers=1,
        upsample_initial_channel=8,
        upsample_rates=[8, 8, 4],
        upsample_kernel_sizes=[16, 16, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        wavenet_dilation_rate=1,
        sampling_rate=16_000,
    )
    model = VitsModel(config)
    with torch.no_grad():
        model.decoder.conv_post.weight *= 0.05  # as loud as speech; unscaled, it is noise at full scale
    model.save_pretrained(folder)
    return folder
