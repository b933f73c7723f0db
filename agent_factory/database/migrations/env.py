"""How Alembic runs our revisions: over the connection that it is given, one transaction each."""

from alembic import context

from agent_factory.database import models
from agent_factory.database.base import Base
from agent_factory.database.migrations import in_models

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata if models else None,
    compare_server_default=True,
    include_name=in_models,
    transaction_per_migration=True,
)

with context.begin_transaction():
    context.run_migrations()
