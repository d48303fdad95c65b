"""The API without `await`: real threads, real loops, real signals and forks."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from storage_providers._background import CHUNK_ITEMS, background
from storage_providers.blocking import Blocking, BlockingIterator, blocking, iterate, run
from storage_providers.collection import Collection
from storage_providers.errors import (
    ItemExistsError,
    OutcomeUnknownError,
    ProviderClosedError,
    UnsupportedOperationError,
)
from storage_providers.layers import Layer, compose
from storage_providers.protocol import Item, Page, Query
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.settings import open_provider


class Todo(msgspec.Struct):
    """A model."""

    content: str


class Counting(InMemoryProvider):
    """Counts queries, and can be made to wait inside one."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        self.queries += 1
        await asyncio.sleep(0)
        return await super()._query(queries)


class Odd:
    """Has every kind of attribute."""

    limit = 5

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.on_close: Callable[[], object] = bool
        self.partial = functools.partial(self.plain, 1)
        self.steps = 0

    def plain(self, number: int) -> tuple[int, str]:
        return number, threading.current_thread().name

    def kind(self, value: object) -> str:
        return type(value).__name__

    async def fail(self) -> None:
        raise_deep()

    async def leave(self) -> None:
        raise SystemExit(3)

    async def give_up(self) -> None:
        raise asyncio.CancelledError

    async def same(self, value: Any) -> Any:
        return value

    async def context(self) -> str:
        return NAME.get()

    async def numbers(self, count: int, fail_at: int | None = None) -> AsyncIterator[int]:
        try:
            for number in range(count):
                if number == fail_at:
                    raise_deep()
                self.steps = number
                yield number
        finally:
            await asyncio.sleep(0)
            self.closed.append("numbers")
            self.on_close()

    async def waits(self, between: Callable[[], Awaitable[None]]) -> AsyncIterator[int]:
        for number in range(3):
            await between()
            yield number

    @asynccontextmanager
    async def session(self) -> AsyncIterator[list[str]]:
        self.closed.append("entered")
        try:
            yield self.closed
        finally:
            self.closed.append("left")

    @staticmethod
    async def static() -> str:
        return "static"


class OnlyStatic:
    """Asynchronous by a static method alone."""

    @staticmethod
    async def static() -> str:
        return "static"


class Endless:
    """An asynchronous iterable that is no generator."""

    def __init__(self) -> None:
        self.number = 0

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> int:
        self.number += 1
        return self.number


NAME = contextvars.ContextVar("NAME", default="nobody")


def raise_deep() -> None:
    """Raise something recognisable."""
    raise LookupError("deep")


@pytest.fixture(autouse=True)
def no_task_left() -> Iterator[None]:
    """Whatever a test does, no task stays on the shared loop."""
    yield
    gc.collect()

    async def others() -> int:
        for _ in range(20):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            names = [task for task in tasks if "_serve" not in repr(task)]
            if not names:
                return 0
            await asyncio.sleep(0)
        return len(names)

    assert run(others()) == 0


def script(code: str, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )


# --- the provider's API ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["memory:", "sqlite:{folder}/x.db", "sqlite::memory:", "file:{folder}/d"]
)
def test_the_whole_face(url: str, tmp_path: Path) -> None:
    """Every verb and friendly method works without await, on every embedded provider."""
    with blocking(open_provider(url.format(folder=tmp_path))) as store:
        created = store.create_item("todos", {"id": "1", "content": "a"})
        assert isinstance(created, Item)
        with pytest.raises(ItemExistsError):
            store.create_item("todos", {"id": "1"})
        assert store.read_item("todos", "1").document["content"] == "a"
        store.put_items("todos", [{"id": str(n), "content": "x"} for n in range(2, 8)])
        assert store.update_item("todos", "2", {"n": 1}).document["n"] == 1
        store.modify_item("todos", "2", lambda document: {**document, "n": document["n"] + 1})
        assert [item.document.get("n") for item in store.read_items("todos", ["2", "3"])] == [
            2,
            None,
        ]
        assert [item.id for item in store.find_items("todos", page_size=2)] == list("1234567")
        page = store.list_items("todos", where={"n": 2}, total=True)
        assert (page.total, [item.id for item in page.items]) == (1, ["2"])
        assert len(store.versions("todos").entries) == 7
        assert store.collections() == ["todos"]
        store.delete_item("todos", "1")
        assert store.count_items("todos") == 6
        store.clear_collection("todos")
        assert store.query([Query("todos")])[0].items == []
        assert store.capabilities.atomic_batch in (True, False)
        assert store.name in ("memory", "sqlite", "local")
    with pytest.raises(ProviderClosedError):
        store.read_item("todos", "1")


