"""What processes share beside PostgreSQL."""
