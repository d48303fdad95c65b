"""Faults on purpose: layers that break, delay and record calls, for tests of what stands above.

```python
faults = Faults(Fail("write"), LoseAnswer("write", call=3))
provider = compose(Retry(), faults, provider=InMemoryProvider())
```

A script names calls by verb and number, so every run is the same; `Faults.seeded` breaks calls at
random, the same ones for the same seed.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ClassVar, Final, TypeVar

from storage_providers.errors import OutcomeUnknownError, StorageError, TransportError
from storage_providers.layers import Call, Layer

__all__ = [
    "VERBS",
    "Cancel",
    "Delay",
    "Fail",
    "Fault",
    "Faults",
    "LoseAnswer",
    "Recorder",
]

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

VERBS: Final = frozenset(
    {"read", "write", "query", "versions", "collections", "declare", "declared"}
)
"""The verbs a fault without one applies to: all but `connect` and `disconnect`."""

CHANGING: Final = frozenset({"write", "declare"})
"""Verbs that leave something behind when their answer is lost."""


class Fault(ABC):
    """One thing that goes wrong with one call.

    Args:
        verb: The verb it waits for; `None`: any of `VERBS`.
        call: Which call of that verb, counted from 1; `None`: every one.
    """

    def __init__(self, verb: str | None = None, *, call: int | None = 1) -> None:
        self.verb = verb
        self.call = call
        self._seen = 0

    def meets(self, call: Call) -> bool:
        """Whether it is this call's turn; counts the calls it waits for."""
        if call.verb != self.verb and (self.verb is not None or call.verb not in VERBS):
            return False
        self._seen += 1
        return self.call is None or self._seen == self.call

    def chosen(self) -> Fault:
        """What strikes the call that was met."""
        return self

    @abstractmethod
    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """Carry out the call the faulty way."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.verb!r}, call={self.call})"


class Fail(Fault):
    """The call fails before anything of it is done.

    Args:
        verb: The verb it waits for; `None`: any of `VERBS`.
        call: Which call of that verb, counted from 1; `None`: every one.
        error: Makes the error; without, a `TransportError`, which may be tried again.
    """

    def __init__(
        self,
        verb: str | None = None,
        *,
        call: int | None = 1,
        error: Callable[[], BaseException] | None = None,
    ) -> None:
        super().__init__(verb, call=call)
        self._error = error

    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """Raise instead of proceeding."""
        if self._error is not None:
            raise self._error()
        raise TransportError(f"injected: {call.verb} failed before it was sent")


class LoseAnswer(Fault):
    """The call is carried out, and its answer is lost.

    A `write` or `declare` raises `OutcomeUnknownError`, everything else `TransportError`.
    """

    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """Proceed, then raise; an error of the call itself is lost as well."""
        with suppress(StorageError):
            await proceed()
        if call.verb in CHANGING:
            raise OutcomeUnknownError(f"injected: the answer to {call.verb} was lost")
        raise TransportError(f"injected: the answer to {call.verb} was lost")


class Delay(Fault):
    """The call begins later.

    Args:
        seconds: How much later, by the `sleep` of the layer.
        verb: The verb it waits for; `None`: any of `VERBS`.
        call: Which call of that verb, counted from 1; `None`: every one.
    """

    def __init__(self, seconds: float, verb: str | None = None, *, call: int | None = None) -> None:
        super().__init__(verb, call=call)
        self.seconds = seconds

    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """Sleep, then proceed."""
        await sleep(self.seconds)
        return await proceed()


class Cancel(Fault):
    """The task that makes the call is cancelled, before or after the call is carried out.

    Args:
        verb: The verb it waits for; `None`: any of `VERBS`.
        call: Which call of that verb, counted from 1; `None`: every one.
        after: Whether the call is carried out first.
    """

    def __init__(
        self, verb: str | None = None, *, call: int | None = 1, after: bool = False
    ) -> None:
        super().__init__(verb, call=call)
        self.after = after

    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """Cancel the task for real, so that `asyncio.timeout` and task groups see it."""
        if self.after:
            await proceed()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        raise asyncio.CancelledError


class Faults(Layer):
    """Breaks calls by a script.

    Of several faults that meet one call the first strikes; all of them count it.

    Args:
        script: The faults.
        sleep: Waits that many seconds; tests pass one that turns a clock instead.

    Attributes:
        struck: How often each kind of fault struck, by the name of its class.
    """

    name: ClassVar[str] = "faults"

    def __init__(self, *script: Fault, sleep: Sleep = asyncio.sleep) -> None:
        super().__init__()
        self.script = list(script)
        self.struck: Counter[str] = Counter()
        self._sleep = sleep

    @classmethod
    def seeded(
        cls,
        seed: int,
        *,
        fail: float = 0.0,
        lose_answer: float = 0.0,
        sleep: Sleep = asyncio.sleep,
    ) -> Faults:
        """Break calls at random, the same ones for the same seed and the same calls.

        Args:
            seed: Which sequence of random numbers.
            fail: Share of the calls that fail before they are carried out, 0 to 1.
            lose_answer: Share of the calls whose answer is lost, 0 to 1.
            sleep: As for the class.
        """
        layer = cls(sleep=sleep)
        layer.script.append(_Sometimes(random.Random(seed), fail, lose_answer))  # noqa: S311
        return layer

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Let the first fault that meets this call strike."""
        met = [fault for fault in self.script if fault.meets(call)]
        if not met:
            return await proceed()
        fault = met[0].chosen()
        self.struck[type(fault).__name__] += 1
        return await fault.strike(call, proceed, self._sleep)


class _Sometimes(Fault):
    """Meets calls at random; what strikes then is one of two faults."""

    def __init__(self, source: random.Random, fail: float, lose_answer: float) -> None:
        super().__init__(call=None)
        self._source = source
        self._fail = fail
        self._lose_answer = lose_answer
        self._chosen: Fault = Fail()

    def meets(self, call: Call) -> bool:
        if not super().meets(call):
            return False
        drawn = self._source.random()
        self._chosen = Fail() if drawn < self._fail else LoseAnswer()
        return drawn < self._fail + self._lose_answer

    def chosen(self) -> Fault:
        return self._chosen

    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        return await self._chosen.strike(call, proceed, sleep)


class Recorder(Layer):
    """Keeps a list of the calls that pass through.

    Attributes:
        calls: The calls, in the order they began.
    """

    name: ClassVar[str] = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    @property
    def verbs(self) -> list[str]:
        """The verbs of the calls, in order."""
        return [call.verb for call in self.calls]

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Note the call and let it through."""
        self.calls.append(call)
        return await proceed()