def test_collections_and_facades_together() -> None:
    """A typed collection and its provider share the loop; facades as arguments are unwrapped."""
    provider = InMemoryProvider()
    with blocking(provider) as store:
        todos = blocking(Collection(provider, "todos", Todo))
        item = todos.create(Todo("a"), item_id="1")
        assert item.value == Todo("a")
        assert [found.value.content for found in todos.find()] == ["a"]
        assert todos.modify("1", lambda todo: Todo(todo.content * 2)).value.content == "aa"
        assert isinstance(todos.provider, Blocking)
        assert todos.provider == store
        assert hash(todos.provider) == hash(store)
        assert todos.provider != todos
        assert store != provider
        assert todos.name == "todos"
        assert blocking(Odd()).same(store) == store
        assert blocking(Odd()).kind(store) == "InMemoryProvider"
        assert blocking(Odd()).kind(value=store) == "InMemoryProvider"


def test_layers_are_wrapped_in_turn() -> None:
    """What an attribute gives is a facade if it has asynchronous methods."""
    layered = compose(Layer(), provider=InMemoryProvider())
    with blocking(layered) as store:
        assert isinstance(store.inner, Blocking)
        assert store.inner.count_items("todos") == 0
        assert store.inner.name == "memory"


def test_attributes() -> None:
    """Plain methods run on the background thread; names with an underscore are not offered."""
    odd = Odd()
    facade = blocking(odd)
    assert facade.limit == 5
    assert facade.plain(2) == (2, "storage-providers-blocking")
    assert facade.partial() == (1, "storage-providers-blocking")
    assert facade.static() == "static"
    assert facade.same(5) == 5
    assert isinstance(facade.same(OnlyStatic()), Blocking)
    assert facade.same(odd) is facade
    assert facade.same(Odd) is Odd
    assert facade.plain.__name__ == "plain"
    assert "numbers" in dir(facade)
    assert "_loop" not in dir(facade)
    assert repr(blocking(InMemoryProvider())) == "blocking(memory)"
    with pytest.raises(AttributeError, match="not part"):
        _ = facade._query
    with pytest.raises(AttributeError):
        _ = facade.absent
    with pytest.raises(AttributeError):
        facade.limit = 6
    with pytest.raises(TypeError, match="no context manager"), facade:
        pass
    with pytest.raises(TypeError, match="iterated"):
        iter(facade)


def test_asynchronous_context_managers_and_iterables() -> None:
    """`async with` becomes `with`, `async for` becomes `for`."""
    odd = Odd()
    with blocking(odd).session() as inside:
        assert inside is odd.closed
        assert inside == ["entered"]
    assert odd.closed == ["entered", "left"]
    endless = blocking(Odd()).same(Endless())
    assert isinstance(endless, BlockingIterator)
    assert next(endless) == 1
    endless.close()
    assert run(Odd().same(1)) == 1
    assert list(iterate(Odd().numbers(3))) == [0, 1, 2]


# --- iterating ---------------------------------------------------------------------------------


def test_find_is_lazy_and_can_be_closed() -> None:
    """One item costs at most the page it is on and the next; closing ends it."""
    provider = Counting()
    with blocking(provider) as store:
        store.put_items("todos", [{"id": f"{n:03}"} for n in range(100)])
        found = store.find_items("todos", page_size=10)
        assert provider.queries == 0
        assert next(found).id == "000"
        assert provider.queries <= 2
        for expected in range(1, 25):
            assert next(found).id == f"{expected:03}"
        assert provider.queries <= 4
        found.close()
        found.close()
        before = provider.queries
        assert list(found) == []
        assert provider.queries == before


def test_closing_runs_the_cleanup() -> None:
    """An iterator that is closed, left by `with`, or dropped lets its source clean up."""
    odd = Odd()
    facade = blocking(odd)
    with facade.numbers(1000) as numbers:
        assert next(numbers) == 0
    assert odd.closed == ["numbers"]
    assert odd.steps < CHUNK_ITEMS, "it does not run ahead without end"
    numbers = facade.numbers(1000)
    assert next(numbers) == 0
    closed = threading.Event()
    odd.on_close = closed.set
    del numbers
    gc.collect()
    assert closed.wait(10)
    assert len(odd.closed) == 2
    unstarted = facade.numbers(5)
    unstarted.close()
    assert list(unstarted) == []


