"""The update, step by step, and the way back.

    fetch   the new file beside the old one, checked and tried with --version
    swap    the old one is kept as <program>.old, the new one takes its place in one step
    trial   the agent starts anew; it must reach the server and say so within the patience
    back    else the old file takes its place again, and the old agent is started

update/trial.json in the state directory says that an agent which starts now is on trial: when it has
reached the server it writes the word of the trial to update/alive.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pilothouse_agent import AGENT_VERSION, trial
from pilothouse_agent.link.api import ApiError
from pilothouse_agent.link.blocking import Server
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import RUN_MARK, WorkFailed
from pilothouse_agent.plugins.update_agent import Order
from pilothouse_agent.plugins.update_agent.offer import Offer, fetch, order_of
from pilothouse_agent.state import files

_LOOK = 0.2  # seconds between looks for a sign of life
_GRACE = 10.0  # seconds that an agent may take to end, and whoever keeps it running to start it again


def update(order: Order) -> int:
    """The exit code: 0 if the offered version runs now. Raises WorkFailed."""
    home = files.make_private(order.run.node.state / "update")
    with _alone(home):
        server = server_of(order.run.node)
        try:
            offer = fetch(server, order.run.node.ca_file)
            print("Successfully downloaded manifest", flush=True)
            if not _is_wanted(order, offer, home):
                return 0
            if _sha256(order.program) != offer.sha256:
                _fetch(server, order, offer)
                _swap(order, offer, home)
        except (ApiError, Unreachable, OSError) as error:
            raise WorkFailed(f"Failed to update the agent: {error}. Nothing was changed") from error
        return _try(order, offer, home)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkFailed("Another update in progress, try again later") from error
        yield
    finally:
        os.close(lock)


def _is_wanted(order: Order, offer: Offer, home: Path) -> bool:
    """Whether there is something to do. Raises WorkFailed if the offer is not what is wanted."""
    on_trial = trial.word(home.parent) is not None
    if order.target and order.target.split(".") != offer.version.split(".")[: len(order.target.split("."))]:
        raise WorkFailed(f"the server offers version {offer.version}, not {order.target}")
    if _sha256(order.program) == offer.sha256:
        if not on_trial:
            print(f"pilothouse-agent {offer.version} is already installed, update skipped")
        return on_trial  # an update that was interrupted after the swap goes on
    if order_of(offer.version) < order_of(AGENT_VERSION) and not order.allow_downgrade:
        raise WorkFailed(
            f"version {offer.version} is older than {AGENT_VERSION}; set allowDowngrade to true to take it"
        )
    return True


def _fetch(server: Server, order: Order, offer: Offer) -> None:
    """The new file, beside the old one. Raises WorkFailed."""
    fresh = _fresh(order.program)
    digest, size = hashlib.sha256(), 0
    with fresh.open("wb") as file, server.get(f"/agent/{offer.file}") as content:
        for piece in content:
            size += len(piece)
            if size > offer.size:
                break
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if size != offer.size or digest.hexdigest() != offer.sha256:
        fresh.unlink()
        raise WorkFailed("the file of the agent is not what its manifest says. Nothing was changed")
    fresh.chmod(order.program.stat().st_mode & 0o777)
    before = order.argv[: order.argv.index(str(order.program))]
    done = subprocess.run(  # noqa: S603 -- the file that was just checked
        [*before, str(fresh), "--version"], capture_output=True, text=True, timeout=120, check=False
    )
    said = done.stdout.split()[-1:] or [""]
    if done.returncode != 0 or _order_or_none(said[0]) != order_of(offer.version)[: len(said[0].split("."))]:
        fresh.unlink()
        why = done.stderr.strip()[-500:] or f"it says it is {said[0] or 'nothing'}"
        raise WorkFailed(f"pilothouse-agent {offer.version} does not run on this node: {why}. Nothing was changed")
    print(f"Successfully downloaded pilothouse-agent {offer.version}", flush=True)


def _order_or_none(version: str) -> tuple[int, ...] | None:
    try:
        return order_of(version)
    except ValueError:
        return None


def _swap(order: Order, offer: Offer, home: Path) -> None:
    """Durable: at any moment the program is the old file or the new one, and the old one is kept."""
    old = _old(order.program)
    kept = old.with_name(old.name + ".new")
    shutil.copy2(order.program, kept)
    os.replace(kept, old)
    files.write_json(home / "swap.json", {"from": AGENT_VERSION, "to": offer.version})
    trial.begin(home.parent, secrets.token_hex(16))
    os.replace(_fresh(order.program), order.program)
    files.sync_directory(order.program.parent)


def _try(order: Order, offer: Offer, home: Path) -> int:
    """Start the new agent and wait for its sign of life; without one, back to the old agent."""
    before = str((files.read_json(home / "swap.json") or {}).get("from", AGENT_VERSION))
    word = secrets.token_hex(16)
    trial.begin(home.parent, word)
    _restart(order)
    if _came_up(order, word):
        trial.end(home.parent)
        print(f"Successfully updated pilothouse-agent from {before} to {offer.version}")
        return 0
    print(
        f"pilothouse-agent {offer.version} did not reach the server: going back to {before}",
        file=sys.stderr,
        flush=True,
    )
    word = secrets.token_hex(16)
    trial.begin(home.parent, word)  # first: whoever keeps the agent running may start the old one at once
    os.replace(_old(order.program), order.program)
    files.sync_directory(order.program.parent)
    _end_agent(order)
    came = _came_up(order, word)
    trial.end(home.parent)
    print(
        f"Failed to update pilothouse-agent to {offer.version}, "
        + (f"rolled back to {before}" if came else f"and {before} did not reach the server again either"),
        file=sys.stderr,
    )
    return 1


def _restart(order: Order) -> None:
    pid = trial.running_agent(order.run.node.state)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, trial.RESTART)


def _end_agent(order: Order) -> None:
    """The agent that runs now is the one that failed; it may be stuck."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE
        pid = trial.running_agent(order.run.node.state)
        while pid is not None and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            time.sleep(_LOOK)
            again = trial.running_agent(order.run.node.state)
            if again != pid:
                return
    return


def _came_up(order: Order, word: str) -> bool:
    """Wait for the word. An agent that ended and that nobody starts again is started here."""
    state = order.run.node.state
    deadline = time.monotonic() + order.run.settings.update_patience
    gone_since: float | None = None
    while time.monotonic() < deadline:
        if trial.said(state, word):
            return True
        if trial.running_agent(state) is not None:
            gone_since = None
        elif gone_since is None:
            gone_since = time.monotonic()
        elif time.monotonic() - gone_since > min(_GRACE, order.run.settings.update_patience / 4):
            _start(order)
            gone_since = time.monotonic()
        time.sleep(_LOOK)
    return trial.said(state, word)


def _start(order: Order) -> None:
    log = order.run.node.state / "update" / "agent.log"
    environment = {name: value for name, value in os.environ.items() if name != RUN_MARK}  # it is no part of this run
    with log.open("ab") as file:
        subprocess.Popen(  # noqa: S603 -- the agent, as it was started before
            order.argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd="/",
            env=environment,
        )


def _fresh(program: Path) -> Path:
    return program.with_name(program.name + ".new")


def _old(program: Path) -> Path:
    return program.with_name(program.name + ".old")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
