"""Runs users' code apart from everything else, in four tiers: snippet, sandbox, container, kubernetes (S92, S93)."""

from agent_factory.runtime.sandbox.job import Done, Job, TierStatus
from agent_factory.runtime.sandbox.sandbox import Sandbox
from agent_factory.runtime.sandbox.settings import SandboxSettings

__all__ = ["Done", "Job", "Sandbox", "SandboxSettings", "TierStatus"]
