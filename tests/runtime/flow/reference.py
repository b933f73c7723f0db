"""Random workflows, and a plain recursive interpreter of them that shares nothing with the real one but expressions.

It works through the tasks in the order of their definition, one at a time,
without journal, concurrency or compiled graph. There is no `end` in these
workflows: what runs beside one may or may not get anywhere.
"""

import random
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from agent_factory.core.expressions import compile_expression
from agent_factory.core.template import compile_template

Definition = dict[str, Any]


class Failure(Exception):
    """A task failed for good."""


def act(task_id: str, arguments: Mapping[str, Any], salt: Mapping[str, str]) -> Any:
    """Do what the tool of these workflows does: fail on demand, else mark what it was given."""
    if arguments.get("fail"):
        raise ValueError("on demand")
    mark = msgspec.json.encode([task_id, settled(arguments), salt.get(task_id, "")], order="sorted")
    return {"id": task_id, "mark": zlib.crc32(mark) % 1000}


def settled(value: Any) -> Any:
    """Leave out of an output what depends on which of several failures came first."""
    if isinstance(value, dict):
        return "failed item" if value.keys() == {"error"} else {k: settled(v) for k, v in value.items()}
    return [settled(v) for v in value] if isinstance(value, list) else value


class Reference:
    """Runs a definition."""

    def __init__(self, salt: Mapping[str, str] | None = None) -> None:
        self.salt = salt or {}
        self.labels: set[str] = set()
        self.skipped = {"output": None, "status": "skipped", "error": None}

    def run(self, definition: Definition, document: Any) -> Any:
        """Give `("completed", output)` or `("failed", None)`."""
        names = {"input": document, "run": {"id": "run_1", "name": definition["name"]}}
        try:
            inner = self.level(definition["tasks"], names)
        except Failure:
            return "failed", None
        return "completed", last(definition["tasks"], inner)

    def level(self, tasks: list[Definition], outer: dict[str, Any]) -> dict[str, Any]:
        """Run the tasks of a level; gives the names that it knows at its end."""
        names = dict(outer)
        ids = [t["id"] for t in tasks]
        decided: dict[tuple[str, str], bool] = {}
        edges = {t["id"]: leads(t, tasks) for t in tasks}
        done: set[str] = set()
        while len(done) < len(tasks):
            for task in tasks:
                task_id = task["id"]
                sources = [s for s in ids if task_id in edges[s]]
                if task_id in done or not all((s, task_id) in decided for s in sources):
                    continue
                done.add(task_id)
                if sources and not any(decided[s, task_id] for s in sources):
                    names[task_id] = self.skipped
                    decided |= {(task_id, t): False for t in edges[task_id]}
                    continue
                names[task_id], taken = self.task(task, tasks, names)
                decided |= {(task_id, t): t in taken for t in edges[task_id]}
                self.labels |= {t for t in taken if t not in ids}
        return names

    def task(self, task: Definition, level: list[Definition], names: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """Run one task; gives what later ones see of it, and where it leads."""
        on_error = task.get("on_error", "fail")
        try:
            output, chosen = self.kind(task, names)
        except (Failure, ValueError):
            if on_error == "fail":
                raise Failure from None
            record = {"output": None, "status": "failed", "error": {"code": "broken"}}
            return record, ways(task, level) if on_error == "continue" else {on_error["goto"]}
        return {"output": output, "status": "completed", "error": None}, ways(task, level) | chosen

    def kind(self, task: Definition, names: dict[str, Any]) -> tuple[Any, set[str]]:
        """Do what the type says; gives output and chosen branches."""
        config = task["config"]
        if task["type"] == "conditional":
            holds = (c["then"] for c in config["conditions"] if compile_expression(c["if"])(names))
            chosen = next(holds, config.get("default"))
            return chosen, {chosen} if chosen else set()
        match task["type"]:
            case "tool":
                output = act(task["id"], compile_template(config["arguments"])(names), self.salt)
            case "transform":
                output = compile_template(config["value"])(names)
            case "parallel":
                output = {n: last(t, self.level(t, names)) for n, t in config["branches"].items()}
            case "map":
                output = self.map(config, names)
            case "loop":
                output = self.loop(config, names)
            case _:
                output = self.try_(config, names)
        return output, set()

    def map(self, config: Definition, names: dict[str, Any]) -> list[Any]:
        """Go over the items."""
        out: list[Any] = []
        for index, item in enumerate(config["items"]):
            try:
                out.append(last(config["tasks"], self.level(config["tasks"], {**names, "item": item, "index": index})))
            except Failure:
                if config.get("on_item_error") != "collect":
                    raise
                out.append("failed item")
        return out

    def loop(self, config: Definition, names: dict[str, Any]) -> list[Any]:
        """Go round."""
        results: list[Any] = []
        for iteration in range(config["max_iterations"]):
            inner = self.level(config["tasks"], {**names, "iteration": iteration, "results": list(results)})
            results.append(last(config["tasks"], inner))
            if compile_expression(config["until"])({**inner, "results": results}):
                break
        return results

    def try_(self, config: Definition, names: dict[str, Any]) -> Any:
        """Catch and clean up."""
        tasks, catch, final = config["tasks"], config.get("catch", []), config.get("finally", [])
        failed = False
        try:
            inner = self.level(tasks, names)
            output = last(tasks, inner)
        except Failure:
            failed = True
            inner, output = {**names, **{t["id"]: None for t in tasks}}, None
        try:
            if failed and catch:
                output = last(catch, self.level(catch, inner))
                failed = False
        finally:
            self.level(final, inner)
        if failed:
            raise Failure
        return output


def ways(task: Definition, level: list[Definition]) -> set[str]:
    """List where a task leads when it ends well, but for the branches that it chooses."""
    own = branches(task) | goto(task)
    waiting = {t["id"] for t in level if task["id"] in t.get("depends_on", ()) and t["id"] not in own}
    return set(task.get("next", ())) | waiting


def branches(task: Definition) -> set[str]:
    """List the branches of a conditional."""
    config = task["config"]
    if task["type"] != "conditional":
        return set()
    return {c["then"] for c in config["conditions"]} | ({config["default"]} if config.get("default") else set())


def goto(task: Definition) -> set[str]:
    """Give where a failure leads."""
    return {task["on_error"]["goto"]} if isinstance(task.get("on_error"), dict) else set()


def leads(task: Definition, level: list[Definition]) -> set[str]:
    """List every task of its level that a task leads to."""
    return (ways(task, level) | branches(task) | goto(task)) & {t["id"] for t in level}


def last(tasks: list[Definition], names: dict[str, Any]) -> Any:
    """Give what the last task gave, or an object by their ids."""
    ends = [t["id"] for t in tasks if not leads(t, tasks)]
    if len(ends) == 1:
        return names[ends[0]]["output"]
    return {i: names[i]["output"] for i in ends if names[i]["status"] == "completed"}


class Maker:
    """Makes random definitions from a seed."""

    LABELS = ("label_a", "label_b")

    def __init__(self, seed: int, size: int = 5, depth: int = 3) -> None:
        self.random = random.Random(seed)  # noqa: S311 - test data
        self.size = size
        self.depth = depth
        self.count = 0

    def definition(self) -> Definition:
        """Make one."""
        return {"name": "random", "tasks": self.tasks(0, ["input"]), "terminals": list(self.LABELS)}

    def tasks(self, depth: int, known: list[str]) -> list[Definition]:
        """Make the tasks of a level; `known` are expressions for values from outside."""
        count = self.random.randint(1, max(1, self.size - depth))
        ids = [f"t{self.count + n}" for n in range(count)]
        self.count += count
        tasks: list[Definition] = []
        before: dict[str, set[str]] = {}
        for number, task_id in enumerate(ids):
            sources = [s for s in ids[:number] if self.random.random() < 0.45]
            task: Definition = {"id": task_id}
            depends: list[str] = []
            before[task_id] = set()
            for source in sources:
                before[task_id] |= {source} | before[source]
                self.connect(tasks[ids.index(source)], task_id, depends)
            if depends or (number and not sources):
                task["depends_on"] = depends
            seen = (
                known
                + [f"{i}.output" for i in sorted(before[task_id])]
                + [f"{i}.status" for i in sorted(before[task_id])]
            )
            self.fill(task, depth, seen)
            tasks.append(task)
        return tasks

    def connect(self, source: Definition, target: str, depends: list[str]) -> None:
        """Lead from one task to another in one of the possible ways."""
        way = self.random.random()
        if source["type"] == "conditional" and way < 0.6:
            source["config"]["conditions"].append({"if": self.condition(), "then": target})
            if way < 0.15:
                source["config"]["default"] = target
            if way > 0.4:
                depends.append(source["id"])
        elif source["type"] == "tool" and way < 0.25 and "on_error" not in source:
            source["on_error"] = {"goto": target}
        elif way < 0.6:
            source.setdefault("next", []).append(target)
        else:
            depends.append(source["id"])

    def condition(self) -> str:
        return self.random.choice(["true", "false", "input > 2", "input % 2 == 0", "run.id == 'run_1'"])

    def fill(self, task: Definition, depth: int, known: list[str]) -> None:
        """Give a task its type and config."""
        kinds = ["tool"] * 6 + ["transform", "conditional", "conditional"]
        if depth < self.depth and self.random.random() < 0.4:
            kinds = ["parallel", "map", "loop", "try"]
        task["type"] = kind = self.random.choice(kinds)
        task["config"] = getattr(self, f"make_{kind}")(depth, known)
        if kind == "conditional" and self.random.random() < 0.3:
            task.setdefault("next", []).append("label_a")
        if kind not in {"conditional", "transform"} and self.random.random() < 0.15:
            task["on_error"] = self.random.choice(["continue", {"goto": "label_b"}])

    def value(self, known: list[str]) -> str:
        return "{{ " + self.random.choice(known) + " }}"

    def make_tool(self, _depth: int, known: list[str]) -> Definition:
        chance = self.random.random()
        arguments: Definition = {"a": self.value(known), "b": self.value(known)}
        if chance < 0.1:
            arguments["fail"] = True
        elif chance < 0.2:
            arguments["fail"] = "{{ input % 2 == 0 }}"
        elif chance < 0.35 and "index" in known:
            arguments["fail"] = "{{ index == 1 }}"
        return {"tool": "act", "arguments": arguments}

    def make_transform(self, _depth: int, known: list[str]) -> Definition:
        return {"value": {"x": self.value(known), "y": [self.value(known)]}}

    def make_conditional(self, _depth: int, _known: list[str]) -> Definition:
        found = {"conditions": [{"if": self.condition(), "then": self.random.choice(self.LABELS)}]}
        return found | ({"default": "label_b"} if self.random.random() < 0.3 else {})

    def make_parallel(self, depth: int, known: list[str]) -> Definition:
        return {"branches": {f"b{n}": self.tasks(depth + 1, known) for n in range(self.random.randint(1, 3))}}

    def make_map(self, depth: int, known: list[str]) -> Definition:
        return {
            "items": list(range(self.random.randint(0, 4))),
            "concurrency": self.random.randint(1, 3),
            "on_item_error": self.random.choice(["fail", "collect"]),
            "tasks": self.tasks(depth + 1, [*known, "item", "index"]),
        }

    def make_loop(self, depth: int, known: list[str]) -> Definition:
        return {
            "max_iterations": self.random.randint(1, 3),
            "until": self.random.choice(["false", "len(results) == 2", "iteration == 0"]),
            "tasks": self.tasks(depth + 1, [*known, "iteration", "results"]),
        }

    def make_try(self, depth: int, known: list[str]) -> Definition:
        undo = {"type": "tool", "config": {"tool": "act", "arguments": {"a": "{{ result }}"}}}
        tasks = self.tasks(depth + 1, known)
        for task in tasks:
            if task["type"] == "tool" and self.random.random() < 0.5:
                task["compensate"] = undo
        found: Definition = {"tasks": tasks}
        if self.random.random() < 0.7:
            found["catch"] = self.tasks(depth + 1, known)
        if self.random.random() < 0.5:
            found["finally"] = self.tasks(depth + 1, known)
        return found


def every(tasks: list[Definition]) -> list[Definition]:
    """List every task of a definition, those inside others too."""
    found: list[Definition] = []
    for task in tasks:
        config = task["config"]
        inner = [config.get("tasks", []), config.get("catch", []), config.get("finally", [])]
        inner += config.get("branches", {}).values()
        found += [task, *(t for tasks_ in inner for t in every(tasks_))]
    return found
