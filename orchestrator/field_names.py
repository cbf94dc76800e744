"""Names that a field has in one interface, for those who know it from another."""

from collections.abc import Mapping


def renamed(field: str, names: Mapping[str, str]) -> str:
    """What a field is called by those who read `names`, as are the fields and items below it; itself where it is not
    among them. The first name that fits counts.
    """
    for theirs, ours in names.items():
        if field == theirs or field.startswith((f"{theirs}.", f"{theirs}[")):
            return ours + field.removeprefix(theirs)
    return field
