"""The base of all backends: what turns a context into an answer."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from services.common.errors import InvalidArgumentError
from services.llm.domain import BackendEvent, GenerationRequest, Role


@dataclass(frozen=True)
class RoleNames:
    """What the roles are called in the model's own format."""

    system: str = "system"
    user: str = "user"

    def of(self, role: Role) -> str:
        """The name of a role."""
        return {Role.SYSTEM: self.system, Role.USER: self.user}.get(role, role.value)


@dataclass(frozen=True)
class Capabilities:
    """What a loaded backend can do.

    Attributes:
        model: the model's name, as clients see it.
        backend: the backend's name, as in `--llm_backend`.
        context_length_tokens: tokens of context and answer together; 0 where it is not known.
        parallel: generations that it works on at a time; more wait.
        admits: whether each answer begins with `Admitted`, once the backend has room for it.
        in_process: whether it works on this machine, where any other work of it slows a turn down.
        provider: whose model it is, in metrics (`gen_ai.provider.name`); "" for the backend's own name.
    """

    model: str
    backend: str
    context_length_tokens: int = 0
    tools: bool = False
    images: bool = False
    prefill: bool = False
    parallel: int = 1
    in_process: bool = False
    admits: bool = False
    provider: str = ""


class Backend(ABC):
    """Generates answers. One instance serves all requests of a process, on its event loop.

    `load` comes first, `aclose` last and once no generation runs. Blocking work is done on threads of the
    backend's own.
    """

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it can do; known once it is loaded."""

    @abstractmethod
    async def load(self) -> None:
        """Make ready to generate.

        Raises:
            StartupError: with one line that says what to do.
        """

    def check(self, request: GenerationRequest) -> None:
        """Refuse what this backend cannot honour, before the request waits for its turn. This one has no options.

        Raises:
            InvalidArgumentError: naming the field.
        """
        for name in request.options:
            raise InvalidArgumentError("unknown option", field=f"backend_options.{name}")

    @abstractmethod
    def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        """Yield the answer as it is written: deltas and tool calls, then one `Finished`.

        Closing the generator, or cancelling who iterates, stops the work where it is done.

        Raises:
            ContextLengthError: the context does not fit into the model.
            UpstreamError: the model or its provider failed.
        """

    @abstractmethod
    async def prefill(self, request: GenerationRequest) -> int:
        """Make a context ready for a `generate` that begins with it; returns its tokens, 0 where it cannot."""

    @property
    def prefix_cache_bytes(self) -> int:
        """Bytes that it keeps of contexts read; 0 where it keeps none."""
        return 0

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of the model. Twice is as once."""
