"""Layers: concerns that wrap a provider and are one."""

from storage_providers.layers._layer import Call, Layer, compose
from storage_providers.layers.scope import Scope

__all__ = ["Call", "Layer", "Scope", "compose"]
