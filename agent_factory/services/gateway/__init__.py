"""Doors that speak protocols which others already have clients for: OpenAI and MCP."""
