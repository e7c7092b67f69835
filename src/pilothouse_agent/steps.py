"""The steps of one command, in order: what runs, what is skipped, when the rest is left out.

Everything that was done is read back from disk, so walking through the steps again after a restart of
the agent repeats nothing: a run with a result keeps it, a run that may have started is only awaited.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pilothouse_agent import log, output, plugins, reboot
from pilothouse_agent.documents.plan import Plan, Step
from pilothouse_agent.documents.preconditions import Verdict
from pilothouse_agent.plugins import Node, Run, RunResult
from pilothouse_agent.replies import StepResult, document_status, worst
from pilothouse_agent.sending.outputs import Outputs
from pilothouse_agent.sending.targets import target_of
from pilothouse_agent.settings import Settings
from pilothouse_agent.state import files
from pilothouse_agent.state.commands import CommandDirectory, Job
from pilothouse_agent.times import now_ms

_EXIT_AS_SUCCESS = 168
_EXIT_AS_FAILURE = 169

Report = Callable[[StepResult, list[StepResult]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRun:
    """One command under way."""

    job: Job
    plan: Plan
    directory: CommandDirectory
    environment: Mapping[str, str]
    cancelled: asyncio.Event
    settings: Settings
    node: Node
    outputs: Outputs
    streams: Path | None = None  # of a document that is a step: where the outputs of its own steps go
    depth: int = 0  # documents around this one


async def run_steps(command: CommandRun, report: Report) -> list[StepResult]:
    """Go through all steps; each result is reported as it is known."""
    results: list[StepResult] = []
    left_out = ""
    for number, step in enumerate(command.plan.steps):
        if command.cancelled.is_set() and not _has_started(command, number, step):
            result = _without_run(step, "Cancelled", 1, "the command was cancelled before this step began")
        elif left_out and not step.finally_step:
            result = _without_run(step, "Skipped", 0, f"Step execution skipped: {left_out}. Step name: {step.key}")
        else:
            result, leave_out = await _run_step(command, number, step, report, results)
            left_out = left_out or leave_out
        results.append(result)
        report(result, results)
    return results


def _has_started(command: CommandRun, number: int, step: Step) -> bool:
    """A step that began before a restart has a result of its own, which a later cancel does not change."""
    directories = (command.directory.run_directory(number, run) for run in range(len(step.runs)))
    return any((directory / mark).exists() for directory in directories for mark in ("lock", "document.json"))


async def _run_step(
    command: CommandRun, number: int, step: Step, report: Report, results: list[StepResult]
) -> tuple[StepResult, str]:
    """The step's result, and why later steps are left out if they are."""
    if step.verdict == Verdict.SKIP.value:
        return _without_run(step, "Skipped", 0, step.reason), ""
    if step.verdict == Verdict.FAIL.value:
        return _without_run(step, "Failed", 1, step.reason), ""
    plugin = plugins.find(step.plugin)
    if plugin is None:
        return _without_plugin(step, command.plan.schema), ""
    log.event("step.started", command_id=command.job.command_id, step=number, plugin=step.plugin)
    runs: list[tuple[Path, RunResult]] = []
    for run_number, inputs in enumerate(step.runs):
        directory = command.directory.run_directory(number, run_number)
        run = _run_of(command, step, inputs, directory)
        to_reboot = partial(_reboot_report, step, report, results)
        if command.depth:  # what a document inside writes is the output of the step outside
            done = await _run_with_reboots(command, run, plugin, to_reboot)
        else:
            target = target_of(command.job, directory, step.plugin, step.key, str(inputs.get("id") or step.key))
            async with command.outputs.following(command.job, step.key, run_number, directory, target) as following:
                following.result = done = await _run_with_reboots(command, run, plugin, to_reboot)
        runs.append((run.streams, done))
        if done.status == "Cancelled":
            break
    result = _step_result(step, runs)
    log.event(
        "step.ended",
        command_id=command.job.command_id,
        step=number,
        status=result.status,
        code=result.code,
        seconds=(result.ended_at - result.started_at) / 1000,
    )
    return _flow(step, result)


def _run_of(command: CommandRun, step: Step, inputs: Mapping[str, Any], directory: Path) -> Run:
    return Run(
        command_id=command.job.command_id,
        directory=directory,
        streams=command.streams or directory,
        downloads=command.directory.downloads,
        inputs=inputs,
        environment={**command.environment, **step.environment},
        cancelled=command.cancelled,
        settings=command.settings,
        node=command.node,
        run_inner=partial(_run_inner, command),
        depth=command.depth,
    )


async def _run_with_reboots(
    command: CommandRun, run: Run, plugin: plugins.Plugin, announce: Callable[[Path, RunResult], None]
) -> RunResult:
    """Run the plugin; exit code 194 asks for a reboot, after which the same script runs again."""
    await reboot.wait_if_pending(run.directory)
    result = await plugin(run)
    if result.status != "SuccessAndReboot":
        return result
    if command.depth:
        return replace(result, status="Failed", error_note=reboot.NOT_INSIDE)
    if not command.settings.allow_reboot:
        return replace(result, status="Failed", error_note=reboot.NOT_ALLOWED)
    if not reboot.prepare(run.directory):
        return replace(result, status="Failed", error_note=reboot.TOO_OFTEN)
    announce(run.directory, result)
    return await reboot.reboot(run.command_id)


