"""Tool calls are found in what models write, in every format and any chunking; nothing else is taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.tools.formats import FORMATS, with_marks
from services.llm.tools.llama import LLAMA
from services.llm.tools.mistral import MISTRAL
from services.llm.tools.parser import BadCall, Begun, Call, Found, Signatures, ToolCallParser, ToolFormat
from services.llm.tools.pythonic import PYTHONIC
from services.llm.tools.sections import SECTIONS
from services.llm.tools.tagged import HERMES, TAGGED_LISTS

TOOLS: Signatures = {
    "get_weather": '{"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}',
    "get_time": "",
}
PARIS = Call("get_weather", '{"city": "Paris"}')
TIME = Call("get_time", "{}")


def parse(known: ToolFormat | None, *chunks: str, tools: Signatures = TOOLS) -> list[Found]:
    """What is found, neighbouring texts joined."""
    parser = ToolCallParser(with_marks(known), tools)
    joined: list[Found] = []
    for item in [item for chunk in chunks for item in parser.feed(chunk)] + parser.finish():
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        elif not isinstance(item, Begun):
            joined.append(item)
    return joined


# Each format's own way to write a call for the weather in Paris, then one for the time.
WRITTEN = [
    (
        HERMES,
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
    ),
    (
        HERMES,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=get_time>\n</function>\n</tool_call>",
    ),
    (
        HERMES,
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>"
        "<tool_call><function=get_time></function></tool_call>",
    ),
    (
        TAGGED_LISTS,
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "get_time"}]<|/tool_call|>',
    ),
    (TAGGED_LISTS, '<|tool_call_start|>[get_weather(city="Paris"), get_time()]<|tool_call_end|>'),
    (
        TAGGED_LISTS,
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Paris"}},'
        '{"tool_call_id": "1", "tool_name": "get_time", "parameters": {}}]<|END_ACTION|>',
    ),
    (
        TAGGED_LISTS,
        '<tool_calls>[{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "get_time"}]</tool_calls>',
    ),
    (
        SECTIONS,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Paris"}\n```<｜tool▁call▁end｜>\n'
        "<｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        SECTIONS,
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>functions.get_time:1<|tool_call_argument_begin|>'
        "{}<|tool_call_end|><|tool_calls_section_end|>",
    ),
    (
        MISTRAL,
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "abcdefghi"}, '
        '{"name": "get_time", "arguments": {}, "id": "abcdefghj"}]',
    ),
    (MISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get_time[CALL_ID]abcdefghi[ARGS]{}'),
    (LLAMA, '{"name": "get_weather", "parameters": {"city": "Paris"}}; {"name": "get_time", "parameters": {}}'),
    (
        LLAMA,
        '{"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}\n'
        '{"name": "get_time", "parameters": {}}',
    ),
    (LLAMA, '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}};{"name": "get_time"}'),
    (PYTHONIC, '[get_weather(city="Paris"), get_time()]'),
]
IDS = [f"{known.name}-{index}" for index, (known, _) in enumerate(WRITTEN)]


@pytest.mark.parametrize(("known", "written"), WRITTEN, ids=IDS)
def test_edge_11_calls_are_found_in_any_chunking_and_text_around_them_stays(known: ToolFormat, written: str) -> None:
    text = f"One moment, please. {written}"
    expected = ["One moment, please. ", PARIS, TIME]
    assert parse(known, text) == parse(known, *text) == expected
    for at in range(1, len(text)):
        assert parse(known, text[:at], text[at:]) == expected


@pytest.mark.parametrize(("known", "written"), WRITTEN, ids=IDS)
def test_edge_11_markup_of_an_unknown_tool_is_reported_and_no_text(known: ToolFormat, written: str) -> None:
    found = parse(known, *written, tools={"other": ""})
    assert [item.name for item in found if isinstance(item, BadCall)] == ["get_weather", "get_time"]
    assert len(found) == 2


@pytest.mark.parametrize(("known", "written"), WRITTEN, ids=IDS)
def test_edge_11_markup_cut_off_at_any_place_is_reported_and_no_text(known: ToolFormat, written: str) -> None:
    certain = {LLAMA: '{"type": "function", "name": "', PYTHONIC: "[get_weather("}.get(known, "<tool")
    for length in range(len(certain), len(written)):
        *calls, last = parse(known, written[:length])
        assert calls or not isinstance(last, str)
        assert not any(isinstance(item, str) for item in calls)
        if isinstance(last, str):  # too short to tell what it would have become
            assert len(last.strip("; \n")) <= 5


@pytest.mark.parametrize(("known", "written"), WRITTEN, ids=IDS)
def test_edge_12_calls_of_another_format_that_has_marks_are_found_too(known: ToolFormat, written: str) -> None:
    if not written.startswith(("{", "[get")):
        assert parse(LLAMA, *written) == [PARIS, TIME]
        assert not any(isinstance(item, str) for item in parse(None, *written, tools={}))


@pytest.mark.parametrize(
    "broken", ['{"name": "get_weather", "arguments": {"city": "Par}', "{}}", '{"name": 3}', "", "get_weather(Paris)"]
)
def test_edge_12_malformed_json_beside_a_good_call(broken: str) -> None:
    text = f'<tool_call>{broken}</tool_call>\n<tool_call>{{"name": "get_time"}}</tool_call> Done.'
    bad, good, rest = parse(HERMES, text)
    assert isinstance(bad, BadCall)
    assert (good, rest) == (TIME, " Done.")
    assert parse(HERMES, *text) == [bad, good, rest]


def test_a_closing_tag_in_a_string_is_a_part_of_it() -> None:
    text = '<tool_call>{"name": "get_weather", "arguments": {"city": "a </tool_call> \\" b"}}</tool_call> Ok.'
    call = Call("get_weather", json.dumps({"city": 'a </tool_call> " b'}))
    assert parse(HERMES, text) == parse(HERMES, *text) == [call, " Ok."]


def test_a_string_that_never_ends_holds_the_answer_back_for_a_while_only() -> None:
    text = '<tool_call>{"name": "get_weather", "arguments": {"city": "Par</tool_call>' + " And so on." * 40
    found = parse(HERMES, *text)
    assert [type(item) for item in found] == [BadCall, str]
    assert found[1] == " And so on." * 40


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (HERMES, "a <tool b> <tool_cal l> c < d"),
        (MISTRAL, "a [TOOL b] [0] [TOO"),
        (LLAMA, 'So {"name": "Bob", "age": 3}, {x: {}} and { "names": []}'),
        (PYTHONIC, "[1] see [a(b)] and [x] or [get_weather] (or not)"),
        (PYTHONIC, "[" + "x" * 200),
    ],
)
def test_what_only_looks_like_markup_is_text(known: ToolFormat, text: str) -> None:
    assert parse(known, text) == parse(known, *text) == [text]


@pytest.mark.parametrize("text", ['{"name": "Bob", "parameters": {}}', '[Bob(age="3")]'])
def test_without_tools_json_and_lists_are_what_the_user_asked_for(text: str) -> None:
    assert parse(LLAMA, *text, tools={}) == parse(PYTHONIC, *text, tools={}) == [text]


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("get_weather(city='a, [b', days=3)", {"city": "a, [b", "days": 3}),
        ("get_weather(city='it\\'s', days=null)", {"city": "it's", "days": None}),
        ("get_weather(city={'a': [True, 1.5]})", {"city": {"a": [True, 1.5]}}),
    ],
)
def test_python_values_become_json(written: str, arguments: dict[str, object]) -> None:
    (call,) = parse(PYTHONIC, *f"[{written}]")
    assert isinstance(call, Call)
    assert json.loads(call.arguments_json) == arguments


@pytest.mark.parametrize(
    "written", ["get_weather(Paris)", "get_weather('Paris')", "get_weather(**x)", "get_time(a=b())"]
)
def test_python_that_is_more_than_names_and_values_is_reported(written: str) -> None:
    (bad,) = parse(PYTHONIC, *f"[{written}]")
    assert isinstance(bad, BadCall)
    assert bad.name in TOOLS


def test_arguments_in_plain_text_have_the_types_of_their_schema() -> None:
    text = (
        "<tool_call><function=get_weather><parameter=city>\n7\n</parameter>"
        "<parameter=days>7</parameter></function></tool_call>"
    )
    assert parse(HERMES, text) == [Call("get_weather", '{"city": "7", "days": 7}')]
    (bad,) = parse(HERMES, text.replace("days>7", "days>seven"))
    assert isinstance(bad, BadCall)


def test_arguments_as_json_text_are_read() -> None:
    assert parse(
        HERMES, '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}</tool_call>'
    ) == [PARIS]


_SCRAPS = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", '{"name": "', "get_time", "Hi. "),
        *"[]{}()<|\"'\\;、 \n",
    ]
)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([written for _, written in WRITTEN]),
            _SCRAPS,
        ),
        max_size=10,
    ).map("".join),
    st.sampled_from([*FORMATS, None]),
    st.data(),
)
def test_whatever_the_chunking_the_same_calls(text: str, known: ToolFormat | None, data: st.DataObject) -> None:
    borders = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    chunks = [text[a:b] for a, b in zip([0, *borders], [*borders, len(text)], strict=True)]
    whole = parse(known, text)
    assert whole == parse(known, *text) == parse(known, *chunks)


@pytest.mark.parametrize(
    ("known", "text", "schema"),
    [
        (
            HERMES,
            "<tool_call><function=f><parameter=a>1</parameter></function></tool_call>",
            '{"properties": {"a": true}}',
        ),
        (HERMES, "<tool_call><function=f><parameter=a>1</parameter></function></tool_call>", '{"properties": [1]}'),
        (LLAMA, '{"name": "f", "name": [1], "parameters": {}}', ""),
        (HERMES, '<tool_call>{"name": "\\ud800", "arguments": {"a": "\\udfff"}}</tool_call>', ""),
        (HERMES, f'<tool_call>{{"name": "f", "arguments": {"[" * 9000}</tool_call>', ""),
        (PYTHONIC, r'[f(a="\ud800")]', ""),
    ],
)
def test_whatever_a_model_writes_can_be_told_to_a_client(known: ToolFormat, text: str, schema: str) -> None:
    """No exception, and no half of a character, which no message can carry."""
    for item in parse(known, text, tools={"f": schema}):
        for value in (item,) if isinstance(item, str) else vars_of(item):
            value.encode()


def vars_of(found: Found) -> list[str]:
    return [getattr(found, name) for name in ("name", "text", "arguments_json", "error") if hasattr(found, name)]
