"""Processes that write while others migrate, on one virtual clock; they stall and are killed.

Everything between two calls of a provider is done at once, as the virtual loop does not wait. What
takes time is on the wire: requests and answers take as long as the random numbers say, a request
that was sent arrives even if its sender is killed, and a process may stand still for many leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.errors import (
    OutcomeUnknownError,
    StorageError,
)
from storage_providers.layers import Call, Layer, compose
from storage_providers.protocol import JsonObject
from storage_providers.providers._dual.state import OWN, StateStore
from storage_providers.providers.dual_write import DualWriteProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.transfer.migration import Migration

T = TypeVar("T")

LEASE_SECONDS = 10.0
THINGS = "things"
SHARED = ("s0", "s1", "s2")
COMMON = ("c0", "c1", "c2")
TASKS = 3
PAUSES = (0, 0, 0.05, 0.2, 1.0, 5.0, 25.0)


class Process:
    """One process: its wires, whether it lives, whether it stands still.

    Args:
        number: Which.
        source: Random numbers of its own.
    """

    def __init__(self, number: int, source: random.Random) -> None:
        self.number = number
        self.random = source
        self.is_dead = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.tasks: list[asyncio.Task[Any]] = []

    def delay(self) -> float:
        """How long something is on the wire: mostly short, now and then long."""
        return self.random.expovariate(1 / (2.0 if self.random.random() < 0.1 else 0.05))

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in it."""
        task = asyncio.create_task(work)
        self.tasks.append(task)
        return task

    async def kill(self) -> None:
        """End it where it is; what it sent arrives all the same."""
        self.is_dead = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def stand_still(self, seconds: float) -> None:
        """Do nothing for a while, then go on without having noticed."""
        self.goes_on.clear()
        await asyncio.sleep(seconds)
        self.goes_on.set()


class Wire(Layer):
    """The way between a process and a side."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self.sent: set[asyncio.Task[Any]] = set()

    async def connect(self) -> None:
        return None

    async def disconnect(self) -> None:
        return None

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        process = self.process
        await process.goes_on.wait()
        if process.is_dead:
            raise asyncio.CancelledError

        async def arrive() -> T:
            await asyncio.sleep(process.delay())
            return await proceed()

        task = asyncio.create_task(arrive())
        self.sent.add(task)
        task.add_done_callback(self.sent.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(task)
        finally:
            if not process.is_dead:
                await asyncio.sleep(process.delay())
                await process.goes_on.wait()


class AtTheSwitch(Layer):
    """Compares the sides at the very moment at which the leader changes.

    Args:
        world: Whose sides.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.switches = 0

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        if call.verb == "write":
            for write in call.arguments[0]:
                if write.collection == OWN and write.id == "state":
                    await self._compare(write.document["phase"])
        return await proceed()

    async def _compare(self, phase: str) -> None:
        seen = await StateStore(self.world.source, self.world.target, self.world.clock).read()
        changes = phase == ("target" if seen.state.leader == "source" else "dual")
        if seen.state.phase == "switching" and changes:
            self.switches += 1
            await self.world.alike()


