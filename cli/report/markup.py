"""Elements of HTML and SVG, as text."""

from html import escape


def tag(name: str, *children: str, **attributes: object) -> str:
    """An element around markup. Of an attribute's name a trailing underscore goes (`class_`), others become hyphens."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{words}>{''.join(children)}</{name}>"


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
