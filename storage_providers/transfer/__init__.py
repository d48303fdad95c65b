"""Moving whole collections: archives, legacy data."""
