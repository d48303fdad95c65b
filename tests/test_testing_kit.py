"""The test kit itself: it finds providers that are wrong, and its faults strike as they say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import Phase, given, settings

from storage_providers._clock import Clock
from storage_providers.errors import (
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from storage_providers.filters import compile_where, parse_where
from storage_providers.layers import Layer, compose
from storage_providers.protocol import (
    Address,
    Capabilities,
    Delete,
    Item,
    JsonObject,
    Page,
    Patch,
    Put,
    Query,
    StorageProvider,
    Write,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.conformance import (
    Backend,
    ManualClock,
    ProviderConformance,
    Scene,
    case,
    cases,
    count_cases,
)
from storage_providers.testing.faults import Cancel, Delay, Fail, Faults, LoseAnswer, Recorder
from storage_providers.testing.stateful import QUICK, run_against_reference
from storage_providers.testing.strategies import documents, wheres

# --- providers that are wrong ------------------------------------------------------------------


class ForgetsPatches(Layer):
    """Answers every third patch without storing it."""

    _count = 0

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        if any(isinstance(write, Patch) for write in batch):
            self._count += 1
            if self._count % 3 == 0:
                return await self.inner.read([Address(w.collection, "a") for w in batch])
        return await self.inner.write(batch)


class IgnoresDeletes(Layer):
    """Leaves documents of one collection where they are."""

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        kept = [
            write
            for write in batch
            if not isinstance(write, Delete) or write.collection != "u/things"
        ]
        done = iter(await self.inner.write(kept))
        return [next(done) if write in kept else None for write in batch]


class SkipsOnPages(Layer):
    """Loses the first document of every page but the first."""

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        pages = await self.inner.query(queries)
        for query, page in zip(queries, pages, strict=True):
            if query.cursor is not None:
                del page.items[:1]
        return pages


class SortsUtf16(Layer):
    """Orders ids as UTF-16 does, which differs from code points beyond the first plane."""

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        pages = await self.inner.query(queries)
        for query, page in zip(queries, pages, strict=True):
            if not query.order_by:
                page.items.sort(key=lambda item: item.id.encode("utf-16-be"))
        return pages


class SeesExpired(Layer):
    """Has a clock of its own that stands still."""

    def wrap(self, provider: object) -> SeesExpired:
        assert isinstance(provider, InMemoryProvider)
        stopped = provider.clock.now_ms() / 1000
        provider.clock = Clock(source=lambda: stopped)
        return super().wrap(provider)


class ForgetsEncoding(Layer):
    """Stores encoded documents as plain ones."""

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        return await self.inner.write(
            [
                Put(write.collection, write.document, write.condition)
                if isinstance(write, Put)
                else write
                for write in batch
            ]
        )


WRONG: dict[str, Callable[[], Layer]] = {
    "forgets patches": ForgetsPatches,
    "ignores deletes": IgnoresDeletes,
    "skips on pages": SkipsOnPages,
    "sees expired": SeesExpired,
    "forgets encoding": ForgetsEncoding,
}


class WrongBackend(Backend):
    """The reference behind a layer that is wrong."""

    def __init__(self, make: Callable[[], Layer]) -> None:
        self.make = make

    async def open(self, clock: Clock) -> StorageProvider:
        return compose(self.make(), provider=InMemoryProvider(clock=clock))


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_the_machine_finds_wrong_providers(make: Callable[[], Layer]) -> None:
    """Each wrong provider differs from the reference soon; the first difference ends the search.

    How soon depends on the modules that are loaded: Hypothesis takes constants from their source.
    """
    profile = settings(QUICK, max_examples=10 * QUICK.max_examples, phases=[Phase.generate])
    with pytest.raises((AssertionError, StorageError, ExceptionGroup)):
        run_against_reference(lambda: WrongBackend(make), profile=profile)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (ForgetsPatches, "test_updates_of_different_fields_all_count"),
        (SkipsOnPages, "test_find_items_goes_over_all_pages"),
        (SortsUtf16, "test_no_two_ids_are_one"),
        (SeesExpired, "test_expired_documents_are_gone"),
        (ForgetsEncoding, "test_a_plain_put_drops_the_payload"),
    ],
)
def test_cases_find_wrong_providers(make: Callable[[], Layer], name: str) -> None:
    """A case fails on the provider that breaks what it is about."""
    test = getattr(ProviderConformance(), name)
    with pytest.raises((AssertionError, StorageError, ExceptionGroup)):
        test(WrongBackend(make))


# --- the harness -------------------------------------------------------------------------------


class Weak(Layer):
    """Declares nothing but what everybody can."""

    def transform(self, capabilities: Capabilities) -> Capabilities:
        return Capabilities()


class Suite:
    """Three kinds of cases."""

    @case()
    async def test_always(self, scene: Scene) -> None:
        """Applies to all."""

    @cases({"one": 1, "two": 2}, "conditional_write")
    async def test_conditional(self, scene: Scene, value: int) -> None:
        """Applies to some."""

    @case("plant", lacks=["conditional_write"])
    async def test_absent(self, scene: Scene) -> None:
        """Applies to others."""


def test_cases_are_counted_by_reason() -> None:
    """`count_cases` says how many tests run, and why others do not."""
    counts = count_cases(Suite, WrongBackend(Layer))
    assert (counts.run, counts.not_applicable) == (3, {"needs plant": 1})
    counts = count_cases(Suite, WrongBackend(Weak))
    assert counts.run == 1
    assert counts.not_applicable == {"needs conditional_write": 2, "needs plant": 1}


def test_what_does_not_apply_is_skipped_with_its_reason() -> None:
    """A case that does not apply shows as skipped, never as passed."""
    with pytest.raises(pytest.skip.Exception, match="needs plant"):
        Suite().test_absent(WrongBackend(Weak))


def test_the_manual_clock_turns_what_a_provider_sees(manual_clock: ManualClock) -> None:
    """Time stands still until it is turned, both ways."""
    before = manual_clock.clock.now_ms()
    assert manual_clock.clock.now_ms() == before
    manual_clock.advance(1.5)
    assert manual_clock.clock.now_ms() == before + 1500
    manual_clock.advance(-2)
    assert manual_clock.clock.now_ms() == before - 500


def test_strategies_reach_both_answers() -> None:
    """Generated conditions match some generated documents and miss others, often enough."""
    answers: list[bool] = []

    @settings(max_examples=200, phases=[Phase.generate])
    @given(documents(), wheres())
    def ask(document: JsonObject, where: JsonObject) -> None:
        if where:
            answers.append(compile_where(parse_where(where))(document))

    ask()
    assert min(answers.count(True), answers.count(False)) > 0.2 * len(answers)


# --- faults ------------------------------------------------------------------------------------


async def _failures(provider: StorageProvider, calls: int) -> list[int]:
    """Which of so many reads fail."""
    failed: list[int] = []
    for number in range(calls):
        try:
            await provider.read([Address("things", "a")])
        except TransportError:
            failed.append(number)
    return failed


def test_a_fault_waits_for_its_call() -> None:
    """`Fail` breaks the named call alone, before it reaches the provider."""

    async def play() -> None:
        recorder = Recorder()
        faults = Faults(Fail("write", call=2))
        async with compose(faults, recorder, provider=InMemoryProvider()) as provider:
            await provider.create_item("things", {"id": "a"})
            with pytest.raises(TransportError) as caught:
                await provider.create_item("things", {"id": "b"})
            assert caught.value.retryable
            await provider.create_item("things", {"id": "c"})
            assert [item.id async for item in provider.find_items("things")] == ["a", "c"]
            assert recorder.verbs.count("write") == 2
            assert faults.struck == {"Fail": 1}

    asyncio.run(play())


def test_a_fault_may_strike_every_time_with_its_own_error() -> None:
    """`call=None` and `error` say so."""

    async def play() -> None:
        error = lambda: RateLimitedError("slow down", retry_after_seconds=2.0)  # noqa: E731
        faults = Faults(Fail("read", call=None, error=error))
        async with compose(faults, provider=InMemoryProvider()) as provider:
            for _ in range(3):
                with pytest.raises(RateLimitedError) as caught:
                    await provider.read_item("things", "a")
                assert caught.value.retry_after_seconds == 2.0
            await provider.create_item("things", {"id": "a"})

    asyncio.run(play())


def test_a_lost_answer_is_a_write_that_landed() -> None:
    """`LoseAnswer` raises `OutcomeUnknownError`, and the document is there."""

    async def play() -> None:
        faults = Faults(LoseAnswer("write"), LoseAnswer("query"))
        async with compose(faults, provider=InMemoryProvider()) as provider:
            with pytest.raises(OutcomeUnknownError) as caught:
                await provider.create_item("things", {"id": "a"})
            assert not caught.value.retryable
            assert await provider.read_item("things", "a") is not None
            with pytest.raises(TransportError) as lost:
                await provider.list_items("things")
            assert not isinstance(lost.value, OutcomeUnknownError)

    asyncio.run(play())


def test_delays_sleep_by_the_injected_sleep() -> None:
    """`Delay` waits for as long as it says, without any real time passing."""

    async def play() -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        faults = Faults(Delay(30.0, "read"), sleep=sleep)
        async with compose(faults, provider=InMemoryProvider()) as provider:
            await provider.read_item("things", "a")
            await provider.read_item("things", "a")
            await provider.list_items("things")
        assert slept == [30.0, 30.0]

    asyncio.run(play())


@pytest.mark.parametrize("after", [False, True])
def test_a_cancelled_call_cancels_its_task(after: bool) -> None:
    """`Cancel` cancels the caller's task, before or after the write happened."""

    async def play() -> None:
        faults = Faults(Cancel("write", after=after))
        async with compose(faults, provider=InMemoryProvider()) as provider:
            task = asyncio.create_task(provider.create_item("things", {"id": "a"}))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert (await provider.read_item("things", "a") is not None) is after

    asyncio.run(play())


def test_seeded_faults_repeat() -> None:
    """The same seed breaks the same calls; another seed others; the shares are about right."""

    async def play(seed: int) -> tuple[list[int], dict[str, int]]:
        faults = Faults.seeded(seed, fail=0.2, lose_answer=0.1)
        async with compose(faults, provider=InMemoryProvider()) as provider:
            return await _failures(provider, 300), dict(faults.struck)

    first, struck = asyncio.run(play(1))
    assert asyncio.run(play(1)) == (first, struck)
    assert asyncio.run(play(2))[0] != first
    assert 60 < len(first) < 120
    assert struck["Fail"] > struck["LoseAnswer"] > 10


def test_faults_leave_lifetime_alone_unless_named() -> None:
    """A fault without a verb never meets `connect`; a named one does."""

    async def play() -> None:
        async with compose(Faults(Fail()), provider=InMemoryProvider()) as provider:
            with pytest.raises(TransportError):
                await provider.collections()
        broken = compose(Faults(Fail("connect")), provider=InMemoryProvider())
        with pytest.raises(TransportError):
            await broken.connect()

    asyncio.run(play())
