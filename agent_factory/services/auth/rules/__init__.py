"""Pure decisions about who may come in."""
