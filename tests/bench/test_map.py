"""The measurement of a large map, in its shortest form."""

from pathlib import Path

import pytest

from bench.map import measured


async def test_everything_is_moved_and_told(
    fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await measured(fresh_database_url, tmp_path, 30, 40_000)
    told = capsys.readouterr().out
    assert "1 MB through 30 items" in told
    assert "memory grew by" in told
