"""What `Offload` is made of: which fields leave, what stays in their place, where they go."""
