"""Organisations: the tenants (S142)."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from agent_factory.database.base import Base, Created, Identified


class OrganizationRow(Identified, Created, Base):
    """An organisation; it sees itself and no other."""

    __tablename__ = "organizations"

    name: Mapped[str] = mapped_column(String(255))
    domain: Mapped[str | None] = mapped_column(String(255))
    plan: Mapped[str] = mapped_column(String(50), default="starter", server_default="starter")
