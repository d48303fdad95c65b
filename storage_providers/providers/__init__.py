"""The places to keep documents, one module each."""
