"""Who is calling, what may leave, and what is written down about it."""
