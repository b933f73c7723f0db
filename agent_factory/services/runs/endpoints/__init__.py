"""HTTP for sessions and runs."""
