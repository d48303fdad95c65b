"""`AgentStore`: threads, messages, workflows, scores, traces and resources on any provider."""

from storage_providers.agents.messages import Between
from storage_providers.agents.models import (
    Include,
    Listed,
    Message,
    MessageContent,
    Resource,
    Score,
    Thread,
    WorkflowRun,
)
from storage_providers.agents.scores import ScoreSummary
from storage_providers.agents.store import AgentStore, Reindexed, Retention
from storage_providers.agents.traces import Span, Trace
from storage_providers.agents.workflows import PENDING

__all__ = [
    "PENDING",
    "AgentStore",
    "Between",
    "Include",
    "Listed",
    "Message",
    "MessageContent",
    "Reindexed",
    "Resource",
    "Retention",
    "Score",
    "ScoreSummary",
    "Span",
    "Thread",
    "Trace",
    "WorkflowRun",
]
