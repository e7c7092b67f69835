"""Associations: the node fetches what it shall keep to, runs it when it is due or asked for, and reports.

What is kept is on disk, so schedules go on while the server is away or the agent is restarted. A run has an id that
follows from the association and its execution, or the time of its schedule: its directory is the mark that it was
begun, and nothing with that id is begun again. Reports wait on disk, in order, until the server has them.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pilothouse_agent import log, output, replies
from pilothouse_agent.commands import script_environment
from pilothouse_agent.documents.plan import InvalidDocument, Plan, plan
from pilothouse_agent.link.api import ApiError
from pilothouse_agent.link.backoff import Backoff
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins import Node
from pilothouse_agent.replies import StepResult
from pilothouse_agent.sending.outputs import Outputs
from pilothouse_agent.settings import Settings
from pilothouse_agent.state.associations import Kept, KeptAssociations, ReportQueue
from pilothouse_agent.state.commands import ASSOCIATION, CommandDirectory, Commands, Job
from pilothouse_agent.steps import CommandRun, run_steps
from pilothouse_agent.times import iso, now_ms
from pilothouse_agent.timetables import NotUnderstood, next_after

NOBODYS = "00000000-0000-0000-0000-000000000000"
"""Named by a server that only wants the node to look."""
_NAMESPACE = uuid.UUID("0d0c6a4e-3c0c-4a3f-9d3a-6f1f6a1f2f77")
_PAGE = 20
_SUMMARY_MOST = 510
_LONGEST_SLEEP = 300.0
"""Clocks may be set: look again after so many seconds."""
_LIST = "list"


class Associations:
    """All associations of this node, and the one run that may be under way."""

    def __init__(
        self,
        *,
        node: Node,
        settings: Settings,
        outputs: Outputs,
        kept: KeptAssociations,
        runs: Commands,
        reports: ReportQueue,
    ) -> None:
        self._node = node
        self._settings = settings
        self._outputs = outputs
        self._kept = kept
        self._runs = runs
        self._reports = reports
        self._environment = script_environment(node)
        self._looking = asyncio.Lock()
        self._work = asyncio.Event()
        self._told = asyncio.Event()

    async def hold(self) -> None:
        """Keep to them for as long as the agent runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_again())
            group.create_task(self._send_reports())
            group.create_task(self._run_what_is_due())

    async def look(self, wanted: Sequence[str] | None = None) -> list[str]:
        """Fetch the list now. `wanted` are to be run now: none named means all; what is Pending is, in any case.

        The ids that shall be run. Raises ApiError, Unreachable.
        """
        async with self._looking:
            found = await self._fetch()
            for association_id in set(self._kept.all) - found.keys():
                log.event("association.dropped", association_id=association_id)
                self._kept.drop(association_id)
            for item in found.values():
                await self._take(item)
        chosen = sorted(self._kept.all) if wanted is not None and not wanted else [
            each for each in wanted or () if each in self._kept.all
        ]  # fmt: skip
        for association_id in chosen:
            kept = self._kept.all[association_id]
            if kept.pending is None:
                kept.pending = {"execution_id": str(uuid.uuid4()), "due_at": None}
                self._kept.keep(kept)
        self._work.set()
        return chosen

    def has(self, association_id: str) -> bool:
        """Whether the node has it, as far as it knows."""
        return association_id in self._kept.all

    async def _look_again(self) -> None:
        """From time to time: a word of the server may have been lost."""
        backoff = Backoff(self._settings.reconnect_first, self._settings.association_interval)
        await asyncio.sleep(random.uniform(0, self._settings.association_first))  # noqa: S311 -- spreading load
        while True:
            try:
                await self.look()
            except (ApiError, Unreachable) as error:
                pause = backoff.next()
                log.event("associations.not_listed", level="warning", reason=error, retry_seconds=pause)
                await asyncio.sleep(pause)
                continue
            except OSError as error:  # the disk is full
                log.event("associations.not_stored", level="error", reason=error)
            backoff.reset()
            interval = self._settings.association_interval
            await asyncio.sleep(interval * random.uniform(0.95, 1.05))  # noqa: S311

    async def _fetch(self) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        request: dict[str, Any] = {
            "InstanceId": self._node.instance_id, "MaxResults": _PAGE, "Extensions": ["associations"],
        }  # fmt: skip
        while True:
            answer = await self._node.call("ListInstanceAssociations", request)
            for item in answer.get("Associations") or ():
                found[str(item["AssociationId"])] = item
            if not answer.get("NextToken"):
                return found
            request["NextToken"] = answer["NextToken"]

    async def _take(self, item: Mapping[str, Any]) -> None:
        """Keep what the server says of one association; its document only if it is another one than before."""
        association_id = str(item["AssociationId"])
        before = self._kept.all.get(association_id)
        if before is not None and before.checksum == item["Checksum"]:
            content = before.content
        else:
            request = {"Name": item["Name"], "DocumentVersion": item["DocumentVersion"], "DocumentFormat": "JSON"}
            try:
                content = str((await self._node.call("GetDocument", request)).get("Content") or "")
            except ApiError as error:
                self._report(association_id, "Failed", None, f"the document cannot be read: {error}", _LIST)
                return
        extension = item.get("Extension") or {}
        place = (item.get("OutputLocation") or {}).get("S3Location") or {}
        kept = Kept(
            association_id=association_id,
            name=str(item["Name"]),
            document_version=str(item["DocumentVersion"]),
            checksum=str(item["Checksum"]),
            content=content,
            parameters=dict(item.get("Parameters") or {}),
            bucket=str(place.get("OutputS3BucketName") or ""),
            key_prefix=str(place.get("OutputS3KeyPrefix") or ""),
            timetable=json.loads(extension["Timetable"]) if extension.get("Timetable") else None,
            last_due=max(
                int(extension.get("LastDue") or extension.get("Since") or 0), before.last_due if before else 0
            ),
            done=before.done if before else [],
        )
        if item.get("DetailedStatus") == "Pending" and extension.get("ExecutionId"):
            kept.pending = {"execution_id": str(extension["ExecutionId"]), "due_at": extension.get("DueAt")}
        if kept != before:
            self._kept.keep(kept)

    async def _run_what_is_due(self) -> None:
        """One after the other; first what an earlier life of the agent left behind."""
        for directory in self._runs.unfinished():
            stored = directory.load()
            if stored is not None:
                log.event("association.resumed", run_id=stored[0].command_id)
                await self._survive(self._run(directory, *stored))
        while True:
            self._work.clear()
            soonest: int | None = None
            for kept in list(self._kept.all.values()):
                moment = await self._survive(self._begin_if_due(kept))
                if moment is not None:
                    soonest = moment if soonest is None else min(soonest, moment)
            if self._work.is_set():
                continue
            pause = _LONGEST_SLEEP if soonest is None else max(0.0, min((soonest - now_ms()) / 1000, _LONGEST_SLEEP))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if soonest is not None else None):
                    await self._work.wait()

    async def _survive(self, work: Any) -> int | None:
        try:
            found: int | None = await work
        except Exception as error:  # one association that cannot be run does not keep the others from it
            log.event("association.broken", level="error", reason=repr(error))
            return now_ms() + 60_000
        return found

    async def _begin_if_due(self, kept: Kept) -> int | None:
        """Run it if the server wants it or its time has come; when it is due next."""
        if kept.pending is not None:
            execution_id, due_at = kept.pending["execution_id"], kept.pending.get("due_at")
            done = execution_id in kept.done or (
                due_at is not None and due_at <= kept.last_due and self._ran(kept, due_at)
            )
            if not done:
                await self._begin(kept, execution_id, due_at)
            kept.begun(execution_id, due_at)
            self._kept.keep(kept)
        if kept.timetable is None:
            return None
        try:
            moment = next_after(kept.timetable, kept.last_due)
            latest = None
            while moment is not None and moment <= now_ms():  # of several that were missed, the latest counts for all
                latest, moment = moment, next_after(kept.timetable, moment)
        except NotUnderstood as error:
            log.event("association.schedule_not_understood", level="error", association_id=kept.association_id,
                      reason=error)  # fmt: skip
            kept.timetable = None
            return None
        if latest is not None:
            execution_id = _id_of(kept.association_id, str(latest))
            if not self._ran(kept, latest):
                await self._begin(kept, execution_id, latest)
            kept.begun(execution_id, latest)
            self._kept.keep(kept)
        return moment

    def _ran(self, kept: Kept, due_at: int) -> bool:
        """Whether a run for this time of the schedule was begun."""
        return self._runs.accepted(_id_of(kept.association_id, str(due_at)))

    async def _begin(self, kept: Kept, execution_id: str, due_at: int | None) -> None:
        run_id = _id_of(kept.association_id, str(due_at)) if due_at is not None else execution_id
        directory = self._runs.directory(run_id)
        if self._runs.accepted(run_id):
            return
        tell = _Telling(self._report, kept.association_id, execution_id, due_at)
        try:
            made = await self._plan(kept)
        except InvalidDocument as error:
            log.event("association.unreadable", level="warning", association_id=kept.association_id, reason=error)
            tell("Failed", str(error), "InvalidAssoc")
            return
        now = now_ms()
        place = "/".join(
            part
            for part in (
                kept.key_prefix.strip("/"), self._node.instance_id, kept.association_id, iso(now).replace(":", "-"),
            )
            if part
        )  # fmt: skip
        job = Job(
            command_id=run_id,
            job_id=f"association.{run_id}.{self._node.instance_id}",
            channel=ASSOCIATION,
            document_name=kept.name,
            bucket=kept.bucket,
            key_prefix=kept.key_prefix,
            accepted_at=now,
            place=place,
            association_id=kept.association_id,
            execution_id=execution_id,
            due_at=due_at,
        )
        directory.create(job, made)
        kept.begun(execution_id, due_at)
        self._kept.keep(kept)
        log.event("association.begun", association_id=kept.association_id, run_id=run_id, due_at=due_at)
        tell("InProgress", "Association is in progress", "")
        await self._run(directory, job, made)

    async def _plan(self, kept: Kept) -> Plan:
        try:
            content = json.loads(kept.content)
        except ValueError as error:
            raise InvalidDocument(f"the document {kept.name} is not JSON: {error}") from error
        definitions = content.get("parameters") if isinstance(content, dict) else None
        values = {}
        for name, given in kept.parameters.items():
            kind = ((definitions or {}).get(name) or {}).get("type")
            values[name] = _value(str(kind), given)
        return await plan(content, values, self._node.fetch)

    async def _run(self, directory: CommandDirectory, job: Job, made: Plan) -> None:
        command = CommandRun(
            job=job,
            plan=made,
            directory=directory,
            cancelled=asyncio.Event(),
            settings=self._settings,
            node=self._node,
            outputs=self._outputs,
            environment={
                **self._environment, "SSM_COMMAND_ID": job.command_id, "SSM_ASSOCIATION_ID": job.association_id,
            },
        )  # fmt: skip
        tell = _Telling(self._report, job.association_id, job.execution_id, job.due_at)
        try:
            results = await run_steps(command, lambda step, known: None)
        except Exception as trouble:  # the disk is full, say: this run fails, the next may not
            log.event("association.run_broken", level="error", run_id=job.command_id, reason=repr(trouble))
            tell("Failed", f"the agent could not run it to its end: {trouble}", "ExecutionError")
            directory.mark_finished()
            return
        status = replies.document_status((result.status for result in results), total=len(results))
        status = status if status in ("Success", "Failed", "TimedOut", "Skipped") else "Failed"
        log.event("association.finished", association_id=job.association_id, run_id=job.command_id, status=status)
        code = "ExecutionError" if status == "Failed" else ""
        tell(status, _summary(results), code, f"{job.bucket}/{job.place}" if job.bucket else "")
        directory.mark_finished()

    def _report(
        self,
        association_id: str,
        status: str,
        extension: dict[str, Any] | None,
        summary: str,
        code: str,
        output_url: str = "",
    ) -> None:
        result: dict[str, Any] = {
            "Status": status,
            "ErrorCode": "ListAssocError" if code == _LIST else code,
            "ExecutionDate": now_ms() / 1000,
            "ExecutionSummary": summary[:_SUMMARY_MOST],
        }
        if output_url:
            result["OutputUrl"] = {"S3OutputUrl": {"OutputUrl": output_url}}
        request: dict[str, Any] = {
            "AssociationId": association_id, "InstanceId": self._node.instance_id, "ExecutionResult": result,
        }  # fmt: skip
        if extension is not None:
            request["Extension"] = extension
        self._reports.put(request)
        self._told.set()

    async def _send_reports(self) -> None:
        """In their order; what cannot be delivered now waits, what the server does not want to know is dropped."""
        backoff = Backoff(self._settings.reconnect_first, self._settings.reconnect_cap)
        while True:
            self._told.clear()
            for path, request in self._reports.waiting():
                while True:
                    try:
                        await self._node.call("UpdateInstanceAssociationStatus", request)
                    except Unreachable as error:
                        pause = backoff.next()
                        log.event("association.report_waits", level="warning", reason=error, retry_seconds=pause)
                        await asyncio.sleep(pause)
                        continue
                    except ApiError as error:
                        if error.may_pass:
                            await asyncio.sleep(backoff.next())
                            continue
                        log.event("association.report_dropped", level="warning", reason=error)
                    break
                backoff.reset()
                path.unlink(missing_ok=True)
            await self._told.wait()

    def prune(self) -> int:
        """Remove old runs; how many went."""
        return self._runs.prune(self._settings.output_keep, time.time())


