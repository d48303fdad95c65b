"""The main job on real input: bring years of a tool's files into one place, use them, back them up.

    python examples/demo.py [FOLDER [DAYS]]

makes FOLDER (.demo without it) with a realistic legacy folder of DAYS (120) in it, imports that
into plain JSON files, looks at them, changes a todo, exports everything and verifies the export.
Then everything moves to a bucket, on a local server that stands for Cloudflare R2, while a program
goes on writing and the network fails (`demo_move.py`). Run it again: nothing changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from demo_move import move_to_a_bucket  # type: ignore[import-not-found]  # beside this file
from demo_screen import (  # type: ignore[import-not-found]
    WORD,
    bars,
    console,
    heading,
    show,
)
from rich.table import Table
from rich.text import Text
from valet_data import make_valet_data  # type: ignore[import-not-found]

from storage_providers import (
    CollectionSpec,
    ImportReport,
    Index,
    LocalFileProvider,
    Provider,
)
from storage_providers.transfer.archive import export_archive, verify_archive
from storage_providers.transfer.legacy.valet import ValetFolder

EDITED = "Show the demo to someone"


async def main(folder: Path, days: int) -> None:
    """Run the demo in a folder."""
    legacy, data, archive = folder / "valet-data", folder / "data", folder / "backup.zip"
    make_legacy_folder(legacy, days)
    async with LocalFileProvider(data, enable_backup=True) as provider:
        heading(f"2. It is imported into {data}")
        report = await import_folder(provider, legacy)
        show_report(report)

        await declare_indexes(provider)
        await show_open_todos(provider)
        await search_journals(provider)
        await edit_a_todo(provider)
        await export_and_verify(provider, archive)
    await move_to_a_bucket(archive)
    say_what_next(data, archive)


def make_legacy_folder(legacy: Path, days: int) -> None:
    """Make what a tool left behind after so many days, unless the last run did."""
    if legacy.exists():
        heading(f"1. The legacy folder {legacy} is there from the last run")
    else:
        heading(f"1. A legacy folder is made in {legacy}, broken files included")
        legacy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=legacy.parent, prefix=".making-") as making:
            make_valet_data(Path(making) / "whole", todos=days * 5 // 2, days=days)
            # All at once, and not if another run was faster.
            with contextlib.suppress(OSError):
                (Path(making) / "whole").rename(legacy)
    console.print(f"{sum(path.is_file() for path in legacy.rglob('*'))} files")


async def import_folder(provider: Provider, legacy: Path) -> ImportReport:
    """Import every document that is new or newer than what is there."""
    source = ValetFolder(legacy)
    plan = await provider.migrate_legacy_data(source, dry_run=True)
    total = sum(sum(count.values()) for count in counts_of(plan)) + len(plan.problems)
    with bars() as shown:
        task = shown.add_task("importing", total=total)
        return await provider.migrate_legacy_data(
            source, on_progress=lambda done: shown.update(task, completed=done)
        )


def counts_of(report: ImportReport) -> tuple[dict[str, int], ...]:
    """Documents per collection: created, updated, unchanged, kept."""
    return (report.created, report.updated, report.unchanged, report.kept)


def show_report(report: ImportReport) -> None:
    """Say what was imported, and what could not be read and why."""
    table = Table("collection", "created", "updated", "unchanged", "kept")
    counts = counts_of(report)
    for name in sorted({name for count in counts for name in count}):
        table.add_row(name, *(str(count.get(name, 0)) for count in counts))
    console.print(table)
    if not report.created and not report.updated:
        console.print("[green]Nothing was changed: everything had been imported before.[/]")
    if report.kept:
        console.print("What was edited here since is newer than the file's, and was kept.")
    console.print(f"{len(report.problems)} things could not be taken as they are:")
    for problem in report.problems:
        console.print(Text(f"  {problem.origin}: {problem.reason}", style="yellow"))


async def declare_indexes(provider: Provider) -> None:
    """Keep queries quick when 300 todos become 100,000, and make the journals searchable."""
    await provider.declare(CollectionSpec(collection="todos", indexes=(Index.of("status", "due"),)))
    await provider.declare(
        CollectionSpec(collection="daily_journals", text_fields=("entries", "highlights"))
    )


async def show_open_todos(provider: Provider) -> None:
    """Query by condition and order."""
    heading("3. Open todos, the most urgent first")
    page = await provider.list_items(
        "todos",
        where={"status": "pending", "due": {"$ne": None}},
        order_by="due",
        limit=8,
        total=True,
    )
    show(page.items, "due", "priority", "content")
    console.print(f"… of {page.total} open todos with a due date")


async def search_journals(provider: Provider) -> None:
    """Query by full text."""
    heading(f"4. Journals that mention {WORD!r}, the newest first")
    page = await provider.list_items(
        "daily_journals", where={"$text": WORD}, order_by="-date", limit=5, total=True
    )
    show(page.items, "date", "mood", "passage")
    console.print(f"… of {page.total} journals")


async def edit_a_todo(provider: Provider) -> None:
    """Change one document; a concurrent change of someone else would not be lost."""
    heading("5. A todo is edited")
    edited = await provider.list_items("todos", where={"content": EDITED})
    if edited.items:
        console.print(f"It still says {EDITED!r} since the last run: left as it is.")
        return
    page = await provider.list_items(
        "todos", where={"status": "pending", "due": {"$ne": None}}, order_by="-due", limit=1
    )
    before = page.items[0]
    after = await provider.update_item(
        "todos", before.id, {"content": EDITED, "status": "in_progress"}
    )
    for field in ("content", "status", "updatedAt"):
        console.print(f"{field}: {before.document[field]} → {after.document[field]}")


async def export_and_verify(provider: Provider, archive: Path) -> None:
    """Write one file that holds everything, and read it back from end to end."""
    heading(f"6. Everything is exported to {archive}, and the export is verified")
    await export_archive(provider, archive, overwrite=True)
    manifest = await verify_archive(archive)
    console.print(
        f"{manifest.count} documents in {len(manifest.collections)} collections, "
        f"{manifest.size_bytes / 1000:,.0f} kB of JSON: all checksums are right"
    )


def say_what_next(data: Path, archive: Path) -> None:
    """Where to look, and what to try."""
    heading("Now it is yours")
    console.print(f"Every document is a file: look into {data}/todos, edit one by hand, and ask:\n")
    for line in (
        f"alias sp='{Path(sys.executable).parent / 'storage-providers'} --url file:{data}'",
        "sp ls",
        """sp query todos --where '{"priority": "high"}' --order-by due --fields due,content""",
        f"""sp query daily_journals --where '{{"$text": "{WORD}"}}' --format csv""",
        "sp edit daily_journals 2025-10-31",
        f"sp verify {archive}",
        "make demo                # again: nothing changes",
    ):
        console.print(Text(f"  {line}"), soft_wrap=True)


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo")
    asyncio.run(main(FOLDER, days=int(sys.argv[2]) if len(sys.argv) > 2 else 120))
