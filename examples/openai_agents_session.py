"""An OpenAI Agents SDK agent whose conversation is kept on a provider.

    python examples/openai_agents_session.py             # in a temporary folder
    python examples/openai_agents_session.py chats       # run it twice: it remembers

Needs: `pip install 'storage-providers[openai-agents]'`. The model is one that repeats what it was
told, so nothing is called.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

from storage_providers import LocalFileProvider
from storage_providers.agents.adapters.openai_agents import ProviderSession


class Parrot(Model):
    """Stands for a model: says what it was told first and how much it knows."""

    async def get_response(self, *args: Any, **options: Any) -> ModelResponse:
        """One message."""
        known: list[Any] = args[1] if len(args) > 1 else options["input"]
        text = f"you began with {known[0]['content']!r}; I know {len(known)} items"
        message = ResponseOutputMessage(
            id="message",
            role="assistant",
            status="completed",
            type="message",
            content=[ResponseOutputText(text=text, type="output_text", annotations=[])],
        )
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **options: Any) -> Any:
        """This model does not stream."""
        raise NotImplementedError


async def talk(folder: Path) -> None:
    """Say three things, each in a session of its own, as a web server's requests would."""
    agent = Agent(name="parrot", model=Parrot())
    quiet = RunConfig(tracing_disabled=True)
    async with LocalFileProvider(folder) as provider:
        for text in ("Hello", "How are you?", "Goodbye"):
            session = ProviderSession("user-7", provider)
            result = await Runner.run(agent, text, session=session, run_config=quiet)
            print(f"{text} -> {result.final_output}")
        session = ProviderSession("user-7", provider)
        await session.pop_item()
        newest: Any = await session.get_items(limit=1)
        print("The last answer was taken back; the newest item is", repr(newest[0]["content"]))


def main() -> None:
    """Talk in the named folder or in a temporary one."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(talk(Path(sys.argv[1] if len(sys.argv) > 1 else folder)))


if __name__ == "__main__":
    main()
