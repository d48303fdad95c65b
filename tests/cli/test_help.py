"""Help and documentation name what is there."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage_providers.cli._app import app
from storage_providers.cli._errors import ExitCode

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "command-line.md").read_text()
COMMANDS = sorted(
    [
        *(info.name or "" for info in app.registered_commands),
        *(
            f"{group.name} {info.name}"
            for group in app.registered_groups
            if group.typer_instance is not None
            for info in group.typer_instance.registered_commands
        ),
    ]
)


def help_of(*command: str) -> str:
    """What `--help` prints, on a terminal so wide that nothing is wrapped."""
    result = CliRunner().invoke(
        app, [*command, "--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}
    )
    assert result.exit_code == 0
    return result.stdout


def examples(text: str) -> list[list[str]]:
    """The words of every command line in a text; of a pipeline, each part."""
    parts: list[list[str]] = []
    for line in text.splitlines():
        start = line.find("storage-providers ")
        if start >= 0 and line.strip(" $")[:1] in ("s", "i"):
            lexer = shlex.shlex(line[start:].rstrip(")"), posix=True, punctuation_chars="|>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, "|"]:
                if word in ("|", ">"):
                    parts.append(words)
                    words = []
                else:
                    words.append(word)
    return [words for words in parts if words[:1] == ["storage-providers"]]


def check_options(words: list[str]) -> str:
    """Hold every option of a command line to the help of its command; returns the command."""
    pairs = map(" ".join, pairwise(words))
    command = next((each for each in (*pairs, *words) if each in COMMANDS), "")
    text = help_of(*command.split())
    for word in words:
        if re.match(r"--?[a-z]", word):
            name = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), f"{words}: {name}"
    return command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_that_fit_it(command: str) -> None:
    """Each command's help ends in examples of it, with options that it has."""
    found = examples(help_of(*command.split()).partition("Examples:")[2])
    assert found
    assert command in [check_options(words) for words in found]


def test_the_page_fits_the_commands() -> None:
    """The page names every command, and its examples use options that are there."""
    for command in COMMANDS:
        assert f"`{command}" in PAGE or f"storage-providers {command}" in PAGE, command
    found = examples("\n".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)))
    assert len(found) > 15
    for words in found:
        check_options(words)


def test_exit_codes_are_documented() -> None:
    """The page's table and `--help` name each exit code."""
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(int(code)) for code in ExitCode]
    text = " ".join(help_of().split())
    for code in ExitCode:
        assert f"{int(code)} {code.meaning}" in text


def test_nothing_asked_is_help() -> None:
    """Without a command there is help, and an unknown one is answered with a like one."""
    assert "query" in CliRunner().invoke(app, []).output
    result = CliRunner().invoke(app, ["qery"])
    assert result.exit_code == 2
    assert "query" in result.stderr
    assert result.stdout == ""
