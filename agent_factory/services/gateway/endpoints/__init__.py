"""The doors of the gateway, one file a protocol."""
