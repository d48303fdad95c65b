"""What the documentation shows is true: its Python runs, its output is printed, its links lead."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest

from tests.servers.moto import MotoS3

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
NOT_RUN = re.compile(r"<!-- not run: \S.*-->\s*$")
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A Python block of a page, and the output that the page shows below it, if any."""

    line: int
    source: str
    output: str | None


def blocks_of(text: str) -> list[Block]:
    """The Python blocks of a page; one below `<!-- not run: reason -->` is left out."""
    found: list[Block] = []
    fences = list(FENCE.finditer(text))
    for position, fence in enumerate(fences):
        if fence[2] != "python" or NOT_RUN.search(text[: fence.start()]):
            continue
        output: str | None = None
        if position + 1 < len(fences) and fences[position + 1][2] == "text":
            follower = fences[position + 1]
            if not text[fence.end() : follower.start()].strip():
                output = follower[3]
        source = textwrap.dedent(fence[3]).strip("\n")
        found.append(Block(text.count("\n", 0, fence.start()) + 2, source, output))
    return found


def name_of(page: Path) -> str:
    """The page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def run(code: CodeType, names: dict[str, Any], runner: asyncio.Runner) -> None:
    """Run one block, as `python -m asyncio` does: `await` works at the top."""
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(eval(code, names))
    else:
        exec(code, names)


@pytest.fixture
def local_bucket(page: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings that lead `r2://valet-data` to a local server, for a page that uses it."""
    if not any("r2:" in block.source for block in blocks_of(page.read_text())):
        yield {}
        return
    moto: MotoS3 = request.getfixturevalue("moto")
    bucket = moto.make_bucket("valet-data")
    yield {
        "CLOUDFLARE_R2_ENDPOINT": moto.endpoint,
        "CLOUDFLARE_R2_ACCESS_KEY_ID": "key",
        "CLOUDFLARE_R2_SECRET_ACCESS_KEY": "secret",
    }
    moto.drop_bucket(bucket)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks_of(page.read_text())], ids=name_of
)
def test_python_blocks_run(
    page: Path, tmp_path: Path, local_bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page run in order, in an empty folder, and print what the page says."""
    monkeypatch.chdir(tmp_path)
    for variable, value in local_bucket.items():
        monkeypatch.setenv(variable, value)
    names: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks_of(page.read_text()):
            code = compile(
                "\n" * (block.line - 1) + block.source + "\n",
                str(page),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                run(code, names, runner)
            if block.output is not None:
                assert printed.getvalue() == block.output, f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    text = FENCE.sub("", page.read_text())
    broken = [
        target
        for target in LINK.findall(text)
        if "://" not in target
        and not target.startswith(("#", "mailto:"))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    """The site's menu holds each page of docs/ once, and no page that is missing."""
    menu = re.findall(r"([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(menu) == sorted(pages)


def test_blocks_are_found() -> None:
    """A block is found with its line and the output below it, unless it is marked as not run."""
    text = (
        "a\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n"
        "<!-- not run: needs a bucket -->\n```python\nboom()\n```\n"
    )
    assert blocks_of(text) == [Block(3, "print(1)", "1\n")]
