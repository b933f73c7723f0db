"""How the built-in demo understands a message: rules, no language model."""
