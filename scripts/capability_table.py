"""Writes the capability table of README.md and the docs from what the providers declare.

`python scripts/capability_table.py` rewrites the tables, `--check` only says which are stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from storage_providers import (
    Capabilities,
    CloudflareKVProvider,
    CloudflareR2Provider,
    D1Provider,
    InMemoryProvider,
    LocalFileProvider,
    SQLiteProvider,
)

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/choosing-a-provider.md")
BEGIN = "<!-- capabilities: written by scripts/capability_table.py -->"
END = "<!-- end of capabilities -->"


def declared() -> dict[str, Capabilities]:
    """What each provider declares when it is made with its defaults."""
    providers = (
        InMemoryProvider(),
        LocalFileProvider(root="unused"),
        SQLiteProvider(path="unused"),
        CloudflareR2Provider(
            "unused",
            account_id="0" * 32,
            access_key_id="unused",
            secret_access_key="unused",  # noqa: S106 # nothing is opened
        ),
        CloudflareKVProvider(
            account_id="0" * 32,
            namespace_id="unused",
            token="unused",  # noqa: S106 # as above
        ),
        D1Provider(account_id="0" * 32, database_id="unused", token="unused"),  # noqa: S106 # as above
    )
    return {type(provider).__name__: provider.capabilities for provider in providers}


def table() -> str:
    """The table in Markdown: a row for each capability, a column for each provider."""
    columns = declared()
    rows = [["", *(f"`{name}`" for name in columns)]]
    rows.append(["---"] + [":---:"] * len(columns))
    for field in msgspec.structs.fields(Capabilities):
        values = (getattr(capabilities, field.name) for capabilities in columns.values())
        rows.append([f"`{field.name}`", *(cell(value) for value in values)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cell(value: object) -> str:
    """One value as people read it."""
    match value:
        case True:
            return "yes"
        case False:
            return "–"
        case None:
            return "no limit"
        case float():
            return f"{value:g}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def with_table(text: str, page: str) -> str:
    """A page with its table replaced.

    Raises:
        ValueError: The page has no place for one.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main(*, check: bool) -> int:
    """Rewrite the tables or, with `check`, only say which are stale; the exit code."""
    stale = 0
    for page in PAGES:
        path = ROOT / page
        text = path.read_text()
        fresh = with_table(text, page)
        if fresh == text:
            continue
        stale += 1
        if check:
            print(f"{page}: the capability table is stale; run scripts/capability_table.py")
        else:
            path.write_text(fresh)
            print(f"{page}: capability table written")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
