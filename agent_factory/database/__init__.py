"""PostgreSQL: the embedded server, sessions that see one organisation, models and migrations."""
