"""What every table shares: names of constraints, ids, and the organisation that owns a row."""

from datetime import datetime
from decimal import Decimal
from typing import Any, NewType, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, LargeBinary, MetaData, Numeric, Select, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7

Sealed = NewType("Sealed", bytes)
"""A value that `security.encryption.Vault` has encrypted for its table, column and row; the type of its column too."""


PLAIN = "plain"
"""In the `info` of a sealed column, names the column that held the value in the clear, until it is sealed."""


class SealedBytes(LargeBinary):
    """A column that holds nothing but sealed values, and that a rotation of keys seals anew."""


class Base(DeclarativeBase):
    """The declarative base: plain Python types say what a column is."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "idx_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class, and forbids ClassVar here
        str: Text,
        bytes: LargeBinary,
        Sealed: SealedBytes,
        datetime: DateTime(timezone=True),
        Decimal: Numeric,
        UUID: Uuid,
        list[str]: ARRAY(Text),
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        Any: JSONB(none_as_null=True),
    }


class Identified:
    """A row with a time-ordered id of its own."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-2)


class Owned:
    """A row that belongs to one organisation; row-level security hides it from all others."""

    organization_id: Mapped[UUID] = mapped_column(sort_order=-1)


class Created:
    """A row that knows when it came to be."""

    created_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now(), sort_order=90)


class Updated(Created):
    """A row that also knows when it was last changed."""

    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now, server_default=func.now(), sort_order=91)


class HasOrganization(Protocol):
    """Whoever acts in one organisation, such as an `Actor`."""

    @property
    def organization_id(self) -> UUID:
        """The organisation."""
        ...


M = TypeVar("M", bound=Owned)


def owned_by(owner: HasOrganization, model: type[M]) -> Select[M]:
    """Start a query for the rows of a model that belong to the actor's organisation (S141)."""
    return select(model).where(model.organization_id == owner.organization_id)
