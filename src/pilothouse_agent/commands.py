"""Commands on this node: which are taken, which run, which are to end.

A command is on disk before the server hears that it was accepted, and its id is never run again: not
in this life of the agent, not in a later one. Commands an earlier life left behind are taken up again
by resume(), which awaits what still runs and reports what ended meanwhile.
"""

import asyncio
import json
import traceback
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pilothouse_agent import log, replies
from pilothouse_agent.documents.plan import InvalidDocument, Plan, plan
from pilothouse_agent.plugins import Node
from pilothouse_agent.replies import StepResult
from pilothouse_agent.sending.outputs import Outputs
from pilothouse_agent.settings import Settings
from pilothouse_agent.state.commands import CommandDirectory, Commands, Job, command_id_of
from pilothouse_agent.state.outbox import Outbox, Reply
from pilothouse_agent.steps import CommandRun, run_steps
from pilothouse_agent.times import now_ms

SEND_TOPIC = "aws.ssm.sendCommand"
CANCEL_TOPIC = "aws.ssm.cancelCommand"
_TEXTS = (
    "DocumentName",
    "OutputS3BucketName",
    "OutputS3KeyPrefix",
    "CloudWatchLogGroupName",
    "CloudWatchOutputEnabled",
)


class Answer(Enum):
    """What the server is told about a job: code and text of agent_job_ack (agent-protocol 5.4)."""

    ACCEPTED = ("200", "Successful")
    DUPLICATE = ("51405", "DuplicateCommand")
    FULL = ("51402", "ProcessorBufferFull")
    STOPPING = ("51401", "ClosedProcessor")
    UNREADABLE = ("51408", "AgentJobMessageParseError")
    BROKEN = ("51499", "UnexpectedError")  # the server tries again
    IN_HAND = ("", "")  # the same job is being read this moment; its own answer will do


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The answer to a job; reason is for the user when it cannot be read, run is what to begin."""

    answer: Answer
    reason: str = ""
    run: "CommandRun | None" = None


class CommandRunner:
    """All commands under way."""

    def __init__(
        self,
        *,
        commands: Commands,
        outbox: Outbox,
        settings: Settings,
        node: Node,
        outputs: Outputs,
        group: asyncio.TaskGroup,
    ) -> None:
        self._commands = commands
        self._outbox = outbox
        self._settings = settings
        self._node = node
        self._outputs = outputs
        self._environment = script_environment(node)
        self._group = group
        self._reading: set[str] = set()
        self._open: dict[str, CommandRun] = {}
        self._busy = 0
        self._changed = asyncio.Condition()
        self.stopping = False

    async def accept(self, job_id: str, payload: str, channel: str) -> Acceptance:
        """Read a job and put it on disk. An accepted one is to be handed to begin() when the server knows."""
        command_id = command_id_of(job_id)
        if command_id is None:
            return Acceptance(answer=Answer.UNREADABLE, reason="the job id has no usable command id")
        if self.stopping:
            return Acceptance(answer=Answer.STOPPING)
        if command_id in self._reading:
            return Acceptance(answer=Answer.IN_HAND)
        if self._commands.accepted(command_id):
            return Acceptance(answer=Answer.DUPLICATE)
        if len(self._open) + len(self._reading) >= self._settings.running + self._settings.buffered:
            return Acceptance(answer=Answer.FULL)
        self._reading.add(command_id)
        try:
            job, made = await self._read(command_id, job_id, payload, channel)
        except InvalidDocument as error:
            log.event("command.unreadable", level="warning", command_id=command_id, reason=error)
            return Acceptance(answer=Answer.UNREADABLE, reason=str(error))
        finally:
            self._reading.discard(command_id)
        directory = self._commands.directory(command_id)
        try:
            directory.create(job, made)
        except OSError as error:
            log.event("command.not_stored", level="error", command_id=command_id, reason=error)
            return Acceptance(answer=Answer.BROKEN, reason=f"the node cannot store the command: {error}")
        log.event("command.accepted", command_id=command_id, document=job.document_name, steps=len(made.steps))
        return Acceptance(answer=Answer.ACCEPTED, run=self._opened(directory, job, made))

    async def _read(self, command_id: str, job_id: str, payload: str, channel: str) -> tuple[Job, Plan]:
        try:
            content = json.loads(payload)
        except ValueError as error:
            raise InvalidDocument(f"the job is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise InvalidDocument("the job is no JSON object")
        members: dict[str, Any] = {str(name).lower(): value for name, value in content.items()}
        texts: dict[str, str] = {}
        for name in _TEXTS:
            value = members.get(name.lower()) or ""
            if not isinstance(value, str):
                raise InvalidDocument(f"{name} is not a text")
            texts[name] = value
        job = Job(
            command_id=command_id,
            job_id=job_id,
            channel=channel,
            document_name=texts["DocumentName"],
            bucket=texts["OutputS3BucketName"],
            key_prefix=texts["OutputS3KeyPrefix"],
            accepted_at=now_ms(),
            logs=texts["CloudWatchOutputEnabled"] == "true",
            log_group=texts["CloudWatchLogGroupName"],
        )
        return job, await plan(members.get("documentcontent"), members.get("parameters"), self._node.fetch)

    def resume(self) -> int:
        """Take up what an earlier life of the agent left behind; how many commands that is."""
        left = 0
        for directory in self._commands.unfinished():
            stored = directory.load()
            if stored is not None:
                job, made = stored
                log.event("command.resumed", command_id=job.command_id)
                self.begin(self._opened(directory, job, made))
                left += 1
        return left

    def _opened(self, directory: CommandDirectory, job: Job, made: Plan) -> CommandRun:
        command = CommandRun(
            job=job,
            plan=made,
            directory=directory,
            cancelled=asyncio.Event(),
            settings=self._settings,
            node=self._node,
            outputs=self._outputs,
            environment={**self._environment, "SSM_COMMAND_ID": job.command_id},
        )
        if directory.cancelled:
            command.cancelled.set()
        self._open[job.command_id] = command
        return command

    def begin(self, command: CommandRun) -> None:
        """Run the command as soon as there is a place for it."""
        self._group.create_task(self._run(command), name=f"command {command.job.command_id}")

    async def cancel(self, cancel_job_id: str, payload: str) -> Answer:
        """End the command that the payload names. Unknown and ended ones need nothing."""
        cancel_id = command_id_of(cancel_job_id)
        try:
            target = command_id_of(str(json.loads(payload)["CancelMessageId"]))
        except (ValueError, KeyError, TypeError):
            target = None
        if cancel_id is None or target is None:
            return Answer.UNREADABLE
        try:
            seen = self._commands.cancel_seen(cancel_id)
        except OSError as error:  # the disk is full: better to end the command twice than not at all
            log.event("cancel.not_stored", level="error", command_id=target, reason=error)
            seen = False
        if seen:
            return Answer.DUPLICATE
        command = self._open.get(target)
        log.event("command.cancel", command_id=target, known=command is not None)
        if command is not None:
            command.cancelled.set()
            try:
                command.directory.mark_cancelled()
            except OSError as error:
                log.event("cancel.not_stored", level="error", command_id=target, reason=error)
            async with self._changed:
                self._changed.notify_all()
        return Answer.ACCEPTED

    async def _run(self, command: CommandRun) -> None:
        job = command.job
        async with self._changed:
            await self._changed.wait_for(lambda: self._busy < self._settings.running or command.cancelled.is_set())
            self._busy += 1
        try:
            results = await run_steps(command, lambda step, known: self._report(job, step, known))
        except Exception as trouble:  # the disk is full, say: this command fails, the others and the agent go on
            error = _first(trouble)
            log.event("command.broken", level="error", command_id=job.command_id, reason=repr(error))
            traceback.print_exc()
            self._put(job, "final", replies.broken(job, error), command.directory.mark_finished)
            return
        finally:
            self._busy -= 1
            self._open.pop(job.command_id, None)
            async with self._changed:
                self._changed.notify_all()
        status = replies.document_status((result.status for result in results), total=len(results))
        log.event("command.finished", command_id=job.command_id, status=status)
        self._put(job, "final", replies.final(job, results), command.directory.mark_finished)

    def _report(self, job: Job, step: StepResult, known: list[StepResult]) -> None:
        part = f"step {step.key}" if step.status != "SuccessAndReboot" else f"reboot {step.key} {step.ended_at}"
        self._put(job, part, replies.of_step(job, step, known), None)

    def refuse(self, job_id: str, channel: str, reason: str) -> None:
        """Tell the user why a job cannot be read."""
        content = replies.refused(channel, reason)
        job = Job(
            command_id="", job_id=job_id, channel=channel, document_name="", bucket="", key_prefix="", accepted_at=0
        )
        self._put(job, "refused", content, None)

    def _put(self, job: Job, part: str, content: str, ended: Any) -> None:
        self._outbox.put(
            Reply(
                reply_id=replies.reply_id(job, part),
                job_id=job.job_id,
                topic=SEND_TOPIC,
                channel=job.channel,
                created_at=now_ms(),
                content=content,
            ),
            ended,
        )


def _first(error: Exception) -> Exception:
    """The error itself, where a group of tasks wraps it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def script_environment(node: Node) -> dict[str, str]:
    """What every script sees besides the agent's own environment (agent-protocol 3.3), and where the server is."""
    host = f"[{node.host}]" if ":" in node.host else node.host
    return {
        "PILOTHOUSE_URL": f"https://{host}:{node.port}",
        "PILOTHOUSE_CA": str(node.ca_file or ""),
        "AWS_SHARED_CREDENTIALS_FILE": str(node.credentials_file),
        "AWS_SSM_INSTANCE_ID": node.instance_id,
        "AWS_SSM_REGION_NAME": node.region,
        "AWS_SSM_PLATFORM_NAME": node.machine.platform_name,
        "AWS_SSM_PLATFORM_VERSION": node.machine.platform_version,
    }
