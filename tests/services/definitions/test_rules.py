"""Which definition is meant, and which of its versions, without a server."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.agent import AgentStatus
from agent_factory.kit import ids
from agent_factory.kit.errors import Conflict
from agent_factory.services.agents.errors import AgentNotDeployed
from agent_factory.services.agents.service import AGENT
from agent_factory.services.definitions.rules import LATEST, Kind, Named, choose, may_change, read_ref
from agent_factory.services.workflows.service import WORKFLOWS

KINDS = (AGENT, WORKFLOWS.kind)


def named(status: AgentStatus, *, newest: int = 7, deployed: int | None = None) -> Named:
    return Named(ids.uuid7(), "support", status, newest, deployed)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
@given(value=st.uuids())
def test_an_id_is_known_by_what_it_begins_with(kind: Kind, value: UUID) -> None:
    assert read_ref(kind, ids.encode(kind.prefix, value))[0] == value
    assert read_ref(kind, value)[0] == value
    assert read_ref(kind, ids.encode("run", value))[0] is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
def test_a_name_may_begin_as_an_id_does(kind: Kind) -> None:
    for name in (f"{kind.prefix}_", f"{kind.prefix}_support", kind.prefix, "support"):
        assert read_ref(kind, name) == (None, name)


def test_without_a_word_it_is_the_version_in_service() -> None:
    assert choose(AGENT, named(AgentStatus.DEPLOYED, deployed=3), None) == 3
    assert choose(AGENT, named(AgentStatus.DEPLOYED, deployed=3), None, tried=True) == 3


@pytest.mark.parametrize("status", sorted(set(AgentStatus) - {AgentStatus.DEPLOYED}))
def test_what_is_not_in_service_is_only_tried(status: AgentStatus) -> None:
    """A paused one keeps the number that was deployed, and is not in service either."""
    found = named(status, deployed=3)
    with pytest.raises(AgentNotDeployed, match=f"'support' is {status}"):
        choose(AGENT, found, None)
    assert choose(AGENT, found, None, tried=True) == 7
    assert choose(AGENT, found, LATEST) == 7


@given(st.sampled_from(AgentStatus), st.integers(1, 99), st.booleans())
def test_a_number_is_taken_at_its_word(status: AgentStatus, number: int, tried: bool) -> None:
    assert choose(AGENT, named(status, deployed=3), number, tried=tried) == number


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
@pytest.mark.parametrize("status", AgentStatus)
def test_only_an_archived_one_takes_no_change(kind: Kind, status: AgentStatus) -> None:
    if status is not AgentStatus.ARCHIVED:
        may_change(kind, status)
        return
    with pytest.raises(Conflict) as refused:
        may_change(kind, status)
    assert refused.value.code == f"{kind.noun}_archived"
