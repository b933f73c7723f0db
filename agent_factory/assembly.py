"""The only file that knows every room: it opens what a process needs and joins the rooms to one application."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from agent_factory.api.access import bar_address, count_address, on_unmatched
from agent_factory.api.cors import Origins
from agent_factory.api.direct import Direct
from agent_factory.api.document import document
from agent_factory.api.middleware import BodyGuard, Entrance
from agent_factory.api.operations import operations
from agent_factory.api.origins import origins
from agent_factory.api.problems import on_problem, on_validation
from agent_factory.api.room import Room
from agent_factory.connectors.mail.post import Post
from agent_factory.core.tool import ToolFactory
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.purging import Purge
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import Invalid, Problem
from agent_factory.kit.redaction import Redactor, secret_values
from agent_factory.kit.version import __version__
from agent_factory.monitoring.metrics import Metrics
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.doors import doors
from agent_factory.runtime.engine import Engine
from agent_factory.runtime.flow.leaves import LEAVES
from agent_factory.runtime.home import FirstOrganization
from agent_factory.runtime.models import Models
from agent_factory.runtime.payloads import StoredPayloads
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.worker import Worker
from agent_factory.runtime.sandbox.sandbox import Sandbox
from agent_factory.runtime.scheduler.scheduler import Scheduler
from agent_factory.runtime.stored import StoreUse
from agent_factory.security.audit import Lookout, Trail
from agent_factory.security.egress import Egress
from agent_factory.security.encryption import open_vault
from agent_factory.security.encryption.rotation import keep_up_forever
from agent_factory.security.passwords import Passwords
from agent_factory.security.rate_limit import limiting
from agent_factory.security.tokens import Issuers, Tokens
from agent_factory.services.agents.room import room as agents
from agent_factory.services.auth.room import room as auth
from agent_factory.services.auth.service import Credentials
from agent_factory.services.billing.room import room as billing
from agent_factory.services.gateway.room import room as gateway
from agent_factory.services.governance.room import room as governance
from agent_factory.services.integrations.room import room as integrations
from agent_factory.services.integrations.service import StoredSecrets
from agent_factory.services.models.room import room as models
from agent_factory.services.organizations.room import room as organizations
from agent_factory.services.runs.room import room as runs
from agent_factory.services.triggers.room import room as triggers
from agent_factory.services.triggers.service import fire
from agent_factory.services.workflows.room import room as workflows
from agent_factory.settings import Settings
from agent_factory.storage.store import Store

ROOMS: tuple[Room, ...] = (
    gateway,
    triggers,
    workflows,
    runs,
    agents,
    integrations,
    models,
    billing,
    governance,
    organizations,
    auth,
)
"""Every room; the first ones are matched first."""


class UnknownRoom(Invalid):
    """A name in AF_SERVICES that no room has."""

    code = "unknown_room"
    title = "Unknown room"


def chosen(names: Iterable[str] | None) -> tuple[Room, ...]:
    """Pick the rooms of this process, all for None; an unknown name is `UnknownRoom`."""
    if names is None:
        return ROOMS
    wanted = set(names)
    known = {room.name for room in ROOMS}
    if unknown := sorted(wanted - known):
        raise UnknownRoom(f"AF_SERVICES names {', '.join(unknown)}; the rooms are: {', '.join(sorted(known))}.")
    return tuple(room for room in ROOMS if room.name in wanted)


def make_app(settings: Settings, redactor: Redactor | None = None) -> FastAPI:
    """Make the application of the chosen rooms; nothing is opened before its lifespan begins.

    What `redactor` knows to be secret is masked in answers and logs; by default it is made here.
    """
    redactor = redactor or Redactor(secret_values(settings))
    rooms = chosen(settings.services)
    metrics = Metrics()
    app = FastAPI(
        title="Agent Factory",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda app: _life(app, settings, rooms, redactor),
        exception_handlers={Problem: on_problem, RequestValidationError: on_validation, HTTPException: on_unmatched},
    )
    app.state.metrics = metrics
    app.state.redactor = redactor
    # Routes are joined flat, for an included router is matched anew, by way of contexts, at every request.
    for room in rooms:
        for each in room.routers:
            app.router.routes.extend(each.routes)
    app.router.routes.extend(operations.routes)
    app.router.routes.extend(origins.routes)
    app.openapi = lambda: document(app)
    any_media = tuple(path for room in rooms for path in room.any_media)
    app.add_middleware(Direct, routes=app.router.routes)
    app.add_middleware(
        BodyGuard,
        max_body=settings.server.max_body,
        body_timeout=settings.server.body_timeout,
        any_media=any_media,
        bar=bar_address,
        count=count_address,
    )
    app.add_middleware(Entrance, settings=settings.server, metrics=metrics, log_requests=settings.logging.requests)
    return app


@asynccontextmanager
async def _life(
    app: FastAPI, settings: Settings, rooms: Iterable[Room], redactor: Redactor
) -> AsyncGenerator[None, None]:
    async with open_platform(settings, redactor, app.state.metrics) as platform, AsyncExitStack() as stack:
        credentials = Credentials(platform.database, platform.tokens, platform.issuers)
        stack.push_async_callback(credentials.close)
        app.state.platform = platform
        app.state.credentials = credentials
        app.state.authenticate = credentials.verify
        app.state.still_good = credentials.still_good
        app.state.origins = Origins(platform.database.pool)
        app.state.limiter = await stack.enter_async_context(
            limiting(settings.limits, settings.redis, platform.database.pool, workers=settings.server.workers)
        )
        app.state.recordings = set[asyncio.Task[None]]()
        stack.push_async_callback(_stop_all, app.state.recordings)
        for room in rooms:
            if room.lifespan is not None:
                await stack.enter_async_context(room.lifespan(platform))
        yield


@asynccontextmanager
async def open_platform(
    settings: Settings, redactor: Redactor | None = None, metrics: Metrics | None = None
) -> AsyncGenerator[Platform, None]:
    """Open what one process needs, with a worker in it unless the settings say no.

    With a database URL, nothing waits for PostgreSQL. `metrics` counts what the process does by itself.
    """
    redactor = redactor or Redactor(secret_values(settings))
    async with AsyncExitStack() as stack:
        url = settings.database.url or await _embedded(settings, stack)
        database = Database(url, settings.database)
        stack.push_async_callback(database.close)
        vault = open_vault(settings.encryption, database.pool, settings.database.data_dir)
        trail = Trail(database, vault, settings.audit, settings.database.data_dir / "audit")
        if settings.audit.sealer:
            sealer = trail.sealer(metrics)
            stack.push_async_callback(sealer.finish)
            _keep(stack, sealer=sealer.run_forever())
        lookout = Lookout(database.pool, settings.audit)
        stack.push_async_callback(lookout.close)
        egress = Egress(settings.egress)
        stack.push_async_callback(egress.close)
        workspace = settings.tools.workspace or settings.database.data_dir / "files"
        store = Store(settings.storage, settings.database.data_dir / "objects")

        def have_room(organization_id: UUID, count: int) -> AbstractAsyncContextManager[None]:
            return use.room(organization_id, count)

        opened = doors(
            settings.tools,
            egress,
            workspace,
            store=StoredSecrets(database, vault),
            redactor=redactor,
            home=FirstOrganization(database.pool),
            lookout=lookout,
            room=have_room,
        )
        resources = _resources(settings, egress, opened, redactor)
        engine = Engine(database, resources, settings.engine, settings.quotas)
        stack.push_async_callback(engine.close)
        _keep(stack, reaper=engine.reap_forever(), ledger=engine.ledger.keep_forever())
        use = StoreUse(database.pool, engine.ledger, store, workspace)

        def payloads(organization_id: UUID) -> StoredPayloads:
            return StoredPayloads(store, str(organization_id), use)

        queue = Queue(database, settings.queue, payloads, engine.ledger)
        mail = Post(database.pool, vault, settings.mail)
        passwords = Passwords(settings.passwords)
        grace = timedelta(days=settings.organizations.purge_days)
        stack.callback(passwords.close)
        platform = Platform(
            database=database,
            engine=engine,
            queue=queue,
            resources=resources,
            vault=vault,
            trail=trail,
            tokens=Tokens(database.pool, vault, settings.auth),
            issuers=_issuers(settings, egress, stack),
            mail=mail,
            passwords=passwords,
            registration=settings.auth.registration,
            grace=grace,
        )
        for room in ROOMS:
            if room.subscribe is not None:
                room.subscribe(platform)
        if settings.queue.worker:
            sandbox = Sandbox(settings.sandbox)
            stack.push_async_callback(sandbox.close)
            worker = Worker(
                queue,
                database,
                resources,
                settings.queue,
                leaves=LEAVES,
                store=store,
                sandbox=sandbox,
                metrics=metrics,
            )
            stack.push_async_callback(worker.close, settings.queue.grace)
            _keep(stack, worker=worker.run_forever())
            purge = Purge(database, store, workspace, grace)
            _keep(
                stack,
                storage=use.count_forever(),
                keys=keep_up_forever(database.pool, vault),
                purge=purge.keep_forever(),
            )
        if settings.scheduler.enabled:
            scheduler = Scheduler(database, partial(fire, platform), settings.scheduler)
            _keep(stack, scheduler=scheduler.run_forever())
        if settings.mail.deliver:
            _keep(stack, mail=mail.deliver_forever())
        yield platform


def _resources(settings: Settings, egress: Egress, opened: dict[str, Any], redactor: Redactor) -> Resources:
    tools = Catalog[ToolFactory]("agent_factory.tools")
    return Resources(models=Models(settings.models, egress), tools=tools, doors=opened, redactor=redactor)


def _issuers(settings: Settings, egress: Egress, stack: AsyncExitStack) -> Issuers:
    issuers = Issuers(settings.auth, egress)
    stack.push_async_callback(issuers.close)
    return issuers


async def _embedded(settings: Settings, stack: AsyncExitStack) -> str:
    server = Server(settings.database.data_dir / "postgres")
    url = await server.start()
    stack.push_async_callback(server.stop)
    await migrate(url)
    return url


def _keep(stack: AsyncExitStack, **works: Coroutine[Any, Any, None]) -> None:
    """Let works go on until the stack is left, each as a task of that name."""
    for name, work in works.items():
        stack.push_async_callback(_stop, asyncio.create_task(work, name=name))


async def _stop_all(tasks: set[asyncio.Task[None]]) -> None:
    for task in list(tasks):
        await _stop(task)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
