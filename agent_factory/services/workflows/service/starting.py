"""Runs of workflows, begun: by people, by triggers, or of a definition that is kept nowhere (S83, S90)."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.kit.errors import FieldError
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.queue.queue import StartRun
from agent_factory.security import rbac
from agent_factory.security.auth import Actor, system
from agent_factory.services.definitions import service as definitions
from agent_factory.services.definitions.service import Wanted
from agent_factory.services.organizations import service as organizations
from agent_factory.services.workflows.errors import InputInvalid
from agent_factory.services.workflows.service.checking import checked
from agent_factory.services.workflows.service.kind import WORKFLOW
from agent_factory.services.workflows.service.naming import check_names
from agent_factory.services.workflows.service.pinning import Pinned, pin, pin_definition

_NOBODY = UUID(int=0)
"""Acts where no person does, such as for a schedule; nothing is looked up by it."""


class Started(msgspec.Struct, frozen=True):
    """A run that is committed; `new` is false where there was one with its id already."""

    run_id: UUID
    new: bool
    workflow_id: UUID | None
    version: int | None


async def start(
    platform: Platform,
    organization_id: UUID,
    ref: str | UUID,
    *,
    document: Any = None,  # noqa: ANN401 - any JSON value
    version: Wanted = None,
    user_id: UUID | None = None,
    priority: int = 0,
    trigger: str = "manual",
    source: str = "api",
    run_id: UUID | None = None,
    key_id: UUID | None = None,
    asker: Actor | None = None,
) -> Started:
    """Queue a run of a workflow with everything that it names pinned; it is committed when this returns.

    `ref` is an id or a name, `version` a number, `"latest"`, or None for the
    deployed one. `document` is the run's input. `trigger` says what started it:
    `manual`, `webhook`, `cron`, `event`; without a person, `user_id` is None.
    With a `run_id` (a UUIDv7, for runs lie by its time) a second start with the
    same one changes nothing, and says so by `new`.

    An `asker` needs `workflow:run` of it; a trigger runs what its author may,
    and what limits the key that made it (`key_id`) limits its runs.

    Raises `Denied`, `OrganizationSuspended`, `WorkflowNotFound`, `WorkflowNotDeployed`, `WorkflowArchived`,
    `VersionNotFound`, `NamesInvalid`, or `InputInvalid` with pointers below
    `/input`.
    """
    actor = system(organization_id, user_id or _NOBODY)
    async with platform.database.read(organization_id) as session:
        if asker is None:
            await organizations.check_active(session, organization_id)
        else:
            await definitions.check_use(session, asker, WORKFLOW, ref)
        pinned = await pin(session, actor, ref, version)
    about = _About(
        organization_id, document, user_id, priority, trigger, source, run_id, asker.key_id if asker else key_id
    )
    return await _queue(platform, pinned, about)


async def start_definition(
    platform: Platform,
    actor: Actor,
    definition: dict[str, Any],
    *,
    document: Any = None,  # noqa: ANN401 - any JSON value
    priority: int = 0,
    source: str = "api",
) -> Started:
    """Queue a run of a definition that is kept with its run only; raises `Invalid` with pointers, as `start` does.

    Whoever brings a definition needs `workflow:create` beside `workflow:run`,
    and has to be allowed to run all that it names; otherwise it is `Denied`.
    """
    rbac.check(actor, "workflow:run")
    rbac.check(actor, "workflow:create")
    async with platform.database.read(actor.organization_id) as session:
        read = await checked(session, actor, platform.resources, definition)
        await check_names(session, actor, definition)
        pinned = await pin_definition(session, actor, read)
    about = _About(actor.organization_id, document, actor.user_id, priority, "manual", source, None, actor.key_id)
    return await _queue(platform, pinned, about)


class _About(msgspec.Struct, frozen=True):
    organization_id: UUID
    document: Any
    user_id: UUID | None
    priority: int
    trigger: str
    source: str
    run_id: UUID | None
    key_id: UUID | None


async def _queue(platform: Platform, pinned: Pinned, about: _About) -> Started:
    check_input(pinned, about.document)
    started = await platform.queue.start(
        StartRun(
            organization_id=about.organization_id,
            flow=pinned.flow,
            input=about.document,
            agents=pinned.agents,
            flows=pinned.flows,
            id=about.run_id,
            workflow_id=pinned.workflow_id,
            workflow_version=pinned.version,
            user_id=about.user_id,
            key_id=about.key_id,
            priority=about.priority,
            trigger=about.trigger,
            source=about.source,
        )
    )
    return Started(started.id, started.new, pinned.workflow_id, pinned.version)


def check_input(pinned: Pinned, document: Any) -> None:  # noqa: ANN401 - any JSON value
    """Raise `InputInvalid` unless a document meets the workflow's `input` schema."""
    faults = [] if pinned.flow.input is None else pinned.flow.input.faults(document)
    if faults:
        below = [FieldError(f"/input{e.pointer}", e.detail) for e in faults]
        raise InputInvalid(f"{len(faults)} fault(s) in the input.", errors=below)
