"""What travels: the request and response bodies of each protocol."""
