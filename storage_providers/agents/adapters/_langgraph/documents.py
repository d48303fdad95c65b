"""Checkpoints and pending writes as documents, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from storage_providers.agents.adapters._common import segment, stamps
from storage_providers.agents.adapters._langgraph.layout import (
    Collections,
    Packer,
    Place,
    id_list,
    read_data,
)
from storage_providers.errors import CorruptItemError
from storage_providers.protocol import IF_ABSENT, Item, JsonObject, Put

__all__ = [
    "Saved",
    "Writing",
    "config_of",
    "pushed_down",
    "restored",
    "saved",
    "value_ids",
    "written",
]

INLINE_CHARACTERS: Final = 1000
"""Longest text that every checkpoint carries itself instead of referring to it. Ours."""

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)


class Saved(NamedTuple):
    """What one `put` stores: the values first, then the checkpoint that refers to them."""

    values: list[Put]
    checkpoint: Put


class Writing(NamedTuple):
    """What one `put_writes` stores.

    Attributes:
        parts: Long values, to be stored first.
        regular: The writes of which the first counts; `None` if there are none.
        special: Errors, interrupts and resumes: the last counts.
    """

    parts: list[Put]
    regular: Put | None
    special: list[Put]


def config_of(place: Place, checkpoint_id: str) -> RunnableConfig:
    """The configuration that names one checkpoint."""
    return {
        "configurable": {
            "thread_id": place.thread_id,
            "checkpoint_ns": place.namespace,
            "checkpoint_id": checkpoint_id,
        }
    }


def saved(
    serde: SerializerProtocol,
    collections: Collections,
    packer: Packer,
    place: Place,
    put: tuple[RunnableConfig, Checkpoint, CheckpointMetadata, ChannelVersions],
) -> Saved:
    """The documents of a checkpoint.

    Args:
        serde: The saver's serializer.
        collections: Where documents go.
        packer: A fresh one.
        place: The thread and namespace.
        put: What `put` was given.
    """
    config, checkpoint, metadata, new_versions = put
    versions, kept, values = checkpoint["channel_versions"], dict[str, Any](), list[str]()
    puts: list[Put] = []
    for channel, value in checkpoint["channel_values"].items():
        if channel not in versions or _is_short(value):
            kept[channel] = value
            continue
        item_id = place.value(channel, versions[channel])
        values.append(item_id.partition(".")[2])
        if channel in new_versions:
            packer.next_document()
            document = {
                "id": item_id,
                "threadId": place.thread_id,
                "channel": channel,
                "content": packer.pack(serde.dumps_typed(value), item_id),
                **stamps(),
            }
            puts.append(Put(collections.values, document))
    packer.next_document()
    full = get_checkpoint_metadata(config, metadata)
    whole = {"checkpoint": {**checkpoint, "channel_values": kept}, "metadata": full}
    content = packer.pack(serde.dumps_typed(whole), place.writes(checkpoint["id"], "~c"))
    shown = _shown(place, config, checkpoint, full)
    head = {**shown, "values": values, "content": content, **stamps()}
    return Saved([*packer.parts, *puts], Put(collections.checkpoints, head))


def _shown(
    place: Place, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
) -> JsonObject:
    """What of a checkpoint stands in its document for queries to see."""
    present = list(checkpoint["channel_values"])
    return {
        "id": place.checkpoint(checkpoint["id"]),
        "threadId": place.thread_id,
        "namespace": place.namespace,
        "checkpointId": checkpoint["id"],
        "parentId": (config.get("configurable") or {}).get("checkpoint_id"),
        "metadata": {key: value for key, value in metadata.items() if _can_be_asked(value)},
        "channels": present,
        "delta": [
            name
            for name in metadata.get("counters_since_delta_snapshot") or {}
            if name not in present
        ],
    }


def written(
    serde: SerializerProtocol,
    collections: Collections,
    packer: Packer,
    where: tuple[Place, str],
    task: tuple[Sequence[tuple[str, Any]], str, str],
) -> Writing:
    """The documents of a task's pending writes.

    Args:
        serde: The saver's serializer.
        collections: Where documents go.
        packer: A fresh one.
        where: The place, and the id of the checkpoint.
        task: The writes, the task's id and its path.
    """
    place, checkpoint_id = where
    writes, task_id, task_path = task

    def packed(index: int, channel: str, value: object) -> JsonObject:
        owner = place.writes(checkpoint_id, f"~w{segment(task_id)}.{index}")
        content = packer.pack(serde.dumps_typed(value), owner)
        return {"index": index, "channel": channel, **content}

    def document(suffix: str, content: list[JsonObject]) -> JsonObject:
        return {
            "id": place.writes(checkpoint_id, segment(task_id)) + suffix,
            "threadId": place.thread_id,
            "checkpointId": checkpoint_id,
            "taskId": task_id,
            "taskPath": task_path,
            "content": content,
            **stamps(),
        }

    regular = [
        packed(position, channel, value)
        for position, (channel, value) in enumerate(writes)
        if channel not in WRITES_IDX_MAP
    ]
    special: dict[int, Put] = {}
    for channel, value in writes:
        index = WRITES_IDX_MAP.get(channel)
        if index is not None:
            packer.next_document()
            content = [packed(index, channel, value)]
            special[index] = Put(collections.writes, document(str(index), content))
    first = Put(collections.writes, document("", regular), IF_ABSENT) if regular else None
    return Writing(packer.parts, first, list(special.values()))


def value_ids(head: Item, only: Collection[str] | None = None) -> list[str]:
    """The ids of the values that a checkpoint refers to, of all channels or only of some."""
    document = head.document
    place = Place(document["threadId"], document["namespace"])
    ids = [f"{segment(place.thread_id)}.{value}" for value in document["values"]]
    if only is None:
        return ids
    prefixes = tuple(place.value(channel, "0")[:-1] for channel in only)
    return [item_id for item_id in ids if item_id.startswith(prefixes)]


def restored(
    serde: SerializerProtocol,
    place: Place,
    head: Item,
    values: Mapping[str, Item | None],
    writes: Sequence[Item],
    parts: Mapping[str, Item],
) -> CheckpointTuple:
    """A checkpoint from its documents.

    Args:
        serde: The saver's serializer.
        place: The thread and namespace.
        head: The checkpoint's own document.
        values: The documents of the wanted channels' values, by id; `None` where there is none.
        writes: Those of its pending writes.
        parts: Those of long values, by id.

    Raises:
        CorruptItemError: A value that the checkpoint refers to is not there.
    """
    thread = segment(place.thread_id)

    def loads(packed: JsonObject) -> Any:
        ids = id_list(packed, thread) if "partsOf" in packed else []
        missing = [item_id for item_id in ids if item_id not in parts]
        if missing:
            raise _missing(head, missing)
        data = read_data([parts[item_id].document for item_id in ids] if ids else [packed])
        return serde.loads_typed((packed["type"], data))

    document = head.document
    whole = loads(document["content"])
    checkpoint = cast(Checkpoint, whole["checkpoint"])
    for item_id, item in values.items():
        if item is None:
            raise _missing(head, [item_id])
        value = item.document
        checkpoint["channel_values"][value["channel"]] = loads(value["content"])
    parent_id = document.get("parentId")
    return CheckpointTuple(
        config=config_of(place, document["checkpointId"]),
        checkpoint=checkpoint,
        metadata=cast(CheckpointMetadata, whole["metadata"]),
        parent_config=config_of(place, parent_id) if parent_id else None,
        pending_writes=_pending(loads, writes),
    )


def pushed_down(asked: Mapping[str, Any] | None) -> JsonObject:
    """What of a metadata filter the provider can answer; the rest is judged afterwards."""
    return {
        f"metadata.{key}": value
        for key, value in (asked or {}).items()
        if _KEY.fullmatch(key)
        and _can_be_asked(value)
        and not isinstance(value, bool | float)  # equal to numbers of another kind, in Python
    }


# --- helpers -------------------------------------------------------------------------------------


def _pending(loads: Any, writes: Sequence[Item]) -> list[PendingWrite]:
    entries = [(item.document, entry) for item in writes for entry in item.document["content"]]
    entries.sort(
        key=lambda each: writes_sort_key(each[0]["taskPath"], each[0]["taskId"], each[1]["index"])
    )
    return [(task["taskId"], entry["channel"], loads(entry)) for task, entry in entries]


def _is_short(value: object) -> bool:
    return value is None or (
        len(value) <= INLINE_CHARACTERS if type(value) is str else type(value) in (bool, int, float)
    )


def _can_be_asked(value: object) -> bool:
    """Whether a value of the metadata is put where queries see it."""
    if isinstance(value, str):
        try:
            return len(value.encode()) <= INLINE_CHARACTERS
        except UnicodeEncodeError:
            return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _missing(head: Item, ids: Sequence[str]) -> CorruptItemError:
    return CorruptItemError(
        f"the value {ids[0]!r}, which it refers to, is gone; go on from an earlier checkpoint",
        collection=head.collection,
        item_id=head.id,
    )
