"""Coverage-guided fuzzing of what strangers write: `python -m fuzz.expressions`, `python -m fuzz.definitions`."""
