"""`make demo`: a server and one node on this machine, a command run through the unmodified aws CLI.

Everything lives in the data directory; a second run uses it and its node again. Ctrl-C ends the server and the node's
agent, and both also end when this program is killed, so nothing but the data directory is left.
"""

import argparse
import ctypes
import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape

from pilothouse_agent.state.registration import NotRegistered, Registration, StateDirectory

BIN = Path(sys.executable).parent
PROGRAMS = ("pilothouse", "pilothouse-agent", "aws")
READY_WITHIN = 60.0
ONLINE_WITHIN = 60.0
COMMAND_WITHIN = 120.0
STOP_WITHIN = 15.0
PR_SET_PDEATHSIG = 1
PARAMETER = "/prod/db/password"

out = Console(highlight=False, soft_wrap=True)


class Failed(Exception):
    """The demo cannot go on; the text is the sentence shown."""


class Stopped(BaseException):
    """Ctrl-C, or the end of the terminal: time to end."""


@dataclass(frozen=True)
class Place:
    """Where this demo keeps what it makes."""

    data: Path
    http: str
    https: str

    @property
    def own(self) -> Path:
        return self.data / "demo"

    @property
    def shown(self) -> str:
        """The data directory as a user here would type it."""
        here = Path.cwd()
        return shlex.quote(str(self.data.relative_to(here) if self.data.is_relative_to(here) else self.data))


def main() -> int:
    """0 after Ctrl-C, 1 with one sentence when something is in the way."""
    options = arguments()
    place = Place(data=options.data.absolute(), http=options.http, https=options.https)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        with ExitStack() as running:
            play(place, running)
    except Stopped:
        out.print(f"\n[dim]Stopped. Everything that stays is in[/] {escape(place.shown)}")
        return 0
    except Failed as failed:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]demo:[/] {escape(str(failed))}")
        return 1
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Start a server and one node on this machine, and try them.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directory (default: data)")
    parser.add_argument("--http", default="127.0.0.1:7700", help="HOST:PORT for clients (default: 127.0.0.1:7700)")
    parser.add_argument("--https", default="127.0.0.1:7743", help="HOST:PORT for nodes (default: 127.0.0.1:7743)")
    return parser.parse_args()


def stop(number: int, frame: object) -> None:
    """Raise Stopped once; further signals find the ending under way and do not break it off."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Stopped


def play(place: Place, running: ExitStack) -> None:
    check_programs()
    running.enter_context(held(place))
    out.print("\n[bold]Pilothouse[/] on this machine\n")
    with step("Starting the server") as done:
        server = running.enter_context(child("server", place, "pilothouse", "serve", *serve_options(place)))
        await_ready(server, place)
        environment = credentials(place)
        done(f"The server answers at [cyan]{environment['AWS_ENDPOINT_URL']}[/]; its data is in {escape(place.shown)}")
    ssm = client(environment)
    with step("Enrolling this machine as a node") as done:
        node_id, known = enrolled(place, ssm, environment)
        agent = running.enter_context(
            child("agent", place, "pilothouse-agent", "run", "--state", str(node_state(place)))
        )
        await_online(agent, ssm, node_id, place)
        done(f"This machine is node [cyan]{node_id}[/]{' again' if known else ''}, tagged Env=Prod, online")
    out.print("\nA secret, stored and read back by the aws CLI:\n")
    keep_a_secret(environment)
    out.print("\nA command, sent to every node that is tagged Env=Prod:\n")
    run_a_command(environment)
    show_what_next(place, node_id)
    watch({"server": server, "agent": agent}, place)


def check_programs() -> None:
    for program in PROGRAMS:
        if not os.access(BIN / program, os.X_OK):
            raise Failed(f"{BIN / program} is missing; run: make setup")


def held(place: Place) -> TextIO:
    """Make the directories and fresh logs. The open file keeps another demo away from the same data."""
    try:
        place.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.own.mkdir(mode=0o700, exist_ok=True)
        lock = (place.own / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in ("server", "agent"):
            log_of(name, place).write_bytes(b"")
    except BlockingIOError:
        raise Failed(f"another demo is running on {place.shown}; stop it first, or use: make demo DATA=DIR") from None
    except OSError as error:
        reason = f"cannot write to the data directory {place.data}: {error.strerror}"
        raise Failed(f"{reason}; choose another with: make demo DATA=DIR") from error
    return lock


def serve_options(place: Place) -> list[str]:
    for address in (place.http, place.https):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise Failed(f"{address!r} is not HOST:PORT")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), int(port)))
            except (OSError, OverflowError) as error:
                hint = "choose others with: make demo HTTP=127.0.0.1:7701 HTTPS=127.0.0.1:7744"
                raise Failed(
                    f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}; {hint}"
                ) from error
    return ["--data", str(place.data), "--http", place.http, "--https", place.https]


def log_of(name: str, place: Place) -> Path:
    return place.own / f"{name}.log"


def node_state(place: Place) -> Path:
    return place.own / "node"


@contextmanager
def step(text: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the text while the block runs; the block says what came out of it."""
    began = time.monotonic()
    said: list[str] = []
    with out.status(text):
        yield said.append
    out.print(f"  [green]✓[/] {''.join(said)} [dim]({time.monotonic() - began:.1f} s)[/]")


