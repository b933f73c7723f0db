"""Row-level security as every tenant table has it, for migrations."""

from alembic import op

ALL = "SELECT, INSERT, UPDATE, DELETE"
APPENDED = "SELECT, INSERT, DELETE"
CURRENT = "nullif(current_setting('app.org_id', true), '')::uuid"
"""The organisation of the transaction; null, so that no row matches, when there is none."""


def wall(table: str, rights: str, of_system: str | None = None, *, column: str = "organization_id") -> None:
    """Put a table behind row-level security.

    `rights` are those of requests over their organisation's rows, `of_system`
    those of authentication and the engine over all rows, none if absent.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} TO af_app USING ({column} = {CURRENT})")
    op.execute(f"GRANT {rights} ON {table} TO af_app")
    if of_system:
        op.execute(f"CREATE POLICY system ON {table} TO af_system USING (true)")
        op.execute(f"GRANT {of_system} ON {table} TO af_system")
