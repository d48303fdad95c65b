"""The lock of a root: one holder, whoever and wherever the others are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from storage_providers.errors import DeadlineExceededError, PermissionDeniedError
from storage_providers.providers._files.lock import RootLock

HOLDER = """
import sys
from storage_providers.providers._files.lock import RootLock
with RootLock(sys.argv[1], 5).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def _is_free(path: Path) -> bool:
    try:
        with RootLock(str(path), 0).held():
            return True
    except DeadlineExceededError:
        return False


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """Another provider of the same process is kept out as well, until the lock is released."""
    path = tmp_path / "lock"
    with RootLock(str(path), 1).held():
        assert not _is_free(path)
    assert _is_free(path)


def test_holding_inside_of_holding(tmp_path: Path) -> None:
    """The inner release does not let others in."""
    path = tmp_path / "lock"
    lock = RootLock(str(path), 1)
    with lock.held():
        with lock.held():
            pass
        assert not _is_free(path)
    assert _is_free(path)


def test_filelock_and_we_keep_each_other_out(tmp_path: Path) -> None:
    """Programs that lock the file with the package filelock are honoured, and honour us."""
    path = tmp_path / "lock"
    with filelock.FileLock(path):
        assert not _is_free(path)
    with RootLock(str(path), 1).held(), pytest.raises(filelock.Timeout):
        filelock.FileLock(path).acquire(blocking=False)
    assert _is_free(path)


def test_a_timeout_says_how_long_and_what_to_do(tmp_path: Path) -> None:
    """The error has the file, the seconds and advice."""
    path = tmp_path / "lock"
    lock = RootLock(str(path), 0.01)
    with filelock.FileLock(path), pytest.raises(DeadlineExceededError) as caught, lock.held():
        pass
    assert str(path) in str(caught.value)
    assert "0.01 s" in str(caught.value)
    assert "lock_timeout_seconds" in str(caught.value)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """The system releases the lock of a process that dies while holding it."""
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not _is_free(path)
        holder.kill()
        holder.wait()
        assert _is_free(path)


def test_a_lock_file_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    """Also when the whole folder went away."""
    path = tmp_path / "sdk" / "lock"
    path.parent.mkdir()
    lock = RootLock(str(path), 1)
    with lock.held():
        pass
    shutil.rmtree(path.parent)
    with lock.held():
        assert path.exists()
        assert not _is_free(path)


def test_a_deleted_lock_file_keeps_nobody_out_of_the_new_one(tmp_path: Path) -> None:
    """Who still holds the deleted file is not in the way of the others for ever."""
    path = tmp_path / "lock"
    with RootLock(str(path), 1).held():
        path.unlink()
        assert _is_free(path)


def test_a_lock_file_that_may_not_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal of the system is an error of the SDK that names the file."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "lock"
    lock = RootLock(str(path), 1)
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(PermissionDeniedError, match="lock"), lock.held():
        pass
