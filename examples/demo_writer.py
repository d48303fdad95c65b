"""A program that goes on writing while its documents move, as any of yours would.

    python examples/demo_writer.py URL

writes through `dual-write:?source=…&target=…` until its stdin ends, then prints as JSON what it had
written: each id with the number it wrote last, or null if it removed the document.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from storage_providers import open_provider


async def main(url: str) -> None:
    """Add todos, change some, remove others, and keep in mind what must be there."""
    written: dict[str, int | None] = {}
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with open_provider(url) as provider:
        number = 0
        while not over.done():
            item_id = f"live-{number:05}"
            await provider.put_item("todos", {"id": item_id, "content": "Live", "n": number})
            written[item_id] = number
            if number == 0:
                print("writing", flush=True)
            if number % 5 == 3:
                await provider.update_item("todos", f"live-{number - 3:05}", {"n": -number})
                written[f"live-{number - 3:05}"] = -number
            if number % 5 == 4:
                await provider.delete_item("todos", f"live-{number - 2:05}")
                written[f"live-{number - 2:05}"] = None
            number += 1
            await asyncio.sleep(0.1)
    print(json.dumps(written))


if __name__ == "__main__":
    logging.getLogger("storage_providers").setLevel(logging.ERROR)
    asyncio.run(main(sys.argv[1]))
