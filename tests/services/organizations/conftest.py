"""An application that believes nothing, and people to try it with."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.database.models import UserRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import ROLES
from tests.services.organizations.parts import Hire
from tests.serving import Client, Sign, opened, settings_for


@pytest.fixture(scope="module")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """Every room; what changes is seen at the next request."""
    tools = {"workspace": tmp_path_factory.mktemp("files")}
    settings = settings_for(database_url, tools=tools, auth={"believed_seconds": 0, "registration": "open"})
    async with opened(settings) as running:
        yield running


@pytest.fixture
def hire(sign: Sign, database: Database) -> Hire:
    """Make people of an organisation, who act by keys of theirs."""

    async def make(owner: Client, role: str = "developer", **more: Any) -> Client:
        user_id = uuid7()
        row = UserRow(
            id=user_id,
            organization_id=owner.actor.organization_id,
            email=f"{user_id}@example.com",
            name=role,
            role=role,
            **more,
        )
        async with database.system() as session:
            session.add(row)
        rights = ROLES.get(role, frozenset())
        return await sign(Actor(organization_id=owner.actor.organization_id, user_id=user_id, role=role, rights=rights))

    return make
