"""The measurement of slow clients, in its shortest form."""

from pathlib import Path

import pytest

from bench.slow import measure


@pytest.mark.timeout(120)
async def test_others_are_timed_beside_clients_that_sit_and_clients_that_drip(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder: Path = tmp_path_factory.mktemp("slow")
    folder.chmod(0o711)  # noqa: ASYNC240 - once, before anything runs
    await measure(20, 0.6, 1, folder)
    told = capsys.readouterr().out
    for row in ("nobody", "20 in unfinished headers", "20 dripping", "20 dripping elsewhere"):
        assert row in told
