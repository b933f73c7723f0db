"""Every other vendor, by the models of pydantic-ai."""

from importlib import import_module
from importlib.util import find_spec

from agent_factory.core.model import ModelProvider, UnknownModel
from agent_factory.providers import Access
from agent_factory.security.egress import Egress


class PydanticAI:
    """The optional adapter; its models are named `pydantic-ai:vendor:model`.

    Vendors' own clients carry its requests, to hosts and with credentials that
    the operator's environment names; the guarded client does not see them.
    """

    name = "pydantic-ai"
    needs = "Install agent-factory[vendors] and set the vendor's own variables."

    def build(self, access: Access, egress: Egress) -> ModelProvider:  # noqa: ARG002 - its clients go out by themselves
        """Make the adapter, importing what it needs; `UnknownModel` where that is not installed."""
        if find_spec("pydantic_ai") is None:
            raise UnknownModel(f"pydantic-ai is not installed. {self.needs}")
        return import_module("agent_factory.providers.vendors.adapter").Adapter(access.name)


plugin = PydanticAI()
