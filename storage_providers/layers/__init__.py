"""Layers: concerns that wrap a provider and are one."""

from storage_providers.layers._layer import Call, Layer, compose

__all__ = ["Call", "Layer", "compose"]