def test_long_iterations_keep_order_and_deliver_errors_last() -> None:
    """All items come, in order, then the error, once."""
    facade = blocking(Odd())
    assert list(facade.numbers(1000)) == list(range(1000))
    numbers = facade.numbers(1000, fail_at=700)
    assert [next(numbers) for _ in range(700)] == list(range(700))
    with pytest.raises(LookupError, match="deep") as caught:
        next(numbers)
    assert "raise_deep" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert list(numbers) == []


def test_items_are_delivered_before_the_next_wait() -> None:
    """An item that is there is handed over although the source is waiting for the next one."""
    gates = [threading.Event() for _ in range(3)]
    asked = iter(gates)

    async def between() -> None:
        gate = next(asked)
        await asyncio.get_running_loop().run_in_executor(None, gate.wait, 10)

    numbers = blocking(Odd()).waits(between)
    for number, gate in enumerate(gates):
        gate.set()
        assert next(numbers) == number
    assert list(numbers) == []


def test_one_iterator_in_several_threads() -> None:
    """Threads that share an iterator get each item once."""
    numbers = blocking(Odd()).numbers(2000)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: list(numbers), range(4)))
    assert sorted(number for part in parts for number in part) == list(range(2000))


# --- threads and loops -------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory:", "sqlite:{folder}/x.db"])
def test_many_threads_lose_nothing(url: str, tmp_path: Path) -> None:
    """Eight threads incrementing one document: every increment counts."""
    with blocking(open_provider(url.format(folder=tmp_path))) as store:
        store.put_item("counters", {"id": "1", "n": 0})

        def increment(_: int) -> None:
            for _ in range(25):
                store.modify_item("counters", "1", lambda found: {**found, "n": found["n"] + 1})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(increment, range(8)))
        assert store.read_item("counters", "1").document["n"] == 200


def test_inside_other_loops() -> None:
    """It works in another loop's thread pool, and in the main thread while that loop runs."""
    with blocking(InMemoryProvider()) as store:
        started, go_on = threading.Event(), threading.Event()

        async def elsewhere() -> int:
            started.set()
            await asyncio.to_thread(go_on.wait, 10)
            await asyncio.to_thread(store.put_item, "todos", {"id": "1"})
            return int(store.count_items("todos"))  # directly: it blocks that loop, and works

        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(lambda: asyncio.run(elsewhere()))
            assert started.wait(10)
            assert store.count_items("todos") == 0
            go_on.set()
            assert other.result(10) == 1


def test_one_loop_for_the_process() -> None:
    """All facades share one thread, also those first used at the same moment."""
    with ThreadPoolExecutor(8) as pool:
        loops = set(pool.map(lambda _: id(background()), range(64)))
    assert len(loops) == 1
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("storage-providers-blocking") == 1


def test_context_variables_come_along() -> None:
    """The caller's context is seen on the other side, and stays as it is here."""
    token = NAME.set("caller")
    try:
        assert blocking(Odd()).context() == "caller"
    finally:
        NAME.reset(token)


def test_a_call_from_inside_is_refused() -> None:
    """A change that calls the blocking API would wait for itself: it gets an error instead."""
    with blocking(InMemoryProvider()) as store:
        store.put_item("todos", {"id": "1"})

        def change(document: dict[str, Any]) -> dict[str, Any]:
            store.read_item("todos", "1")
            return document

        with pytest.raises(UnsupportedOperationError, match="wait for itself"):
            store.modify_item("todos", "1", change)

        def nested(document: dict[str, Any]) -> dict[str, Any]:
            run(Odd().same(1))
            return document

        with pytest.raises(UnsupportedOperationError, match="wait for itself"):
            store.modify_item("todos", "1", nested)
        found = store.find_items("todos")
        with pytest.raises(UnsupportedOperationError, match="wait for itself"):
            store.put_items("todos", (item.document for item in found))
        found.close()


# --- errors and interruptions ------------------------------------------------------------------


def test_exceptions_keep_their_traceback() -> None:
    """The frames of the other side are in the traceback, and the exception is the same."""
    with pytest.raises(LookupError) as caught:
        blocking(Odd()).fail()
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-2:] == ["fail", "raise_deep"]


def test_an_exit_on_the_other_side_does_not_end_the_loop() -> None:
    """SystemExit arrives at the caller; a cancellation is an outcome nobody knows."""
    facade = blocking(Odd())
    with pytest.raises(SystemExit):
        facade.leave()
    with pytest.raises(OutcomeUnknownError, match="cancelled"):
        facade.give_up()
    assert facade.limit == 5
    assert facade.same(1) == 1


