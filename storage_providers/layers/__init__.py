"""Layers: concerns that wrap a provider and are one."""

from storage_providers.layers._layer import Call, Layer, compose
from storage_providers.layers.offload import Offload
from storage_providers.layers.scope import Scope

__all__ = ["Call", "Layer", "Offload", "Scope", "compose"]