async def _run_inner(command: CommandRun, run: Run, plan: Plan) -> str:
    """Run the steps of a document that is itself a step. What they write goes to that step's streams."""
    inner = replace(
        command,
        plan=plan,
        directory=CommandDirectory(run.directory, downloads=run.downloads),
        streams=run.streams,
        depth=run.depth + 1,
    )
    results = await run_steps(inner, lambda step, known: _add_notes(run, step, len(known)))
    return document_status((result.status for result in results), total=len(results))


def _add_notes(run: Run, step: StepResult, number: int) -> None:
    """Append what the agent says about a step to the streams, once. Skipped steps leave no trace there."""
    mark = run.directory / "steps" / str(number) / "noted"
    if mark.exists() or step.status == "Skipped":
        return
    for _, *notes in step.streams:
        for name, note in zip(("stdout", "stderr"), notes, strict=True):
            if note:
                output.append(run.streams / name, note)
    files.make_private(mark.parent)
    mark.touch()


def _reboot_report(step: Step, report: Report, results: list[StepResult], directory: Path, result: RunResult) -> None:
    made = _step_result(step, [(directory, result)])
    report(made, [*results, made])


def _step_result(step: Step, runs: list[tuple[Path, RunResult]]) -> StepResult:
    status, code = worst([result for _, result in runs])
    return StepResult(
        key=step.key,
        plugin=step.plugin,
        status=status,
        code=code,
        started_at=runs[0][1].started_at,
        ended_at=runs[-1][1].ended_at,
        streams=[(directory, result.output_note, result.error_note) for directory, result in runs],
        stored_name=str(step.runs[0].get("id") or step.key).replace(":", ""),
    )


def _flow(step: Step, result: StepResult) -> tuple[StepResult, str]:
    """Exit codes 168 and 169, onFailure and onSuccess (agent-protocol 6.4); schema 1.2 has none of them."""
    inputs = step.runs[0]
    on_failure, on_success = (str(inputs.get(name) or "").lower() for name in ("onFailure", "onSuccess"))
    if result.status == "Failed" and result.code == _EXIT_AS_SUCCESS:
        text = "Step exited with code 168: it counts as a success and the remaining steps are skipped."
        return _noted(replace(result, status="Success"), text), f"step {step.key} exited with code 168"
    if result.status == "Failed" and result.code == _EXIT_AS_FAILURE:
        text = "Step exited with code 169: it counts as a failure and the remaining steps are skipped."
        return _noted(result, text), f"step {step.key} exited with code 169"
    if result.status in ("Failed", "TimedOut") and on_failure == "exit":
        return result, f"step {step.key} failed and its onFailure is exit"
    if result.status in ("Failed", "TimedOut") and on_failure == "successandexit":
        text = "Step failed: its onFailure makes it a success and the remaining steps are skipped."
        changed = replace(result, status="Success", code=_EXIT_AS_SUCCESS)
        return _noted(changed, text), f"step {step.key} failed and its onFailure is successAndExit"
    if result.status == "Success" and on_success == "exit":
        return result, f"step {step.key} succeeded and its onSuccess is exit"
    return result, ""


def _noted(result: StepResult, text: str) -> StepResult:
    """The explanation at the end of stdout, in place of the bare exit status on stderr."""
    streams = [(directory, note, "") for directory, note, _ in result.streams]
    directory, note, _ = streams[-1]
    return replace(result, streams=[*streams[:-1], (directory, f"{note}\n{text}" if note else text, "")])


def _without_plugin(step: Step, schema: str) -> StepResult:
    if step.plugin in plugins.NOT_FOR_LINUX and schema == "2.2":
        text = f"Step execution skipped: {step.plugin} does not exist on Linux. Step name: {step.key}"
        return _without_run(step, "Skipped", 0, text)
    if step.plugin in plugins.NOT_FOR_LINUX | plugins.NOT_HERE:
        why = f"{step.plugin} is not supported by this agent"
    else:
        why = f"{step.plugin} is no plugin that is known"
    return _without_run(step, "Failed", 1, f"{why}, which has {', '.join(plugins.NAMES)}. Step name: {step.key}")


def _without_run(step: Step, status: str, code: int, text: str) -> StepResult:
    """A result of a step that did not run; the text is its output, or its error if it failed."""
    now = now_ms()
    notes = (text, "") if status == "Skipped" else ("", text)
    return StepResult(
        key=step.key,
        plugin=step.plugin,
        status=status,
        code=code,
        started_at=now,
        ended_at=now,
        streams=[(None, *notes)],
        stored_name=step.key.replace(":", ""),
    )
