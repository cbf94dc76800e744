"""What a session remembers of the items that its client knows."""

from typing import Any

from orchestrator.realtime.items import KEPT_CHARACTERS, KEPT_ITEMS, Items, item_json


def item(item_id: str, text: str = "") -> dict[str, Any]:
    return item_json("message", item_id, "completed", role="user", content=[{"type": "input_text", "text": text}])


def test_the_oldest_of_too_many_items_are_forgotten() -> None:
    items = Items()
    for number in range(KEPT_ITEMS + 2):
        items.add(item(str(number)))
    assert [items.get(str(number)) is None for number in range(4)] == [True, True, False, False]


def test_the_oldest_are_forgotten_where_a_client_puts_much_into_them() -> None:
    items = Items()
    for name in ("first", "second", "third"):
        items.add(item(name, "x" * (KEPT_CHARACTERS // 3)))
    assert items.get("first") is None
    assert items.take("second") == ["second"]
    items.add(item("fourth", "x" * (KEPT_CHARACTERS // 3)))
    assert items.get("third") is not None
    assert items.last_id == "fourth"
