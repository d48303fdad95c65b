"""Each step of a migration by itself: what it does, refuses, repairs and can take back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    MigrationError,
    OutcomeUnknownError,
    TransportError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.layers import Layer, compose
from storage_providers.protocol import Capabilities, CollectionSpec, Index, Put
from storage_providers.providers.dual_write import DualWriteProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.testing.faults import Fail, Faults
from storage_providers.transfer.archive import verify_archive
from storage_providers.transfer.migration import Migration, Progress
from tests.resilience.virtual import run

Scene = Callable[["Stage"], Coroutine[Any, Any, None]]


class Weak(Layer):
    """A side that can't compare and set."""

    def transform(self, capabilities: Capabilities) -> Capabilities:
        return msgspec.structs.replace(
            capabilities, conditional_write=False, conditional_delete=False
        )


class Small(Layer):
    """A side that takes little."""

    def transform(self, capabilities: Capabilities) -> Capabilities:
        return msgspec.structs.replace(capabilities, max_document_bytes=100, max_id_bytes=10)


class Stage:
    """Two sides in memory on a virtual clock, and what is played on them."""

    def __init__(self) -> None:
        self.clock = Clock(source=asyncio.get_running_loop().time)
        self.source: Provider = InMemoryProvider(clock=self.clock)
        self.target: Provider = InMemoryProvider(clock=self.clock)
        self.progress: list[Progress] = []

    def migration(self, **options: Any) -> Migration:
        """A runner."""
        return Migration(
            source=self.source,
            target=self.target,
            clock=self.clock,
            on_progress=self.progress.append,
            **options,
        )

    @asynccontextmanager
    async def program(self, **options: Any) -> AsyncGenerator[DualWriteProvider]:
        """A program that uses both."""
        pair = DualWriteProvider(
            source=self.source, target=self.target, clock=self.clock, **options
        )
        async with pair:
            yield pair

    async def fill(self, count: int = 10) -> None:
        """What is there before."""
        await self.source.put_items("things", [{"id": f"d{n}", "n": n} for n in range(count)])


def played(scene: Scene, *, source: Layer | None = None, target: Layer | None = None) -> None:
    """Play a scene."""

    async def main() -> None:
        stage = Stage()
        if source is not None:
            stage.source = compose(source, provider=stage.source)
        if target is not None:
            stage.target = compose(target, provider=stage.target)
        async with stage.source, stage.target:
            await scene(stage)

    run(main())


async def ids(provider: Provider, collection: str = "things") -> list[str]:
    """The ids of a collection."""
    return [item.id async for item in provider.find_items(collection)]


# --- the whole ---------------------------------------------------------------------------------


def test_the_backup_comes_first(tmp_path: Path) -> None:
    """An archive of everything, which is named by the status, and not made over another one."""

    async def main() -> None:
        async with InMemoryProvider() as source, InMemoryProvider() as target:
            await source.put_items("things", [{"id": f"d{n}"} for n in range(5)])
            migration = Migration(source=source, target=target, lease_seconds=0.05)
            status = await migration.run(backup=tmp_path / "before.zip")
            assert status.phase == "target"
            assert (await verify_archive(tmp_path / "before.zip")).count == 5
            report = await migration.report()
            assert report.steps[0].backup == (str(tmp_path / "before.zip"), 5)
        async with InMemoryProvider() as source, InMemoryProvider() as target:
            migration = Migration(source=source, target=target, lease_seconds=0.05)
            with pytest.raises(InvalidArgumentError, match="exists"):
                await migration.run(backup=tmp_path / "before.zip")
            assert (await migration.status()).phase == "source"

    asyncio.run(main())


