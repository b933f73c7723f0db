"""Mail: what is posted in a transaction is sent after it."""
