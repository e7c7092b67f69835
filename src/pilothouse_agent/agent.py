"""The running agent: ties link, commands and state together and ends them together."""

import asyncio
import fcntl
import gc
import os
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pilothouse_agent import AGENT_VERSION, log, trial
from pilothouse_agent.associations import Associations
from pilothouse_agent.commands import CommandRunner
from pilothouse_agent.documents.plan import InvalidDocument
from pilothouse_agent.documents.substitution import StoredParameter
from pilothouse_agent.link.api import LOGS, SSM, ApiError, NodeApi
from pilothouse_agent.link.backoff import Backoff
from pilothouse_agent.link.channel import ControlChannel
from pilothouse_agent.link.credentials import RoleCredentials
from pilothouse_agent.link.https import Endpoint, Unreachable
from pilothouse_agent.link.polling import MessagePolling
from pilothouse_agent.machine import Machine, describe
from pilothouse_agent.plugins import Node
from pilothouse_agent.sending.live import LiveOutput
from pilothouse_agent.sending.outputs import Outputs
from pilothouse_agent.sessions.keeper import SessionKeeper
from pilothouse_agent.settings import Settings
from pilothouse_agent.state import files
from pilothouse_agent.state.associations import KeptAssociations, ReportQueue
from pilothouse_agent.state.commands import Commands
from pilothouse_agent.state.outbox import Outbox, Reply, Sending
from pilothouse_agent.state.registration import StateDirectory

_PRUNE_INTERVAL = 3600.0
_NAMES_PER_CALL = 10


class AlreadyRunning(Exception):
    """Another agent holds the state directory."""


class _Stop(Exception):
    """SIGTERM or SIGINT came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All that runs while the agent runs."""

    machine: Machine
    settings: Settings
    api: NodeApi
    credentials: RoleCredentials
    commands: Commands
    outbox: Outbox
    outputs: Outputs
    outputs_of_associations: Outputs
    associations: Associations
    live: LiveOutput
    runner: CommandRunner
    sessions: SessionKeeper
    polling: MessagePolling
    channel: ControlChannel
    reached: asyncio.Event = field(default_factory=asyncio.Event)  # the server answered as it should


async def run(state: StateDirectory, settings: Settings) -> bool:
    """Run until SIGTERM or SIGINT; whether the agent is to start anew from its file instead.

    Scripts go on under their supervisors, sessions in their workers; the next run takes them up.
    Raises NotRegistered, AlreadyRunning, OSError or ssl.SSLError before anything is started.
    """
    registration = state.registration()
    files.make_private(state.root)
    lock = _take_lock(state)
    stop = asyncio.Event()
    restart = asyncio.Event()
    word = trial.word(state.root)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def start_anew() -> None:
        restart.set()
        stop.set()

    loop.add_signal_handler(trial.RESTART, start_anew)
    log.event("agent.started", node_id=registration.instance_id, version=AGENT_VERSION, server=registration.url)
    try:
        async with asyncio.TaskGroup() as group:
            parts = _assemble(state, settings, group)
            group.create_task(parts.credentials.hold())
            group.create_task(parts.outbox.deliver(lambda reply: _send(parts, reply)))
            group.create_task(parts.polling.hold())
            group.create_task(parts.channel.hold())
            group.create_task(_report_health(parts))
            group.create_task(parts.outputs.hold())
            group.create_task(parts.outputs_of_associations.hold())
            group.create_task(parts.associations.hold())
            group.create_task(parts.live.hold())
            group.create_task(parts.sessions.deliver())
            group.create_task(_prune(parts))
            if word is not None:
                group.create_task(_show_life(parts, state, word))
            parts.runner.resume()
            parts.sessions.resume()
            gc.collect()
            gc.freeze()  # what lives as long as the agent need not be looked at again, nor copied by forks
            await stop.wait()
            parts.runner.stopping = parts.sessions.stopping = True
            raise _Stop
    except* _Stop:
        log.event("agent.stopped", node_id=registration.instance_id)
    finally:
        os.close(lock)
    return restart.is_set()


async def _show_life(parts: Parts, state: StateDirectory, word: str) -> None:
    """An agent that an update started says when it has reached the server."""
    await parts.reached.wait()
    while not parts.channel.is_open and not parts.polling.is_on:  # noqa: ASYNC110 -- seconds, and once
        await asyncio.sleep(0.1)
    trial.say(state.root, word)
    log.event("agent.reached_server", version=AGENT_VERSION)


