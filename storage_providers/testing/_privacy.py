"""Cases: what errors, reprs and logs show, and imports of legacy data."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal

import msgspec
import pytest

from storage_providers.errors import (
    InvalidDocumentError,
    ItemExistsError,
    StorageError,
)
from storage_providers.protocol import (
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    JsonObject,
    LegacyProblem,
    LegacyRecord,
    Patch,
    Put,
    Query,
)
from storage_providers.testing._harness import THINGS, Scene, case

CONTENT: Final = "the words of a diary"


class PrivacyCases:
    """No document's content in an error, a repr or a log."""

    @case()
    async def test_no_content_in_errors_and_logs(self, scene: Scene) -> None:
        """Errors of every kind, their causes and what was logged meanwhile are free of it."""
        handler = _Recorder()
        logging.getLogger().addHandler(handler)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.DEBUG)
        try:
            for error in [error async for error in _provoke(scene)]:
                shown = _shown(error)
                assert CONTENT not in shown, type(error).__name__
        finally:
            logging.getLogger().removeHandler(handler)
            logging.getLogger().setLevel(level)
        assert not [line for line in handler.lines if CONTENT in line]

    @case()
    async def test_no_content_in_reprs(self, scene: Scene) -> None:
        """Items, pages, queries and writes show names and numbers only."""
        document = {"id": "a", "v": CONTENT}
        put = Put(THINGS, document, encoding="x", payload=CONTENT.encode())
        patch = Patch(THINGS, "a", {"v": CONTENT})
        query = Query(THINGS, {"v": CONTENT})
        (item,) = await scene.write(put)
        page = await scene.provider.list_items(THINGS)
        for shown in (put, patch, query, item, page, scene.provider, [put], [item]):
            assert CONTENT not in repr(shown)
            assert CONTENT not in str(shown)

    @case()
    async def test_errors_are_one_line_with_their_place(self, scene: Scene) -> None:
        """`provider.operation collection/id: what happened`."""
        await scene.fill({"id": "a"})
        with pytest.raises(ItemExistsError) as caught:
            await scene.provider.create_item(THINGS, {"id": "a"})
        error = caught.value
        assert str(error).startswith(f"{error.provider}.write {THINGS}/a: ")
        assert "\n" not in str(error)


class LegacyCases:
    """Importing from another format."""

    @case()
    async def test_imports_are_repeatable(self, scene: Scene) -> None:
        """New documents are created, the second run changes nothing, broken ones are reported."""
        source = _Legacy(
            _record("a", "2026-01-01"), _record("b", "2026-01-01"), _PROBLEM, collection="u/things"
        )
        report = await scene.provider.migrate_legacy_data(source)
        assert report.created == {"u/things": 2}
        assert report.problems == [_PROBLEM]
        versions = (await scene.provider.versions("u/things")).entries
        assert await scene.document("a", "u/things") == _record("a", "2026-01-01")
        report = await scene.provider.migrate_legacy_data(source)
        assert (report.created, report.updated) == ({}, {})
        assert report.unchanged == {"u/things": 2}
        assert (await scene.provider.versions("u/things")).entries == versions

    @case()
    async def test_imports_replace_only_older_documents(self, scene: Scene) -> None:
        """What is newer here stays, what is newer in the source replaces."""
        await scene.fill(_record("newer here", "2026-01-09"), _record("older here", "2026-01-01"))
        source = _Legacy(
            {**_record("newer here", "2026-01-05"), "n": 1},
            {**_record("older here", "2026-01-05"), "n": 1},
        )
        report = await scene.provider.migrate_legacy_data(source)
        assert (report.kept, report.updated) == ({THINGS: 1}, {THINGS: 1})
        everything = await scene.everything()
        assert "n" not in everything["newer here"]
        assert everything["older here"]["n"] == 1

    @case()
    async def test_a_dry_run_writes_nothing(self, scene: Scene) -> None:
        """It reports what would be done, with progress."""
        told: list[int] = []
        source = _Legacy(_record("a", "2026-01-01"), _PROBLEM)
        report = await scene.provider.migrate_legacy_data(
            source, dry_run=True, on_progress=told.append
        )
        assert (report.dry_run, report.created) == (True, {THINGS: 1})
        assert report.problems == [_PROBLEM]
        assert told[-1:] == [2]
        assert await scene.provider.collections() == []

    @case()
    async def test_imports_of_many_documents(self, scene: Scene) -> None:
        """More than one batch, and documents the place refuses are reported by origin."""
        records = [_record(f"{n:04}", "2026-01-01") for n in range(1100)]
        report = await scene.provider.migrate_legacy_data(
            _Legacy(*records, {**_record("bad", "2026-01-01"), "x": float("nan")})
        )
        assert report.created == {THINGS: 1100}
        assert [problem.origin for problem in report.problems] == ["bad.json"]
        assert await scene.provider.count_items(THINGS) == 1100


