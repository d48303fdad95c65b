"""What `Migration` is made of: one module a step."""
