"""Moving everything from files to a bucket, while a program writes and the network fails."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from demo_network import Network, local_s3  # type: ignore[import-not-found]  # beside this file
from demo_screen import Steps, bars, console, heading, show  # type: ignore[import-not-found]
from rich.progress import Progress
from rich.table import Table

from storage_providers import (
    CloudflareR2Provider,
    CollectionSpec,
    Item,
    LocalFileProvider,
    Provider,
    TransportError,
)
from storage_providers.resilience import RetryPolicy
from storage_providers.transfer import migration
from storage_providers.transfer.archive import import_archive
from storage_providers.transfer.migration import Migration

BUCKET, PREFIX = "valet-data", "moved"
LEASE_SECONDS = 1.0
"""How long a program may go by what it knows of the move. Short, so that the demo is."""

CUT_AT, CUT_SECONDS = 0.4, 3.0
"""The share of the documents that are copied when the network fails, and for how long it does."""

QUERIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "open todos by due date",
        "todos",
        {"where": {"status": "pending", "due": {"$ne": None}}, "order_by": "due"},
    ),
    ("journals, newest first", "daily_journals", {"order_by": "-date"}),
)


async def move_to_a_bucket(archive: Path) -> None:
    """Restore the backup to a folder of its own, and move that."""
    heading("7. Everything moves to a bucket of Cloudflare R2, and nothing stops for that")
    console.print("There is no account here: moto, a local S3 server, stands for R2 until the end.")
    logging.getLogger("storage_providers").setLevel(logging.ERROR)  # The outage is meant.
    with tempfile.TemporaryDirectory(prefix="demo-") as folder, local_s3() as server:
        source = LocalFileProvider(Path(folder) / "data")
        async with Network(*server).running() as network, source:
            await import_archive(source, archive)
            # An index is ready after a minute in a bucket; this is over before.
            await source.declare(CollectionSpec(collection="todos"))
            target = _bucket(network.url)
            for each in await target.provision():
                console.print(f"{each.what}: {each.state}")
            async with target:
                written = await _move(source, target, network)
                await _check(source, target, written)


def _bucket(endpoint: str) -> CloudflareR2Provider:
    return CloudflareR2Provider(
        BUCKET,
        prefix=PREFIX,
        endpoint_url=endpoint,
        access_key_id="demo",
        secret_access_key="demo",  # noqa: S106 # moto takes any
        retry=RetryPolicy(attempts=2, base_delay_seconds=0.2),
    )


async def _move(
    source: LocalFileProvider, target: CloudflareR2Provider, network: Network
) -> dict[str, int | None]:
    """Take every step, while a second process writes; returns what that wrote."""
    plan = await Migration(source=source, target=target).plan()
    (cost,) = [each.estimate for each in plan.costs if each.side == "target" and each.estimate]
    console.print(
        f"{plan.documents:,} documents, {plan.size_bytes / 1000:,.0f} kB, in "
        f"{len(plan.collections)} collections. At Cloudflare: {cost.requests:,} calls, "
        f"${cost.usd:.4f}."
    )
    url = "dual-write:?" + urlencode(
        {
            "source": f"file:{source.root}",
            "target": f"r2://{BUCKET}/{PREFIX}",
            "lease_seconds": LEASE_SECONDS,
        }
    )
    async with _writing(url, network.url) as writer:
        console.print("A second process writes todos all the while.")
        began = time.monotonic()
        with bars() as shown:
            await _ride_out(source, target, network, shown)
        console.print(f"Moved in {time.monotonic() - began:.0f} seconds; the bucket is read now.")
        await asyncio.sleep(LEASE_SECONDS)  # Some writes after the cut-over, too.
        out, _ = await writer.communicate(b"")  # Its stdin ends.
    assert writer.returncode == 0
    written: dict[str, int | None] = json.loads(out)
    return written


async def _ride_out(source: Provider, target: Provider, network: Network, shown: Progress) -> None:
    """Run the migration; when the network fails, resume it when that is back."""
    steps, outages = Steps(shown), list[asyncio.Task[None]]()

    def watch(progress: migration.Progress) -> None:
        steps(progress)
        is_due = progress.total and progress.done >= progress.total * CUT_AT
        if progress.step == "backfill" and is_due and not outages:
            shown.console.print("[red]The network fails.[/]")
            outages.append(asyncio.create_task(network.fail(CUT_SECONDS)))

    mover = Migration(source=source, target=target, lease_seconds=LEASE_SECONDS, on_progress=watch)
    while True:
        try:
            await mover.run(repair=True)
        except TransportError as error:
            shown.console.print(
                f"[yellow]It stops: {type(error).__name__}. What was copied stays.[/]"
            )
            await outages[0]
            await asyncio.sleep(error.retry_after_seconds or LEASE_SECONDS)
            shown.console.print("[green]The network is back: the migration goes on.[/]")
        else:
            break
    steps.end()
    report = await mover.report()
    found = [step.compared for step in report.steps if step.compared is not None][-1]
    shown.console.print(
        f"{found.documents:,} documents compared on both sides: "
        f"{found.difference_count} differences."
    )


@asynccontextmanager
async def _writing(url: str, endpoint: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A second process that writes, until its stdin ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("demo_writer.py")),
        url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ
        | {
            "CLOUDFLARE_R2_ENDPOINT": endpoint,
            "CLOUDFLARE_R2_ACCESS_KEY_ID": "demo",
            "CLOUDFLARE_R2_SECRET_ACCESS_KEY": "demo",
            "CLOUDFLARE_MAX_RETRIES": "1",
            "CLOUDFLARE_BASE_DELAY": "0.2",
        },
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"writing\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _check(source: Provider, target: Provider, written: dict[str, int | None]) -> None:
    """Look for every write of the program, and ask both sides the same questions."""
    heading("8. Nothing is lost, and the bucket gives the same answers")
    there = await target.read_items("todos", list(written))
    lost = [
        item_id
        for (item_id, number), item in zip(written.items(), there, strict=True)
        if (None if item is None else item.document["n"]) != number
    ]
    assert not lost, lost
    console.print(f"The program wrote {len(written):,} todos meanwhile: {len(lost)} are lost.")
    answers: list[list[Item]] = []
    table = Table("query", "files", "bucket", "")
    for title, collection, query in QUERIES:
        ours, theirs = [
            (await side.list_items(collection, **query, limit=1000)).items
            for side in (source, target)
        ]
        same = [item.document for item in ours] == [item.document for item in theirs]
        assert same, title
        answers.append(theirs)
        table.add_row(title, str(len(ours)), str(len(theirs)), "the same")
    console.print(table)
    show(answers[0][:4], "due", "priority", "content")
    console.print(f"{PREFIX}/todos/{answers[0][0].id}.json is an object of the bucket now.")
