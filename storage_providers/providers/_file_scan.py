"""Finding files that were changed by hand: one pass over a folder, in steps of bounded size."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from storage_providers.providers._file_index import FileIndex
from storage_providers.providers._file_layout import foreign_name, is_document, row_name
from storage_providers.providers._file_names import ENCODED_SUFFIX, PLAIN_SUFFIX
from storage_providers.providers._file_writer import os_error, stamp_of

__all__ = ["Scan"]

FILES_AT_ONCE: Final = 500
"""Files looked at in one step; other work of the thread comes between steps."""


class Scan:
    """One pass over a collection's folder. Nothing is locked and nothing is changed by it.

    Args:
        index: What the files are compared with.
        collection: The collection.
        folder: Its folder.
    """

    def __init__(self, index: FileIndex, collection: str, folder: str) -> None:
        self._index = index
        self._collection = collection
        self._folder = folder
        self._steps = self._run()

    def step(self) -> list[str] | None:
        """Look at some more files.

        Returns:
            Names without suffix of files whose index rows must be mended; `None` at the end.

        Raises:
            IndexGoneError: The index was deleted.
            StorageError: The system does not let us read the folder.
        """
        return next(self._steps, None)

    def _run(self) -> Iterator[list[str]]:
        seen = 0
        stamps: dict[str, int] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    name = entry.name
                    if not is_document(name):
                        continue
                    # A hundred thousand files come by here: every call counts.
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue
                    if (name.endswith(PLAIN_SUFFIX) or self._stands_alone(name)) and stat.S_ISREG(
                        status.st_mode
                    ):
                        stamps[row_name(name.rpartition(".")[0])] = stamp_of(status)
                    if len(stamps) >= FILES_AT_ONCE:
                        seen += len(stamps)
                        yield self._index.differing(self._collection, stamps)
                        stamps = {}
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise os_error(error, self._folder) from error
        if stamps:
            seen += len(stamps)
            yield self._index.differing(self._collection, stamps)
        # By now everything that is there has its row, so more rows mean files that are gone.
        if self._index.count_files(self._collection) != seen:
            yield from self._gone()

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
