"""Catalogs of plugins: a file is its registration, third parties come by entry point (S78)."""

import sys
from pathlib import Path

import pytest

from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import NotFound, Unavailable


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with two plugins and a folder, and a distribution that adds three more and takes one name twice."""
    name = f"catalog_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    (folder / "parts").mkdir(parents=True)
    for path in (folder / "__init__.py", folder / "parts" / "__init__.py"):
        path.write_text("")
    (folder / "one.py").write_text("plugin = 'built-in one'")
    (folder / "two.py").write_text("raise AssertionError('imported unasked')")
    (tmp_path / f"{name}_more.py").write_text("plugin = 'from outside'")
    info = tmp_path / f"{name}_more-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-more\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{name}]\nthree = {name}_more:plugin\none = {name}_more:plugin\ngone = {name}_none:plugin\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_files_and_entry_points_are_listed_and_not_imported(package: str) -> None:
    catalog: Catalog[str] = Catalog(package)
    assert catalog.names() == ["gone", "one", "three", "two"]
    assert f"{package}.one" not in sys.modules


def test_a_file_and_an_entry_point_are_loaded_when_asked_for(package: str) -> None:
    catalog: Catalog[str] = Catalog(package)
    assert catalog.get("one") == "built-in one"
    assert catalog.get("three") == "from outside"
    assert catalog.get("three") is catalog.get("three")


def test_a_third_party_cannot_take_over_a_built_in_name(package: str) -> None:
    catalog: Catalog[str] = Catalog(package)
    assert catalog.get("one") == "built-in one"


def test_an_unknown_name_is_told_the_known_ones(package: str) -> None:
    with pytest.raises(NotFound, match="known are: gone, one, three, two"):
        Catalog[str](package).get("parts")


def test_a_plugin_of_a_third_party_that_cannot_be_imported_says_whose_it_is(package: str) -> None:
    with pytest.raises(Unavailable, match=f"'gone' of the package {package}-more"):
        Catalog[str](package).get("gone")
