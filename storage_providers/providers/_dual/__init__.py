"""What `DualWriteProvider` is made of."""
