"""The lock that processes writing to one root share."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

from storage_providers.errors import ConfigurationError, DeadlineExceededError
from storage_providers.providers._files.writer import os_error

if sys.platform != "win32":
    import fcntl

__all__ = ["RootLock"]

POLL_SECONDS: Final = 0.002
"""How often a lock that another process holds is tried again; writes hold it for about as long."""

_NO_LOCKS_HERE: Final = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class RootLock:
    """Held while files or the index of a root are changed, by one thread of one process.

    The system releases it when a process dies, so a lock is never left behind.

    Args:
        path: The lock file.
        timeout_seconds: How long to wait for others.
    """

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._lock = _lock_on(path)
        self._depth = 0

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the lock; holding it inside of that again changes nothing.

        Raises:
            DeadlineExceededError: Others held it all the time.
            PermissionDeniedError: The lock file may not be written.
            ConfigurationError: The file system has no locks.
        """
        if not self._depth:
            self._acquire()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._lock.release()

    def _acquire(self) -> None:
        try:
            if self._attempt():
                return
            deadline = time.monotonic() + self._timeout_seconds
            while time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                if self._attempt():
                    return
        except NotImplementedError as error:
            raise ConfigurationError(
                f"the file system of {self._path} has no locks; keep the root on another"
            ) from error
        except OSError as error:
            raise os_error(error, self._path) from error
        raise DeadlineExceededError(
            f"another process has held the lock {self._path} for {self._timeout_seconds} s; "
            "nothing was written; try again, or raise lock_timeout_seconds"
        )

    def _attempt(self) -> bool:
        try:
            return self._lock.try_acquire()
        except FileNotFoundError:
            # The SDK's folder was deleted while we were open.
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            return self._lock.try_acquire()


class _SystemLock(Protocol):
    def try_acquire(self) -> bool: ...
    def release(self) -> None: ...


if sys.platform != "win32":

    class _Flock:
        """The lock that filelock takes on POSIX systems, in a tenth of the time.

        filelock guards against much that can't happen here (several threads, other lock files) and
        takes 55 µs a turn, an eighth of a durable write. Both lock the same file in the same way,
        so each keeps the other out.
        """

        def __init__(self, path: str) -> None:
            self._path = path
            self._file = -1

        def try_acquire(self) -> bool:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            held = False
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The lock of a file that was deleted meanwhile keeps nobody out.
                held = os.path.samestat(os.fstat(file), os.stat(self._path))
            except (BlockingIOError, FileNotFoundError):
                pass
            except OSError as error:
                if error.errno in _NO_LOCKS_HERE:
                    raise NotImplementedError from error
                raise
            finally:
                if not held:
                    os.close(file)
            self._file = file
            return held

        def release(self) -> None:
            file, self._file = self._file, -1
            # A child process that was forked meanwhile must not keep it.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)


class _FileLock:
    """The lock of the package filelock."""

    def __init__(self, path: str) -> None:
        import filelock

        self._timeout = filelock.Timeout
        self._lock = filelock.FileLock(path, thread_local=False)

    def try_acquire(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except self._timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()


def _lock_on(path: str) -> _SystemLock:
    return _FileLock(path) if sys.platform == "win32" else _Flock(path)
