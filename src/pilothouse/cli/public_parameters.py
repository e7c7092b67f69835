"""`pilothouse public-parameters`: what everybody may read below `/aws/service/`."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pilothouse.app import StartFailed, opened_house
from pilothouse.call import House
from pilothouse.capabilities import access, audit, parameters
from pilothouse.cli import global_infrastructure as infrastructure
from pilothouse.cli.shared import DataOption, Failed, existing_data, operator, settings_of
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction

app = typer.Typer(no_args_is_help=True, help="Public parameters: /aws/service/..., readable by every account and node.")

RegionOption = Annotated[str | None, typer.Option(help="One region only; without it, every region.")]
_BEGINNING = "/aws/service/"
_MEMBERS = {"Value", "Type", "DataType", "Description"}
_BY = "arn:aws:iam::aws:root"
_NAMES_RECORDED = 100
"""Of the names of one command so many stand in its record."""


class _Loader(yaml.SafeLoader):
    """Reads a name that comes twice as a fault: which value counts would be a guess."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for key, _ in node.value:
            if key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} comes twice", key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


@app.command("load")
def load(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON or YAML: name to value, or name to Value, Type, DataType, Description."),
    ] = None,
    global_infrastructure: Annotated[
        bool,
        typer.Option("--global-infrastructure", help="/aws/service/global-infrastructure/: regions and services."),
    ] = False,
    region: RegionOption = None,
    data: DataOption = None,
) -> None:
    """Make or replace public parameters from a file. A file with one bad entry changes nothing."""
    if file is None and not global_infrastructure:
        raise Failed("name a file to load, or use --global-infrastructure")
    entries = [] if file is None else _read(file)
    directory = existing_data(data)
    if global_infrastructure:
        entries = [*infrastructure.entries(), *entries]
    changed = _run(_load(directory, region, entries))
    typer.echo(f"{changed} of {len(entries)} public parameters are new or changed.")


def _read(file: Path) -> list[parameters.PublicParameter]:
    try:
        return entries_of(yaml.load(file.read_text("utf-8"), _Loader))  # noqa: S506 - it is a safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Failed(f"{file} cannot be read: line {line}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Failed(f"{file} cannot be read: {error}") from error


@app.command("list")
def show(
    region: RegionOption = None,
    output: Annotated[str, typer.Option(help="table or json.")] = "table",
    data: DataOption = None,
) -> None:
    """The public parameters of a region, or those of every region, with their values."""
    if output not in {"table", "json"}:
        raise Failed(f"--output {output}: use table or json")
    found = _run(_list(existing_data(data), region))
    if output == "json":
        typer.echo(json.dumps([_as_json(each) for each in found], indent=2, ensure_ascii=False))
        return
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        typer.echo(f"{each.name:{width}}  {each.number:4}  {each.kind:10}  {each.value}")


def _as_json(value: parameters.PublicValue) -> dict[str, Any]:
    return {
        "Name": value.name,
        "Type": value.kind,
        "Value": value.value,
        "Version": value.number,
        "DataType": value.data_type,
    }


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="A public parameter, or the path above several.")],
    region: RegionOption = None,
    data: DataOption = None,
) -> None:
    """Remove a public parameter and everything below its name."""
    count = _run(_remove(existing_data(data), region, name))
    if not count:
        raise Failed(f"there is no public parameter {name} and none below it")
    typer.echo(f"{count} public {'parameter is' if count == 1 else 'parameters are'} removed.")


def entries_of(content: Any) -> list[parameters.PublicParameter]:
    """The entries of a file's content. Raises Failed, which names the entry."""
    if not isinstance(content, Mapping):
        raise Failed("the file must hold one object: names of parameters to their values")
    return [_entry(name, value) for name, value in content.items()]


def _entry(name: Any, value: Any) -> parameters.PublicParameter:
    if not isinstance(name, str) or not name.startswith(_BEGINNING):
        raise Failed(f"{name!r} is no name of a public parameter: they begin with {_BEGINNING}")
    if not parameters.is_name(name):
        raise Failed(f"{name!r} is no name of a parameter: each level has letters, digits, '.', '-' and '_' only")
    members = value if isinstance(value, Mapping) else {"Value": value}
    if unknown := sorted(str(each) for each in set(members) - _MEMBERS):
        raise Failed(f"{name}: there is no member {unknown[0]}; use {', '.join(sorted(_MEMBERS))}")
    if not all(isinstance(each, str) and each for each in members.values()) or "Value" not in members:
        raise Failed(f"{name}: the value and every other member must be a text that is not empty")
    if members.get("Type", "String") not in {"String", "StringList"}:
        raise Failed(f"{name}: the Type is String or StringList")
    entry = parameters.PublicParameter(
        name=name,
        value=members["Value"],
        kind=members.get("Type", "String"),
        data_type=members.get("DataType", "text"),
        description=members.get("Description"),
    )
    try:
        parameters.check_data_type(entry.data_type, entry.kind, entry.value)
    except ValidationException as error:
        raise Failed(f"{name}: {error.message}") from error
    return entry


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except StartFailed as error:
        raise Failed(str(error)) from error


async def _load(data: Path, region: str | None, entries: list[parameters.PublicParameter]) -> int:
    async with _recorded(data, "LoadPublicParameters", region, names=[each.name for each in entries]) as (house, tx):
        return await parameters.load_public(tx, region, entries, at=house.clock.millis(), by=_BY)


async def _list(data: Path, region: str | None) -> list[parameters.PublicValue]:
    async with opened_house(settings_of(data), create=False) as house, house.database.reading() as tx:
        return list(await parameters.listed_public(tx, region))


async def _remove(data: Path, region: str | None, name: str) -> int:
    async with _recorded(data, "RemovePublicParameters", region, names=[name]) as (_, tx):
        return await parameters.remove_public(tx, region, name)


@asynccontextmanager
async def _recorded(
    data: Path, act: str, region: str | None, names: list[str]
) -> AsyncIterator[tuple[House, Transaction]]:
    """A transaction that says in the trail of the first account who changes what."""
    said = {"region": region, "names": names[:_NAMES_RECORDED], "count": len(names)}
    async with opened_house(settings_of(data), create=False) as house:
        await audit.key_of(house)
        async with house.database.transaction() as tx:
            yield house, tx
            await audit.operator_acted(house, tx, operator(), await access.first_account(tx), act, said)
