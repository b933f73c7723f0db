"""What travels about who may come in."""