class _Telling:
    """Reports of one run."""

    def __init__(
        self, report: Callable[..., None], association_id: str, execution_id: str, due_at: int | None
    ) -> None:  # fmt: skip
        self._report = report
        self._association_id = association_id
        self._extension: dict[str, Any] = {"ExecutionId": execution_id}
        if due_at is not None:
            self._extension["DueAt"] = due_at

    def __call__(self, status: str, summary: str, code: str, output_url: str = "") -> None:
        self._report(self._association_id, status, self._extension, summary, code, output_url)


def _id_of(association_id: str, what: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{association_id}/{what}"))


def _value(kind: str, given: Sequence[str]) -> Any:
    """A parameter's value in the form that documents take."""
    if kind == "StringList":
        return list(given)
    if kind in ("StringMap", "MapList"):
        try:
            return json.loads(given[0]) if given else {}
        except ValueError as error:
            raise InvalidDocument(f"a value of type {kind} is not JSON: {error}") from error
    return given[0] if given else ""


def _summary(results: Sequence[StepResult]) -> str:
    """As the official agent words it."""
    total = len(results)
    counts = {
        status: sum(result.status == status for result in results) for status in ("Failed", "TimedOut", "Skipped")
    }
    success = total - sum(counts.values())
    text = (
        f"{total} out of {total} plugin{'s' if total > 1 else ''} processed, {success} success, "
        f"{counts['Failed']} failed, {counts['TimedOut']} timedout, {counts['Skipped']} skipped. "
    )
    for result in results:
        if result.status == "Failed":
            said = output.text(output.read(result.streams).error, _SUMMARY_MOST)
            text += f"\nThe operation {result.key} failed because {said}."
    return text
