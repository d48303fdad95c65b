"""A loop whose time is turned by hand, and a service that answers as it is told."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from storage_providers.errors import StorageError
from storage_providers.resilience import Attempt, Timing

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that, instead of sleeping, turns its own clock to the next timer."""

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """The loop's own time."""
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """Nothing is ever waited for; waiting for nothing at all is a deadlock."""
        assert timeout is not None, "every task waits and no timer is set"
        self.loop.now += max(0.0, timeout)
        return super().select(0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def timing() -> Timing:
    """The running loop's time; the largest jitter."""
    return Timing(monotonic=asyncio.get_running_loop().time, jitter=lambda: 1.0)


class Service:
    """Answers with what it was given, one answer a call; counts the calls."""

    def __init__(self, *answers: StorageError | str) -> None:
        self.answers = list(answers)
        self.attempts: list[Attempt] = []

    async def __call__(self, attempt: Attempt) -> str:
        self.attempts.append(attempt)
        answer = self.answers.pop(0)
        if isinstance(answer, StorageError):
            raise answer
        return answer
