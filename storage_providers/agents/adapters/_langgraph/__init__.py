"""LangGraph's interfaces on a provider; `adapters.langgraph` is where programs find them."""
