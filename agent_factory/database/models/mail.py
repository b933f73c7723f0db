"""Letters that wait to be sent."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified, Sealed


class LetterRow(Identified, Created, Base):
    """A letter, sealed, for it may hold what lets its reader in; it is deleted once it is sent.

    Requests may put letters in and see none.
    """

    __tablename__ = "mail_outbox"

    letter: Mapped[Sealed]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    due_at: Mapped[datetime]

    __table_args__ = (Index("idx_mail_outbox_due_at", "due_at"),)
