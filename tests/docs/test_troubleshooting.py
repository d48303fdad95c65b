"""The messages that the troubleshooting page explains are those that the code can show."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
TEMPLATED = re.compile(r"\{\w+(?:![rs])?\}")
MESSAGES = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)


def text_of(node: ast.AST) -> str | None:
    """A string of the source, with `…` where a value goes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return TEMPLATED.sub("…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "…" for part in node.values)
    return None


@pytest.fixture(scope="module")
def strings() -> list[str]:
    """Every string of the package."""
    return [
        text
        for path in (ROOT / "storage_providers").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (text := text_of(node)) is not None
    ]


@pytest.mark.parametrize("message", MESSAGES)
def test_the_message_is_one_of_ours(message: str, strings: list[str]) -> None:
    """A message is found in the code, word for word."""
    assert any(message in text for text in strings), message


def test_messages_are_found() -> None:
    """The page explains a good number of messages, and each once."""
    assert len(MESSAGES) > 15
    assert len(set(MESSAGES)) == len(MESSAGES)
