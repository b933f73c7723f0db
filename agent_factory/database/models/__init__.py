"""Tables, one file an owner."""
