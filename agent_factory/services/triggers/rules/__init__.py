"""Pure decisions over triggers."""
