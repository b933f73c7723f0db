"""How an OpenAPI 3 document is read, and how a request is made of an operation."""
