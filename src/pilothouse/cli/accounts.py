"""`pilothouse accounts`: further accounts of the installation."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from pilothouse.app import StartFailed, opened_house
from pilothouse.capabilities import access
from pilothouse.cli.shared import DataOption, Failed, existing_data, master_key, operator, settings_of
from pilothouse.crypto.master_key import MasterKeyUnusable

app = typer.Typer(no_args_is_help=True, help="Accounts of the installation.")


@app.callback()
def accounts() -> None:
    """Accounts of the installation."""


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name for people: letters, digits, . _ -")],
    data: DataOption = None,
    output: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Make an account with a root key. The secret is shown this once."""
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    if not name or len(name) > 64 or not all(each.isalnum() or each in "._-" for each in name):
        raise Failed("an account name has 1 to 64 letters, digits, dots, underscores or dashes")
    directory = existing_data(data)
    try:
        made = asyncio.run(_create(directory, name))
    except (StartFailed, access.AccountExists) as error:
        raise Failed(str(error)) from error
    _show(made, output)


@app.command("rotate-root")
def rotate_root(
    account: Annotated[str, typer.Argument(help="Its id or name; the first account where left out.")] = "",
    data: DataOption = None,
    output: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Give an account a new root key and delete those it has, lost ones too. The server may run meanwhile."""
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    directory = existing_data(data)
    try:
        made = asyncio.run(_rotate_root(directory, account))
    except (StartFailed, MasterKeyUnusable, access.NoSuchAccount) as error:
        raise Failed(str(error)) from error
    _show(made, output)


def _show(made: access.AccountKey, output: str) -> None:
    if output == "json":
        typer.echo(
            json.dumps(
                {"AccountId": made.account_id, "AccessKeyId": made.access_key_id, "SecretAccessKey": made.secret}
            )
        )
        return
    typer.echo(f"AccountId        {made.account_id}")
    typer.echo(f"AccessKeyId      {made.access_key_id}")
    typer.echo(f"SecretAccessKey  {made.secret}")
    typer.echo("Keep the secret now: it is not shown again.")


async def _create(directory: Path, name: str) -> access.AccountKey:
    async with opened_house(settings_of(directory), create=False) as house:
        return await access.create_account(house, name, operator=operator())


async def _rotate_root(directory: Path, account: str) -> access.AccountKey:
    settings = settings_of(directory)
    async with opened_house(settings, create=False) as house:
        return await access.rotate_root(house, master_key(settings), directory, account, operator=operator())
