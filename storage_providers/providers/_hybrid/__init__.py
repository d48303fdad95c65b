"""What `HybridProvider` is made of."""
