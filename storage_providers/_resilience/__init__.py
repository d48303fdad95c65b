"""The parts of `storage_providers.resilience`, which is where drivers import them from."""
