"""The tokens of a call: as its vendor tells them where that can be, else by our own count."""

import msgspec

from agent_factory.core.model import ModelRequest, ModelResponse, Usage
from agent_factory.runtime.memory import count_tokens

_MARGIN = 1.1
"""Our count of a request leans upwards already; vendors add marks of their own."""

MOST_OF_A_CALL = 10**9
"""Tokens of one call; whoever tells of more is mistaken."""


def request_tokens(request: ModelRequest) -> int:
    """Count what a request carries; leans upwards."""
    carried = msgspec.json.encode((request.tools, request.output)).decode()
    counted = count_tokens(request.instructions) + count_tokens(carried) + sum(map(count_tokens, request.messages))
    return int(counted * _MARGIN) + 1


def text_tokens(*texts: str) -> int:
    """Count some texts by themselves; leans upwards."""
    return int(sum(map(count_tokens, texts)) * _MARGIN) + 1


def counted(request: ModelRequest, response: ModelResponse) -> ModelResponse:
    """Give an answer with a usage to be counted: what its vendor does not tell, or cannot mean, is estimated."""
    told = response.usage
    sent = believed(told.input_tokens) or request_tokens(request)
    made = believed(told.output_tokens) or count_tokens(response.message)
    cached = min(believed(told.cached_tokens), sent)
    written = min(believed(told.cache_write_tokens), sent - cached)
    usage = Usage(sent, made, cached, written, min(believed(told.reasoning_tokens), made))
    return response if usage == told else msgspec.structs.replace(response, usage=usage)


def believed(tokens: int) -> int:
    """Give a number of tokens that a vendor tells, 0 for one that cannot be (abuse 74)."""
    return tokens if 0 <= tokens <= MOST_OF_A_CALL else 0
