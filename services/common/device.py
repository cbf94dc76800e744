"""Where a model computes."""


def choose_device(wanted: str, *, cuda: bool) -> str:
    """The device that a flag asks for; `auto` is cuda where the model's library sees one, else the processor."""
    if wanted != "auto":
        return wanted
    return "cuda" if cuda else "cpu"
