"""The wire formats that vendors share."""
