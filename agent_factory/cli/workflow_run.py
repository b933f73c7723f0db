"""`agent-factory workflow run` and `validate`: a workflow from a file, in this process."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent_factory.cli import output
from agent_factory.cli.run import Form

if TYPE_CHECKING:
    from agent_factory.cli.flow_screen import FlowScreen
    from agent_factory.cli.workflow_files import Bundle
    from agent_factory.local.workflows import Answer, Decide, FlowResult, Question
    from agent_factory.runtime.compile import Resources

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Workflow or blueprint (YAML or JSON).")]
InputOption = Annotated[
    str | None, typer.Option("--input", "-i", help="The run's input as JSON; @FILE reads it, @- takes stdin.")
]
NameOption = Annotated[str | None, typer.Option("--workflow", help="Which workflow of the file.")]
WithOption = Annotated[
    list[Path] | None,
    typer.Option("--with", exists=True, dir_okay=False, help="A file with agents or workflows that it names."),
]


class Verdict(StrEnum):
    """What is said to every approval."""

    APPROVE = "approve"
    DENY = "deny"


def run(
    file: File,
    *,
    given: InputOption = None,
    workflow: NameOption = None,
    more: WithOption = None,
    decide: Annotated[Verdict | None, typer.Option(help="Decide every approval so, instead of asking.")] = None,
    form: Annotated[Form, typer.Option("-o", "--output", help="How to print the result.")] = Form.TEXT,
    workspace: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the file tools. (default: here)")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the result alone.")] = False,
) -> None:
    """Run a workflow from a file. Needs no server and no database.

    The output goes to stdout; tasks and notes go to stderr. Timers are waited
    for; approvals are asked for at the terminal. Ctrl-C cancels the run.
    """
    from agent_factory.cli import workflow_files

    bundle = workflow_files.read(file, workflow, more or ())
    document = workflow_files.read_input(given)
    asyncio.run(_run(bundle, document, decide=decide, form=form, workspace=workspace, quiet=quiet))


def validate(file: File, workflow: NameOption = None, more: WithOption = None) -> None:
    """Check a workflow's file, here and without a server."""
    from agent_factory.cli import workflow_files
    from agent_factory.cli.configuration import settings
    from agent_factory.local import open_resources

    bundle = workflow_files.read(file, workflow, more or ())

    async def look() -> None:
        async with open_resources(settings()) as resources:
            workflow_files.check(bundle, resources)

    asyncio.run(look())
    typer.echo(f"{bundle.flow.workflow.name}: valid")


async def _run(
    bundle: "Bundle", document: object, *, decide: Verdict | None, form: Form, workspace: Path | None, quiet: bool
) -> None:
    from agent_factory.cli import workflow_files
    from agent_factory.cli.configuration import settings
    from agent_factory.cli.flow_screen import FlowScreen
    from agent_factory.local import open_resources
    from agent_factory.local.workflows import run_workflow
    from agent_factory.runtime.sandbox import Sandbox

    chosen = settings()
    screen = FlowScreen()
    started = time.monotonic()
    async with open_resources(chosen, workspace=workspace) as resources:
        workflow_files.check(bundle, resources)
        _check_input(bundle, document)
        if not quiet:
            await _notice(bundle, resources, screen)
        sandbox = Sandbox(chosen.sandbox)
        try:
            result = await run_workflow(
                bundle.flow,
                document,
                agents=bundle.agents,
                flows=bundle.flows,
                resources=resources,
                sandbox=sandbox,
                decide=_decide(decide, screen),
                emit=_nothing if quiet else screen.show,
            )
        except asyncio.CancelledError:
            screen.pause()
            screen.note("cancelled")
            raise
        finally:
            screen.pause()
            await sandbox.close()
    _print(result, form, int((time.monotonic() - started) * 1000))


def _nothing(_event: object) -> None:
    """Show nothing."""


def _check_input(bundle: "Bundle", document: object) -> None:
    from agent_factory.cli.problems import Refused
    from agent_factory.kit.errors import FieldError

    faults = [] if bundle.flow.input is None else bundle.flow.input.faults(document)
    if faults:
        below = [FieldError(f"/input{fault.pointer}", fault.detail) for fault in faults]
        raise Refused(f"{len(faults)} fault(s) in the input.", errors=below)


async def _notice(bundle: "Bundle", resources: "Resources", screen: "FlowScreen") -> None:
    """Say so where the demo answers."""
    from agent_factory.cli.screen import DEMO_NOTICE
    from agent_factory.core.task import AgentTask, AiInference
    from agent_factory.core.workflow import all_nodes
    from agent_factory.kit.errors import Problem

    for flow in (bundle.flow, *bundle.flows.values()):
        for node in all_nodes(flow.graph):
            model: object = None
            if isinstance(node.config, AiInference):
                model = node.config.model
            elif isinstance(node.config, AgentTask) and isinstance(node.config.agent, str):
                model = bundle.agents[node.config.agent].model if node.config.agent in bundle.agents else None
            with suppress(Problem):  # a model that a run computes is told of when it is asked
                if isinstance(model, str) and (await resources.models.find(model)).provider.name == "demo":
                    screen.note(DEMO_NOTICE)
                    return


def _decide(verdict: Verdict | None, screen: "FlowScreen") -> "Decide | None":
    from agent_factory.cli.screen import can_ask
    from agent_factory.local.workflows import Answer

    if verdict is not None:
        answer = Answer(approved=verdict is Verdict.APPROVE)
        return lambda _question: answer
    if not can_ask():
        return None

    def ask(question: "Question") -> "Answer":
        screen.pause()
        return _interruptible(lambda: _asked(question))

    return ask


def _asked(question: "Question") -> "Answer":
    from agent_factory.cli.screen import clean
    from agent_factory.local.workflows import Answer

    typer.echo(clean(question.title), err=True)
    if question.details is not None:
        typer.echo(clean(output.to_yaml(question.details)), err=True, nl=False)
    approved = typer.confirm("Approve?", default=False, err=True)
    comment = typer.prompt("Comment", default="", show_default=False, err=True)
    return Answer(approved, comment)


def _interruptible(ask: "Callable[[], Answer]") -> "Answer":
    """Let Ctrl-C end a question at once; the loop's own handler would only note it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return ask()
    finally:
        signal.signal(signal.SIGINT, before)


def _print(result: "FlowResult", form: Form, duration_ms: int) -> None:
    from agent_factory.cli.problems import Told
    from agent_factory.cli.screen import clean
    from agent_factory.kit.errors import Kind

    if form is not Form.TEXT:
        usage = {"input_tokens": result.usage.input_tokens, "output_tokens": result.usage.output_tokens}
        shown = {
            "status": result.status,
            "output": result.output,
            "labels": list(result.labels),
            "error": result.error,
            "usage": usage,
            "cost_usd": result.cost_usd,
            "duration_ms": duration_ms,
        }
        output.show(shown, output.Format(form.value))
    elif result.error is None:
        told = result.output if isinstance(result.output, str) else output.to_json(result.output)
        typer.echo(clean(told))
    if result.error is not None:
        at = result.error.get("path")
        detail = f"{result.error.get('detail', '')}"
        raise Told(
            {**result.error, "detail": f"at {at}: {detail}" if at else detail},
            Kind(result.error.get("kind", Kind.INTERNAL)),
        )
