"""How commands print what they found: a table for people, JSON or YAML for programs."""

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, cast

import typer


class Format(StrEnum):
    """The forms of a listing or of one object."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Limit = Annotated[int, typer.Option(min=1, max=100, help="How many at most.")]
FormatOption = Annotated[Format, typer.Option("-o", "--output", help="How to print the result.")]


def show(data: object, form: Format, columns: Sequence[str] = ()) -> None:
    """Print plain JSON data; `columns` picks and orders those of the table."""
    if form is Format.JSON:
        typer.echo(to_json(data))
    elif form is Format.YAML:
        typer.echo(to_yaml(data), nl=False)
    elif isinstance(data, list):
        _table(cast("list[dict[str, Any]]", data), columns)
    elif isinstance(data, dict):
        _record(cast("dict[str, Any]", data), columns)
    else:
        typer.echo(_cell(data))


def to_json(data: object) -> str:
    """Write JSON with two spaces, in the order of the data."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()


def to_yaml(data: object) -> str:
    """Write YAML as a person would: blocks, in the order of the data."""
    from agent_factory.core.document import write_yaml

    return write_yaml(data)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    if not rows:
        typer.echo("nothing here yet", err=True)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    names = columns or list(rows[0])
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name == "id")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    # a pipe has no width: cutting ids to 80 columns there would only spoil them
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=width, markup=False).print(table)


def _record(data: Mapping[str, Any], columns: Sequence[str]) -> None:
    names = columns or list(data)
    width = max(map(len, names), default=0)
    for name in names:
        typer.echo(f"{name.ljust(width)}  {_cell(data.get(name))}")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        import msgspec

        return msgspec.json.encode(value).decode()
    return str(value)
