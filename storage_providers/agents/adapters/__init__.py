"""Other frameworks' stores on any `StorageProvider`; each module needs an extra of its own.

| module | what it is | extra |
|---|---|---|
| `langgraph` | LangGraph's checkpoint saver and `BaseStore` | `langgraph` |
| `openai_agents` | the OpenAI Agents SDK's `Session` | `openai-agents` |
| `key_value` | py-key-value's `AsyncKeyValue`, which FastMCP and others take | `key-value` |
"""
