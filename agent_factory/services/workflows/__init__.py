"""Workflows: definitions, versions, their life cycle, and the runs that they start."""
