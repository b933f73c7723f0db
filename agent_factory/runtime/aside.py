"""What a turn asks its model beside the conversation: summaries, and what a guardrail wants judged."""

from typing import TYPE_CHECKING, Any

import msgspec

from agent_factory.core.message import user
from agent_factory.core.model import ModelError, ModelRequest, ModelResponse
from agent_factory.runtime.compile import Compiled, named_output
from agent_factory.runtime.counting import counted
from agent_factory.runtime.guardrails import Judge
from agent_factory.runtime.limits import Meter
from agent_factory.runtime.models import ResolvedModel
from agent_factory.runtime.prices import price_of

if TYPE_CHECKING:
    from agent_factory.runtime.spending import Spending  # which needs a database, as scripts do not

_JUDGE_SECONDS = 30.0


async def ask_aside(
    model: ResolvedModel, spending: "Spending | None", request: ModelRequest, path: str | None
) -> ModelResponse:
    """Ask once, held against what limits whoever lets the turn be made; `path` is the step that tells of it, if any."""
    if spending is None:
        return counted(request, await model.provider.inference(request))
    bill = await spending.bill(path, request, model)
    try:
        response = counted(bill.request, await model.provider.inference(bill.request))
    except ModelError as error:
        await bill.failed(error)
        raise
    except BaseException:
        bill.lost()
        raise
    await bill.paid(response, recorded=path is not None)
    return response


def judged(compiled: Compiled, spending: "Spending | None", meter: Meter) -> Compiled:
    """Give an agent whose guardrails ask their model at the cost of one turn."""
    if not compiled.guards.asks_judge:
        return compiled
    return msgspec.structs.replace(compiled, guards=compiled.guards.judged_by(_judge(compiled, spending, meter)))


def _judge(compiled: Compiled, spending: "Spending | None", meter: Meter) -> Judge:
    model, redactor = compiled.model, compiled.resources.redactor

    async def judge(prompt: str, schema: dict[str, Any]) -> dict[str, Any]:
        messages = (user(redactor.text(prompt, compiled.organization_id)),)
        request = ModelRequest(
            model=model.model, messages=messages, output=named_output(schema), timeout=_JUDGE_SECONDS
        )
        response = await ask_aside(model, spending, request, None)
        meter.add(response.usage, price_of(model, response.usage, response.model))
        return msgspec.json.decode(response.message.text, type=dict[str, Any])

    return judge
