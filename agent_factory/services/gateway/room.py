"""What the gateway shows."""

from agent_factory.api.room import Room
from agent_factory.services.gateway.endpoints import chat_completions, embeddings, mcp, openai_models, responses

room = Room(
    name="gateway",
    routers=(openai_models.router, chat_completions.router, responses.router, embeddings.router, mcp.router),
)
