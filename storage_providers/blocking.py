"""The same API without `await`, for programs that have no event loop.

`blocking(thing)` wraps anything with asynchronous methods: a provider, a `Collection`, a store.
Calls run on one event loop in a background thread that the whole process shares, so what is
wrapped may be used together, from any number of threads.

```python
provider = open_provider("sqlite:agents.db")
with blocking(provider) as store:
    store.create_item("todos", {"content": "Write tests"})
    for item in store.find_items("todos"):
        print(item.document["content"])
```

Type checkers see the attributes of a facade as `Any`. Where types matter, `run` and `iterate`
take the asynchronous call itself and keep its types: `run(provider.read_item("todos", "1"))`.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

from storage_providers._background import Background, Pump, background, generation
from storage_providers.errors import UnsupportedOperationError

if TYPE_CHECKING:
    from storage_providers.protocol import StorageProvider

__all__ = ["Blocking", "BlockingIterator", "BlockingProvider", "blocking", "iterate", "run"]

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


def run(awaitable: Awaitable[R]) -> R:
    """Await something on the shared background loop and return its result.

    Args:
        awaitable: A coroutine, such as `provider.read_item("todos", "1")`.

    Returns:
        What it returns; an exception is raised here, with its traceback from the other side.

    Raises:
        UnsupportedOperationError: Called from the background loop's own thread.
        OutcomeUnknownError: It was cancelled on the other side.
    """

    async def start() -> R:
        return await awaitable

    try:
        return background().run(start)
    except UnsupportedOperationError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # not begun: nobody will await it
        raise


def iterate(source: AsyncIterable[R]) -> BlockingIterator[R]:
    """Iterate over something asynchronous on the shared background loop.

    Args:
        source: An asynchronous iterable, such as `provider.find_items("todos")`.

    Returns:
        An ordinary iterator, which fetches as it is asked and can be closed early.
    """
    return BlockingIterator(source.__aiter__())


def blocking(wrapped: T) -> Blocking[T]:
    """Wrap an object with asynchronous methods so that they are called without `await`.

    Args:
        wrapped: A provider, a `Collection`, a store, or anything like them. What was used on
            another event loop before must not be used here: it may hold on to that loop.

    Returns:
        The facade.
    """
    return Blocking(wrapped)


class Blocking(Generic[T]):
    """An object's public attributes, with its asynchronous methods made blocking.

    - A method's coroutine is awaited and its result returned; an exception is raised here.
    - An asynchronous iterator becomes a `BlockingIterator`.
    - `async with` becomes `with`.
    - What a method or attribute gives that has asynchronous methods itself is wrapped in turn;
      facades among the arguments are unwrapped.
    - Methods, and functions handed to them, run on the background loop's thread.

    A facade that was used before the process was forked refuses to work in the child.
    """

    __slots__ = ("_generation", "_wrapped")

    def __init__(self, wrapped: T) -> None:
        self._wrapped = wrapped
        self._generation: int | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{name!r} is not part of the blocking API")
        value = getattr(self._wrapped, name)
        if inspect.isroutine(value) or isinstance(value, functools.partial):
            return self._method(cast("Callable[..., Any]", value))
        return self._adapted(value)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._wrapped) if not name.startswith("_")]

    def __repr__(self) -> str:
        return f"blocking({self._wrapped!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Blocking):
            return NotImplemented
        return self._wrapped is _unwrapped(cast(object, other))

    def __hash__(self) -> int:
        return id(self._wrapped)

    def __enter__(self) -> Self:
        if not hasattr(self._wrapped, "__aenter__"):
            raise TypeError(f"{type(self._wrapped).__name__} is no context manager")
        return cast(Self, self._call(cast(Any, self._wrapped).__aenter__))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return cast(
            "bool | None", self._call(cast(Any, self._wrapped).__aexit__, kind, error, trace)
        )

    def __iter__(self) -> BlockingIterator[Any]:
        if not hasattr(self._wrapped, "__aiter__"):
            raise TypeError(f"{type(self._wrapped).__name__} can't be iterated over")
        return iterate(cast("AsyncIterable[Any]", self._wrapped))

    # --- helpers -------------------------------------------------------------------------------

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            return self._call(method, *arguments, **options)

        return call

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        loop = self._loop()
        plain = [_unwrapped(argument) for argument in arguments]
        named = {name: _unwrapped(argument) for name, argument in options.items()}

        async def start() -> Any:
            result = method(*plain, **named)
            return await result if inspect.isawaitable(result) else result

        return self._adapted(loop.run(start))

    def _loop(self) -> Background:
        if self._generation not in (None, generation()):
            raise UnsupportedOperationError(
                "this was used before the process was forked; open a new provider in the child"
            )
        self._generation = generation()
        return background()

    def _adapted(self, value: object) -> Any:
        if value is self._wrapped:
            return self
        kind = type(value)
        if issubclass(kind, Blocking | type):
            return value
        if hasattr(kind, "__anext__"):
            return BlockingIterator(cast("AsyncIterator[Any]", value))
        if _is_asynchronous(kind):
            inner = Blocking(value)
            inner._generation = self._generation
            return inner
        return value


BlockingProvider: TypeAlias = "Blocking[StorageProvider]"
"""What `blocking` makes of a provider."""


class BlockingIterator(Iterator[R_co]):
    """An asynchronous iterator as an ordinary one.

    It fetches when it is asked, ahead only of what is there without waiting, and of the step that
    follows it. `close`, or `with`, ends it early; so does an interruption.
    Several threads may draw from it.

    Args:
        source: The asynchronous iterator.
    """

    def __init__(self, source: AsyncIterator[R_co]) -> None:
        self._loop = background()
        self._generation = generation()
        self._pump = Pump(source)
        self._items: deque[R_co] = deque()
        self._error: BaseException | None = None
        self._finished = False
        self._started = False
        self._lock = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R_co:
        self._loop.refuse_inside()
        if self._generation != generation():
            raise UnsupportedOperationError(
                "this was begun before the process was forked; begin anew in the child"
            )
        with self._lock:
            while not self._items and not self._finished:
                self._fetch()
            if self._items:
                return self._items.popleft()
            error, self._error = self._error, None
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a cycle that would keep everything alive

    def close(self) -> None:
        """Stop, and let the asynchronous iterator clean up; doing it again changes nothing."""
        with self._lock:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_started", False) and not self._finished:
            pump, loop = self._pump, self._loop
            if self._generation == generation():
                loop.post(lambda: _keep(loop.loop.create_task(pump.close())))

    def _fetch(self) -> None:
        self._started = True
        try:
            self._items, self._error, self._finished = self._loop.run(self._pump.take)
        except BaseException:
            # Ctrl-C while waiting: the task that draws must not stay behind.
            self._close()
            raise

    def _close(self) -> None:
        if not self._finished:
            self._finished = True
            self._items.clear()
            if self._generation == generation():
                self._loop.run(self._pump.close)


_closing: set[Any] = set()


def _keep(task: Any) -> None:
    """Hold on to a task until it is done: the loop itself would let it be collected."""
    _closing.add(task)
    task.add_done_callback(_closing.discard)


def _unwrapped(argument: object) -> Any:
    """What a facade wraps; anything else as it is."""
    if issubclass(type(argument), Blocking):
        return cast("Blocking[Any]", argument)._wrapped
    return argument


_known_kinds: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def _is_asynchronous(kind: type) -> bool:
    """Whether a class has asynchronous methods, or is an asynchronous context or iterable."""
    known = _known_kinds.get(kind)
    if known is None:
        known = _known_kinds[kind] = (
            hasattr(kind, "__aenter__")
            or hasattr(kind, "__aiter__")
            or any(_is_asynchronous_member(kind, name) for name in dir(kind))
        )
    return known


def _is_asynchronous_member(kind: type, name: str) -> bool:
    member = inspect.getattr_static(kind, name, None)
    if isinstance(member, staticmethod | classmethod):
        member = cast(Any, member).__func__
    return not name.startswith("_") and (
        inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
    )
