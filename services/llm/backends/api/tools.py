"""What both APIs are told about tools alike."""

import orjson

from services.llm.domain import Tool

_NO_PARAMETERS = '{"type":"object","properties":{}}'


def parameters_schema(tool: Tool) -> orjson.Fragment:
    """A tool's JSON Schema, as it is; that of a tool without parameters is an empty object's."""
    return orjson.Fragment(tool.parameters_json_schema or _NO_PARAMETERS)
