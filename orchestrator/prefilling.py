"""Makes the language model ready for what the user is saying: one call at a time, each for the latest words."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from services.common.errors import ParleyError

log = logging.getLogger(__name__)


class Prefilling:
    """Of one session.

    Args:
        prefill: makes the model ready for these words.
        own: runs a coroutine as one of the session's tasks.
    """

    def __init__(
        self,
        prefill: Callable[[str], Coroutine[Any, Any, None]],
        own: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._prefill, self._own = prefill, own
        self._task: asyncio.Task[None] | None = None
        self._wanted: str | None = None
        """The latest words that no call has begun for."""

    def want(self, words: str) -> None:
        """Be ready for these words, as soon as the call that runs has ended."""
        self._wanted = words
        if self._task is None:
            self._task = self._own(self._run())

    def drop(self) -> None:
        """An answer begins: no further call is of use."""
        self._wanted = None

    def cancel(self) -> None:
        """Nobody will speak."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._wanted is not None:
                words, self._wanted = self._wanted, None
                await self._prefill(words)
        except ParleyError as error:  # the turn itself will tell, if it is more than a hiccup
            log.info("prefill failed", extra={"error": str(error)})
        finally:
            self._task = None
