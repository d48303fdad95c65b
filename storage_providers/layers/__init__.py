"""Layers: concerns that wrap a provider and are one."""

from storage_providers.layers._layer import Call, Layer, below_layers, compose
from storage_providers.layers.offload import Offload
from storage_providers.layers.scope import Scope, stored_name

__all__ = ["Call", "Layer", "Offload", "Scope", "below_layers", "compose", "stored_name"]
