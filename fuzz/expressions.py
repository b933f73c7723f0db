"""Any text is an expression, a template and a JSONPath, or is refused; what it gives is JSON (abuse cases 49 and 50).

Takes libFuzzer's options, such as `-max_total_time=600` and a folder for the corpus.
"""

import sys
from contextlib import suppress
from typing import Any

import atheris

with atheris.instrument_imports(include=["agent_factory.core"]):
    from agent_factory.core.expressions import ExpressionFailed, ExpressionInvalid, compile_named
    from agent_factory.core.functions import weighed
    from agent_factory.core.jsonpath import JsonPathFailed, JsonPathInvalid, compile_path
    from agent_factory.core.template import compile_template, expressions_in

VALUES: dict[str, Any] = {
    "input": {"message": "hello", "n": 3, "tags": ["a", "b"], "none": None, "deep": [[[{"x": 1.5}]]]},
    "a": {"output": {"rows": [{"id": 1}, {"id": 2}]}, "status": "completed", "error": None},
    "results": [1, "two", [3], {"four": 4}],
}
GRAMMAR = """
input.message input.n a.output.rows results [ ] ( ) . , + - * / // % == != < > and or not in if else
len( sum( join( json( parse_json( range( replace( sort( unique( 'x' 0 1 9 1e308 true null {{ }} $ .. [* [? @ ? : &&
__class__ lambda x: f'' **
"""
WORDS = GRAMMAR.split()


def text_of(data: bytes) -> str:
    """Make a text of words of the grammar and of anything else."""
    provider = atheris.FuzzedDataProvider(data)
    pieces: list[str] = []
    while provider.remaining_bytes() and len(pieces) < 40:  # noqa: PLR2004 - longer ones are only slower
        if provider.ConsumeIntInRange(0, 3):
            pieces.append(WORDS[provider.ConsumeIntInRange(0, len(WORDS) - 1)])
        else:
            pieces.append(provider.ConsumeUnicode(8))
    return "".join(pieces)


def one(data: bytes) -> None:
    """Try one text."""
    text = text_of(data)
    with suppress(ExpressionInvalid, ExpressionFailed):
        run, names = compile_named(text)
        assert all(isinstance(n, str) for n in names)
        weighed(run(VALUES), 10**9)
    with suppress(ExpressionInvalid, ExpressionFailed):
        expressions_in({text: [text]})
        weighed(compile_template({text: [text]})(VALUES), 10**9)
    with suppress(JsonPathInvalid, JsonPathFailed):
        weighed(compile_path(text)(VALUES), 10**9)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
