"""Settings: one environment, known names only."""

import json
from typing import Any

import pydantic
import pytest

from agent_factory.kit.errors import Invalid
from agent_factory.kit.ids import encode, uuid7
from agent_factory.runtime.settings import OperatorSecret
from agent_factory.settings import Settings, UnknownSetting


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_a_group_is_set_by_double_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AF_SERVER__MAX_BODY", "2048")
    monkeypatch.setenv("AF_DATABASE__URL", "postgresql://u@h/d")
    monkeypatch.setenv("AF_SERVICES", '["auth", "agents"]')
    settings = Settings()
    assert settings.server.max_body == 2048
    assert settings.server.port == 8080
    assert settings.database.url == "postgresql://u@h/d"
    assert settings.services == ("auth", "agents")


@pytest.mark.parametrize(
    "name", ["AF_SERVER__MAXBODY", "AF_SERVERS", "AF_DATABASE__URI", "AF_X", "AF_SERVICES__X", "AF_MODELS__OPEN_AI_KEY"]
)
def test_a_name_that_means_nothing_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UnknownSetting, match=name) as refused:
        Settings()
    assert isinstance(refused.value, Invalid)


def test_names_of_others_and_of_the_commands_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTER_ALL", "1")
    monkeypatch.setenv("AF_API_KEY", "af_x")
    Settings()


@pytest.mark.parametrize(
    ("name", "value"), [("AF_SERVER__PORT", "x"), ("AF_SERVER__PORT", "70000"), ("AF_LOGGING__LEVEL", "loud")]
)
def test_a_value_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(pydantic.ValidationError):
        Settings()


def test_the_names_of_vendors_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-two")
    monkeypatch.setenv("HF_TOKEN", "hf_three")
    models = Settings().models
    assert _value(models.openai_api_key) == "sk-one"
    assert models.openai_base_url == "http://127.0.0.1:1/v1"
    assert _value(models.anthropic_api_key) == "sk-two"
    assert _value(models.hf_token) == "hf_three"


def test_our_own_name_wins_over_the_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    monkeypatch.setenv("AF_MODELS__OPENAI_API_KEY", "sk-ours")
    monkeypatch.setenv("AF_MODELS__DEFAULT", "demo")
    models = Settings().models
    assert _value(models.openai_api_key) == "sk-ours"
    assert models.default == "demo"


def test_an_empty_vendor_key_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert Settings().models.openai_api_key is None


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """S202: nothing that is printed or logged holds one."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    monkeypatch.setenv("AF_DATABASE__URL", "postgresql://u:hidden@h/d")
    monkeypatch.setenv("AF_TOOLS__SECRETS", '{"crm": "hidden"}')
    assert "hidden" not in repr(Settings())


def _value(secret: Any) -> str:
    return secret.get_secret_value()


def test_a_fault_of_a_setting_does_not_show_what_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AF_TOOLS__SECRETS", '{"A": {"valu": "canary-value", "hosts": ["a.test"]}}')
    with pytest.raises(pydantic.ValidationError) as refused:
        Settings()
    assert "canary-value" not in str(refused.value)


class TestOperators:
    """Databases, MCP servers and secrets of the operator, and who may name them."""

    HOME, OTHER = uuid7(), uuid7()

    def secret(self, monkeypatch: pytest.MonkeyPatch, given: object) -> OperatorSecret:
        monkeypatch.setenv("AF_TOOLS__SECRETS", json.dumps({"A": given}))
        return Settings().tools.secrets["A"]

    def test_a_text_alone_is_the_first_organisations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.secret(monkeypatch, "the-value")
        assert found.value.get_secret_value() == "the-value"
        assert found.open_to(str(self.HOME), self.HOME)
        assert not found.open_to(str(self.OTHER), self.HOME)
        assert not found.open_to(str(self.OTHER), None), "nobody is first yet"

    def test_a_star_opens_it_to_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.secret(monkeypatch, {"value": "the-value", "organizations": ["*"]})
        assert found.open_to(str(self.OTHER), self.HOME)

    def test_named_organisations_have_it_and_the_first_has_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.secret(monkeypatch, {"value": "the-value", "organizations": [encode("org", self.OTHER)]})
        assert found.open_to(str(self.OTHER), self.HOME)
        assert not found.open_to(str(self.HOME), self.HOME)

    def test_a_script_of_the_operator_has_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.secret(monkeypatch, {"value": "the-value", "organizations": [encode("org", self.OTHER)]})
        assert found.open_to("", None)

    @pytest.mark.parametrize("name", ["home", "usr_01m7y57771e9tbhzgf72p6t3q8", "", "**"])
    def test_what_names_no_organisation_is_refused(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        with pytest.raises(pydantic.ValidationError, match="org_"):
            self.secret(monkeypatch, {"value": "the-value", "organizations": [name]})

    def test_databases_and_servers_are_held_to_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            "AF_TOOLS__DATABASES", '{"d": "sqlite:///x.db", "all": {"url": "x", "organizations": ["*"]}}'
        )
        monkeypatch.setenv("AF_TOOLS__MCP_SERVERS", '{"m": {"command": "x", "env": {"T": "canary-value"}}}')
        tools = Settings().tools
        other = str(self.OTHER)
        assert [name for name, each in tools.databases.items() if each.open_to(other, self.HOME)] == ["all"]
        assert not tools.mcp_servers["m"].open_to(other, self.HOME)
        assert tools.mcp_servers["m"].entry() == {"command": "x", "args": [], "env": {"T": "canary-value"}}
        assert "canary-value" not in repr(tools)
