"""The group `migrate`: bringing documents from one place to another."""

from __future__ import annotations

import typer

from storage_providers.cli import _legacy, _migrate

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the group and its commands to the application.

    Args:
        app: The application.
    """
    group = typer.Typer(
        name="migrate",
        help="Bring everything from one place to another.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    _legacy.add_to(group)
    _migrate.add_to(group)
    app.add_typer(group, name="migrate", rich_help_panel="Move")
