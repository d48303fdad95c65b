"""For authors of providers and layers: the conformance suite, strategies and faults."""
