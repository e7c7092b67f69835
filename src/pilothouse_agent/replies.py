"""Replies to the server: the content of agent_job_reply and SendReply (agent-protocol 5.4)."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse_agent import AGENT_VERSION, output
from pilothouse_agent.plugins import RunResult
from pilothouse_agent.state.commands import Job
from pilothouse_agent.times import iso, now_ms

MAX_PAYLOAD = 119_000
"""Bytes of a reply with its content as text inside; 120,000 is the limit on the way, the rest is for ids."""

_WORST_FIRST = ("SuccessAndReboot", "Failed", "TimedOut", "Cancelled")
_FINE = frozenset({"Success", "Skipped"})
_NAMESPACE = uuid.UUID("5f0c1f5e-3f0b-4b8e-9a44-7d1f64f1c0de")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How a step ended, in the server's words, and where its output is."""

    key: str
    plugin: str
    status: str
    code: int
    started_at: int
    ended_at: int
    streams: Sequence[tuple[Path | None, str, str]]  # of each run: directory, notes for stdout and stderr
    stored_name: str  # last part of the output's path in an object store


def reply_id(job: Job, part: str) -> str:
    """The same for the same part of the same job, so that a reply made twice is one reply to the server."""
    return str(uuid.uuid5(_NAMESPACE, f"{job.job_id}/{part}"))


def document_status(statuses: Iterable[str], *, total: int) -> str:
    """The status of the whole: the worst of the steps; InProgress while steps are missing."""
    known = list(statuses)
    for status in _WORST_FIRST:
        if status in known:
            return status
    return "Success" if len(known) == total and _FINE.issuperset(known) else "InProgress"


def content(
    job_channel: str, *, status: str, steps: Mapping[str, Any] | None, counts: Mapping[str, int] | None, trace: str = ""
) -> str:
    """The content of one reply."""
    additional: dict[str, Any] = {
        "agent": {"lang": "en-US", "name": "amazon-ssm-agent", "os": "linux", "osver": "1", "ver": AGENT_VERSION},
        "dateTime": iso(now_ms()),
        "runId": "",
        "runtimeStatusCounts": counts,
    }
    if job_channel == "mds":
        additional["ableToOpenMGSConnection"] = False
    return json.dumps(
        {
            "additionalInfo": additional,
            "documentStatus": status,
            "documentTraceOutput": trace,
            "runtimeStatus": steps,
        },
        ensure_ascii=False,
    )


def received(channel: str) -> str:
    """The first reply to every job."""
    return content(channel, status="InProgress", steps=None, counts=None)


def refused(channel: str, reason: str) -> str:
    """A job that cannot be parsed. The official agent keeps the reason to itself over MGS."""
    return content(channel, status="Failed", steps=None, counts=None, trace=reason[:2_500])


def broken(job: Job, error: Exception) -> str:
    """The agent itself could not go on with the command."""
    reason = f"the agent could not run the command to its end: {error}"
    return content(job.channel, status="Failed", steps={}, counts={}, trace=reason[:2_500])


def of_step(job: Job, step: StepResult, results: Sequence[StepResult]) -> str:
    """A step has ended; results are all that have, this one included."""
    return _within_limit(job, "InProgress", step, results)


def final(job: Job, results: Sequence[StepResult]) -> str:
    """All steps have ended. A single step is repeated; several came in replies of their own."""
    status = document_status((result.status for result in results), total=len(results))
    return _within_limit(job, status, results[0] if len(results) == 1 else None, results)


def _within_limit(job: Job, status: str, step: StepResult | None, results: Sequence[StepResult]) -> str:
    """Output with many control or non-UTF-8 bytes grows in JSON; then less of it is sent."""
    counts: dict[str, int] = {}
    for result in results:
        counts[result.status] = counts.get(result.status, 0) + 1
    limit = output.STREAM_LIMIT
    while True:
        steps = {step.key: _wire(job, step, limit)} if step else {}
        made = content(job.channel, status=status, steps=steps, counts=counts)
        if len(json.dumps(made, ensure_ascii=False).encode()) <= MAX_PAYLOAD:
            return made
        limit = limit * 3 // 4


def _wire(job: Job, step: StepResult, limit: int) -> dict[str, Any]:
    streams = output.read(step.streams)
    plugin_folder = step.plugin.replace(":", "")
    instance_id = job.job_id.rpartition(".")[2]
    prefix = "/".join(part for part in (job.key_prefix, job.command_id, instance_id, plugin_folder) if part)
    return {
        "status": step.status,
        "code": step.code,
        "name": step.plugin,
        "output": output.combined(streams, min(limit, output.COMBINED_LIMIT)),
        "startDateTime": iso(step.started_at),
        "endDateTime": iso(step.ended_at),
        "outputS3BucketName": job.bucket,
        "outputS3KeyPrefix": prefix if job.bucket else "",
        "stepName": step.stored_name if job.bucket else "",
        "standardOutput": output.text(streams.output, limit),
        "standardError": output.text(streams.error, limit),
    }


def worst(runs: Sequence[RunResult]) -> tuple[str, int]:
    """Status and code of a step of several runs: the worst status, the first code that is not 0."""
    status = document_status((run.status for run in runs), total=len(runs))
    return status, next((run.code for run in runs if run.code), 0)
