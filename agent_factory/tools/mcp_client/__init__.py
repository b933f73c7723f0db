"""The client's side of MCP: how a connection is opened, guarded, held and let go."""
