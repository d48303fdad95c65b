"""One run of a command: what it opens, says and ends with; and how commands register."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, NoReturn, ParamSpec, cast

import typer

from storage_providers.cli._errors import ExitCode, UsageError, describe, exit_code_of
from storage_providers.cli._text import visible
from storage_providers.errors import BatchError, ConfigurationError, StorageError

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["DebugOption", "Session", "UrlOption", "command", "interruptible"]

P = ParamSpec("P")

PROGRAM = "storage-providers"

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        "-u",
        metavar="URL",
        help="Where the documents are, such as file:./valet-data or sqlite:agents.db. "
        "Without it: STORAGE_PROVIDERS_URL, then the other settings (see doctor).",
        show_default=False,
    ),
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error (also: STORAGE_PROVIDERS_DEBUG=1).",
        show_default=False,
    ),
]


class Session:
    """One run of a command.

    Args:
        url: Where the documents are; `None`: what the settings say.
        debug: Whether errors come with their traceback.

    Attributes:
        url: As given.
        debug: As given, or asked for by the environment.
        exit_code: What the process will end with; problems raise it.
    """

    def __init__(self, url: str | None = None, debug: bool = False) -> None:
        self.url = url
        self.debug = debug or os.environ.get("STORAGE_PROVIDERS_DEBUG", "") not in ("", "0")
        self.exit_code = ExitCode.OK

    @property
    def on_terminal(self) -> bool:
        """Whether the results are read by a person."""
        return sys.stdout.isatty()

    def provider(self, **options: Any) -> Provider:
        """Make the provider that the options or the settings name; it is not connected yet.

        Args:
            options: Options of its constructor.

        Raises:
            ConfigurationError: No provider is named, or its settings are wrong.
            UnsupportedOperationError: This version has no such provider.
        """
        from storage_providers.settings import open_provider

        return open_provider(self.url, **options)

    @asynccontextmanager
    async def open(
        self, *, create: bool = False, dry_run: bool = False, **options: Any
    ) -> AsyncGenerator[Provider]:
        """Open the provider that the options or the settings name.

        Args:
            create: Whether a folder or database that is not there is made. To read, it must be
                there: a mistyped path is no empty collection.
            dry_run: Make nothing; an empty provider stands for what is not there.
            options: Options of the provider's constructor.

        Yields:
            The provider, connected; it is closed at the end of the block.

        Raises:
            ConfigurationError: No provider is named, or its settings are wrong.
            StorageError: It can't be opened.
        """
        from storage_providers.cli._place import missing_path

        provider = self.provider(**options)
        missing = missing_path(provider)
        if missing is not None and not create:
            raise ConfigurationError(
                f"there is nothing at {missing}; check the path, or put or import something there"
            )
        if missing is not None and dry_run:
            provider = Session("memory:").provider()
        async with provider:
            yield provider

    def note(self, text: str) -> None:
        """Tell the user something that is not the command's result.

        Args:
            text: One line.
        """
        sys.stdout.flush()
        print(visible(text), file=sys.stderr)

    def problem(self, error: Exception) -> None:
        """Report an error and go on; the command will end with its exit code.

        Args:
            error: What went wrong. Of a `BatchError` every part is reported.
        """
        if isinstance(error, BatchError) and error.errors:
            for part in error.errors:
                if part.provider is None:
                    part.with_context(error.provider or "", error.operation or "")
                self.problem(part)
            return
        self.exit_code = max(self.exit_code, exit_code_of(error))
        self.note(f"{PROGRAM}: {describe(error)}")

    def fail(self, code: ExitCode, text: str) -> None:
        """Report a problem that is no error of the SDK's.

        Args:
            code: What the command will end with, unless it is worse already.
            text: One line.
        """
        self.exit_code = max(self.exit_code, code)
        self.note(f"{PROGRAM}: {text}")

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question; "no" is what the return key means.

        Args:
            question: The question, without a question mark's answer hints.

        Raises:
            UsageError: Nobody is there to answer.
        """
        if not sys.stdin.isatty():
            raise UsageError(f"{question} Nobody to ask here: add --yes to do it")
        with interruptible():
            return typer.confirm(visible(question), default=False, err=True)


@contextmanager
def interruptible() -> Generator[None]:
    """Let Ctrl-C end a block that waits for the user or for stdin.

    asyncio's own handler would only take note of it until the block is over.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Ctrl-C came before, and asyncio would act on it only after the block.
            raise KeyboardInterrupt
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str], panel: str
) -> Callable[
    [Callable[Concatenate[Session, P], Awaitable[None]]],
    Callable[Concatenate[Session, P], Awaitable[None]],
]:
    """Register an asynchronous function as a command.

    Its first parameter is the `Session`; the others are arguments and options as typer reads
    them, and `--url` and `--debug` are added.

    Args:
        app: The application.
        name: What the user types.
        examples: Command lines for the end of `--help`.
        panel: Heading in the list of commands.
    """

    def register(
        function: Callable[Concatenate[Session, P], Awaitable[None]],
    ) -> Callable[Concatenate[Session, P], Awaitable[None]]:
        def runner(context: typer.Context, url: str | None, debug: bool, **options: Any) -> None:
            above = cast("tuple[str | None, bool]", context.obj or (None, False))
            session = Session(url if url is not None else above[0], debug or above[1])
            _run(session, lambda: cast("Any", function)(session, **options))

        _give_signature(runner, function)
        runner.__doc__ = function.__doc__
        # Typer keeps line ends only between paragraphs.
        epilog = "\n\n".join(["Examples:", *(f"  {example}" for example in examples)])
        app.command(name, epilog=_escaped(epilog), rich_help_panel=panel)(runner)
        return function

    return register


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")


def _give_signature(runner: Callable[..., None], function: Callable[..., object]) -> None:
    """Let typer see the function's own parameters, and those that every command has."""
    kind = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    parameters = [
        inspect.Parameter("context", kind, annotation=typer.Context),
        *(parameter.replace(kind=kind) for parameter in own),
        inspect.Parameter("url", kind, default=None, annotation=UrlOption),
        inspect.Parameter("debug", kind, default=False, annotation=DebugOption),
    ]
    runner.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    runner.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _run(session: Session, start: Callable[[], Awaitable[None]]) -> NoReturn:
    """Run a command to its exit code; every way to fail ends here."""

    async def main() -> None:
        await start()
        sys.stdout.flush()

    try:
        asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
        session.exit_code = ExitCode.INTERRUPTED
        session.note(f"{PROGRAM}: interrupted")
    except BrokenPipeError:
        _discard_output()
        session.exit_code = ExitCode.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 # a traceback is only for those who ask
        if session.debug:
            traceback.print_exc()
        if isinstance(error, StorageError | UsageError):
            session.problem(error)
        else:
            session.fail(exit_code_of(error), describe(error))
    raise typer.Exit(int(session.exit_code))


def _discard_output() -> None:
    """Nobody reads any more: what is still buffered must not fail again at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
