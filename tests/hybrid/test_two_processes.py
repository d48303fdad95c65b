"""Two processes on one hybrid: outages, lost answers and kills at random, and a model beside them.

Which programs run, and where each process dies, is decided by the seed alone. More seeds:
`HYBRID_SEEDS=100 pytest tests/hybrid/test_two_processes.py`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from storage_providers.conflicts import POLICIES, ConflictRecord, PolicyName, settle
from storage_providers.providers.sqlite import SQLiteProvider
from tests.hybrid.model import History, Op, plain_stored
from tests.hybrid.worker import COLLECTION, plain, serve

SEEDS = int(os.environ.get("HYBRID_SEEDS", "8"))
FIRST_SEED = int(os.environ.get("HYBRID_FIRST_SEED", "0"))
EPISODES = 3
IDS = ("a", "b", "c", "d")
WRITES = ("put", "patch", "patch", "append", "append", "delete", "create")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.hybrid.worker"])


class Process:
    """A worker in a process of its own."""

    def __init__(self, folder: Path, options: dict[str, Any], seed: int) -> None:
        self.connection, theirs = _context.Pipe()
        self.process = _context.Process(target=serve, args=(theirs, folder, options, seed))
        self.process.start()
        theirs.close()
        assert self.receive() == "ready"

    def receive(self) -> Any:
        """What it says next; `None`: it was killed."""
        assert self.connection.poll(60), "it says nothing"
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(60)
            return None

    def __call__(self, name: str, item_id: str = "", value: Any = None, die: int = 0) -> Any:
        """Have it do something; `None`: it died of it."""
        self.connection.send((name, item_id, value, die))
        return self.receive()

    def end(self) -> None:
        """Have it end, which closes its hybrid."""
        self.connection.send(None)
        self.process.join(60)
        assert self.process.exitcode == 0


class Play:
    """One program, decided by its seed."""

    is_lossy = False
    """Whether what was acknowledged may have got to the primary at once."""

    is_up = False
    """Whether the primary answers, and has everything."""

    is_settling = False
    """Whether a conflict may be settled at any call, which the model hears of later."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.policy: PolicyName = self.chance.choice(sorted(POLICIES))
        mode = self.chance.choice(["unconditional", "journal"])
        self.options = {"policy": self.policy, "degraded_writes": mode}
        self.tokens = iter(range(10**9))
        self.seen = Counter[str]()
        self.histories = {item_id: History() for item_id in IDS}
        self.last_record = 0
        self.copies: dict[str, str | None] = {}
        self.network("")
        self.processes = [self.start(), self.start()]

    def start(self) -> Process:
        """A process that joins in; what it finds in the journal it may replay at once."""
        return Process(self.folder, self.options, self.chance.randrange(10**6))

    def network(self, state: str) -> None:
        """Set it for every process, without a moment when the file is empty."""
        new = self.folder / "network.new"
        new.write_text(state)
        new.replace(self.folder / "network")

    def ask(self, name: str, item_id: str = "", value: Any = None, *, mortal: bool = True) -> Any:
        """Have one of the processes do something; one that dies of it is replaced."""
        which = self.chance.randrange(2)
        die = self.chance.randrange(1, 14) if mortal and self.chance.random() < 0.15 else 0
        answer = self.processes[which](name, item_id, value, die)
        if answer is None:
            assert die, "it died of itself"
            self.seen["killed"] += 1
            self.processes[which] = self.start()
        return answer

    def fields(self) -> dict[str, Any]:
        """Fields with values that no other write has."""
        names = self.chance.sample("xyz", self.chance.randrange(1, 4))
        return {name: next(self.tokens) for name in names}

    def draw(self) -> tuple[str, str, Any]:
        """A write."""
        kind, item_id = self.chance.choice(WRITES), self.chance.choice(IDS)
        value: Any = None
        if kind == "append":
            value = next(self.tokens)
        elif kind != "delete":
            value = self.fields()
            if kind == "patch" and self.chance.random() < 0.3:
                value[self.chance.choice("xyz")] = None
        return kind, item_id, value

    # --- the primary, past every hybrid ----------------------------------------------------------

    async def found(self) -> dict[str, str]:
        """What the primary holds."""
        async with SQLiteProvider(self.folder / "primary.db") as primary:
            return {i.id: plain(i.document) async for i in primary.find_items(COLLECTION)}

    async def elsewhere(self) -> None:
        """Somebody else changes a document at the primary."""
        item_id, fields = self.chance.choice(IDS), self.fields()
        history = self.histories[item_id]
        async with SQLiteProvider(self.folder / "primary.db") as primary:
            there = await primary.read_item(COLLECTION, item_id)
            if there is not None and self.chance.random() < 0.3:
                op = Op("delete", None)
                await primary.delete_item(COLLECTION, item_id)
            elif there is not None and self.chance.random() < 0.6:
                op = Op("patch", fields)
                await primary.update_item(COLLECTION, item_id, fields)
            else:
                op = Op("put", fields)
                await primary.put_item(COLLECTION, {"id": item_id, **fields})
        history.there.append(op)

    # --- the phases ------------------------------------------------------------------------------

    def write(self) -> None:
        """One write through a hybrid, in whatever state the network is."""
        kind, item_id, value = self.draw()
        history = self.histories[item_id]
        before = history.seen
        answer = self.ask(kind, item_id, value)
        if answer is None or answer[0] == "unknown":
            # It may have got to the primary alone, to the journal, or nowhere.
            history.here.append(Op(kind, value, sure=False))
            history.there.append(Op(kind, value, sure=False))
            history.copies |= history.ever
            return
        self.seen[answer[0]] += 1
        if answer[0] == "ok":
            history.here.append(Op(kind, value))
            history.mirrored()
            if self.is_lossy:
                history.there.append(Op(kind, value, sure=False))
        if self.is_settling:
            return
        if answer[0] == "refused":
            exists = before - {None}
            assert (exists if kind == "create" else None in before) or kind == "append", answer
        elif answer[0] == "ok":
            assert answer[1] in history.seen, (kind, item_id, answer, before)

    def read(self) -> None:
        """One read, or all of them: what was acknowledged, or an error."""
        if self.chance.random() < 0.3:
            answer = self.ask("every", mortal=False)
            if answer[0] == "ok":
                for item_id, history in self.histories.items():
                    assert answer[1].get(item_id) in history.seen, item_id
                    if self.is_up and item_id in answer[1]:
                        history.mirrored()
            return
        item_id = self.chance.choice(IDS)
        answer = self.ask("read", item_id, mortal=False)
        if answer[0] == "ok":
            self.seen["read"] += 1
            assert answer[1] in self.histories[item_id].seen, (item_id, answer)
            if self.is_up:
                self.histories[item_id].mirrored()

    def both_up(self) -> None:
        """The primary answers; what is at the fallback may be old where a process was killed."""
        self.is_up = True
        for _ in range(self.chance.randrange(3, 8)):
            self.write() if self.chance.random() < 0.7 else self.read()
        there = asyncio.run(self.found())
        for item_id, history in self.histories.items():
            assert there.get(item_id) in history.seen, item_id
            self.histories[item_id] = History(there.get(item_id), history.copies)
        assert self.ask("pending", mortal=False) == ("ok", 0)
        self.is_up = False

    def outage(self) -> None:
        """It does not; others go on changing it."""
        for history in self.histories.values():
            history.begin_outage()
        if self.chance.random() < 0.5:
            self.is_lossy = True
            self.network("lose")
            self.write()
            self.write()
            self.is_lossy = False
        self.network("down")
        for _ in range(self.chance.randrange(4, 11)):
            drawn = self.chance.random()
            if drawn < 0.2:
                asyncio.run(self.elsewhere())
            elif drawn < 0.75:
                self.write()
            else:
                self.read()

    def recovery(self) -> None:
        """It comes back, not at once for good, while the program goes on."""
        self.is_lossy = self.is_settling = True
        for _ in range(self.chance.randrange(1, 5)):
            self.network(self.chance.choice(["", "flaky", "flaky", "lose"]))
            self.ask("replay") if self.chance.random() < 0.4 else self.write()
        self.is_lossy = self.is_settling = False
        self.network("")
        for _ in range(50):
            self.ask("replay")
            if self.ask("pending", mortal=False) == ("ok", 0):
                return
        raise AssertionError("the journal never gets empty")

    def verify(self) -> None:
        """Everything that was acknowledged is at the primary or in the log, and once."""
        there = asyncio.run(self.found())
        _, records = self.ask("records", "", self.last_record, mortal=False)
        for record in records:
            self.check(record)
        for item_id, history in self.histories.items():
            own = [record for record in records if record.conflict.id == item_id]
            final = there.get(item_id)
            log = json.loads(final or "{}").get("log", [])
            assert len(set(log)) == len(log), f"{item_id}: {log}"
            assert history.explains(final, own), f"{item_id}: {final} {vars(history)} {own}"
            self.histories[item_id] = history.after(final)
        others = {item_id: state for item_id, state in there.items() if item_id not in IDS}
        assert others == self.copies

    def check(self, record: ConflictRecord) -> None:
        """A record is settled, once, by the policy and nothing else."""
        assert record.number == self.last_record + 1
        self.last_record = record.number
        assert record.state == "settled"
        assert record.resolution == settle(record.conflict, self.policy)
        self.seen["conflict"] += 1
        for copy in record.resolution.copies:
            self.copies[copy.document["id"]] = plain_stored(copy)

    def run(self) -> Counter[str]:
        """The whole program; returns what happened in it how often."""
        assert self.ask("fill", mortal=False)[0] == "ok"
        for _ in range(EPISODES):
            self.both_up()
            self.outage()
            self.recovery()
            self.verify()
        for process in self.processes:
            process.end()
        return self.seen


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_nothing_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    """The primary ends as the model says, and every conflict is in the log."""
    play = Play(tmp_path, seed)
    try:
        seen = play.run()
    finally:
        for process in play.processes:
            process.process.kill()
    assert seen["ok"] + seen["refused"] > 5