def test_everything_moves_and_the_source_is_removed_at_the_end() -> None:
    """Documents, scopes, declarations and encoded documents; the report says what was done."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        await stage.source.put_item("user-7/notes", {"id": "n", "text": "x"})
        await stage.source.write([Put("things", {"id": "e"}, encoding="gzip", payload=b"\x00\x01")])
        spec = CollectionSpec(collection="things", indexes=(Index.of("n"),))
        await stage.source.declare(spec)
        migration = stage.migration()
        status = await migration.run()
        assert (status.phase, status.following) == ("target", "verify")
        assert await stage.target.declared("things") == spec
        item = await stage.target.read_item("things", "e")
        assert item is not None
        assert (item.encoding, item.payload) == ("gzip", b"\x00\x01")
        with pytest.raises(MigrationError, match="verify first"):
            await migration.clean_up()
        assert (await migration.verify()).difference_count == 0
        cleaned = await migration.clean_up()
        assert (cleaned.collections, cleaned.documents) == (2, 12)
        assert await ids(stage.source) == []
        assert len(await ids(stage.target)) == 11
        report = await migration.report()
        assert [step.step for step in report.steps] == [
            *("dual-write", "backfill", "verify", "cut-over", "verify", "clean-up")
        ]
        assert report.status is not None
        assert report.status.phase == "done"
        assert msgspec.json.decode(msgspec.json.encode(report))["status"]["phase"] == "done"
        done = [each.done for each in stage.progress if each.step == "backfill"]
        assert done[-1] == 12
        assert all(each.total == 12 for each in stage.progress if each.step == "backfill")

    played(scene)


def test_running_again_changes_nothing() -> None:
    """A migration that led to the target is left as it is."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        await stage.migration().run()
        before = await stage.migration().status()
        await stage.migration().run()
        assert await stage.migration().status() == before

    played(scene)


def test_every_phase_can_be_rolled_back_until_clean_up() -> None:
    """From each the source leads alone again in the end, with what was written meanwhile."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        migration = stage.migration()
        async with stage.program() as program:
            with pytest.raises(MigrationError, match="phase 'source'"):
                await migration.roll_back()
            await migration.start_dual_write()
            await program.put_item("things", {"id": "a"})
            await migration.roll_back()
            assert (await program.status()).phase == "source"
            await program.put_item("things", {"id": "b"})
            await migration.run()
            await program.put_item("things", {"id": "c"})
            await program.delete_item("things", "d0")
            assert (await program.status()).phase == "target"
            await migration.roll_back()
            assert (await program.status()).phase == "dual"
            await program.put_item("things", {"id": "d"})
            await migration.roll_back()
            assert (await program.status()).phase == "source"
            assert await ids(program) == sorted(
                ["a", "b", "c", "d", *(f"d{n}" for n in range(1, 10))]
            )
            await migration.run()
            assert await ids(program) == await ids(stage.target)
            await migration.verify()
            await migration.clean_up()
            with pytest.raises(MigrationError, match="is done"):
                await migration.roll_back()

    played(scene)


def test_back_to_where_it_came_from() -> None:
    """When it is done, the same sides can be migrated the other way round."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        migration = stage.migration()
        await migration.run()
        await migration.verify()
        await migration.clean_up()
        with pytest.raises(MigrationError, match="other way round"):
            await Migration(
                source=stage.source, target=stage.target, clock=stage.clock
            ).start_dual_write()
        stage.source, stage.target = stage.target, stage.source
        await stage.migration().run()
        assert len(await ids(stage.target)) == 10

    played(scene)


# --- what is refused ---------------------------------------------------------------------------


def test_a_target_that_holds_documents_is_refused() -> None:
    """Unless that is allowed; then what only the target has is a difference, and repaired."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        await stage.target.put_item("things", {"id": "stranger"})
        await stage.target.put_item("things", {"id": "d1", "n": "other"})
        plan = await stage.migration().plan()
        assert "holds 2 documents already, in things" in plan.obstacles[0]
        with pytest.raises(MigrationError, match="holds 2 documents"):
            await stage.migration().run()
        with pytest.raises(MigrationError, match="1 documents differ"):
            await stage.migration().run(allow_documents=True)
        (found,) = (await stage.migration().verify()).differences
        assert (found.id, found.kind) == ("stranger", "extra")
        status = await stage.migration().run(repair=True)
        assert status.phase == "target"
        assert await ids(stage.target) == [f"d{n}" for n in range(10)]

    played(scene)


def test_what_the_target_does_not_take_is_named_and_keeps_it_from_leading() -> None:
    """A document that is too large, and an id that is too long."""

    async def scene(stage: Stage) -> None:
        await stage.fill(3)
        await stage.source.put_item("things", {"id": "large", "text": "x" * 200})
        await stage.source.put_item("things", {"id": "long" * 5})
        plan = await stage.migration().plan()
        assert any("100 bytes" in note for note in plan.notes)
        migration = stage.migration()
        await migration.start_dual_write()
        done = await migration.backfill()
        reasons = {each.id: each.reason for each in done.problems}
        assert reasons["large"] == "it is 302 bytes, the target takes 100"
        assert reasons["long" * 5].startswith("the id is 20 bytes")
        with pytest.raises(MigrationError, match="2 documents differ"):
            await stage.migration().run()
        kinds = {each.id: each.kind for each in (await migration.verify()).differences}
        assert kinds == {"large": "missing", "longlonglonglonglong": "missing"}

    played(scene, target=Small())


def test_damaged_documents_are_named(tmp_path: Path) -> None:
    """One that can't be read at the source is a difference until somebody decides."""

    async def main() -> None:
        async with LocalFileProvider(tmp_path) as source, InMemoryProvider() as target:
            await source.put_items("things", [{"id": f"d{n}"} for n in range(5)])
            (tmp_path / "things" / "d2.json").write_text("{broken")
            await source.refresh()
            migration = Migration(source=source, target=target, lease_seconds=0.05)
            with pytest.raises(MigrationError, match=r"1 documents differ \(1 of them can't be"):
                await migration.run()
            (found,) = (await migration.verify()).differences
            assert (found.id, found.kind) == ("d2", "unreadable")
            await source.delete_item("things", "d2")
            assert (await migration.run()).phase == "target"

    asyncio.run(main())


