"""Runs what core describes: the turn, memory, guardrails, limits and the journal."""
