"""An application with a worker over the model server."""

from collections.abc import AsyncGenerator

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from agent_factory.runtime.models import Endpoint, ModelsSettings
from tests.doubles.fixtures import ModelServer
from tests.services.workflows.parts import QUICK
from tests.serving import opened, settings_for


@pytest.fixture(scope="module")
async def app(
    database_url: str, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[FastAPI, None]:
    """Every room and a worker in this process, with models of the model server."""
    models = ModelsSettings(
        endpoints={"double": Endpoint(url=model_server.url)},
        openai_api_key=SecretStr("key"),
        openai_base_url=model_server.url,
    )
    storage = {"url": f"file://{tmp_path_factory.mktemp('objects')}"}
    async with opened(settings_for(database_url, models=models, queue=QUICK, storage=storage)) as running:
        yield running
