"""Roles, rights and the one decision (S43, S47 to S54, merge 9)."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.kit.errors import Kind
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import PERMISSIONS, RIGHTS, ROLES, VERBS, Denied

SPECIFIED = {
    "admin": {"*"},
    "organization_owner": {"org:*", "user:manage", "billing:*"},
    "team_lead": {"team:*", "agent:*", "workflow:*"},
    "developer": {"agent:create", "agent:edit", "workflow:create", "workflow:edit"},
    "viewer": {"agent:read", "workflow:read"},
}
"""The specification's table, word for word (S50 to S54)."""

MERGED = {
    "admin": set[str](),
    "organization_owner": {"agent:*", "workflow:*", "team:*", "marketplace:*", "apikey:*"},
    "team_lead": {"marketplace:*", "apikey:*"},
    "developer": {
        *("agent:read", "agent:run", "agent:delete", "agent:publish"),
        *("workflow:read", "workflow:run", "workflow:delete", "workflow:publish"),
        "apikey:*",
    },
    "viewer": set[str](),
}
"""What merge 9 adds: viewer ⊂ developer ⊂ team_lead, and `:run`, `:delete`, `:publish`, `marketplace:*`, `apikey:*`.

An owner holds what a team lead does, so that who works alone needs one role.
"""

rights = st.frozensets(st.sampled_from(sorted(RIGHTS)), max_size=8)
permissions = st.sampled_from(sorted(PERMISSIONS))
roles = st.sampled_from(sorted(ROLES))


def actor_with(rights: frozenset[str], scopes: frozenset[str] = frozenset({"*"}), **more: object) -> Actor:
    return Actor(organization_id=uuid4(), user_id=uuid4(), role="x", rights=rights, scopes=scopes, **more)  # pyright: ignore[reportArgumentType] - grants


def literally(held: frozenset[str], permission: str) -> bool:
    """The meaning of rights, spelled out."""
    return any(r in ("*", permission) or (r.endswith(":*") and permission.startswith(r[:-1])) for r in held)


@pytest.mark.parametrize("role", sorted(SPECIFIED))
def test_each_role_has_exactly_the_specified_rights_and_the_merged_ones(role: str) -> None:
    assert set(ROLES[role]) == SPECIFIED[role] | MERGED[role]


def test_there_are_the_specifications_five_roles_and_no_other() -> None:
    assert set(ROLES) == set(SPECIFIED)


@pytest.mark.parametrize(("lower", "upper"), [("viewer", "developer"), ("developer", "team_lead")])
def test_a_role_may_all_that_the_one_below_it_may_and_more(lower: str, upper: str) -> None:
    """Merge 9."""
    assert rbac.expand(ROLES[lower]) < rbac.expand(ROLES[upper])


def test_an_owner_holds_every_permission_that_there_is() -> None:
    """Otherwise nobody could appoint an admin, for nobody gives more than he has."""
    assert rbac.expand(ROLES["organization_owner"]) == rbac.expand(ROLES["admin"]) == PERMISSIONS


@pytest.mark.parametrize("role", ["viewer", "developer", "team_lead"])
def test_nobody_below_an_owner_manages_people_money_or_the_organisation(role: str) -> None:
    held = rbac.expand(ROLES[role])
    assert not [p for p in held if p.partition(":")[0] in ("org", "user", "billing")]


@given(rights, permissions)
def test_a_right_holds_exactly_what_it_says(held: frozenset[str], permission: str) -> None:
    assert rbac.allows(held, permission) == literally(held, permission)
    assert (permission in rbac.expand(held)) == literally(held, permission)


@given(rights, rights, permissions)
def test_scopes_only_narrow(held: frozenset[str], scopes: frozenset[str], permission: str) -> None:
    decided = rbac.may(actor_with(held, scopes), permission)
    assert decided == (literally(held, permission) and literally(scopes, permission))


@given(rights, rights, rights, permissions)
def test_a_grant_gives_its_rights_to_one_resource_and_scopes_narrow_it_too(
    held: frozenset[str], granted: frozenset[str], scopes: frozenset[str], permission: str
) -> None:
    """S49."""
    one, other = uuid4(), uuid4()
    caller = actor_with(held, scopes, grants={one: granted})
    in_scope = literally(scopes, permission)
    assert rbac.may(caller, permission, one) == (in_scope and literally(held | granted, permission))
    assert rbac.may(caller, permission, other) == (in_scope and literally(held, permission))
    assert rbac.may(caller, permission) == (in_scope and literally(held, permission))


@given(rights, rights, rights, permissions)
def test_reach_is_where_the_decision_says_yes(
    held: frozenset[str], granted: frozenset[str], scopes: frozenset[str], permission: str
) -> None:
    one = uuid4()
    caller = actor_with(held, scopes, grants={one: granted})
    reach = rbac.reach(caller, permission)
    assert (reach is None) == rbac.may(caller, permission)
    if reach is not None:
        assert (one in reach) == rbac.may(caller, permission, one)


@given(rights, rights, rights)
def test_nobody_gives_a_permission_that_he_lacks(
    held: frozenset[str], scopes: frozenset[str], given_rights: frozenset[str]
) -> None:
    """Abuse 46."""
    caller = actor_with(held, scopes)
    exceeds = any(literally(given_rights, p) and not (literally(held, p) and literally(scopes, p)) for p in PERMISSIONS)
    for check in (rbac.check_giving, rbac.check_over):
        if exceeds:
            with pytest.raises(Denied):
                check(caller, given_rights)
        else:
            check(caller, given_rights)


def test_a_right_that_nobody_knows_is_given_by_nobody_but_who_holds_it() -> None:
    with pytest.raises(Denied):
        rbac.check_giving(actor_with(ROLES["team_lead"]), {"moon:land"})


@given(roles, roles)
def test_a_role_comprises_another_when_it_may_all_that_that_one_may(one: str, other: str) -> None:
    comprises = rbac.expand(ROLES[other]) <= rbac.expand(ROLES[one])
    assert (other in rbac.roles_within(ROLES[one])) == comprises


@given(rights, rights)
def test_every_member_may_what_members_may_and_only_whole_credentials_touch_the_person(
    held: frozenset[str], scopes: frozenset[str]
) -> None:
    caller = actor_with(held, scopes)
    assert rbac.may(caller, rbac.MEMBER)
    assert rbac.may(caller, rbac.SELF) == ("*" in scopes)


def test_a_refusal_names_the_permission() -> None:
    with pytest.raises(Denied, match="agent:edit") as refused:
        rbac.check(actor_with(ROLES["viewer"]), "agent:edit")
    assert refused.value.kind is Kind.FORBIDDEN
    assert refused.value.code == "permission_denied"


@given(st.text(max_size=30))
def test_a_permission_is_never_held_by_a_right_to_something_else(text: str) -> None:
    """Names that only begin alike are other names: `agent:runs`, `agents:run`, `agent:`."""
    if text not in PERMISSIONS:
        assert not rbac.allows(ROLES["developer"] - {"apikey:*"}, text)


def test_every_permission_has_a_noun_and_a_verb() -> None:
    assert {f"{noun}:{verb}" for noun, verbs in VERBS.items() for verb in verbs} == PERMISSIONS
