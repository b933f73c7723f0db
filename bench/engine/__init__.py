"""Durable steps of several engines, side by side on this machine."""
