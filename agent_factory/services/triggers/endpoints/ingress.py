"""Where webhooks listen: without credentials of ours, for senders have none (S90, S100)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from agent_factory.api.access import open_to_all
from agent_factory.api.dependencies import PlatformDep
from agent_factory.api.routing import Guarded, router
from agent_factory.kit import ids
from agent_factory.services.triggers import service
from agent_factory.services.triggers.rules.configs import PREFIX
from agent_factory.services.triggers.rules.requests import Call
from agent_factory.services.triggers.schemas import WebhookAccepted

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

_ANSWERS: dict[int | str, dict[str, Any]] = {
    **router("", "").responses,
    200: {"model": WebhookAccepted, "description": "The run has ended."},
    202: {"model": WebhookAccepted, "description": "The run goes on."},
}

HookPath = Annotated[str, Path(max_length=500, description="The path of the webhook.")]
Wait = Annotated[
    float | None, Query(ge=0, le=60, allow_inf_nan=False, description="Seconds to wait for the end of the run.")
]


@open_to_all("senders have no credentials of ours; a trigger may ask for signatures")
async def receive(
    request: Request, platform: PlatformDep, path: HookPath, response: Response, wait: Wait = None
) -> WebhookAccepted:
    """Start the workflow whose webhook listens here.

    The body is JSON, a form or text. A repetition with the same `webhook-id`
    or `Idempotency-Key` has the run of the first request. A webhook that asks
    for signatures takes those of Standard Webhooks or of GitHub.
    """
    call = Call(
        method=request.method,
        path=path,
        query=request.scope["query_string"].decode("latin-1"),
        headers={name: request.headers[name] for name in request.headers},
        body=b"" if request.method == "GET" else await request.body(),
    )
    received = await service.receive(platform, call, wait)
    response.status_code = 200 if received.ended else 202
    response.headers["Location"] = f"/api/v1/runs/{ids.encode('run', received.run_id)}"
    return WebhookAccepted.model_validate(received)


ingress = APIRouter(tags=["webhooks"], redirect_slashes=False, route_class=Guarded)
# Not the house's idempotent route, which keeps answers by organisation where a sender has an Idempotency-Key.
for method in METHODS:
    ingress.add_api_route(
        f"{PREFIX}{{path:path}}",
        receive,
        methods=[method],
        status_code=202,
        responses=_ANSWERS,
        operation_id=f"webhooks_receive_{method.lower()}",
        summary=f"Receive {method}",
    )
