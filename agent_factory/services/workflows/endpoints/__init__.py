"""HTTP for workflows and for what begins their runs."""
