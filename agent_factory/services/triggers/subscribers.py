"""What the triggers room hears of."""

from functools import partial

from agent_factory.runtime.platform import Platform
from agent_factory.services.triggers import service
from agent_factory.services.workflows.service import Moved


def subscribe(platform: Platform) -> None:
    """Follow the lives of workflows, and hear of every event."""
    platform.news.on(Moved, partial(service.follow, platform.vault))
    platform.queue.subscribers.append(partial(service.hear, platform))
