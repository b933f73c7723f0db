"""A file is its registration, entry points add third parties, and none takes over a built-in (S78)."""

import sys
from pathlib import Path

import pytest

from agent_factory.core.tool import ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import NotFound, Unavailable
from agent_factory.tools import calculator


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that declares entry points for tools."""
    info = tmp_path / "their_tools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-tools\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[agent_factory.tools]\n"
        "weather = their_tools:plugin\n"
        "calculator = their_tools:plugin\n"
        "broken = their_tools_broken:plugin\n"
    )
    (tmp_path / "their_tools.py").write_text("plugin = 'their plugin'\n")
    (tmp_path / "their_tools_broken.py").write_text("raise ZeroDivisionError('at import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("third_party")
def test_an_installed_package_adds_tools() -> None:
    catalog: Catalog[object] = Catalog("agent_factory.tools")
    assert "weather" in catalog.names()
    assert catalog.get("weather") == "their plugin"


@pytest.mark.usefixtures("third_party")
def test_a_third_party_cannot_take_over_a_built_in_tool() -> None:
    catalog: Catalog[object] = Catalog("agent_factory.tools")
    assert catalog.get("calculator") is calculator.plugin


@pytest.mark.usefixtures("third_party")
def test_a_third_party_that_cannot_be_loaded_is_named_and_harms_no_other() -> None:
    catalog: Catalog[object] = Catalog("agent_factory.tools")
    with pytest.raises(Unavailable, match="'broken' of the package their-tools"):
        catalog.get("broken")
    assert catalog.get("weather") == "their plugin"


def test_a_name_that_nobody_registered_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(NotFound, match="calculator"):
        Catalog[ToolFactory]("agent_factory.tools").get("no_such_tool")


def test_listing_the_names_imports_no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agent_factory.tools.mcp", raising=False)
    assert "mcp" in Catalog[ToolFactory]("agent_factory.tools").names()
    assert "agent_factory.tools.mcp" not in sys.modules
