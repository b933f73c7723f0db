"""What travels about models."""

from agent_factory.api.schemas import Output


class ModelOut(Output):
    """A model that agents here can use; `context_window` in tokens, where it is known."""

    id: str
    provider: str
    context_window: int | None


class ModelList(Output):
    """Every model of every configured vendor."""

    data: list[ModelOut]


class ProviderOut(Output):
    """A vendor, whether it can be used, and what to do where it cannot."""

    name: str
    configured: bool
    hint: str


class ProviderList(Output):
    """Every vendor that is known."""

    data: list[ProviderOut]
