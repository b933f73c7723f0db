"""Systems outside that the product talks to."""
