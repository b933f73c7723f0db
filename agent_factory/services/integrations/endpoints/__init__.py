"""The integrations room's doors."""
