"""LangGraph's checkpoint saver and store on any `StorageProvider`.

Needs: `pip install 'storage-providers[langgraph]'`.

```python
saver = ProviderSaver(provider)
graph = builder.compile(checkpointer=saver, store=ProviderStore(provider))
await graph.ainvoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "1"}})
```
"""

from storage_providers.agents.adapters._common import need

need("langgraph.checkpoint", __name__, "langgraph")

from storage_providers.agents.adapters._langgraph.saver import ProviderSaver  # noqa: E402
from storage_providers.agents.adapters._langgraph.store import (  # noqa: E402
    ProviderStore,
    SearchByMeaning,
)

__all__ = ["ProviderSaver", "ProviderStore", "SearchByMeaning"]
