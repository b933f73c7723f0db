"""A blueprint: agents and workflows in one file, with all that somebody needs to install them (S105)."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import pydantic
from pydantic import Field, StringConstraints, field_serializer, field_validator, model_validator

from agent_factory.core import document, references
from agent_factory.core.agent import NAME, Agent, Strict, invalid
from agent_factory.core.schema import Schema
from agent_factory.core.workflow import Workflow, compile_workflow, describe_tasks
from agent_factory.kit.errors import FieldError, Invalid

API_VERSION = "agentfactory.dev/v1"

_PART = "[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?"
_SEMVER = (
    r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})"
    r"(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?$"
)
_HOST = r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?:[0-9]{1,5}$"

Name = Annotated[str, StringConstraints(pattern=NAME)]
FullName = Annotated[str, StringConstraints(pattern=f"^({_PART}/)?{_PART}$")]
Gate = Annotated[str, StringConstraints(pattern=r"^(>=|<=|>|<|==) ?-?[0-9]+(\.[0-9]+)?$")]
Money = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=8, allow_inf_nan=False)]


class Metadata(Strict):
    """What a blueprint is called and says of itself; `name` may stand below a publisher: `acme/support`."""

    name: FullName
    version: str = Field(default="0.1.0", pattern=_SEMVER)
    title: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=10_000)
    license: str = Field(default="", max_length=100)
    homepage: str = Field(default="", max_length=2_000)
    categories: tuple[Name, ...] = Field(default=(), max_length=10)
    examples: tuple[str, ...] = Field(default=(), max_length=20)


class Dependencies(Strict):
    """Other blueprints by name, each with a range of versions such as `^2` or `>=1.2 <3`."""

    blueprints: dict[FullName, Annotated[str, StringConstraints(min_length=1, max_length=100)]] = Field(default={})


class Permissions(Strict):
    """The most that anything in the blueprint may do: `host:port`, names of secrets, and files."""

    network: tuple[Annotated[str, StringConstraints(pattern=_HOST)], ...] = Field(default=(), max_length=100)
    secrets: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")], ...] = ()
    filesystem: Literal["none", "read", "write"] = "none"


class Budget(Strict):
    """The most that one run may use."""

    usd: Money | None = None
    tokens: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tool_calls: int | None = Field(default=None, ge=0)


class Budgets(Strict):
    """Budgets by what they hold for."""

    per_run: Budget = Budget()


class Evaluation(Strict):
    """A dataset and what a version has to reach on it, such as `pass_rate: ">=0.95"`."""

    dataset: str = Field(min_length=1, max_length=500)
    gate: dict[str, Gate] = Field(default={})


class Pricing(Strict):
    """What a user of the published blueprint pays."""

    model: Literal["free", "usage", "subscription", "one_time"] = "free"
    per_run_usd: Money | None = None
    per_month_usd: Money | None = None
    once_usd: Money | None = None
    trial_runs: int = Field(default=0, ge=0, le=1_000_000)


class Spec(Strict):
    """What the blueprint holds; `parameters` is a JSON Schema of what is asked for at install."""

    parameters: dict[str, Any] | None = None
    dependencies: Dependencies = Dependencies()
    agents: dict[Name, Agent] = Field(default={}, max_length=100)
    workflows: dict[Name, Workflow] = Field(default={}, max_length=100)
    permissions: Permissions | None = None
    budgets: Budgets = Budgets()
    evals: tuple[Evaluation, ...] = Field(default=(), max_length=100)
    pricing: Pricing | None = None

    @field_validator("parameters")
    @classmethod
    def _compiles(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                Schema(value)
            except Invalid as error:
                raise ValueError(error.errors[0].detail) from None
        return value

    @field_validator("agents", mode="before")
    @classmethod
    def _name_agents(cls, value: object) -> object:
        """Let the key be the name, so that nobody writes it twice."""
        if not isinstance(value, dict):
            return value
        agents = cast("dict[str, object]", value)
        return {
            # A faulty key is reported once, as a key.
            key: {"name": key if re.match(NAME, str(key)) else "x", **cast("dict[str, object]", agent)}
            if isinstance(agent, dict)
            else agent
            for key, agent in agents.items()
        }

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for key, agent in self.agents.items():
            if agent.name != key:
                raise ValueError(f"the agent under the key {key!r} calls itself {agent.name!r}")
        return self

    @field_serializer("agents")
    def _without_names(self, agents: dict[str, Agent]) -> dict[str, Any]:
        return {key: {k: v for k, v in agent.to_dict().items() if k != "name"} for key, agent in agents.items()}

    @field_serializer("workflows")
    def _as_written(self, workflows: dict[str, Workflow]) -> dict[str, Any]:
        return {key: workflow.to_dict() for key, workflow in workflows.items()}


class Blueprint(Strict):
    """Agents and workflows with their metadata, as one document that can be shared."""

    api_version: Literal["agentfactory.dev/v1"] = Field(default=API_VERSION, alias="apiVersion")
    kind: Literal["Blueprint"] = "Blueprint"
    metadata: Metadata
    spec: Spec = Spec()

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    @property
    def agents(self) -> dict[str, Agent]:
        """The agents by name."""
        return self.spec.agents

    @property
    def workflows(self) -> dict[str, Workflow]:
        """The workflows by name."""
        return self.spec.workflows

    @classmethod
    def of(cls, agent: Agent) -> "Blueprint":
        """Wrap one agent."""
        about = Metadata(name=agent.name, description=agent.description)
        return cls(metadata=about, spec=Spec(agents={agent.name: agent}))

    @classmethod
    def load(cls, source: str | Path) -> "Blueprint":
        """Read a blueprint, or a single agent, from a file or from the text of one; YAML or JSON.

        A `Path`, and a text of one line that is neither a JSON object nor a
        YAML mapping, is a file. In a file, `instructions` may name a text
        file beside or below it, and `output` one with a JSON Schema.

        Raises `Invalid` with a JSON pointer for every fault.
        """
        if isinstance(source, Path) or not ("\n" in source or source.lstrip().startswith("{") or ": " in source):
            path = Path(source)
            found = document.read(references.read_file(path, path.name))
            return cls.parse(references.resolve(found, references.Folder(path.parent)))
        return cls.parse(document.read(source))

    @classmethod
    def parse(cls, found: object) -> "Blueprint":
        """Read JSON data: an envelope with `apiVersion`, `kind`, `metadata` and `spec`, or an agent's fields alone."""
        faults = references.unresolved(found)
        if faults:
            raise Invalid("A text cannot name other files; load the blueprint from its file.", errors=faults)
        if isinstance(found, dict) and not found.keys() & {"apiVersion", "kind", "metadata", "spec"}:
            try:
                return cls.of(Agent.model_validate(found))
            except pydantic.ValidationError as error:
                raise invalid(error) from None
        if isinstance(found, dict) and "apiVersion" not in found:
            raise Invalid(
                "This is no blueprint.", errors=[FieldError("/apiVersion", f"this field is required: {API_VERSION}")]
            )
        try:
            blueprint = cls.model_validate(found)
        except pydantic.ValidationError as error:
            raise invalid(error) from None
        faults = [f for key, workflow in blueprint.workflows.items() for f in _faults(key, workflow)]
        if faults:
            raise Invalid(f"{len(faults)} fault(s) in the definition.", errors=faults)
        return blueprint

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data, defaults left out but for the envelope's own fields; `parse` reads it back."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        spec = data.get("spec", {})
        for field in ("agents", "workflows"):  # what has a serializer of its own is not compared with its default
            if field in spec and not spec[field]:
                del spec[field]
        return {"apiVersion": self.api_version, "kind": self.kind, **data}

    def to_yaml(self) -> str:
        """Write YAML; `load` reads it back."""
        return document.write_yaml(self.to_dict())

    def to_json(self) -> str:
        """Write indented JSON; `load` reads it back."""
        return document.write_json(self.to_dict())

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Give the JSON Schema (2020-12) of a blueprint file, for editors."""
        schema = cls.model_json_schema(by_alias=True)
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        schema["title"] = "Agent Factory blueprint"
        schema["required"] = ["apiVersion", "kind", "metadata"]
        agent = schema["$defs"]["Agent"]
        agent.pop("required")
        agent["properties"]["output"]["anyOf"].append({"type": "string", "description": "a JSON Schema's file"})
        describe_tasks(schema)
        return schema


def _faults(key: str, workflow: Workflow) -> list[FieldError]:
    """List what is wrong in the graph of a workflow, below its place in the blueprint."""
    try:
        compile_workflow(workflow)
    except Invalid as error:
        return [FieldError(f"/spec/workflows/{key}{fault.pointer}", fault.detail) for fault in error.errors]
    return []


def write_schema(path: Path) -> None:
    """Write the published JSON Schema of blueprints to a file."""
    path.write_text(document.write_json(Blueprint.json_schema()), encoding="utf-8")
