"""What operators and browsers ask for: health, readiness, metrics, the first page and the reference."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from agent_factory.api.access import open_to_all
from agent_factory.api.dependencies import PlatformDep
from agent_factory.api.pages import POLICY, first_page, reference_page
from agent_factory.api.routing import router
from agent_factory.api.schemas import Output
from agent_factory.core.model import UnknownModel

operations = router("", "operations")

_PAGE_POLICY = {"Content-Security-Policy": POLICY}


class Health(Output):
    """Whether the process lives, or is ready for work."""

    status: str


@operations.get("/health")
@open_to_all("the probe of whatever runs the process", limited=False)
async def health() -> Health:
    """Tell that the process lives, whatever else is away."""
    return Health(status="ok")


@operations.get("/ready")
@open_to_all("the probe of whatever sends it requests", limited=False)
async def ready(platform: PlatformDep) -> Health:
    """Tell whether requests can be served; 503 while PostgreSQL is away."""
    await platform.database.ping()
    return Health(status="ready")


@operations.get("/metrics", include_in_schema=False)
@open_to_all("read by Prometheus, from within the operator's network")
async def metrics(request: Request) -> Response:
    """Give the process's metrics to Prometheus."""
    text, media_type = request.app.state.metrics.exposition()
    return Response(text, media_type=media_type)


@operations.get("/openapi.json", include_in_schema=False)
@open_to_all("the document says what there is, not what is in it")
async def openapi(request: Request) -> Response:
    """Give the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@operations.get("/", include_in_schema=False)
@open_to_all("the page says what runs here")
async def first(request: Request, platform: PlatformDep) -> Response:
    """Show what runs here."""
    models = platform.resources.models
    try:
        default = (await models.find("default")).name
    except UnknownModel as problem:
        default = problem.detail
    return HTMLResponse(first_page(request.app.version, default, models.status()), headers=_PAGE_POLICY)


@operations.get("/docs", include_in_schema=False)
@open_to_all("the document, to be read by people")
async def docs(request: Request) -> Response:
    """Show the reference of every operation."""
    return HTMLResponse(reference_page(request.app.openapi()), headers=_PAGE_POLICY)