def _take_lock(state: StateDirectory) -> int:
    lock = os.open(state.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    for last in (False, False, False, True):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if last:
                os.close(lock)
                raise AlreadyRunning(f"Another agent runs with the state directory {state.root}.") from error
            time.sleep(0.1)  # an update that looks whether an agent runs holds it for an instant
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d" % os.getpid(), 0)
    return lock


def _assemble(state: StateDirectory, settings: Settings, group: asyncio.TaskGroup) -> Parts:
    registration = state.registration()
    ca_file = state.ca_file if state.ca_file.exists() else None
    endpoint = Endpoint(registration.host, registration.port, ca_file)
    machine = describe(registration.host)
    credentials = RoleCredentials(endpoint, registration, state, settings)
    api = NodeApi(endpoint, registration.instance_id, registration.region, credentials)
    commands = Commands(state.commands, state.cancels)
    outbox = Outbox(state.replies, retry=settings.reply_retry, keep=settings.reply_keep)
    node = Node(
        instance_id=registration.instance_id,
        region=registration.region,
        host=registration.host,
        port=registration.port,
        ca_file=ca_file,
        credentials_file=state.credentials_file,
        state=state.root,
        machine=machine,
        call=lambda operation, request: api.call(SSM, operation, request),
        fetch=lambda names: stored_parameters(api, names),
        look=lambda wanted: associations.look(wanted),
    )
    live = LiveOutput(settings.output_limit)

    def outputs_below(root: Path) -> Outputs:
        return Outputs(
            node=node,
            settings=settings,
            live=live,
            call_logs=lambda operation, request: api.call(LOGS, operation, request),
            commands=root,
        )

    outputs = outputs_below(state.commands)
    outputs_of_associations = outputs_below(state.associations / "runs")
    associations = Associations(
        node=node,
        settings=settings,
        outputs=outputs_of_associations,
        kept=KeptAssociations(state.associations / "kept"),
        runs=Commands(state.associations / "runs", state.cancels),
        reports=ReportQueue(state.associations / "reports"),
    )
    runner = CommandRunner(commands=commands, outbox=outbox, settings=settings, group=group, node=node, outputs=outputs)
    sessions = SessionKeeper(root=state.sessions, node=node, endpoint=endpoint, settings=settings, group=group)
    polling = MessagePolling(api=api, runner=runner, outbox=outbox, settings=settings)
    channel = ControlChannel(
        api=api,
        runner=runner,
        outbox=outbox,
        polling=polling,
        live_output=live,
        sessions=sessions,
        settings=settings,
    )
    return Parts(
        machine=machine,
        settings=settings,
        api=api,
        credentials=credentials,
        commands=commands,
        outbox=outbox,
        outputs=outputs,
        outputs_of_associations=outputs_of_associations,
        associations=associations,
        live=live,
        runner=runner,
        sessions=sessions,
        polling=polling,
        channel=channel,
    )


async def _send(parts: Parts, reply: Reply) -> Sending:
    """A reply goes back the way its command came; while only polling works, all go that way."""
    if reply.channel == "mgs" and (parts.channel.is_open or not parts.polling.is_on):
        return await parts.channel.send_reply(reply)
    return await parts.polling.send_reply(reply)


async def _report_health(parts: Parts) -> None:
    """UpdateInstanceInformation: the short form once, then the full one for as long as the agent runs."""
    backoff = Backoff(parts.settings.reconnect_first, parts.settings.reconnect_cap)
    short = {
        "AgentName": "amazon-ssm-agent",  # the only name the operation accepts
        "AgentVersion": AGENT_VERSION,
        "InstanceId": parts.api.instance_id,
        "PlatformType": "Linux",
    }
    first = True
    while True:
        try:
            if first:
                await parts.api.call(SSM, "UpdateInstanceInformation", short)
                first = False
            await parts.api.call(SSM, "UpdateInstanceInformation", {**short, **_full(parts)})
            parts.reached.set()
        except (ApiError, Unreachable) as error:
            pause = backoff.next()
            log.event("health.failed", level="warning", reason=error, retry_seconds=pause)
            await asyncio.sleep(pause)
            continue
        backoff.reset()
        await asyncio.sleep(parts.settings.health_interval * random.uniform(0.9, 1.0))  # noqa: S311 -- spreading load


def _full(parts: Parts) -> Mapping[str, str]:
    return {
        "AgentStatus": "Active",
        "AvailabilityZone": "",
        "AvailabilityZoneId": "",
        "ComputerName": parts.machine.computer_name,
        "IPAddress": parts.machine.ip_address,
        "PlatformName": parts.machine.platform_name,
        "PlatformVersion": parts.machine.platform_version,
        "SSMConnectionChannel": _channel_name(parts),
    }


def _channel_name(parts: Parts) -> str:
    if parts.channel.is_open:
        return "ssmmessages"
    return "ec2messages" if parts.polling.is_on else ""


async def _prune(parts: Parts) -> None:
    while True:
        try:
            removed = parts.commands.prune(parts.settings.output_keep, time.time())
            removed += parts.sessions.prune(parts.settings.output_keep, time.time())
            removed += parts.associations.prune()
            if removed:
                log.event("commands.pruned", count=removed)
        except OSError as error:
            log.event("commands.not_pruned", level="error", reason=error)
        await asyncio.sleep(_PRUNE_INTERVAL)


async def stored_parameters(api: NodeApi, names: list[str]) -> dict[str, StoredParameter]:
    """GetParameters under the node's role, keyed as asked for. Raises InvalidDocument, naming what cannot be had."""
    found: dict[str, StoredParameter] = {}
    for start in range(0, len(names), _NAMES_PER_CALL):
        some = names[start : start + _NAMES_PER_CALL]
        try:
            answer = await api.call(SSM, "GetParameters", {"Names": some, "WithDecryption": False})
        except (ApiError, Unreachable) as error:
            raise InvalidDocument(f"the parameters {', '.join(some)} could not be read: {error}") from error
        by_name: dict[str, StoredParameter] = {}
        for parameter in answer.get("Parameters") or []:
            if parameter.get("Type") == "SecureString":
                raise InvalidDocument(f"parameter {parameter.get('Name')} is a SecureString, which cannot be used here")
            value = StoredParameter(kind=str(parameter.get("Type")), value=str(parameter.get("Value")))
            by_name[str(parameter.get("Name"))] = value
            by_name[f"{parameter.get('Name')}:{parameter.get('Version')}"] = value
        missing = [name for name in some if name not in by_name]
        if missing:
            raise InvalidDocument(f"there is no parameter {', '.join(missing)}")
        found.update({name: by_name[name] for name in some})
    return found
