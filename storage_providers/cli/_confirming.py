"""Confirmation by typing a word, for what can't be undone."""

from __future__ import annotations

import sys

import typer

from storage_providers.cli._errors import UsageError
from storage_providers.cli._session import interruptible
from storage_providers.cli._text import visible

__all__ = ["confirm_by_typing", "types_name"]


def confirm_by_typing(question: str, word: str, given: str | None, option: str) -> None:
    """Go on only if the word was typed, now or on the command line.

    Args:
        question: What is about to be done, a sentence.
        word: What to type: the name of what is meant.
        given: What was given on the command line instead, if anything was.
        option: The option for that, such as `--confirm`.

    Raises:
        UsageError: Something else was typed, or nobody is there to ask.
    """
    if given is None:
        if not sys.stdin.isatty():
            raise UsageError(f"{question} Nobody to ask here: add {option} {word!r} to do it")
        with interruptible():
            given = typer.prompt(
                visible(f"{question} Type {word} to do it"),
                default="",
                show_default=False,
                err=True,
            )
    if given != word:
        raise UsageError(f"{given!r} is not {word!r}; nothing was done")


def types_name(name: str) -> bool:
    """Whether the user types the name of what is meant; `--yes --name NAME` is for programs.

    Args:
        name: The name.

    Raises:
        UsageError: Nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"nobody to ask here: add --yes --name {name} to do it")
    with interruptible():
        typed = typer.prompt("Type its name to do it", default="", show_default=False, err=True)
    return bool(typed == name)