@contextmanager
def child(name: str, place: Place, program: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that lives as long as the block, and no longer than this process. Its output is in its log."""
    with log_of(name, place).open("ab") as log:
        process = subprocess.Popen(
            [BIN / program, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=plain_environment(),
            start_new_session=True,  # the terminal's Ctrl-C comes to us alone: we end them in order
            preexec_fn=end_with_parent,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def plain_environment() -> dict[str, str]:
    """Ours, without settings meant for another AWS account, and without a proxy before this machine itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PILOTHOUSE_"))}
    local = "127.0.0.1,localhost,::1"
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = f"{kept[name]},{local}" if kept.get(name) else local
    return kept


def await_ready(server: subprocess.Popen[bytes], place: Place) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready() -> bool:
        if server.poll() is not None:
            raise Failed(f"the server did not start: {last_line(log_of('server', place))}")
        try:
            with opener.open(f"http://{place.http}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    if not until(ready, READY_WITHIN):
        raise Failed(f"the server did not get ready within {READY_WITHIN:.0f} s; its log is {log_of('server', place)}")


def until(holds: Callable[[], bool], seconds: float) -> bool:
    give_up_at = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.1)
    return True


def last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("pilothouse: ").removeprefix("pilothouse-agent: ") if lines else "it said nothing"


def told(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Standard output of a command. Raises Failed with the last line of what it complained about."""
    done = subprocess.run(command, env=environment or plain_environment(), capture_output=True, text=True)
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(f"{Path(command[0]).name} {command[1]} failed: {complaint[-1] if complaint else done.returncode}")
    return done.stdout


def credentials(place: Place) -> dict[str, str]:
    """The environment of AWS programs in this demo: what `pilothouse env` says, and nothing of the user's own."""
    given = json.loads(told(BIN / "pilothouse", "env", "--data", str(place.data), "--output", "json"))
    apart = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "AWS_DEFAULT_OUTPUT": "json",
    }
    return plain_environment() | apart | given


def client(environment: Mapping[str, str]) -> Any:
    return boto3.session.Session().client(
        "ssm",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(proxies={}),
    )


def enrolled(place: Place, ssm: Any, environment: Mapping[str, str]) -> tuple[str, bool]:
    """The node id of this machine and whether it was there before."""
    url = f"https://{place.https}"
    found = registration(place)
    try:
        if found is not None and is_node(ssm, found.instance_id):
            if found.url == url:
                return found.instance_id, True
            ssm.deregister_managed_instance(InstanceId=found.instance_id)
        activation = ssm.create_activation(
            IamRole="PilothouseNode",
            DefaultInstanceName=socket.gethostname(),
            RegistrationLimit=1,
            Tags=[{"Key": "Env", "Value": "Prod"}],
        )
    except (BotoCoreError, ClientError) as error:
        raise Failed(f"the server did not make an activation: {error}") from error
    told(
        *(BIN / "pilothouse-agent", "register", "--force", "--url", url, "--ca", place.data / "ca.pem"),
        *("--activation-id", activation["ActivationId"], "--region", environment["AWS_DEFAULT_REGION"]),
        *("--state", node_state(place)),
        environment=plain_environment() | {"PILOTHOUSE_ACTIVATION_CODE": activation["ActivationCode"]},
    )
    made = registration(place)
    if made is None:
        raise Failed(f"pilothouse-agent register left no registration in {node_state(place)}")
    return made.instance_id, False


def registration(place: Place) -> Registration | None:
    try:
        return StateDirectory(node_state(place)).registration()
    except NotRegistered:
        return None


def is_node(ssm: Any, node_id: str) -> bool:
    try:
        found = ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [node_id]}])
    except ClientError as error:
        if error.response["Error"]["Code"] == "InvalidInstanceId":
            return False
        raise
    return bool(found["InstanceInformationList"])


