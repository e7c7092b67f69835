"""What every command needs: its faults, the data directory, the settings."""

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pilothouse.crypto.master_key import MasterKey, find_master, missing
from pilothouse.runtime.settings import Settings, SettingsInvalid, load

if TYPE_CHECKING:
    from rich.console import Console

_NO_TERMINAL: Final = 20_000
"""Columns where nothing wraps: longer than any name, twice."""


class Failed(Exception):
    """The command cannot do what was asked; the text is the sentence shown, and says what to do next."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory. Default: $PILOTHOUSE_DATA, else ~/.local/share/pilothouse."),
]


def data_directory(option: Path | None) -> Path:
    """The data directory asked for; nothing is made here."""
    if option is not None:
        return option.absolute()
    named = os.environ.get("PILOTHOUSE_DATA")
    return Path(named).absolute() if named else Path.home() / ".local" / "share" / "pilothouse"


def existing_data(option: Path | None) -> Path:
    """A data directory that a server was started on. Raises Failed."""
    data = data_directory(option)
    try:
        known = (data / "root.sealed").exists()
    except PermissionError as error:
        raise Failed(f"{data} belongs to somebody else; run this as the user that runs the server") from error
    if not known:
        raise Failed(f"{data} is no data directory yet; start the server once: pilothouse serve --data {data}")
    return data


def settings_of(data: Path, **options: Any) -> Settings:
    """The installation's settings. Raises Failed."""
    try:
        return load(data, **options)
    except (SettingsInvalid, OSError) as error:
        raise Failed(str(error)) from error


def master_key(settings: Settings) -> MasterKey:
    """The master key as it is set. Raises MasterKeyUnusable."""
    found = find_master(settings.data, settings.master_key)
    if found is None:
        raise missing(settings.data)
    return found


def operator() -> str:
    """Who gives the command, by the machine's word."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def table_console() -> "Console":
    """Where tables are printed; where that is no terminal each row is one line, for grep and the like."""
    from rich.console import Console  # only here: not every command has a table

    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=_NO_TERMINAL)
