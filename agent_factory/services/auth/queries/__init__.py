"""Every statement over accounts, users, keys and sessions."""