def test_errors_hold_no_cycle() -> None:
    """What an exception's frames refer to goes away with the exception."""

    class Marker:
        """Something to watch."""

    seen: list[Any] = []

    def once() -> None:
        import weakref

        marker = Marker()
        seen.append(weakref.ref(marker))
        with pytest.raises(LookupError):
            blocking(Odd()).fail()

    gc.disable()
    try:
        once()
        assert seen[0]() is None
    finally:
        gc.enable()


INTERRUPT = """
    import asyncio, os, signal, sys, threading
    from storage_providers.blocking import blocking, run
    from storage_providers.providers.in_memory import InMemoryProvider

    state = []

    class Slow(InMemoryProvider):
        async def _wait(self):
            loop = asyncio.get_running_loop()
            # The signal is sent from the loop, so the call is certainly under way.
            loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(2000):  # long enough for a caller that does not wait to be ahead
                    await asyncio.sleep(0)
                state.append("cleaned")

        async def _read(self, addresses):
            await self._wait()

        async def _query(self, queries):
            if queries[0].limit == 2:
                await self._wait()
            return await super()._query(queries)

    async def tasks():
        return [t for t in asyncio.all_tasks() if t is not asyncio.current_task()
                and "_serve" not in repr(t)]

    with blocking(Slow()) as store:
        store.put_items("todos", [{"id": str(n)} for n in range(6)])
        try:
            store.read_item("todos", "1")
        except KeyboardInterrupt:
            state.append("interrupted")
        assert run(tasks()) == []
        found = store.find_items("todos", page_size=2)
        try:
            next(found)
        except KeyboardInterrupt:
            state.append("interrupted")
        assert run(tasks()) == []
        assert list(found) == []
        assert store.count_items("todos") == 6
    print(state)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by kill")
def test_interruption_cancels_the_call() -> None:
    """Ctrl-C ends the running call and its clean-up, leaves no task, and the store goes on."""
    done = script(INTERRUPT)
    assert done.stderr == ""
    assert done.stdout.strip() == "['cleaned', 'interrupted', 'cleaned', 'interrupted']"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork() -> None:
    """A child refuses what was used before, and new facades work there."""
    done = script(
        """
        import os, sys, warnings
        from storage_providers.blocking import blocking
        from storage_providers.errors import UnsupportedOperationError
        from storage_providers.providers.in_memory import InMemoryProvider

        warnings.simplefilter("ignore", DeprecationWarning)  # of fork itself, beside threads
        unused = blocking(InMemoryProvider())
        with blocking(InMemoryProvider()) as store:
            store.put_items("todos", [{"id": str(n)} for n in range(5)])
            found = store.find_items("todos", page_size=1)
            next(found)
            child = os.fork()
            if child == 0:
                code = 0
                for action in (lambda: store.count_items("todos"), lambda: list(found)):
                    try:
                        action()
                        code = 1
                    except UnsupportedOperationError as error:
                        assert "forked" in str(error)
                found.close()
                with unused as fresh:
                    fresh.put_item("todos", {"id": "1"})
                    assert [item.id for item in fresh.find_items("todos")] == ["1"]
                del found
                os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert store.count_items("todos") == 5
            assert len(list(found)) == 4
        print("parent done")
        """
    )
    assert done.stderr == ""
    assert done.stdout == "parent done\n"


def test_the_interpreter_ends_cleanly() -> None:
    """A program that closes nothing ends at once, quietly, and what is open is cleaned up."""
    done = script(
        """
        import asyncio, os
        from storage_providers.blocking import blocking, iterate
        from storage_providers.providers.in_memory import InMemoryProvider

        async def numbers():
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                os.write(1, b"closed\\n")

        store = blocking(InMemoryProvider())
        store.connect()
        store.put_item("todos", {"id": "1"})
        found = iterate(numbers())
        print(next(found), flush=True)
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1\nclosed\n"


def test_importing_starts_no_thread() -> None:
    """The thread begins with the first call."""
    done = script(
        """
        import threading
        from storage_providers.blocking import blocking
        from storage_providers.providers.in_memory import InMemoryProvider
        store = blocking(InMemoryProvider())
        assert threading.active_count() == 1
        store.connect()
        assert threading.active_count() == 2
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_run_keeps_types() -> None:
    """`run` and `iterate` give what the asynchronous call gives."""
    provider = InMemoryProvider()
    run(provider.connect())
    item: Item = run(provider.create_item("todos", {"id": "1"}))
    found: BlockingIterator[Item] = iterate(provider.find_items("todos"))
    assert [each.id for each in found] == [item.id]
    run(provider.disconnect())
    assert cast(Any, run)(Odd().static()) == "static"
