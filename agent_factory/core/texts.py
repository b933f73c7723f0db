"""The templates and expressions of one task: checked against the names that it may use, and compiled (S85, S103)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agent_factory.core.agent import Strict
from agent_factory.core.expressions import Context, Expression, ExpressionInvalid, compile_named
from agent_factory.core.jsonpath import JsonPathInvalid, Path, compile_path
from agent_factory.core.names import Names
from agent_factory.core.task import (
    TEMPLATED,
    Conditional,
    Loop,
    Map,
    Switch,
    Task,
    Transform,
    Try,
    Wait,
)
from agent_factory.core.template import Renderer, compile_template, expressions_in

MAX_EXPRESSIONS = 20_000
"""Expressions in the templates of one workflow: each takes some 60 µs to read, while everybody else waits."""


class Texts(msgspec.Struct, frozen=True):
    """A task's texts as functions, each `None` where nothing in it is computed.

    `config` writes the fields of the config that are templates; `expressions`
    are those without braces, by their pointer in the config; `each` is the
    output of one item or iteration, or of a `try`. `reads`, `output_reads` and
    `inner_reads` are the names that they use: before the task, after it, and
    inside it. `items_of` is the task whose whole output a `map` goes over, so
    that this need not be at hand as one value.
    """

    input: Renderer | None = None
    config: Renderer | None = None
    output: Renderer | None = None
    each: Renderer | None = None
    expressions: Mapping[str, Expression] = {}
    path: Path | None = None
    items_of: str | None = None
    reads: frozenset[str] = frozenset()
    output_reads: frozenset[str] = frozenset()
    inner_reads: frozenset[str] = frozenset()


class Compiler:
    """Compiles texts and notes their faults by pointer; `known` tells what else is a task somewhere."""

    def __init__(self, fault: Callable[[str, str], None], known: Callable[[str], bool]) -> None:
        """Remember whom to tell faults."""
        self._fault = fault
        self._known = known
        self._left = MAX_EXPRESSIONS

    def document(self, document: Any, at: str, names: Names, reads: set[str]) -> Renderer | None:  # noqa: ANN401 - any JSON value
        """Compile a template; `None` when it has no expression."""
        found = len(expressions_in(document))
        if not found:
            return None
        self._left -= found
        if self._left < 0:
            self._fault(at, f"the workflow has more than {MAX_EXPRESSIONS} expressions")
            return _nothing
        try:
            return compile_template(document, lambda text: self._checked(text, names, reads))
        except ExpressionInvalid as error:
            for found in error.errors:
                self._fault(at + found.pointer, found.detail)
            return _nothing

    def expression(self, text: str, at: str, names: Names, reads: set[str]) -> Expression:
        """Compile an expression that may be written with or without braces (S103)."""
        try:
            return self._checked(bare(text), names, reads)
        except ExpressionInvalid as error:
            self._fault(at, error.detail)
            return _nothing

    def _checked(self, text: str, names: Names, reads: set[str]) -> Expression:
        expression, used = compile_named(text)
        unknown = sorted(name for name in used if name not in names)
        if unknown:
            told = [
                f"{n!r} {'runs later, or on another path' if self._known(n) else 'is not known here'}" for n in unknown
            ]
            raise ExpressionInvalid(f"{'; '.join(told)}; known are: {', '.join(names.some())}")
        reads |= used
        return expression

    def task(self, task: Task, config: Strict | None, at: str, visible: Names, inside: Names) -> Texts:
        """Compile the texts of a task: `visible` are the names around it, `inside` those of its items or iterations."""
        reads: set[str] = set()
        after: set[str] = set()
        inner: set[str] = set()
        args = Names(frozenset({"args"}), visible)
        fields = TEMPLATED.get(task.type, frozenset())
        computed = {k: v for k, v in task.config.items() if k in fields}
        items_of = _whole_output(config)
        if items_of is not None:
            self.document(computed.pop("items"), f"{at}/config/items", args, set())
        return Texts(
            input=self.document(task.input, f"{at}/input", visible, reads),
            config=self.document(computed, f"{at}/config", args, reads),
            output=self.whole(task.output, f"{at}/output", Names(frozenset({"args", "result"}), visible), after),
            each=self._each(config, f"{at}/config/output", inside, inner),
            expressions=self._expressions(config, f"{at}/config", args, inside, (reads, inner)),
            path=self._path(config, f"{at}/config/jsonpath"),
            items_of=items_of,
            reads=frozenset(reads),
            output_reads=frozenset(after),
            inner_reads=frozenset(inner),
        )

    def undo(self, config: Mapping[str, Any], task_type: str, at: str, visible: Names) -> Texts:
        """Compile the config of a compensation, which sees `args` and `result` of its task."""
        reads: set[str] = set()
        fields = TEMPLATED.get(task_type, frozenset())
        computed = {k: v for k, v in config.items() if k in fields}
        renderer = self.document(computed, at, Names(frozenset({"args", "result"}), visible), reads)
        return Texts(config=renderer, reads=frozenset(reads))

    def whole(self, document: Any, at: str, names: Names, reads: set[str]) -> Renderer | None:  # noqa: ANN401 - any JSON value
        """Compile a template that stands for a value; `None` when there is none at all."""
        if document is None:
            return None
        return self.document(document, at, names, reads) or (lambda _context: document)

    def _path(self, config: Strict | None, at: str) -> Path | None:
        if not isinstance(config, Transform) or config.jsonpath is None:
            return None
        try:
            return compile_path(config.jsonpath)
        except JsonPathInvalid as error:
            self._fault(at, error.detail)
            return None

    def _each(self, config: Strict | None, at: str, inside: Names, reads: set[str]) -> Renderer | None:
        if not isinstance(config, Map | Loop | Try):
            return None
        return self.whole(config.output, at, inside, reads)

    def _expressions(
        self, config: Strict | None, at: str, args: Names, inside: Names, reads: tuple[set[str], set[str]]
    ) -> dict[str, Expression]:
        before, inner = reads
        found: list[tuple[str, str | None, Names, set[str]]] = []
        match config:
            case Conditional():
                found = [(f"/conditions/{i}/if", c.if_, args, before) for i, c in enumerate(config.conditions)]
            case Switch():
                found = [("/value", config.value, args, before)]
            case Transform():
                found = [("/expression", config.expression, args, before)]
            case Loop():
                found = [("/while", config.while_, inside, inner), ("/until", config.until, inside, inner)]
            case Wait() if config.event is not None:
                found = [("/event/match", config.event.match, Names(frozenset({"event"}), args), before)]
            case _:
                pass
        return {p: self.expression(text, at + p, names, used) for p, text, names, used in found if text is not None}


_OUTPUT = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\.output\s*\}\}\Z")


def _whole_output(config: Strict | None) -> str | None:
    found = _OUTPUT.match(config.items) if isinstance(config, Map) and isinstance(config.items, str) else None
    return found and found.group(1)


def bare(text: str) -> str:
    """Take the braces off an expression that may be written with or without them."""
    text = text.strip()
    return text[2:-2] if text.startswith("{{") and text.endswith("}}") else text


def _nothing(_context: Context) -> None:
    """Stand for a text with a fault."""