def test_two_runners_do_not_trip_over_each_other() -> None:
    """The second is told that another is at it."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        async with stage.migration()._held():
            with pytest.raises(MigrationError, match="another process is at this migration"):
                await stage.migration().run()
        assert (await stage.migration().run()).phase == "target"

    played(scene)


def test_sides_are_not_to_be_swapped_meanwhile() -> None:
    """A program that names them the other way round is told so."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        await stage.migration().start_dual_write()
        stage.source, stage.target = stage.target, stage.source
        with pytest.raises(ConfigurationError, match="this target is the source"):
            async with stage.program():
                pass

    played(scene)


def test_arguments_are_checked() -> None:
    """Both sides one, unknown words, shares and leases out of range, and no side to lead."""
    one, other = InMemoryProvider(), InMemoryProvider()
    for options in (
        {"target": one},
        {"follower_writes": "both"},
        {"shadow_reads": 1.5},
        {"lease_seconds": 0},
    ):
        arguments: Any = {"source": one, "target": other, **options}
        with pytest.raises(ConfigurationError):
            DualWriteProvider(**arguments)
    with pytest.raises(ConfigurationError, match="by an archive"):
        Migration(source=compose(Weak(), provider=one), target=compose(Weak(), provider=other))


# --- a side that can't compare and set ---------------------------------------------------------


@pytest.mark.parametrize("weak", ["source", "target"])
def test_where_a_side_cannot_compare_and_set_writes_are_refused_meanwhile(weak: str) -> None:
    """Reads go on; afterwards writes are taken again."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        plan = await stage.migration().plan()
        assert not plan.live
        assert any("no writes are taken" in note for note in plan.notes)
        async with stage.program() as program:
            await program.put_item("things", {"id": "before"})
            migration = stage.migration()
            await migration.start_dual_write()
            with pytest.raises(UnsupportedOperationError, match="no writes are taken"):
                await program.put_item("things", {"id": "meanwhile"})
            assert await program.read_item("things", "before") is not None
            await migration.run()
            assert len(await ids(program)) == 11
            with pytest.raises(UnsupportedOperationError):
                await program.put_item("things", {"id": "meanwhile"})
            await migration.verify()
            await migration.clean_up()
            await asyncio.sleep(30)
            await program.put_item("things", {"id": "after"})
            assert await stage.target.read_item("things", "after") is not None

    sides: dict[str, Layer] = {weak: Weak()}
    played(scene, **sides)


# --- programs ----------------------------------------------------------------------------------


def test_a_version_of_one_side_never_fits_the_other() -> None:
    """What was read before the leader changed is read again before it is replaced."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        async with stage.program() as program:
            item = await program.read_item("things", "d1")
            assert item is not None
            await stage.migration().run()
            with pytest.raises(VersionMismatchError):
                await program.put_item("things", {"id": "d1"}, if_version=item.version)
            await program.modify_item("things", "d1", lambda found: {**found, "more": 1})

    played(scene)


