"""Files under fire: killed writers, several processes, full disks, folders closed to us."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import pytest

from storage_providers.errors import (
    BatchError,
    DeadlineExceededError,
    OutcomeUnknownError,
    PermissionDeniedError,
    StorageError,
    StorageFullError,
)
from storage_providers.protocol import Put
from storage_providers.providers._files.writer import FileChange, FileWriter
from storage_providers.providers.local_file import LocalFileProvider

SDK = ".storage-providers"


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python program that has the names it needs, and a pipe to tell us things."""
    head = (
        "import asyncio, os, sys\n"
        "from storage_providers.errors import StorageError\n"
        "from storage_providers.protocol import Put\n"
        "from storage_providers.providers.local_file import LocalFileProvider\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a child that must succeed; what it printed."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


WRITER = """
async def write(provider, worker):
    for n in range(100_000):
        kind = n % 4
        if kind < 2:
            documents = [{"id": f"w{worker}", "n": n, "text": "x" * (n % 3000)}]
        else:
            documents = [{"id": f"w{worker}-{n}-{i}", "n": n} for i in range(kind)]
        await provider.put_items("c", documents)
        if kind == 3:
            await provider.delete_item("c", documents[0]["id"])
            documents = documents[1:]
        for document in documents:
            print(document["id"], n, flush=True)

async def main():
    async with LocalFileProvider(sys.argv[1], fsync=False) as provider:
        await asyncio.gather(*(write(provider, worker) for worker in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path, seed: int) -> None:
    """After SIGKILL at a random moment every acknowledged write is there, whole and indexed.

    The file system keeps what the process gave it, so this shows the order of the steps; that
    they reach the medium, `test_a_write_is_forced_to_the_medium_before_it_returns` shows.
    """
    process = child(WRITER, tmp_path)
    assert process.stdout is not None
    lines = random.Random(seed).randrange(50, 1500)
    acknowledged: dict[str, int] = {}
    for count, line in enumerate(process.stdout):
        item_id, n = line.split()
        acknowledged[item_id] = int(n)
        if count == lines:
            process.kill()
    process.wait(timeout=30)
    assert process.returncode == -signal.SIGKILL
    process.communicate()
    asyncio.run(check_survivors(tmp_path, acknowledged))
    assert list((tmp_path / SDK / "temp").iterdir()) == []


async def check_survivors(root: Path, acknowledged: dict[str, int]) -> None:
    """Every acknowledged document is there, not older than acknowledged, by id and by query."""
    async with LocalFileProvider(root) as provider:
        listed = {item.id: item async for item in provider.find_items("c")}
        for item_id, n in acknowledged.items():
            item = await provider.read_item("c", item_id)
            assert item is not None, item_id
            assert item.document["n"] >= n
            assert listed[item_id] == item
        assert (await provider.list_items("c", limit=1)).corrupt == ()
    for path in (root / "c").iterdir():
        json.loads(path.read_text())


def test_a_kill_in_the_middle_leaves_temporary_files_only_until_the_next_open(
    tmp_path: Path,
) -> None:
    """What a process was writing when it died is removed; a document is old or new."""
    program = """
from storage_providers.providers._files.writer import FileWriter
FileWriter._put_in_place = lambda self, change: os.kill(os.getpid(), 9)
async def main():
    async with LocalFileProvider(sys.argv[1]) as provider:
        await provider.put_items("c", [{"id": str(n), "n": "new"} for n in range(5)])
asyncio.run(main())
"""
    asyncio.run(put(tmp_path, {"id": "0", "n": "old"}))
    process = child(program, tmp_path)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert len(list((tmp_path / SDK / "temp").iterdir())) == 5
    asyncio.run(put(tmp_path, {"id": "1"}))
    assert list((tmp_path / SDK / "temp").iterdir()) == []
    assert json.loads((tmp_path / "c/0.json").read_text())["n"] == "old"


async def put(root: Path, document: dict[str, Any]) -> None:
    """Store one document."""
    async with LocalFileProvider(root) as provider:
        await provider.put_item("c", document)


CHANGER = """
async def main():
    worker, count = sys.argv[2], int(sys.argv[3])
    async with LocalFileProvider(sys.argv[1], fsync=False) as provider:
        for n in range(count):
            shared = f"shared-{n % 2}"
            await provider.modify_item("c", shared, lambda old: {**old, "n": old["n"] + 1})
            await provider.update_item("c", shared, {f"by-{worker}-{n}": n})
            await provider.put_item("c", {"id": f"own-{worker}-{n}", "worker": worker})
        seen = [i async for i in provider.find_items("c", where={"worker": worker})]
        print(len(seen))
asyncio.run(main())
"""


def test_four_processes_lose_no_update(tmp_path: Path) -> None:
    """Increments and patches of the same documents by four processes all count."""
    processes, rounds = 4, 30

    async def prepare() -> None:
        async with LocalFileProvider(tmp_path) as provider:
            await provider.put_items("c", [{"id": f"shared-{k}", "n": 0} for k in range(2)])

    asyncio.run(prepare())
    children = [child(CHANGER, tmp_path, worker, rounds) for worker in range(processes)]
    assert [finish(process) for process in children] == [f"{rounds}\n"] * processes

    async def check() -> None:
        async with LocalFileProvider(tmp_path, rescan_seconds=None) as provider:
            shared = await provider.read_items("c", ["shared-0", "shared-1"])
            documents = [item.document for item in shared if item]
            assert sum(document["n"] for document in documents) == processes * rounds
            patches = [key for document in documents for key in document if key[:3] == "by-"]
            assert len(patches) == processes * rounds
            assert await provider.count_items("c") == processes * rounds + 2

    asyncio.run(check())


# --- the lock ----------------------------------------------------------------------------------


def test_a_lock_held_by_others_ends_in_an_error_that_names_it(tmp_path: Path) -> None:
    """Reads and queries go on meanwhile; the write happens neither then nor later."""

    async def run() -> None:
        async with LocalFileProvider(
            tmp_path, lock_timeout_seconds=0.05, rescan_seconds=None
        ) as provider:
            await provider.put_item("c", {"id": "a"})
            assert await provider.count_items("c") == 1
            lock = filelock.FileLock(tmp_path / SDK / "lock")
            with lock, pytest.raises(DeadlineExceededError) as caught:
                await provider.put_item("c", {"id": "b"})
            assert str(tmp_path / SDK / "lock") in str(caught.value)
            assert "0.05 s" in str(caught.value)
            assert caught.value.retryable
            with lock:
                assert await provider.read_item("c", "a") is not None
                assert await provider.count_items("c") == 1
                (tmp_path / "c/a.json").write_text('{"id": "a", "n": 1}')
                item = await provider.read_item("c", "a")
            assert item is not None
            assert item.document["n"] == 1
            await provider.put_item("c", {"id": "c"})
            assert await provider.read_item("c", "b") is None

    asyncio.run(run())


# --- the medium --------------------------------------------------------------------------------


def test_a_write_is_forced_to_the_medium_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file before its rename, each folder after it; a batch does each folder once."""
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(file: int) -> None:
        steps.append(("fsync", str(Path(f"/proc/self/fd/{file}").readlink())))
        fsync(file)

    def spy_replace(source: str, target: str) -> None:
        steps.append(("rename", target))
        assert ("fsync", source) in steps
        replace(source, target)

    async def run() -> None:
        async with LocalFileProvider(tmp_path) as provider:
            await provider.put_items("c", [{"id": "0"}])
            monkeypatch.setattr(os, "fsync", spy_fsync)
            monkeypatch.setattr(os, "replace", spy_replace)
            await provider.put_items("c", [{"id": str(n)} for n in range(300)])
            renames = [n for n, (kind, _) in enumerate(steps) if kind == "rename"]
            folders = [n for n, step in enumerate(steps) if step == ("fsync", str(tmp_path / "c"))]
            assert len(renames) == 300
            assert folders == [len(steps) - 1]
            steps.clear()
            await provider.delete_item("c", "0")
            assert steps == [("fsync", str(tmp_path / "c"))]

    asyncio.run(run())


def test_new_folders_are_forced_to_the_medium_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document is of no use when the entry of its folder, or of the root, is lost."""
    synced: list[str] = []
    fsync = os.fsync

    def spy_fsync(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    asyncio.run(put(tmp_path / "deep/root", {"id": "a"}))
    wanted = [tmp_path, tmp_path / "deep", tmp_path / "deep/root", tmp_path / "deep/root/c"]
    assert {str(path) for path in wanted} <= set(synced)
    assert synced.index(str(tmp_path / "deep/root")) < synced.index(str(wanted[-1]))


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """A file system of its own that is soon full."""
    folder.mkdir()
    size = f"size={kibibytes}k"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_document(tmp_path: Path) -> None:
    """On a real full file system: a clear error, nothing half-written, and space helps."""

    async def run(root: Path) -> None:
        async with LocalFileProvider(root) as provider:
            old = await provider.put_item("c", {"id": "a", "text": "small"})
            filler = root / "filler"
            await check_full(provider, filler)
            assert await provider.read_item("c", "a") == old
            assert list((root / SDK / "temp").iterdir()) == []
            filler.unlink()
            await provider.put_item("c", {"id": "a", "text": "x" * 100_000})
            assert [item.id for item in (await provider.list_items("c")).items] == ["a"]

    with small_disk(tmp_path / "disk", 2048):
        asyncio.run(run(tmp_path / "disk"))


async def check_full(provider: LocalFileProvider, filler: Path) -> None:
    """Fill the disk and write."""
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(filler.parent).free == 0
    with pytest.raises(StorageFullError) as caught:
        await provider.put_item("c", {"id": "a", "text": "x" * 100_000})
    assert "c/a.json" in str(caught.value)
    with pytest.raises((StorageFullError, BatchError)):
        await provider.put_items("c", [{"id": str(n), "text": "x" * 9000} for n in range(50)])


class FailingWriter(FileWriter):
    """Stands for a medium that fails at a chosen step, with a chosen error number."""

    def __init__(self, temp_folder: str, step: str, number: int) -> None:
        super().__init__(temp_folder)
        self._step = step
        self._error = number

    def _write(self, file: int, data: memoryview) -> int:
        if self._step == "write" and bytes(data[:3]) == b"bad":
            os.write(file, data[:1])
            raise OSError(self._error, os.strerror(self._error))
        return super()._write(file, data)

    def _sync(self, file: int) -> None:
        if self._step == "sync":
            raise OSError(self._error, os.strerror(self._error))
        super()._sync(file)

    def _sync_folder(self, folder: str) -> None:
        if self._step == "folder":
            raise OSError(self._error, os.strerror(self._error))
        super()._sync_folder(folder)


class OneFailingWriter(FileWriter):
    """Stands for a medium that can't keep files of one byte, and that waits for company."""

    def __init__(self, temp_folder: str, together: int) -> None:
        super().__init__(temp_folder)
        self._company = threading.Barrier(together, timeout=30)

    def _sync(self, file: int) -> None:
        self._company.wait()
        if os.fstat(file).st_size == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super()._sync(file)


def test_files_of_a_batch_are_forced_at_the_same_time(tmp_path: Path) -> None:
    """All at once, and the one that fails fails alone: the old file stays, the others are new."""
    temp = tmp_path / "temp"
    temp.mkdir()
    writer = OneFailingWriter(str(temp), 5)
    (tmp_path / "2").write_bytes(b"old")
    data = [b"1" if number == 2 else b"new" for number in range(5)]
    changes = [FileChange(str(tmp_path / str(n)), each) for n, each in enumerate(data)]
    writer.apply(changes)
    writer.close()
    assert [change.error is not None for change in changes] == [n == 2 for n in range(5)]
    assert [(tmp_path / str(n)).read_bytes() for n in range(5)] == [
        b"old" if n == 2 else b"new" for n in range(5)
    ]
    assert not list(temp.iterdir())


@pytest.mark.parametrize(
    ("step", "number", "expected"),
    [
        ("write", errno.ENOSPC, StorageFullError),
        ("write", errno.EDQUOT, StorageFullError),
        ("write", errno.EROFS, PermissionDeniedError),
        ("sync", errno.ENOSPC, StorageFullError),
        ("sync", errno.EIO, StorageError),
        ("folder", errno.EIO, OutcomeUnknownError),
    ],
)
def test_every_failing_step_has_its_error(
    tmp_path: Path, step: str, number: int, expected: type[StorageError]
) -> None:
    """Before the rename the old file stays and the temporary one goes; after it who knows."""
    temp, folder = tmp_path / "temp", tmp_path / "c"
    temp.mkdir()
    folder.mkdir()
    (folder / "bad.json").write_bytes(b"old")
    changes = [
        FileChange(str(folder / "good.json"), b"good"),
        FileChange(str(folder / "bad.json"), b"bad"),
    ]
    FailingWriter(str(temp), step, number).apply(changes)
    assert type(changes[1].error) is expected
    assert str(folder) in str(changes[1].error)
    assert list(temp.iterdir()) == []
    if step == "folder":
        assert (folder / "bad.json").read_bytes() == b"bad"
    else:
        assert (folder / "bad.json").read_bytes() == b"old"
    assert (changes[0].error is None) == (step == "write")


READ_ONLY = """
os.setgid(65534)
os.setuid(65534)

async def main():
    async with LocalFileProvider(sys.argv[1]) as provider:
        assert (await provider.read_item("c", "a")).document["n"] == 1
        for attempt in (
            provider.put_item("c", {"id": "a", "n": 2}),
            provider.update_item("c", "a", {"n": 2}),
            provider.delete_item("c", "a"),
        ):
            try:
                await attempt
            except StorageError as error:
                print(type(error).__name__, str(error))
        assert (await provider.read_item("c", "a")).document["n"] == 1

try:
    asyncio.run(main())
except StorageError as error:
    print(type(error).__name__, str(error))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("closed", ["collection", "root"])
def test_a_folder_that_may_not_be_written_gives_a_clear_error(tmp_path: Path, closed: str) -> None:
    """To another user: the error names the path, and the old document stays as it was."""
    root = tmp_path / "root"
    asyncio.run(put(root, {"id": "a", "n": 1}))
    base = Path(tempfile.gettempdir())
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to(base) and path != base:
            path.chmod(0o755)
    if closed == "collection":
        for path in (root, root / SDK, *(root / SDK).rglob("*")):
            path.chmod(0o777)
    before = (root / "c/a.json").read_bytes()
    output = finish(child(READ_ONLY, root)).splitlines()
    assert len(output) == (3 if closed == "collection" else 1)
    for line in output:
        assert line.startswith("PermissionDeniedError local.")
        assert str(root) in line
    assert (root / "c/a.json").read_bytes() == before
    assert list((root / SDK / "temp").iterdir()) == []


# --- threads -----------------------------------------------------------------------------------


def test_cancelled_writes_are_whole_and_the_provider_goes_on(tmp_path: Path) -> None:
    """A write whose caller gave up landed or did not; nobody else notices."""
    entered, release = threading.Event(), threading.Event()

    class SlowWriter(FileWriter):
        """Stands for a medium that takes its time."""

        def apply(self, changes: Any) -> None:
            entered.set()
            assert release.wait(timeout=30)
            super().apply(changes)

    async def run() -> None:
        async with LocalFileProvider(tmp_path) as provider:
            provider._committer._writer = SlowWriter(str(tmp_path / SDK / "temp"))
            first = asyncio.create_task(provider.put_item("c", {"id": "a"}))
            await asyncio.to_thread(entered.wait, 30)
            others = [
                asyncio.create_task(provider.write([Put("c", {"id": str(n)})])) for n in range(5)
            ]
            await asyncio.sleep(0)
            first.cancel()
            others[0].cancel()
            release.set()
            for task in others[1:]:
                await task
            with pytest.raises(asyncio.CancelledError):
                await first
            listed = await provider.list_items("c")
            assert [item.id for item in listed.items] == ["0", "1", "2", "3", "4", "a"]

    asyncio.run(run())


def test_disconnecting_finishes_what_was_begun(tmp_path: Path) -> None:
    """Writes that were on their way when the provider was closed are done."""

    async def run() -> None:
        provider = LocalFileProvider(tmp_path)
        await provider.connect()
        await provider.put_item("c", {"id": "first"})
        tasks = [asyncio.create_task(provider.put_item("c", {"id": str(n)})) for n in range(20)]
        await asyncio.sleep(0)  # Lets them begin.
        await provider.disconnect()
        assert sorted([(await task).id for task in tasks], key=int) == [str(n) for n in range(20)]

    asyncio.run(run())
    assert len(list((tmp_path / "c").iterdir())) == 21
