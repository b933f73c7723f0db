"""The reference of permissions says what the code decides (S47 to S54)."""

import re
from pathlib import Path

from agent_factory.security.rbac import RIGHTS, ROLES, VERBS, expand

PAGE = Path(__file__).parents[2] / "docs/reference/permissions.md"
_BEGIN = "<!-- roles: written by tests/security/test_permissions_page.py -->\n"
_END = "<!-- end of roles -->"
_ORDER = ("viewer", "developer", "team_lead", "organization_owner", "admin")


def table() -> str:
    """Every permission, and which roles hold it."""
    lines = [f"| permission | {' | '.join(f'`{role}`' for role in _ORDER)} |", "|---|" + ":-:|" * len(_ORDER)]
    for noun, verbs in VERBS.items():
        for verb in verbs:
            held = ("✓" if f"{noun}:{verb}" in expand(ROLES[role]) else "" for role in _ORDER)
            lines.append(f"| `{noun}:{verb}` | {' | '.join(held)} |")
    rights = (f"`{role}` has {', '.join(f'`{right}`' for right in sorted(ROLES[role]))}" for role in _ORDER)
    return "\n".join([*lines, "", "Written as rights: " + "; ".join(rights) + ".", ""])


def with_table(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


def test_the_table_of_the_page_is_the_codes() -> None:
    page = PAGE.read_text()
    rewrite = "from tests.security.test_permissions_page import *; PAGE.write_text(with_table(PAGE.read_text()))"
    assert page == with_table(page), f'out of date; run: python -c "{rewrite}"'


def test_every_role_is_in_the_table() -> None:
    assert set(_ORDER) == set(ROLES)


def test_the_page_names_no_right_that_there_is_not() -> None:
    named = set(re.findall(r"`([a-z]+:[a-z*]+)`", PAGE.read_text()))
    assert named - {"self:manage", "noun:verb"} <= RIGHTS
