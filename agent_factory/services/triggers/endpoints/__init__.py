"""The triggers room's doors."""
