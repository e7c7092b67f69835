"""`pilothouse`: puts the commands together and turns expected faults into one sentence and exit code 1."""

import sys

import typer

from pilothouse.cli import accounts, doctor, env, serve
from pilothouse.cli.shared import Failed
from pilothouse.runtime import logs

app = typer.Typer(
    name="pilothouse",
    help="A self-hosted control plane that speaks AWS Systems Manager and AWS Secrets Manager.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("env")(env.env)
app.add_typer(accounts.app, name="accounts")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point of the console script."""
    logs.configure(level="warning")  # standard output is for answers; `serve` sets its own level
    try:
        app()
    except Failed as failed:
        sys.stderr.write(f"pilothouse: {failed}\n")
        sys.exit(1)
