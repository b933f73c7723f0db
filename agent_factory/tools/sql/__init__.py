"""The dialects of `sql_query`, one file each."""
