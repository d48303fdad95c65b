"""What agents keep, on any provider."""
