"""Reads agents from files: a blueprint, or a single agent, as YAML or JSON."""
