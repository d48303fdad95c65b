"""The event loop in a thread of its own that all blocking calls of a process share."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar, cast

from storage_providers.errors import OutcomeUnknownError, UnsupportedOperationError

__all__ = ["Background", "Pump", "background", "generation"]

R = TypeVar("R")

WAIT_SECONDS: Final = 1.0 if sys.platform == "win32" else None
"""How long one wait takes; on Windows a wait without an end can't be interrupted by Ctrl-C."""

STOP_SECONDS: Final = 10.0
"""How long the end of the interpreter waits for the loop to close."""

CHUNK_ITEMS: Final = 256
"""Most items that cross from one thread to the other at once."""


class Background:
    """An event loop that runs in a daemon thread until the interpreter ends."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()),
            name="storage-providers-blocking",
            daemon=True,
        )
        self._thread.start()
        self._ready.wait()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    @property
    def is_alive(self) -> bool:
        """Whether calls can still be made."""
        return self._thread.is_alive() and not self.loop.is_closed()

    def refuse_inside(self) -> None:
        """Refuse a call from the loop's own thread, which would wait for itself for ever.

        Raises:
            UnsupportedOperationError: This is that thread.
        """
        if threading.current_thread() is self._thread:
            raise UnsupportedOperationError(
                "a blocking call from inside the blocking API's own event loop would wait for "
                "itself; in a function that is called from there (a change, a progress report, an "
                "iterable of documents), collect what you need first"
            )

    def run(self, start: Callable[[], Awaitable[R]]) -> R:
        """Call a function on the loop, await what it returns and return the result.

        An interruption (Ctrl-C) cancels the call and waits until it has ended; a second one stops
        that wait.

        Args:
            start: Called on the loop's thread, in a copy of the caller's context.

        Raises:
            OutcomeUnknownError: The call was cancelled on the other side.
            UnsupportedOperationError: This is the loop's own thread.
        """
        self.refuse_inside()
        call: _Call[R] = _Call(self.loop, start)
        try:
            self.loop.call_soon_threadsafe(call.begin, context=contextvars.copy_context())
            call.wait()
        except BaseException:
            if not call.ended:
                self.loop.call_soon_threadsafe(call.cancel)
                call.wait()
            raise
        return call.result()

    def post(self, action: Callable[[], object]) -> None:
        """Have something done on the loop without waiting for it, if it still runs."""
        with suppress(RuntimeError):  # the loop is closed: the interpreter is ending
            self.loop.call_soon_threadsafe(action)

    def stop(self) -> None:
        """End the loop: cancel what runs, close what is open, join the thread."""
        if self.is_alive:
            self.post(self._stop.set)
            self._thread.join(STOP_SECONDS)


class _Call(Generic[R]):
    """One call: begun and cancelled on the loop, waited for elsewhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Callable[[], Awaitable[R]]) -> None:
        self._loop = loop
        self._start = start
        self._done = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._value: R | None = None
        self._error: BaseException | None = None

    @property
    def ended(self) -> bool:
        return self._done.is_set()

    def begin(self) -> None:
        if self._done.is_set():
            return  # interrupted before it began
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._finish)

    def cancel(self) -> None:
        if self._task is None:
            self._done.set()
        else:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            self._value = await self._start()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 # SystemExit would end the loop's thread
            self._error = error

    def _finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and self._error is None:
            self._error = OutcomeUnknownError(
                "the call was cancelled while it ran; read before repeating it"
            )
        self._done.set()

    def wait(self) -> None:
        while not self._done.wait(WAIT_SECONDS):
            pass

    def result(self) -> R:
        error, self._error = self._error, None
        if error is None:
            return cast(R, self._value)
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a cycle that would keep everything alive


class Pump(Generic[R]):
    """Draws from an asynchronous iterator in one task of its own; all methods run on the loop.

    It reads ahead only what is there without waiting, and the step it was in the middle of.
    """

    def __init__(self, source: AsyncIterator[R]) -> None:
        self._source = source
        self._chunk: deque[R] = deque()
        self._demand = asyncio.Event()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def take(self) -> tuple[deque[R], BaseException | None, bool]:
        """Wait for items: those there are, the error after them, and whether that was all."""
        if not self._chunk and (self._task is None or not self._task.done()):
            self._arrived.clear()
            self._demand.set()
            if self._task is None:
                self._task = asyncio.create_task(self._draw())
            await self._arrived.wait()
        chunk, self._chunk = self._chunk, deque()
        finished = self._task is None or self._task.done()
        return chunk, self._error if finished else None, finished

    async def close(self) -> None:
        """Stop drawing and close the iterator; doing it again changes nothing."""
        task, self._chunk, self._error = self._task, deque(), None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
        aclose = getattr(self._source, "aclose", None)
        if aclose is not None:
            await aclose()

    async def _draw(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._demand.wait()
                item = await anext(self._source)
                self._chunk.append(item)
                if len(self._chunk) == 1:
                    # It runs when this task waits for something: until then the chunk grows.
                    loop.call_soon(self._deliver)
                if len(self._chunk) >= CHUNK_ITEMS:
                    self._demand.clear()
        except (StopAsyncIteration, asyncio.CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001 # it is raised where the items are taken
            self._error = error
        finally:
            # The task is done only after this: whoever waits must not wake before.
            loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._demand.clear()
        self._arrived.set()


# --- one for the process -----------------------------------------------------------------------

_lock = threading.Lock()
_shared: Background | None = None
_generation = 0
_left_behind: list[Background] = []


def background() -> Background:
    """The process's loop; started when it is first needed."""
    global _shared  # noqa: PLW0603 # one loop a process is the point
    with _lock:
        if _shared is None or not _shared.is_alive:
            _shared = Background()
            atexit.register(_shared.stop)
        return _shared


def generation() -> int:
    """Changes in the child when the process is forked."""
    return _generation


def _after_fork() -> None:
    """The child has no copy of the loop's thread: it begins without one."""
    global _shared, _lock, _generation  # noqa: PLW0603 # see above
    if _shared is not None:
        # Kept, since collecting the parent's loop would close what both processes share.
        _left_behind.append(_shared)
        atexit.unregister(_shared.stop)
    _shared, _lock = None, threading.Lock()
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
