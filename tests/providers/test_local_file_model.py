"""Random histories of the SDK and a person working on the same folder, against a dict."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, TypeAlias

from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage_providers.errors import CorruptItemError
from storage_providers.protocol import Put
from storage_providers.providers._files.names import file_stem
from storage_providers.providers.local_file import LocalFileProvider

IDS: Final = ["a", "A", "é", "x/y", "long" * 70]
BROKEN: Final = None
Model: TypeAlias = "dict[str, tuple[int, str | None] | None]"
Step: TypeAlias = "tuple[str, str, int]"

ACTIONS: Final = [
    "put",
    "put encoded",
    "patch",
    "delete",
    "clear",
    "edit by hand",
    "break by hand",
    "remove by hand",
    "read",
    "query",
    "delete the index",
    "reopen",
]
steps = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.sampled_from(IDS), st.integers(0, 9)), max_size=25
)


@settings(max_examples=60)
@given(history=steps)
@example([("put", "a", 1), ("edit by hand", "a", 2), ("query", "a", 0), ("edit by hand", "a", 3)])
@example([("put encoded", "a", 1), ("edit by hand", "a", 2), ("read", "a", 0), ("delete", "a", 0)])
@example([("break by hand", "a", 0), ("query", "a", 0), ("put encoded", "a", 1), ("patch", "a", 2)])
def test_every_history_ends_where_the_dict_does(history: list[Step]) -> None:
    """Reads and queries agree with the files after any mixture of calls and hand edits."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), history))


async def play(root: Path, history: list[Step]) -> None:
    """Carry out a history on a folder and on a dict."""
    model: Model = {}
    provider = await opened(root)
    try:
        for action, item_id, n in [
            *history,
            ("query", "a", 0),
            ("reopen", "a", 0),
            ("query", "", 0),
        ]:
            if action == "reopen":
                await provider.disconnect()
                provider = await opened(root)
            elif action == "delete the index":
                shutil.rmtree(root / ".storage-providers/index", ignore_errors=True)
            elif action == "query":
                await check_listing(provider, model)
            elif action.endswith("by hand"):
                by_hand(root, model, action, item_id, n)
            else:
                await by_call(provider, model, action, item_id, n)
    finally:
        await provider.disconnect()


async def opened(root: Path) -> LocalFileProvider:
    """A provider whose every query looks at the folder."""
    provider = LocalFileProvider(root, rescan_seconds=0, fsync=False)
    await provider.connect()
    return provider


async def by_call(
    provider: LocalFileProvider, model: Model, action: str, item_id: str, n: int
) -> None:
    """One call of the SDK."""
    if action == "put":
        await provider.write([Put("c", {"id": item_id, "n": n})])
        model[item_id] = n, None
    elif action == "put encoded":
        await provider.write([Put("c", {"id": item_id, "n": n}, encoding="z", payload=b"\n")])
        model[item_id] = n, "z"
    elif action == "patch":
        known = model.get(item_id)
        if known is not BROKEN and known[1] is None:
            await provider.update_item("c", item_id, {"n": n})
            model[item_id] = n, None
    elif action == "delete":
        await provider.delete_item("c", item_id)
        model.pop(item_id, None)
    elif action == "clear":
        await provider.clear_collection("c")
        model.clear()
    else:
        await check_read(provider, model, item_id)


async def check_read(provider: LocalFileProvider, model: Model, item_id: str) -> None:
    """A read by id sees what is there, whoever put it there."""
    try:
        item = await provider.read_item("c", item_id)
    except CorruptItemError:
        assert model[item_id] is BROKEN
        return
    seen = None if item is None else (item.document["n"], item.encoding)
    assert seen == model.get(item_id, None)
    assert item is not None or item_id not in model


async def check_listing(provider: LocalFileProvider, model: Model) -> None:
    """A listing holds the good documents and names the broken ones."""
    page = await provider.list_items("c")
    listed: dict[str, Any] = {item.id: (item.document["n"], item.encoding) for item in page.items}
    assert listed == {item_id: known for item_id, known in model.items() if known is not BROKEN}
    # A shortened name does not tell the id of a file that can't be read.
    names = {item_id if len(item_id) < 200 else file_stem(item_id) for item_id in model}
    broken = {name for name in names if model.get(name, model.get(IDS[-1])) is BROKEN}
    assert {error.item_id for error in page.corrupt} == broken
    versions = {entry.id: entry.version for entry in (await provider.versions("c")).entries}
    assert versions == {item.id: item.version for item in page.items}
    assert await provider.count_items("c") == len(listed)


def by_hand(root: Path, model: Model, action: str, item_id: str, n: int) -> None:
    """What a person does to the plain file of a document; an encoded one can only be removed."""
    folder = root / "c"
    folder.mkdir(exist_ok=True)
    plain, encoded = (folder / f"{file_stem(item_id)}.{end}" for end in ("json", "encoded"))
    if action == "remove by hand":
        plain.unlink(missing_ok=True)
        encoded.unlink(missing_ok=True)
        model.pop(item_id, None)
    elif action == "break by hand":
        plain.write_text(f'{{"id": {n}')
        model[item_id] = BROKEN
    else:
        text = f'{{"n": {n}, "id": "{item_id}"}}'
        plain.write_text(text, encoding="utf-8")
        model[item_id] = n, None
