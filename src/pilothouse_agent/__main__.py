"""The command line: `pilothouse-agent register` and `pilothouse-agent run`.

Exit code 0 when done, 1 with one clear sentence on stderr when it cannot be, 2 for wrong usage.
"""

import argparse
import asyncio
import os
import ssl
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from pilothouse_agent import __version__
from pilothouse_agent.settings import InvalidSetting, Settings
from pilothouse_agent.state.registration import (
    NotRegistered,
    Registration,
    StateDirectory,
    default_state_root,
    machine_digest,
)

_ADVICE = {
    "InvalidActivation": "Check the activation id and code, or make a new activation with `aws ssm create-activation`.",
    "ActivationExpired": "Make a new activation with `aws ssm create-activation`.",
    "RegistrationLimitExceeded": "Make a new activation with `aws ssm create-activation --registration-limit N`.",
}


class CannotRegister(Exception):
    """Registration failed; the text says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the pilothouse-agent command."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "register":
            return _register(options)
        return _run(options)
    except Exception as error:
        if not _expected(error):
            raise
        print(f"pilothouse-agent: {error}", file=sys.stderr)
        return 1


def _expected(error: Exception) -> bool:
    from pilothouse_agent.agent import AlreadyRunning

    return isinstance(error, CannotRegister | NotRegistered | InvalidSetting | AlreadyRunning | OSError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pilothouse-agent", description="Node agent of Pilothouse.")
    parser.add_argument("--version", action="version", version=f"pilothouse-agent {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="state directory (default: /var/lib/pilothouse-agent for root, else ~/.local/state/pilothouse-agent)",
    )
    register = commands.add_parser("register", parents=[state], help="register this machine as a node")
    register.add_argument("--url", required=True, help="the server, e.g. https://host:7743")
    register.add_argument(
        "--ca", type=Path, metavar="FILE", help="CA certificate of the server (default: the machine's own)"
    )
    register.add_argument("--activation-id", required=True, metavar="ID")
    code = os.environ.get("PILOTHOUSE_ACTIVATION_CODE")
    register.add_argument(
        "--activation-code",
        default=code,
        required=code is None,
        metavar="CODE",
        help="or PILOTHOUSE_ACTIVATION_CODE in the environment, which other users cannot see",
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    register.add_argument(
        "--region", default=region, help="region of the activation (default: AWS_REGION or us-east-1)"
    )
    register.add_argument("--force", action="store_true", help="replace a registration that is there already")
    run = commands.add_parser("run", parents=[state], help="connect to the server and run what it sends")
    run.add_argument("--allow-reboot", action="store_true", help="let a script's exit code 194 reboot this machine")
    return parser


def _register(options: argparse.Namespace) -> int:
    from pilothouse_agent.link import keys

    url = _checked_url(options.url)
    state = StateDirectory((options.state or default_state_root()).absolute())
    if not options.force:
        try:
            known = state.registration()
        except NotRegistered:
            pass
        else:
            raise CannotRegister(
                f"{state.root} is registered already, as {known.instance_id} with {known.url}. "
                "Use --force to replace that registration by a new node, or --state for another one beside it."
            )
    _check_writable(state.root)
    private_key, public_key = keys.generate()
    fingerprint = str(uuid.uuid4())
    instance_id = asyncio.run(_call_register(options, url, public_key, fingerprint))
    registration = Registration(
        instance_id=instance_id, region=options.region, url=url, fingerprint=fingerprint, machine=machine_digest()
    )
    state.register(registration, private_key, options.ca.read_bytes() if options.ca else None)
    print(f"Registered as {instance_id}. State is in {state.root}.")
    place = f" --state {options.state}" if options.state else ""
    print(f"Start it with: pilothouse-agent run{place}")
    return 0


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
        good = good and parts.path in ("", "/") and not parts.query
    except ValueError:
        good = False
    if not good:
        raise CannotRegister(f"{url!r} is not the URL of a server. It must look like https://host:7743.")
    return url.rstrip("/")


def _check_writable(root: Path) -> None:
    """Before an activation is used up."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        probe = root / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = f"{root} cannot be written: {error.strerror}. Choose another directory with --state."
        raise CannotRegister(reason) from error


async def _call_register(options: argparse.Namespace, url: str, public_key: str, fingerprint: str) -> str:
    from pilothouse_agent.link import api
    from pilothouse_agent.link.https import Endpoint, Unreachable

    parts = urlsplit(url)
    try:
        endpoint = Endpoint(parts.hostname or "", parts.port or 443, options.ca)
    except (OSError, ssl.SSLError) as error:
        reason = f"The CA file {options.ca} cannot be used: {error}. Fetch it anew from {url}/ca.pem."
        raise CannotRegister(reason) from error
    try:
        return await api.register(
            endpoint,
            activation_id=options.activation_id,
            activation_code=options.activation_code,
            public_key=public_key,
            fingerprint=fingerprint,
        )
    except Unreachable as error:
        raise CannotRegister(f"The server did not register this machine: {error}.") from error
    except api.ApiError as error:
        advice = _ADVICE.get(error.code, "The server's log says more.")
        raise CannotRegister(f"The server refused the registration: {error} {advice}") from error


def _run(options: argparse.Namespace) -> int:
    from pilothouse_agent.agent import run

    settings = Settings.from_environment()
    if options.allow_reboot:
        settings = replace(settings, allow_reboot=True)
    if asyncio.run(run(StateDirectory((options.state or default_state_root()).absolute()), settings)):
        sys.stderr.flush()
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 -- this very program, from a file that was updated
    return 0


if __name__ == "__main__":
    sys.exit(main())
