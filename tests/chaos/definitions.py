"""Random workflows whose effects a server counts, and what a plain interpretation of them gives."""

import random
from collections.abc import Mapping
from typing import Any

from agent_factory.core.template import compile_template
from tests.runtime.flow.reference import Definition, Failure, Reference, last

MODULUS = 1009
"""Every value is smaller, so that nothing grows with the depth of a workflow."""


class Plain(Reference):
    """Runs a definition without journal, queue and server, and counts the requests that it makes."""

    def __init__(self, children: Mapping[str, Definition]) -> None:
        super().__init__()
        self.children = children
        self.requests = 0

    def kind(self, task: Definition, names: dict[str, Any]) -> tuple[Any, set[str]]:
        config = task["config"]
        match task["type"]:
            case "http":
                return self.request(config, names), set()
            case "wait":
                return None, set()
            case "approval":
                if config["title"] != "yes":
                    raise Failure
                return {"approved": True, "by": "chaos", "comment": ""}, set()
            case "subworkflow":
                tasks = self.children[config["workflow"]]["tasks"]
                document = {name: compile_template(value)(names) for name, value in config["input"].items()}
                return last(tasks, self.level(tasks, {"input": document, "run": names["run"]})), set()
            case "map":
                items = compile_template(config["items"])(names)
                return self.map({**config, "items": items}, names), set()
            case _:
                return super().kind(task, names)

    def request(self, config: Definition, names: dict[str, Any]) -> int:
        self.requests += 1
        if "status" in config["query"]:
            raise Failure
        return (compile_template(config["query"]["v"])(names) + 1) % MODULUS

    def try_(self, config: Definition, names: dict[str, Any]) -> Any:
        """Do as the real one, which undoes the tasks of these workflows' tries by one more request each."""
        before = self.requests
        output = super().try_(config, names)
        self.requests += self.requests - before - 1  # all but the last, which failed
        return output


