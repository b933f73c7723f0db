"""Named, versioned definitions and their life: what agents and workflows have in common (decision 7)."""
