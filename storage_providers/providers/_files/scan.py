"""Finding files that were changed by hand: one pass over a folder, in steps of bounded size."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from storage_providers.providers._files.index import FileIndex
from storage_providers.providers._files.layout import foreign_name, is_document, row_name
from storage_providers.providers._files.names import ENCODED_SUFFIX, PLAIN_SUFFIX
from storage_providers.providers._files.writer import os_error, stamp_of

__all__ = ["Progress", "Scan"]

FILES_AT_ONCE: Final = 500
"""Files looked at in one step; other work of the thread comes between steps."""

NAMES_GATHERED: Final = 50_000
"""Changed files whose names are kept, about 5 MB, to go through them in the order of the rows. A
folder lists them as good as at random, and rows put in at random cost three times as much."""


class Scan:
    """One pass over a collection's folder. Nothing is locked and nothing is changed by it.

    Args:
        index: What the files are compared with.
        collection: The collection.
        folder: Its folder.

    Attributes:
        seen: Files looked at so far.
        gathered: Those of them that wait to be mended.
    """

    def __init__(self, index: FileIndex, collection: str, folder: str) -> None:
        self._index = index
        self._collection = collection
        self._folder = folder
        self._steps = self._run()
        self.seen = 0
        self.gathered = 0

    def step(self) -> list[str] | None:
        """Look at some more files.

        Returns:
            Names without suffix of files whose index rows must be mended, gathered over many
            steps; `None` at the end.

        Raises:
            IndexGoneError: The index was deleted.
            StorageError: The system does not let us read the folder.
        """
        return next(self._steps, None)

    def _run(self) -> Iterator[list[str]]:
        stamps: dict[str, int] = {}
        changed: list[str] = []
        # Of a folder that is not indexed at all, nothing has to be compared.
        is_new = not self._index.names(self._collection, "", 1)
        look = _is_there if is_new else _stamp
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    name = entry.name
                    if not is_document(name):
                        continue
                    # A hundred thousand files come by here: every call counts.
                    stamp = look(entry)
                    if stamp is not None and (
                        name.endswith(PLAIN_SUFFIX) or self._stands_alone(name)
                    ):
                        stamps[row_name(name.rpartition(".")[0])] = stamp
                    if len(stamps) >= FILES_AT_ONCE:
                        changed += self._differing(stamps, is_new=is_new)
                        stamps = {}
                        if len(changed) < NAMES_GATHERED:
                            yield []
                        else:
                            yield changed
                            changed = []
                            self.gathered = 0
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise os_error(error, self._folder) from error
        yield changed + self._differing(stamps, is_new=is_new)
        self.gathered = 0
        # By now everything that is there has its row, so more rows mean files that are gone.
        if self._index.count_files(self._collection) != self.seen:
            yield from self._gone()

    def _differing(self, stamps: dict[str, int], *, is_new: bool) -> list[str]:
        self.seen += len(stamps)
        names = list(stamps) if is_new else self._index.differing(self._collection, stamps)
        self.gathered += len(names)
        return names

    def _stands_alone(self, name: str) -> bool:
        """Whether an encoded document has no plain file beside it, which would hide it."""
        stem = name[: -len(ENCODED_SUFFIX)]
        return not os.path.exists(os.path.join(self._folder, stem + PLAIN_SUFFIX))

    def _gone(self) -> Iterator[list[str]]:
        last = ""
        while names := self._index.names(self._collection, last, FILES_AT_ONCE):
            last = names[-1]
            gone = [name for name in names if not self._is_there(name)]
            if gone:
                yield gone

    def _is_there(self, name: str) -> bool:
        path = os.path.join(self._folder, foreign_name(name) or name)
        return os.path.exists(path + PLAIN_SUFFIX) or os.path.exists(path + ENCODED_SUFFIX)


def _stamp(entry: os.DirEntry[str]) -> int | None:
    """How a file looks now; `None`: it is no file, or no more."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return None
    return stamp_of(status) if stat.S_ISREG(status.st_mode) else None


def _is_there(entry: os.DirEntry[str]) -> int | None:
    """A stand-in for how a file looks, for where that does not matter; `None`: it is no file."""
    return 0 if entry.is_file() else None


class Progress:
    """Adds up what the scans of one refresh look at, and tells whoever asked for it.

    A scan may serve queries too, so what is raised here must not end it: it waits for the refresh.
    """

    def __init__(self, tell: Callable[[int], None] | None) -> None:
        self._tell = tell
        self._before = 0
        self._now = 0
        self._told = -1
        self._error: Exception | None = None

    def looked_at(self, files: int) -> None:
        """A scan has come so far; one that begins again counts when it is beyond where it was."""
        self._now = max(self._now, files)
        total = self._before + self._now
        if self._tell is None or self._error is not None or total <= max(self._told, 0):
            return
        self._told = total
        try:
            self._tell(total)
        except Exception as error:  # noqa: BLE001  # The refresh raises it.
            self._error = error

    def next_collection(self) -> None:
        """Count on from here, or raise what was raised when it was told."""
        if self._error is not None:
            raise self._error
        self._before += self._now
        self._now = 0

    def finish(self) -> None:
        """Tell the end if nothing was told."""
        if self._tell is not None and self._told < 0:
            self._tell(0)
