"""Who may come in: users and API keys."""
