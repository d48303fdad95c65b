"""A thread that owns one SQLite connection and answers an event loop in batches.

Jobs that wait at the same moment are done together: the answers of one round travel to the loop in
one call, and on the writing connection one commit makes all of them durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar, cast

from storage_providers.errors import ProviderClosedError, StorageError
from storage_providers.protocol import ANY, Address, Item, Put, Write
from storage_providers.providers._sqlite.errors import translated
from storage_providers.providers._sqlite.session import Session

__all__ = ["ReadingWorker", "Worker", "WriteJob", "WritingWorker"]

_LOGGER = logging.getLogger("storage_providers")

T = TypeVar("T")
A = TypeVar("A")

MAX_ROUND: Final = 1000
"""Most jobs of one round, so that the first of them does not wait for ever on the others."""

FEW_READS: Final = 4
"""From so many reads on, one statement for all of them is faster than one for each."""

FEW_PUTS: Final = 10
"""From so many puts on, statements for several of them are faster than one for each."""

Job: TypeAlias = "tuple[asyncio.Future[Any], Callable[[Any], Any], Any, bool]"
WriteJob: TypeAlias = "tuple[Sequence[Write], Mapping[str, int | None]]"
Answer: TypeAlias = "tuple[asyncio.Future[Any], Any, BaseException | None]"


class Worker:
    """Runs jobs one after the other on a thread of its own.

    Args:
        name: Name of the thread.
        open_connection: Called on the thread; what it makes is used and closed there only.
        describe: Says which database in errors, and how long a lock was waited for.
    """

    def __init__(
        self,
        name: str,
        open_connection: Callable[[], sqlite3.Connection],
        describe: tuple[str, float],
    ) -> None:
        self._open_connection = open_connection
        self._describe = describe
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._many_loops = False
        self._closing = False
        self._closed: asyncio.Future[None] | None = None
        # A daemon: a program that forgets to disconnect still ends, and what returned is durable.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.connection: sqlite3.Connection

    # --- called on the event loop --------------------------------------------------------------

    async def start(self) -> None:
        """Start the thread and open the connection.

        Raises:
            StorageError: It can't be opened.
        """
        self._thread.start()
        try:
            await self.submit(self._open, None, special=True)
        except BaseException:
            await self.stop()
            raise

    def submit(
        self, function: Callable[[A], T], argument: A, *, special: bool = False
    ) -> asyncio.Future[T]:
        """Have `function(argument)` called on the thread. Await what is returned.

        Cancelling the future does not stop the job once it has begun.

        Args:
            function: The job.
            argument: What it is given.
            special: It is of the kind that the worker treats in its own way.

        Raises:
            ProviderClosedError: The worker was told to stop.
        """
        if self._closing:
            raise ProviderClosedError("the provider has been closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._loop is not future.get_loop():
            self._many_loops, self._loop = self._loop is not None, future.get_loop()
        self._jobs.put((future, function, argument, special))
        return future

    async def stop(self) -> None:
        """Do every job that was submitted before, close the connection and end the thread."""
        if self._closing:
            return
        self._closing = True
        self._closed = asyncio.get_running_loop().create_future()
        self._jobs.put(None)
        await self._closed
        self._thread.join()  # Its last act was to say that it is done.

    # --- called on the thread ------------------------------------------------------------------

    def _open(self, _: None) -> None:
        self.connection = self._open_connection()

    def _run(self) -> None:
        queue = self._jobs
        while True:
            job = queue.get()
            jobs: list[Job] = []
            while job is not None:
                jobs.append(job)
                if queue.empty() or len(jobs) == MAX_ROUND:
                    break
                job = queue.get()
            if jobs:
                self._reply(self._settle(jobs))
                del jobs
            if job is None:
                break
        with contextlib.suppress(AttributeError):  # It was never opened.
            self.connection.close()
        if self._closed is not None:
            self._reply([(self._closed, None, None)])

    def _settle(self, jobs: list[Job]) -> list[Answer]:
        """Answer every job, come what may: whoever waits on a dead thread waits for ever."""
        try:
            return self._perform(jobs)
        except Exception as error:  # noqa: BLE001  # It is raised where the jobs are awaited.
            with contextlib.suppress(AttributeError, sqlite3.Error):
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
            return [(future, None, error) for future, *_ in jobs]

    def _perform(self, jobs: list[Job]) -> list[Answer]:
        return [self._answer(job) for job in jobs]

    def _answer(self, job: Job) -> Answer:
        future, function, argument, _ = job
        try:
            return future, function(argument), None
        except Exception as error:  # noqa: BLE001  # It is raised where the job is awaited.
            return future, None, self._translated(error)

    def _translated(self, error: BaseException) -> BaseException:
        if not isinstance(error, sqlite3.Error):
            return error
        failure = translated(error, *self._describe)
        failure.__cause__ = error
        return failure

    def _reply(self, answers: list[Answer]) -> None:
        loop = answers[0][0].get_loop()
        mine = answers
        if self._many_loops:
            mine = [answer for answer in answers if answer[0].get_loop() is loop]
        # A loop that is closed has nobody waiting any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, mine)
        if len(mine) < len(answers):
            self._reply([answer for answer in answers if answer[0].get_loop() is not loop])


class ReadingWorker(Worker):
    """Answers the reads of one round that ask for one document each by one statement.

    Its special jobs are `read`.
    """

    session: Session | None = None

    def read(self, addresses: Sequence[Address]) -> list[Item | None]:
        """The job that reads documents."""
        return cast(Session, self.session).read(addresses)

    def _perform(self, jobs: list[Job]) -> list[Answer]:
        session = self.session
        if session is None or len(jobs) < FEW_READS:
            return super()._perform(jobs)
        single = [job for job in jobs if job[3] and len(job[2]) == 1]
        if len(single) < FEW_READS:
            return super()._perform(jobs)
        try:
            results = session.read_many([job[2][0] for job in single])
        except sqlite3.Error:
            return super()._perform(jobs)  # Each meets its own error.
        answers: list[Answer] = [
            (job[0], None, result) if isinstance(result, StorageError) else (job[0], [result], None)
            for job, result in zip(single, results, strict=True)
        ]
        if len(single) < len(jobs):
            answers += [self._answer(job) for job in jobs if not job[3] or len(job[2]) != 1]
        return answers


class WritingWorker(Worker):
    """Runs the jobs of one round in one transaction and commits them together.

    A job that fails must leave the transaction as it found it; its error is its own. A special job
    begins and ends a transaction of its own. Jobs `write` that put one document share statements.
    """

    session: Session | None = None

    _in_savepoints = False

    after_round: Callable[[], None] | None = None
    """Called on the thread after the answers of a round are on their way."""

    def _reply(self, answers: list[Answer]) -> None:
        super()._reply(answers)
        if self.after_round is not None and not self._closing:
            try:
                self.after_round()
            except Exception:
                _LOGGER.exception("what the writing thread does between rounds failed")

    def _perform(self, jobs: list[Job]) -> list[Answer]:
        answers: list[Answer] = []
        for alone, run in itertools.groupby(jobs, _is_special):
            together = list(run)
            answers += map(self._answer, together) if alone else self._commit(together)
        return answers

    def _commit(self, jobs: list[Job], *, in_savepoints: bool = False) -> list[Answer]:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return self._all_failed(jobs, error)
        answers: list[Answer] = []
        self._in_savepoints = in_savepoints
        for is_put, run in itertools.groupby(jobs, self._is_plain_put):
            together = list(run)
            if is_put and len(together) >= FEW_PUTS:
                answers += self._put_together(together)
            else:
                answers += map(self._answer, together)
            if not self.connection.in_transaction:
                # Some failures (a full disk) make SQLite undo the whole transaction, and with it
                # what the others wrote.
                return self._one_by_one(jobs) if len(jobs) > 1 else answers
        if not in_savepoints and any(map(self._left_parts, jobs, answers)):
            # Most rounds go well, so only now each batch pays for being undone by itself.
            self.connection.execute("ROLLBACK")
            return self._commit(jobs, in_savepoints=True)
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if len(jobs) > 1 and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                return self._one_by_one(jobs)
            return self._all_failed(jobs, error)
        return answers

    def write(self, job: WriteJob) -> list[Item | None]:
        """The job that applies a batch of writes."""
        session = cast(Session, self.session)
        alone = self._in_savepoints or len(job[0]) == 1
        return session.write(*job) if alone else session.apply(*job)

    def _left_parts(self, job: Job, answer: Answer) -> bool:
        """Whether a job failed and what it did before that is still there."""
        return answer[2] is not None and job[1] == self.write and len(job[2][0]) > 1

    def _is_plain_put(self, job: Job) -> bool:
        if job[1] != self.write:
            return False
        batch = job[2][0]
        return len(batch) == 1 and isinstance(batch[0], Put) and batch[0].condition is ANY

    def _put_together(self, jobs: list[Job]) -> list[Answer]:
        try:
            items = cast(Session, self.session).put_together([job[2][0][0] for job in jobs])
        except (sqlite3.Error, StorageError):
            return [self._answer(job) for job in jobs]  # Each meets its own error.
        return [(job[0], [item], None) for job, item in zip(jobs, items, strict=True)]

    def _one_by_one(self, jobs: list[Job]) -> list[Answer]:
        return [answer for job in jobs for answer in self._commit([job])]

    def _all_failed(self, jobs: list[Job], error: sqlite3.Error) -> list[Answer]:
        return [(future, None, self._translated(error)) for future, *_ in jobs]


def _is_special(job: Job) -> bool:
    return job[3]


def _deliver(answers: list[Answer]) -> None:
    for future, result, error in answers:
        if future.done():
            continue  # Cancelled while it waited.
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