def test_a_listing_goes_on_where_it_was_begun() -> None:
    """Across the change of the leader, and not when its side is not used any more."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        async with stage.program() as program:
            page = await program.list_items("things", limit=4)
            migration = stage.migration()
            await migration.run()
            rest = await program.list_items("things", limit=100, cursor=page.cursor)
            assert len(rest.items) == 6
            await migration.verify()
            await migration.clean_up()
            await asyncio.sleep(30)
            with pytest.raises(InvalidArgumentError, match="not used any more"):
                await program.list_items("things", limit=4, cursor=page.cursor)

    played(scene)


def test_what_the_follower_did_not_take_is_brought_over() -> None:
    """At the next chance, or before the leader changes."""
    faults = Faults()

    async def scene(stage: Stage) -> None:
        await stage.fill()
        migration = stage.migration()
        await migration.start_dual_write()
        async with stage.program() as program:
            faults.script = [Fail(call=None)]
            await program.put_item("things", {"id": "new"})
            await program.delete_item("things", "d1")
            assert (await program.read_item("things", "new")) is not None
            faults.script = []
            assert (await program.status()).in_doubt == 2
            await asyncio.sleep(6)
            await program.put_item("things", {"id": "newer"})
            assert (await program.status()).in_doubt == 0
            assert await ids(stage.target) == ["new", "newer"]
            faults.script = [Fail("write", call=None)]
            await program.put_item("things", {"id": "last"})
            faults.script = []
        assert (await migration.status()).to_settle == 2  # The deletion, and the last one.
        await migration.run()
        assert len(await ids(stage.target)) == 12

    played(scene, target=faults)


def test_all_or_report_says_what_the_follower_lacks() -> None:
    """The write is at the leading side, and the caller knows that it is there alone."""
    faults = Faults()

    async def scene(stage: Stage) -> None:
        await stage.fill()
        await stage.migration().start_dual_write()
        async with stage.program(follower_writes="all_or_report") as program:
            faults.script = [Fail("write", call=None)]
            with pytest.raises(OutcomeUnknownError, match="brought over at the next chance"):
                await program.put_item("things", {"id": "new"})
            faults.script = []
            assert await program.read_item("things", "new") is not None

    played(scene, target=faults)


def test_shadow_reads_count_what_differs() -> None:
    """A share of the reads looks at both sides; what differs twice is counted."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        migration = stage.migration()
        await migration.start_dual_write()
        await migration.backfill()
        await stage.target.put_item("things", {"id": "d3", "n": "other"})
        async with stage.program(shadow_reads=1.0) as program:
            await program.read_items("things", [f"d{n}" for n in range(10)])
            status = await program.status()
            assert (status.shadow_reads, status.shadow_differences) == (10, 1)
        (found,) = (await migration.verify()).differences
        assert (found.id, found.kind) == ("d3", "different")

    played(scene)


def test_a_writer_that_ended_without_a_word_is_noticed() -> None:
    """The sides are compared once more before the leader changes."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        migration = stage.migration()
        await migration.start_dual_write()
        await migration.backfill()
        program = DualWriteProvider(source=stage.source, target=stage.target, clock=stage.clock)
        await program.connect()
        await program.put_item("things", {"id": "x"})
        await migration.verify()
        beating = program._membership._beating
        assert beating is not None
        beating.cancel()  # As a kill would.
        with pytest.raises(MigrationError, match="ended without signing off"):
            await migration.cut_over()
        assert (await migration.status()).phase == "dual"
        assert (await migration.run()).phase == "target"

    played(scene)


def test_a_switch_that_nobody_carries_on_is_ended_by_those_who_wait() -> None:
    """A runner that died while the leader was changing does not keep writers out."""

    async def scene(stage: Stage) -> None:
        await stage.fill()
        migration = stage.migration()
        await migration.start_dual_write()
        seen = await migration._pair.seen()
        switching = msgspec.structs.replace(seen.state, phase="switching")
        await migration._pair.states.change(seen, switching)
        async with stage.program() as program:
            await program.put_item("things", {"id": "new"})
            assert (await program.status()).phase == "dual"

    played(scene)


def test_after_the_cut_over_the_source_is_not_needed() -> None:
    """A program goes on, and one that starts does as well, while the old side is away."""
    faults = Faults()

    async def scene(stage: Stage) -> None:
        await stage.fill()
        await stage.migration().run()
        async with stage.program() as program:
            await program.put_item("things", {"id": "a"})
            faults.script = [Fail(call=None)]
            await asyncio.sleep(60)
            await program.put_item("things", {"id": "b"})
            async with stage.program() as other:
                assert await other.read_item("things", "b") is not None
            faults.script = []

    played(scene, source=faults)


def test_without_a_migration_only_the_source_is_used() -> None:
    """Nothing is written to the target, which may be away."""
    faults = Faults(Fail(call=None))

    async def scene(stage: Stage) -> None:
        await stage.fill()
        async with stage.program() as program:
            await program.put_item("things", {"id": "a"})
            assert len(await ids(program)) == 11
            with pytest.raises(TransportError):
                await program._sides["target"].read_item("things", "a")

    played(scene, target=faults)
