"""Both sides of a migration as a command line names them, and what every command does with them."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer

from storage_providers.cli._errors import UsageError
from storage_providers.cli._place import missing_path
from storage_providers.cli._progress import ShowStep, step_bars
from storage_providers.cli._session import Session
from storage_providers.errors import ConfigurationError, MigrationError, StorageError
from storage_providers.layers import Scope, below_layers

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.transfer.migration import Migration, Progress

__all__ = [
    "FromOption",
    "JsonOption",
    "LeaseOption",
    "ReportOption",
    "Sides",
    "ToOption",
]

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="URL",
        help="Where documents come from; without it, what --url or the settings name.",
        show_default=False,
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="URL",
        help="Where they go to. Not needed where --url or the settings name both sides, as in "
        "dual-write:?source=URL&target=URL.",
        show_default=False,
    ),
]
LeaseOption = Annotated[
    float | None,
    typer.Option(
        "--lease-seconds",
        min=0.05,
        max=3600,
        help="As the programs that write have it; 10 unless they say otherwise.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON.", show_default=False)
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write what was done to this file as JSON, also when it fails or is interrupted.",
        show_default=False,
    ),
]


class Sides:
    """Where documents come from and go to.

    Args:
        session: The run of the command.
        source: URL of the side that they come from; `None`: what the session names.
        target: URL of the other; `None`: the session names both.
        lease_seconds: As in `DualWriteProvider`; `None`: as usual.
    """

    def __init__(
        self,
        session: Session,
        source: str | None,
        target: str | None,
        lease_seconds: float | None = None,
    ) -> None:
        self._session = session
        self._urls = {"--from": source, "--to": target}
        self._asked_lease = lease_seconds
        self._lease_seconds = lease_seconds
        self._step: str | None = None

    @asynccontextmanager
    async def open(
        self,
        *,
        again: str = "resume",
        create: bool = False,
        dry_run: bool = False,
        report: Path | None = None,
    ) -> AsyncGenerator[Migration]:
        """Open both sides.

        Args:
            again: The command that goes on after an interruption.
            create: Whether a folder or database of the target that is not there is made.
            dry_run: Make nothing: an empty one elsewhere stands for it.
            report: Where to write what was done, at the end, however it ends.

        Yields:
            The migration, with its progress shown on stderr.

        Raises:
            UsageError: The sides are not named, or in a way that is not meant for this.
            StorageError: A side can't be opened.
        """
        from storage_providers.providers._dual.membership import LEASE_SECONDS
        from storage_providers.transfer.migration import Migration

        _check_writable(report)
        source, target = self._providers()
        for side, made in ((source, False), (target, create or dry_run)):
            missing = missing_path(side)
            if missing is not None and not made:
                raise ConfigurationError(f"there is nothing at {missing}; check the path")
        async with AsyncExitStack() as stack:
            if dry_run and missing_path(target) is not None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="plan-"))
                target = cast("Any", type(target))(f"{folder}/empty")
            show = stack.enter_context(step_bars(self._session.note))
            migration = Migration(
                source=source,
                target=target,
                lease_seconds=self._lease_seconds or LEASE_SECONDS,
                on_progress=lambda progress: self._show(show, progress),
            )
            async with migration:
                try:
                    yield migration
                except BaseException as error:
                    self._say_how_to_go_on(error, again)
                    raise
                finally:
                    if report is not None:
                        await _write_report(migration, report)

    def _show(self, show: ShowStep, progress: Progress) -> None:
        self._step = progress.step
        show(progress.step, progress.done, progress.total, progress.detail)

    def _say_how_to_go_on(self, error: BaseException, again: str) -> None:
        """After an interruption or an outage: what was done stands."""
        is_passing = isinstance(error, StorageError) and not isinstance(error, MigrationError)
        if self._step is None or not (is_passing or isinstance(error, asyncio.CancelledError)):
            return
        if self._step == "backup":
            again = "run"  # Nothing has begun.
        self._session.note(f"what was done stands; go on with: {self.command(again)}")

    def command(self, name: str) -> str:
        """The command line of another step on the same sides.

        Args:
            name: Its name.
        """
        words = ["storage-providers", "migrate", name]
        if self._session.url is not None and self._urls["--from"] is None:
            words += ["--url", self._session.url]
        for option, url in self._urls.items():
            if url is not None:
                words += [option, url]
        if self._asked_lease is not None:
            words += ["--lease-seconds", f"{self._asked_lease:g}"]
        return shlex.join(words)

    @property
    def lease_seconds(self) -> float:
        """How long a phase holds; what the programs that write must have too."""
        from storage_providers.providers._dual.membership import LEASE_SECONDS

        return self._lease_seconds or LEASE_SECONDS

    def name_of(self, provider: Provider) -> str:
        """What a user knows the source by: its URL without options, or its path.

        Args:
            provider: The source.
        """
        url = self._urls["--from"] or self._session.url
        if url is not None and not url.lower().startswith("dual-write:"):
            return url.partition("?")[0]
        own = below_layers(provider)
        path = getattr(own, "root", None) or getattr(own, "path", None)
        return path if isinstance(path, str) else provider.name

    def _providers(self) -> tuple[Provider, Provider]:
        from storage_providers.providers.dual_write import DualWriteProvider
        from storage_providers.settings import open_provider

        source_url, target_url = self._urls["--from"], self._urls["--to"]
        source = self._session.provider() if source_url is None else open_provider(source_url)
        if isinstance(source, Scope):
            raise UsageError(
                "the settings confine this to one user, and a migration moves whole places; name "
                "both with --from and --to, or take the user id out of the settings"
            )
        if isinstance(source, DualWriteProvider):
            if target_url is not None:
                raise UsageError("'dual-write:' names both sides; leave out --to")
            self._lease_seconds = self._asked_lease or source.lease_seconds
            return source.source, source.target
        if target_url is None:
            raise UsageError("say where documents go: --to URL, such as --to r2://valet-data")
        target = open_provider(target_url)
        if _is_same_place(source, target):
            raise UsageError("--from and --to are the same place; use two")
        return source, target


def _is_same_place(source: Provider, target: Provider) -> bool:
    paths = [
        getattr(own, "root", None) or getattr(own, "path", None)
        for own in (below_layers(source), below_layers(target))
    ]
    ours, theirs = paths
    if not isinstance(ours, str) or not isinstance(theirs, str) or ours == ":memory:":
        return False
    return Path(ours).resolve() == Path(theirs).resolve()


def _check_writable(report: Path | None) -> None:
    """Say at once, not at the end of hours, that a report can't be written."""
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"--report: there is no folder {report.absolute().parent}")


async def _write_report(migration: Migration, path: Path) -> None:
    text = msgspec.json.format(msgspec.json.encode(await migration.report()), indent=2)
    await asyncio.to_thread(path.write_bytes, text + b"\n")
