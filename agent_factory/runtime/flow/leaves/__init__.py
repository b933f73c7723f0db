"""The tasks that touch the world, one file a type.

What a leaf does below its path is recorded there, so that a restart repeats
only what was in flight; its own end is recorded by the interpreter.
"""

from collections.abc import Mapping

from agent_factory.runtime.flow.context import Leaf
from agent_factory.runtime.flow.leaves.agent import agent
from agent_factory.runtime.flow.leaves.ai_inference import ai_inference
from agent_factory.runtime.flow.leaves.code import code
from agent_factory.runtime.flow.leaves.emit import emit
from agent_factory.runtime.flow.leaves.http import http
from agent_factory.runtime.flow.leaves.tool import tool

LEAVES: Mapping[str, Leaf] = {
    "ai_inference": ai_inference,
    "agent": agent,
    "tool": tool,
    "http": http,
    "code": code,
    "emit": emit,
}
"""Every task type with an effect."""
