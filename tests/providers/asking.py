"""Requests to models, made short."""

import json
from typing import Any

import msgspec

from agent_factory.core.message import user
from agent_factory.core.model import ModelRequest


def ask(model: str, said: dict[str, Any] | str = "hi", **more: Any) -> ModelRequest:
    """Make a request with one user's message, a directive of the model server or plain words."""
    text = said if isinstance(said, str) else json.dumps(said)
    return msgspec.structs.replace(ModelRequest(model, (user(text),), timeout=10.0), **more)
