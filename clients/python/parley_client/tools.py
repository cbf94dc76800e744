"""Functions that the assistant may call."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parley.common.v1 import chat_pb2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tool:
    """A function with its description.

    Attributes:
        run: called with the arguments by name; what it returns is told to the assistant, as JSON unless it is text.
        parameters: JSON Schema of the arguments.
    """

    name: str
    description: str
    run: Callable[..., Awaitable[Any]]
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    def message(self) -> chat_pb2.Tool:
        """As the contract has it."""
        schema = json.dumps(self.parameters)
        return chat_pb2.Tool(name=self.name, description=self.description, parameters_json_schema=schema)

    async def output(self, arguments: Mapping[str, Any]) -> str:
        """Run it. Where it fails the assistant is told no more than that, and the log has the rest."""
        try:
            result = await self.run(**arguments)
            return result if isinstance(result, str) else json.dumps(result)
        except Exception:  # the application's own code: its failure is an answer to the assistant
            log.exception("the function %s failed", self.name)
            return json.dumps({"error": "the function failed"})
