"""What may be asked, by whom, how often (S20, S28, S191 to S195)."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agent_factory.kit.errors import Invalid
from agent_factory.security.rate_limit.rules import parse


def _sound(text: str) -> str:
    try:
        parse(text)
    except Invalid as fault:
        raise ValueError(f"{fault.detail} A limit {fault.errors[0].detail}.") from None
    return text


Rates = Annotated[str, AfterValidator(_sound)]
"""Such as `100/minute, 1000/hour`: all hold at once. Empty: no limit."""

_GLOBAL = "100/minute, 1000/hour"


class LimitsSettings(BaseModel):
    """The limits of requests; all that fit a request apply to it, so the strictest wins.

    `address`, `user` and `key` bound each network address, person and API key.
    `endpoints` bound each caller's requests to a path and everything below it,
    by the longest path that fits; `endpoint` those to any other route.
    `processes` is among how many processes the limits are divided while what
    they count in is away; without it, as many as were last seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    address: Rates = _GLOBAL
    user: Rates = _GLOBAL
    key: Rates = _GLOBAL
    endpoints: dict[str, Rates] = {
        "/api/v1/agents": "100/minute",
        "/api/v1/workflows/execute": "50/minute",
        "/api/v1/integrations": "200/minute",
    }
    endpoint: Rates = "60/minute"
    processes: int | None = Field(default=None, ge=1, le=10_000)
