"""`pilothouse`: puts the commands together and turns expected faults into one sentence and an exit code."""

import sys
from importlib import import_module

import typer

from pilothouse.cli.shared import Failed
from pilothouse.runtime import logs

_COMMANDS = (
    "serve", "env", "doctor", "explain", "output", "run", "schedule", "ssh", "exec", "cp", "forward", "sign-in",
    "inventory", "compliance",
)  # fmt: skip
_GROUPS = (
    "access", "accounts", "associations", "audit", "params", "patch", "public-parameters", "runbook", "secrets",
    "sessions", "webhooks", "windows", "master-key",
)  # fmt: skip
"""Each is a module of this package; a group has an `app`, a command a function of its own name."""


def application(asked: str | None = None) -> typer.Typer:
    """All commands, or the one asked for alone: its module is loaded then, and none of what only the others need.

    A server keeps what it has loaded, so this counts in its memory as well as in the time of each command.
    """
    app = typer.Typer(
        name="pilothouse",
        help="A self-hosted control plane that speaks AWS Systems Manager and AWS Secrets Manager.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # keeps the command's name on the line when it is the only one
    names = (*_COMMANDS, *_GROUPS)
    for name in (asked,) if asked in names else names:
        module = import_module(f"pilothouse.cli.{name.replace('-', '_')}")
        if name in _GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name.replace("-", "_")))
    return app


def main() -> None:
    """Entry point of the console script."""
    logs.configure(level="warning")  # standard output is for answers; `serve` sets its own level
    try:
        application(sys.argv[1] if len(sys.argv) > 1 else None)()
    except Failed as failed:
        sys.stderr.write(f"pilothouse: {failed}\n")
        sys.exit(failed.code)
