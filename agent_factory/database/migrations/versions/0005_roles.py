"""Teams, custom roles, grants and invitations; where an organisation is in its life."""

import sqlalchemy as sa
from alembic import op

from agent_factory.database.migrations.walls import ALL, wall

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# table: what authentication may do with all rows, beside requests with those of their organisation
TENANT_TABLES = {
    "roles": "SELECT",
    "teams": "SELECT",
    "team_members": "SELECT",
    "grants": "SELECT",
    "invitations": ALL,
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for column, kind in (("suspended_at", sa.DateTime(timezone=True)), ("suspended_by", sa.Uuid()), ("deleted_at", sa.DateTime(timezone=True))):
        op.add_column("organizations", sa.Column(column, kind, nullable=True))
    rename_roles()
    tables()
    for table, of_system in TENANT_TABLES.items():
        wall(table, ALL, of_system)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(TENANT_TABLES):
        op.drop_table(table)
    for column in ("deleted_at", "suspended_by", "suspended_at"):
        op.drop_column("organizations", column)


def rename_roles() -> None:
    """Name the roles of those who are there as the specification does."""
    # the owner of the tables is held back by their wall too
    op.execute("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE users SET role = 'organization_owner' WHERE role = 'owner'")
    op.execute("UPDATE users SET role = 'admin' WHERE role = 'organization_admin'")
    op.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")


def tables() -> None:
    op.create_table('roles',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.String(length=50), nullable=False),
    sa.Column('description', sa.Text(), server_default='', nullable=False),
    sa.Column('rights', sa.ARRAY(sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id'], ['organizations.id'], name=op.f('fk_roles_organization_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_roles')),
    sa.UniqueConstraint('organization_id', 'name', name=op.f('uq_roles_organization_id_name'))
    )
    op.create_table('teams',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), server_default='', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id'], ['organizations.id'], name=op.f('fk_teams_organization_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_teams')),
    sa.UniqueConstraint('organization_id', 'id', name=op.f('uq_teams_organization_id_id')),
    sa.UniqueConstraint('organization_id', 'name', name=op.f('uq_teams_organization_id_name'))
    )
    op.create_table('team_members',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('team_id', sa.Uuid(), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('role', sa.String(length=50), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id', 'team_id'], ['teams.organization_id', 'teams.id'], name=op.f('fk_team_members_organization_id_team_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'user_id'], ['users.organization_id', 'users.id'], name=op.f('fk_team_members_organization_id_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('team_id', 'user_id', name=op.f('pk_team_members'))
    )
    op.create_index('idx_team_members_user', 'team_members', ['organization_id', 'user_id'], unique=False)
    op.create_table('grants',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=True),
    sa.Column('team_id', sa.Uuid(), nullable=True),
    sa.Column('agent_id', sa.Uuid(), nullable=True),
    sa.Column('workflow_id', sa.Uuid(), nullable=True),
    sa.Column('rights', sa.ARRAY(sa.Text()), nullable=False),
    sa.Column('created_by', sa.Uuid(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint('num_nonnulls(user_id, team_id) = 1', name=op.f('ck_grants_receiver')),
    sa.CheckConstraint('num_nonnulls(agent_id, workflow_id) = 1', name=op.f('ck_grants_resource')),
    sa.ForeignKeyConstraint(['organization_id', 'user_id'], ['users.organization_id', 'users.id'], name=op.f('fk_grants_organization_id_user_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'team_id'], ['teams.organization_id', 'teams.id'], name=op.f('fk_grants_organization_id_team_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'agent_id'], ['agents.organization_id', 'agents.id'], name=op.f('fk_grants_organization_id_agent_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'workflow_id'], ['workflows.organization_id', 'workflows.id'], name=op.f('fk_grants_organization_id_workflow_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_grants'))
    )
    op.create_index('uq_grants_receiver_resource', 'grants', ['organization_id', 'user_id', 'team_id', 'agent_id', 'workflow_id'], unique=True, postgresql_nulls_not_distinct=True)
    op.create_index('idx_grants_team', 'grants', ['organization_id', 'team_id'], unique=False, postgresql_where=sa.text('team_id IS NOT NULL'))
    op.create_table('invitations',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('email', sa.String(length=255), nullable=False),
    sa.Column('role', sa.String(length=50), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('invited_by', sa.Uuid(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('accepted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id'], ['organizations.id'], name=op.f('fk_invitations_organization_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_invitations')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_invitations_token_hash'))
    )
    op.create_index('idx_invitations_organization', 'invitations', ['organization_id', 'id'], unique=False)
    op.create_index('uq_invitations_open', 'invitations', ['organization_id', sa.literal_column('lower(email)')], unique=True, postgresql_where=sa.text('accepted_at IS NULL AND revoked_at IS NULL'))
