"""How much of a Realtime client's JSON is read."""

import json

import pytest

from orchestrator.realtime.event_json import MAX_LEVELS, MAX_VALUES, read_json
from orchestrator.realtime.models import BadEventError


@pytest.mark.parametrize("text", ["{not json", "", '{"a": "\\ud800"}', '{"a": NaN}', "[1, 2]", "null"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(BadEventError, match="the event is not "):
        read_json(text)


def test_more_values_than_are_read_are_refused_before_they_are_looked_at() -> None:
    most = f'{{"a":[{",".join("0" * (MAX_VALUES - 1))}]}}'
    assert len(read_json(most)["a"]) == MAX_VALUES - 1
    with pytest.raises(BadEventError, match=f"more than {MAX_VALUES} values"):
        read_json(most.replace("[", "[0,0,"))


def test_commas_and_brackets_in_a_text_are_no_values() -> None:
    text = '\\", [{' * MAX_VALUES
    assert read_json(json.dumps({"a": text, "b": "\\"})) == {"a": text, "b": "\\"}


def test_what_nests_deeper_than_can_be_written_is_refused() -> None:
    def nested(levels: int) -> str:
        return '{"a":' * levels + "0" + "}" * levels

    assert read_json(nested(MAX_LEVELS))
    assert read_json(f'{{"a": [{",".join(["[]"] * MAX_LEVELS * 2)}]}}'), "many beside each other are not deep"
    with pytest.raises(BadEventError, match=f"more than {MAX_LEVELS} levels"):
        read_json(nested(MAX_LEVELS + 1))
