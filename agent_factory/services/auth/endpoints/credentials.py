"""What endpoints ask for besides: who verifies credentials in this process."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from agent_factory.services.auth.service import Credentials


async def _credentials(connection: HTTPConnection) -> Credentials:
    return connection.app.state.credentials


CredentialsDep = Annotated[Credentials, Depends(_credentials)]
