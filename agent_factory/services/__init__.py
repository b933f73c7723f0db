"""The domains, one folder each, all with the same inside."""
