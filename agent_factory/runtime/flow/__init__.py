"""Runs workflows: walks the graph, keeps the journal, waits without holding anything."""
