"""The command line `storage-providers`; needs the extra `cli`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line with `sys.argv`; ends the process with one of its exit codes."""
    try:
        import rich  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import typer  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        sys.exit(
            f"storage-providers: the command line needs {error.name}: "
            "pip install 'storage-providers[cli]'"
        )
    try:
        from storage_providers.cli._app import app

        app(prog_name="storage-providers")
    except KeyboardInterrupt:
        sys.exit(130)
