"""Every statement over organisations, their teams, roles, grants and invitations."""
