"""The optional adapter to pydantic-ai; only what stands here imports it."""