def await_online(agent: subprocess.Popen[bytes], ssm: Any, node_id: str, place: Place) -> None:
    def connected() -> bool:
        if agent.poll() is not None:
            raise Failed(f"the agent ended: {last_line(log_of('agent', place))}")
        try:
            return bool(ssm.get_connection_status(Target=node_id)["Status"] == "connected")
        except (BotoCoreError, ClientError) as error:
            raise Failed(f"the server does not tell whether {node_id} is connected: {error}") from error

    if not until(connected, ONLINE_WITHIN):
        raise Failed(f"{node_id} did not connect within {ONLINE_WITHIN:.0f} s; its log is {log_of('agent', place)}")


def aws(environment: Mapping[str, str], *words: str, show: bool = True) -> str:
    """Run the aws CLI as a user would, and show what is typed."""
    if show:
        out.print(f"  [bold]$ aws {escape(typed(words))}[/]")
    return told(BIN / "aws", *words, environment=environment)


def typed(words: tuple[str, ...]) -> str:
    """The words as they are typed in a shell: quoted where they must be, `{}` and `=` left as people write them."""
    return " ".join(
        word if word.replace("=", "").replace("[]", "") and is_plain(word) else shlex.quote(word) for word in words
    )


def is_plain(word: str) -> bool:
    return all(letter.isalnum() or letter in "-_./:=,@" for letter in word)


def keep_a_secret(environment: Mapping[str, str]) -> None:
    put = (
        "ssm",
        "put-parameter",
        "--name",
        PARAMETER,
        "--type",
        "SecureString",
        "--value",
        "open sesame",
        "--overwrite",
    )
    version = json.loads(aws(environment, *put))["Version"]
    out.print(f"  version {version}")
    get = ("ssm", "get-parameter", "--name", PARAMETER, "--with-decryption")
    out.print(f"  {escape(aws(environment, *get, '--query', 'Parameter.Value', '--output', 'text').strip())}")


def run_a_command(environment: Mapping[str, str]) -> None:
    send = ("ssm", "send-command", "--document-name", "AWS-RunShellScript", "--targets", "Key=tag:Env,Values=Prod")
    script = ("--parameters", 'commands=["uname -a","id"]')
    command_id = aws(environment, *send, *script, "--query", "Command.CommandId", "--output", "text").strip()
    out.print(f"  {command_id}")
    look = ("ssm", "list-command-invocations", "--command-id", command_id, "--details")
    out.print(f"  [bold]$ aws {escape(typed(look))}[/]")
    invocations: list[dict[str, Any]] = []

    def finished() -> bool:
        answer = json.loads(aws(environment, *look, show=False))
        invocations[:] = answer["CommandInvocations"]
        return bool(invocations) and all(each["Status"] not in {"Pending", "InProgress"} for each in invocations)

    with out.status("waiting for the node"):
        in_time = until(finished, COMMAND_WITHIN)
    if not in_time:
        raise Failed(f"command {command_id} is not finished after {COMMAND_WITHIN:.0f} s")
    for invocation in invocations:
        colour = "green" if invocation["Status"] == "Success" else "red"
        out.print(f"  {invocation['InstanceId']}  [{colour}]{invocation['Status']}[/]")
        for plugin in invocation["CommandPlugins"]:
            for line in plugin["Output"].strip().splitlines():
                out.print(f"    {escape(line.strip())}")


def show_what_next(place: Place, node_id: str) -> None:
    here = shlex.quote(str(Path.cwd()))
    lines = (
        f"cd {here}",
        'export PATH="$PWD/.venv/bin:$PATH"',
        f'eval "$(pilothouse env --data {place.shown})"',
        "aws ssm describe-instance-information",
        "aws ssm send-command --document-name AWS-RunShellScript --targets Key=tag:Env,Values=Prod "
        """--parameters 'commands=["df -h"]'""",
        "aws ssm put-parameter --name /prod/greeting --type String --value hello",
        "aws ssm get-parameters-by-path --path /prod --recursive --with-decryption",
    )
    out.print("\n[bold]Next[/], in another terminal:\n")
    for line in lines:
        out.print(f"  {escape(line)}", style="cyan")
    out.print(
        f"\n[bold]In a browser[/]: [cyan]http://{place.http}/console[/], with the access key and secret that "
        f"`pilothouse env` prints.\n\nLogs: {escape(place.shown)}/demo/server.log and agent.log. "
        f"The first day, step by step: docs/tutorial/first-day.md\n\n"
        "[bold]Running.[/] Ctrl-C stops the server and the node."
    )


def watch(children: Mapping[str, subprocess.Popen[bytes]], place: Place) -> None:
    """Stay until a signal comes, or one of them ends by itself."""
    while True:
        for name, process in children.items():
            if process.poll() is not None:
                raise Failed(f"the {name} ended by itself: {last_line(log_of(name, place))}")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
