"""The command `doctor`: what is set, what can be reached, what may be done."""

from __future__ import annotations

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this command to the application.

    Args:
        app: The application.
    """