class Maker:
    """Makes random workflows; `children` are those that the made ones name."""

    DEPTH = 2

    def __init__(self, seed: int, url: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a repeatable mixture, no secret
        self.url = url
        self.count = 0
        self.children: dict[str, Definition] = {}

    def definition(self) -> Definition:
        return {"name": "chaos", "tasks": self.level(0, ["input"])}

    def level(self, depth: int, known: list[str]) -> list[Definition]:
        """Make tasks that end in one, which adds up what all others gave."""
        tasks: list[Definition] = []
        values: dict[str, str] = {}
        for _ in range(self.random.randint(1, 3)):
            sources = [s for s in values if self.random.random() < 0.5]
            seen = known + [values[s] for s in sources]
            kinds = ["http"] * 4 + ["transform", "refused", "wait", "approval", "conditional"]
            if depth < self.DEPTH and self.random.random() < 0.55:
                kinds = ["parallel", "map", "loop", "try", "subworkflow"]
            made, value = getattr(self, f"make_{self.random.choice(kinds)}")(depth, seen)
            made[0]["depends_on"] = sources
            tasks += made
            values |= {made[0]["id"]: value} if value else {t["id"]: self.output(t["id"]) for t in made[1:]}
        join = {"id": self.name(), "type": "transform", "depends_on": list(values)}
        joined = " + ".join(f"({value})" for value in values.values())
        return [*tasks, {**join, "config": {"value": f"{{{{ ({joined}) % {MODULUS} }}}}"}}]

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def output(self, task_id: str) -> str:
        """Give what a task gave, 0 for one that was skipped or failed."""
        return f"({task_id}.output or 0)"

    def mixed(self, known: list[str]) -> str:
        a, b = self.random.choice(known), self.random.choice(known)
        return f"{{{{ ({a} * {self.random.randint(1, 50)} + {b} + {self.random.randint(0, 99)}) % {MODULUS} }}}}"

    def request(self, known: list[str], **query: str) -> Definition:
        delay = f"{self.random.choice([0.0, 0.2, 0.8]):.3f}"
        query = {"v": self.mixed(known), "delay": delay, **query}
        return {"url": self.url, "method": "POST", "query": query}

    def make_http(self, _depth: int, known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        output = f"{{{{ (int(result.body.query.v) + 1) % {MODULUS} }}}}"
        task = {"id": task_id, "type": "http", "config": self.request(known), "output": output}
        return [task], self.output(task_id)

    def make_refused(self, _depth: int, known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        config = self.request(known, status="400")
        return [{"id": task_id, "type": "http", "config": config, "on_error": "continue"}], self.output(task_id)

    def make_transform(self, _depth: int, known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        return [{"id": task_id, "type": "transform", "config": {"value": self.mixed(known)}}], self.output(task_id)

    def make_wait(self, _depth: int, _known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        config = {"seconds": self.random.choice([0.05, 1.1, 1.5])}  # in the process, or as a row
        return [{"id": task_id, "type": "wait", "config": config}], "1"

    def make_approval(self, _depth: int, _known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        config = {"title": self.random.choice(["yes", "yes", "no"])}
        task = {"id": task_id, "type": "approval", "config": config, "on_error": "continue"}
        return [task], f"len({task_id}.output or [])"

    def make_conditional(self, depth: int, known: list[str]) -> tuple[list[Definition], str]:
        (left,), _ = self.make_http(depth, known)
        (right,), _ = self.make_http(depth, known)
        condition = {"if": f"{self.random.choice(known)} % 2 == 0", "then": left["id"]}
        config = {"conditions": [condition], "default": right["id"]}
        return [{"id": self.name(), "type": "conditional", "config": config}, left, right], ""

    def make_parallel(self, depth: int, known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        branches = {f"b{n}": self.level(depth + 1, known) for n in range(self.random.randint(2, 3))}
        task = {"id": task_id, "type": "parallel", "config": {"branches": branches}}
        return [task], f"(sum(values({task_id}.output)) if {task_id}.output else 0)"

    def make_map(self, depth: int, known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        config = {
            "items": f"{{{{ range({self.random.randint(1, 4)}) }}}}",
            "concurrency": self.random.randint(1, 3),
            "tasks": self.level(depth + 1, [*known, "item", "index"]),
        }
        return [{"id": task_id, "type": "map", "config": config}], f"sum({task_id}.output or [])"

    def make_loop(self, depth: int, known: list[str]) -> tuple[list[Definition], str]:
        task_id = self.name()
        config = {
            "max_iterations": self.random.randint(1, 3),
            "until": self.random.choice(["false", "sum(results) % 3 == 0"]),
            "tasks": self.level(depth + 1, [*known, "iteration", "len(results)"]),
        }
        return [{"id": task_id, "type": "loop", "config": config}], f"sum({task_id}.output or [])"

    def make_try(self, depth: int, known: list[str]) -> tuple[list[Definition], str]:
        """Make one that fails, so that what was done before is undone."""
        task_id = self.name()
        (done,), _ = self.make_http(depth, known)
        done["compensate"] = {"type": "http", "config": self.request(["1"])}
        (broken,), _ = self.make_refused(depth, [*known, self.output(done["id"])])
        broken |= {"on_error": "fail", "depends_on": [done["id"]]}
        (caught,), _ = self.make_transform(depth, known)
        config = {"tasks": [done, broken], "catch": [caught]}
        return [{"id": task_id, "type": "try", "config": config}], self.output(task_id)

    def make_subworkflow(self, _depth: int, known: list[str]) -> tuple[list[Definition], str]:
        task_id, name = self.name(), f"child_{self.count}"
        self.children[name] = {"name": name, "tasks": self.level(self.DEPTH, ["input.v"])}
        config = {"workflow": name, "input": {"v": self.mixed(known)}}
        return [{"id": task_id, "type": "subworkflow", "config": config}], self.output(task_id)
