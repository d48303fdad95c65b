"""The lock that processes writing to one root share."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import filelock

from storage_providers.errors import ConfigurationError, DeadlineExceededError
from storage_providers.providers._file_writer import os_error

__all__ = ["RootLock"]

POLL_SECONDS: Final = 0.002
"""How often a lock that another process holds is tried again; writes hold it for about as long."""


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
        self._lock = filelock.FileLock(path, timeout=timeout_seconds, thread_local=False)

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the lock.

        Raises:
            DeadlineExceededError: Others held it all the time.
            PermissionDeniedError: The lock file may not be written.
            ConfigurationError: The file system has no locks.
        """
        self._acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(poll_interval=POLL_SECONDS)
        except filelock.Timeout:
            raise DeadlineExceededError(
                f"another process has held the lock {self._path} for {self._timeout_seconds} s; "
                "nothing was written; try again, or raise lock_timeout_seconds"
            ) from None
        except NotImplementedError as error:
            raise ConfigurationError(
                f"the file system of {self._path} has no locks; keep the root on another"
            ) from error
        except FileNotFoundError:
            # The SDK's folder was deleted while we were open.
            self._remake()
        except OSError as error:
            raise os_error(error, self._path) from error

    def _remake(self) -> None:
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._lock.acquire(poll_interval=POLL_SECONDS)
        except OSError as error:
            raise os_error(error, self._path) from error
