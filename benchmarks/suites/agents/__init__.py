"""The agent store on SQLite and on files, beside the SQLite stores of agent frameworks.

Every contestant does the same: a conversation of 40 messages grows by 10 at a time, and a save that
returned survives a power cut (all SQLite files are in WAL with `synchronous=FULL`, and files are
forced to the medium). What else they promise differs, and where that costs a peer something that
has nothing to do with storing, it is spared it:

- **AgentStore**: messages are found by id, thread and resource; a save replaces those that are
  there and bumps the thread's time. On files each message is a file, and a batch is not atomic.
- **LangGraph `AsyncSqliteSaver`**: a save is a checkpoint with all messages of the thread until
  then, and so is a read. It keeps every state and no message of its own. Messages are plain
  dictionaries here: LangChain's own classes take longer.
- **LangGraph `SqliteStore`**: an item for each message, found by namespace and key. Times are
  seconds, so the newest are of the right number and not surely the right ones. It comes with a
  rollback journal; here its file is in WAL, which is faster.
- **OpenAI Agents SDK `SQLiteSession`**: a row for each item, without an id. A session object goes
  from thread to thread here, as each opens connections of its own.
- **Agno `SqliteDb`**: a run holds the 10 messages of its turn. Runs are written without their
  session, which is there already, and read as dictionaries. It is called on the event loop, which
  it blocks, as `SqliteStore` is; the others work on a thread and leave the loop free.
"""

from __future__ import annotations

from benchmarks._harness import Case
from benchmarks.suites.agents._paging import paging
from benchmarks.suites.agents._talking import reading, saving, saving_at_once

__all__ = ["CASES", "PEERS"]

PEERS = ("langgraph-checkpoint-sqlite", "openai-agents", "agno")

CASES: tuple[Case, ...] = (saving, saving_at_once, reading, paging)