class World:
    """The sides, the processes on them, and what was promised to whom.

    Args:
        seed: Of all random numbers.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = Clock(source=asyncio.get_running_loop().time)
        self.source = InMemoryProvider(clock=self.clock)
        self.target = InMemoryProvider(clock=self.clock)
        self.added = dict.fromkeys(SHARED, 0)
        self.maybe = dict.fromkeys(SHARED, 0)
        self.own: dict[str, list[JsonObject | None]] = {}
        self.deaths: list[asyncio.Task[Any]] = []
        self.numbers = itertools.count()
        self.busy: set[str] = set()

    def process(self) -> Process:
        """A new process."""
        return Process(next(self.numbers), random.Random(self.random.random()))

    def wired(self, process: Process) -> tuple[Provider, Provider]:
        """Both sides as a process reaches them."""
        return (
            compose(Wire(process), AtTheSwitch(self), provider=self.source),
            compose(Wire(process), AtTheSwitch(self), provider=self.target),
        )

    # --- writers -------------------------------------------------------------------------------

    async def write_on(self, process: Process, stop: asyncio.Event) -> None:
        """Write at random until told to stop."""
        source, target = self.wired(process)
        pair = DualWriteProvider(
            source=source, target=target, lease_seconds=LEASE_SECONDS, clock=self.clock
        )
        try:
            await pair.connect()
            async with asyncio.TaskGroup() as group:
                for _ in range(TASKS):
                    group.create_task(self._write_on(process, pair, stop))
            await pair.disconnect()
        finally:
            if pair._membership._beating is not None:
                pair._membership._beating.cancel()

    async def _write_on(
        self, process: Process, pair: DualWriteProvider, stop: asyncio.Event
    ) -> None:
        while not stop.is_set():
            await self.write_once(process, pair)
            await asyncio.sleep(process.random.choice(PAUSES))

    async def write_once(self, process: Process, pair: DualWriteProvider) -> None:
        """One write, noted as what became of it, or one read."""
        drawn = process.random.random()
        if drawn < 0.3:
            await self.look(pair, process.random.choice(SHARED))
        elif drawn < 0.5:
            await self.add(pair, process.random.choice(SHARED))
        elif drawn < 0.7:
            name = f"p{process.number}-{next(self.numbers) % 50}"
            if name not in self.busy:
                self.busy.add(name)
                await self.change(process, pair, name)
                self.busy.discard(name)
        else:
            await self.meddle(process, pair, process.random.choice(COMMON))

    async def meddle(self, process: Process, pair: DualWriteProvider, name: str) -> None:
        """Change a document that everybody changes, in any way there is."""
        value = process.random.randrange(1000)
        drawn = process.random.random()
        with contextlib.suppress(StorageError):
            if drawn < 0.3:
                await pair.put_item(THINGS, {"id": name, "v": value})
            elif drawn < 0.5:
                await pair.create_item(THINGS, {"id": name, "v": value})
            elif drawn < 0.6:
                await pair.update_item(THINGS, name, {f"f{process.number}": value})
            elif drawn < 0.98:
                await pair.delete_item(THINGS, name)
            else:
                await pair.clear_collection("cleared")
                await pair.create_item("cleared", {"id": name, "v": value})

    async def look(self, pair: DualWriteProvider, name: str) -> None:
        """Read what everybody adds to: it shows all that was promised before."""
        least = self.added[name]
        try:
            item = await pair.read_item(THINGS, name)
        except StorageError:
            return
        assert item is not None
        assert item.document["n"] >= least, (name, item.document["n"], least)

    async def add(self, pair: DualWriteProvider, name: str) -> None:
        """Add one to a number that all of them add to."""
        try:
            self.maybe[name] += 1
            await pair.modify_item(THINGS, name, lambda found: {**found, "n": found["n"] + 1})
        except OutcomeUnknownError:
            return
        except StorageError:
            self.maybe[name] -= 1
            return
        self.maybe[name] -= 1
        self.added[name] += 1

    async def change(self, process: Process, pair: DualWriteProvider, name: str) -> None:
        """Put or delete a document that nobody else writes; keep what may be there."""
        value = process.random.choice([None, process.random.randrange(1000)])
        new = None if value is None else {"id": name, "v": value}
        possible = self.own.setdefault(name, [None])
        possible.append(new)
        try:
            if new is None:
                await pair.delete_item(THINGS, name)
            else:
                await pair.put_item(THINGS, new)
        except OutcomeUnknownError:
            return
        except StorageError:
            possible.pop()
            return
        possible[:] = [new]

    # --- what must be so -----------------------------------------------------------------------

    async def check(self, leader: Provider) -> None:
        """Everything that was promised is there, once."""
        items = {item.id: item.document async for item in leader.find_items(THINGS)}
        for name in SHARED:
            least = self.added[name]
            found = items[name]["n"]
            assert least <= found <= least + self.maybe[name], (name, found, least)
        for name, possible in self.own.items():
            found_v = items[name]["v"] if name in items else None
            values = [None if each is None else each["v"] for each in possible]
            assert found_v in values, (name, found_v, values)

    async def alike(self) -> None:
        """Both sides hold the same."""
        for name in (THINGS, "cleared"):
            ours, theirs = [
                {item.id: item.document async for item in side.find_items(name)}
                for side in (self.source, self.target)
            ]
            assert ours == theirs


async def migrate(world: World, process: Process, *, steps: int) -> None:
    """Carry the migration on until the target leads, whatever comes between."""
    source, target = world.wired(process)
    migration = Migration(
        source=source, target=target, lease_seconds=LEASE_SECONDS, clock=world.clock
    )
    reasons: list[str] = []
    for _ in range(steps):
        try:
            status = await migration.run(repair=True)
        except StorageError as error:
            reasons.append(str(error))
        else:
            if status.phase == "target":
                return
        await asyncio.sleep(1)
    raise AssertionError("the migration never came to its end: " + "; ".join(reasons[-3:]))


async def play(seed: int) -> World:
    """Three writers, killed or stalled at random, while runners migrate, killed at random too."""
    world = World(seed)
    await world.source.connect()
    await world.target.connect()
    for name in SHARED:
        await world.source.put_item(THINGS, {"id": name, "n": 0})
    for number in range(30):
        await world.source.put_item(THINGS, {"id": f"old{number}", "v": number})
    stop = asyncio.Event()
    writers = [world.process() for _ in range(3)]
    for writer in writers:
        writer.start(world.write_on(writer, stop))
    for _ in range(world.random.randrange(3)):
        runner = world.process()
        runner.start(migrate(world, runner, steps=50))
        await asyncio.sleep(world.random.uniform(0, 60))
        await runner.kill()
    for _ in range(world.random.randrange(5)):
        victim = world.random.choice(writers)
        if world.random.random() < 0.7:
            stall = victim.stand_still(world.random.choice((1, 15, 40, 150, 400)))
            world.deaths.append(asyncio.create_task(stall))
        else:
            asyncio.get_running_loop().call_later(world.random.uniform(0, 60), _die, world, victim)
    last = world.process()
    await last.start(migrate(world, last, steps=200))
    await asyncio.sleep(world.random.uniform(0, 60))
    stop.set()
    for writer in writers:
        for result in await asyncio.gather(*writer.tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not writer.is_dead:
                raise result
    await asyncio.gather(*world.deaths)
    await asyncio.sleep(10)
    return world


def _die(world: World, victim: Process) -> None:
    world.deaths.append(asyncio.create_task(victim.kill()))
