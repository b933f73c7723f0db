"""A workflow run that this process works on."""

import asyncio
from uuid import UUID

from agent_factory.runtime.hub import EventId
from agent_factory.runtime.queue.feed import Feed
from agent_factory.runtime.queue.fires import Fires


class LiveFlow:
    """One activation in progress."""

    def __init__(self, run_id: UUID, organization_id: UUID) -> None:
        """Start without an event; `opened` makes it watchable."""
        self.id = run_id
        self.organization_id = organization_id
        self.feed: Feed | None = None
        self.task: asyncio.Task[None] | None = None
        self.fires: Fires | None = None
        self.leaving = False

    def opened(self, last: int) -> Feed:
        """Begin to tell events, after `last` recorded steps."""
        self.feed = Feed(EventId(last + 1, 0))
        return self.feed

    def leave(self) -> None:
        """Stop working on the run without ending it: it ended elsewhere, or goes on there."""
        if self.leaving:
            return  # cancelled again, it would no longer wait for what it began to end
        self.leaving = True
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        """Tell watchers that there is no more to come from here."""
        if self.feed is not None:
            self.feed.close()
