from importlib.metadata import version

import agent_factory


def test_the_package_and_its_distribution_tell_one_version() -> None:
    assert agent_factory.__version__ == version("agent-factory")
