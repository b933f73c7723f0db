"""Every other vendor, by the models of pydantic-ai."""

from agent_factory.core.model import ModelProvider
from agent_factory.providers import Access
from agent_factory.security.egress import Egress


class PydanticAI:
    """The optional adapter; its models are named `pydantic-ai:vendor:model`."""

    name = "pydantic-ai"
    needs = "Install agent-factory[vendors] and set the vendor's own variables."

    def build(self, access: Access, egress: Egress) -> ModelProvider:
        """Make the adapter."""
        raise NotImplementedError


plugin = PydanticAI()
