"""A process of its own that adds items to a session: `python add_items.py PATH NAME TURNS`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

from storage_providers.agents.adapters.openai_agents import ProviderSession
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider


async def main(path: str, name: str, turns: int) -> None:
    """Add turns of three items each, or take them away if the name is `pop`."""
    make = SQLiteProvider if path.endswith(".db") else LocalFileProvider
    async with make(path) as provider:
        session = ProviderSession("shared", provider)
        for turn in range(turns):
            if name == "pop":
                print(cast("dict[str, Any]", await session.pop_item())["content"])
            else:
                items = [{"role": "user", "content": f"{name} {turn} {part}"} for part in range(3)]
                await session.add_items(cast("list[Any]", items))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
