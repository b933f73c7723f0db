"""The doors of the organisations room."""
