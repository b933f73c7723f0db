"""PostgreSQL: the embedded server, sessions, models and migrations."""