class _Picky(msgspec.Struct):
    """A type the documents do not fit."""

    id: str
    v: Literal["one", "two"]


class _Recorder(logging.Handler):
    """Keeps every line that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


_PROBLEM: Final = LegacyProblem(origin="broken.json", reason="truncated")


def _record(item_id: str, day: str) -> JsonObject:
    stamp = f"{day}T00:00:00.000Z"
    return {"id": item_id, "createdAt": stamp, "updatedAt": stamp}


class _Legacy:
    """A legacy source of these documents and problems."""

    name = "legacy"

    def __init__(self, *found: JsonObject | LegacyProblem, collection: str = THINGS) -> None:
        self._found = found
        self._collection = collection

    async def records(self) -> AsyncIterator[LegacyRecord | LegacyProblem]:
        for each in self._found:
            if isinstance(each, LegacyProblem):
                yield each
            else:
                yield LegacyRecord(
                    collection=self._collection, document=each, origin=f"{each['id']}.json"
                )


async def _provoke(scene: Scene) -> AsyncIterator[StorageError]:
    """One error of every kind that a caller can provoke, each with the content near."""
    provider, capabilities = scene.provider, scene.capabilities
    await provider.declare(CollectionSpec(collection="small", max_document_bytes=60))
    await scene.fill({"id": "a", "v": CONTENT})
    await scene.fill({"id": "a"}, collection="small")
    await scene.write(Put(THINGS, {"id": "x"}, encoding="x", payload=CONTENT.encode()))
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: provider.create_item(THINGS, {"id": "a", "v": CONTENT}),
        lambda: provider.update_item(THINGS, "nope", {"v": CONTENT}),
        lambda: provider.update_item(THINGS, "x", {"v": CONTENT}),
        lambda: provider.put_item(THINGS, {"id": "b", "v": {CONTENT, 1}}),
        lambda: provider.put_item(THINGS, {"id": "b", "v": [CONTENT.encode()]}),
        lambda: provider.put_item(THINGS, {"id": "b", "expiresAt": CONTENT}),
        lambda: provider.put_item(THINGS, {"id": "b", "createdAt": CONTENT}),
        lambda: provider.put_item(THINGS, {"id": "b", "v": CONTENT + "\ud800"}),
        lambda: provider.put_item("small", {"id": "b", "v": CONTENT * 5}),
        lambda: provider.update_item("small", "a", {"v": CONTENT * 5}),
        lambda: provider.list_items(THINGS, where={"v": {"$gt": [CONTENT]}}),
        lambda: provider.list_items(THINGS, where={"v": {"$in": CONTENT}}),
        lambda: provider.list_items(THINGS, where={"v": {"$eq": {CONTENT: CONTENT}}}),
        lambda: provider.list_items(THINGS, where={"v": CONTENT + "\ud800"}),
        lambda: provider.list_items(THINGS, where={"v": CONTENT}, cursor="x"),
        lambda: provider.write([Clear(THINGS), Put(THINGS, {"id": "b", "v": CONTENT})]),
    ]
    if capabilities.conditional_write:
        attempts.append(lambda: scene.write(Put(THINGS, {"id": "a", "v": CONTENT}, IfVersion("?"))))
        attempts.append(lambda: scene.write(Patch(THINGS, "a", {"v": CONTENT}, IfVersion("?"))))
        attempts.append(lambda: provider.modify_item(THINGS, "a", lambda found: {**found, "id": 1}))
    if capabilities.conditional_delete:
        attempts.append(lambda: scene.write(Delete(THINGS, "a", IfVersion("?"))))
    for number, attempt in enumerate(attempts):
        try:
            await attempt()
        except StorageError as error:
            yield error
        else:
            raise AssertionError(f"attempt {number} was to fail")
    (item,) = await scene.fill({"id": "a", "v": CONTENT})
    with pytest.raises(InvalidDocumentError) as caught:
        item.decode(_Picky)
    yield caught.value


def _shown(error: BaseException) -> str:
    """Everything that a traceback or a log could show of an error and its causes."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        parts += [str(current), repr(current), repr(current.args), repr(vars(current))]
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    return "\n".join(parts)
