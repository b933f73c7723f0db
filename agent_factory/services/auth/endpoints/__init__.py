"""HTTP of who may come in: accounts, tokens, keys and people."""
