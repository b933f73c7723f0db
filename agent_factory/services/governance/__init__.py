"""What an organisation can show of what happened in it: its audit trail, and that nobody touched it."""
