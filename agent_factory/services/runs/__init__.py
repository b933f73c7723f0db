"""Sessions, their messages, and the runs that answer them."""
