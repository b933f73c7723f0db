"""Agents: definitions, versions and their life cycle."""
