"""aws:runShellScript and aws:runPowerShellScript: the lines of runCommand as one script (agent-protocol 6.5)."""

import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilothouse_agent.plugins import Run, RunResult, supervisor
from pilothouse_agent.plugins.supervised import Refused, outcome_of, refused, run_to_end
from pilothouse_agent.state import files

_MARK_OF_UTF8 = b"\xef\xbb\xbf"


async def run_shell_script(run: Run) -> RunResult:
    """Run the script by sh to its end, or join a run that an earlier life of the agent started."""
    return await _run_script(run, _shell)


async def run_power_shell_script(run: Run) -> RunResult:
    """The same by PowerShell, where it is installed."""
    return await _run_script(run, _power_shell)


async def _run_script(run: Run, shell: Callable[[Path, str], list[str]]) -> RunResult:
    try:
        stored = await run_to_end(run, lambda: _script(run, shell))
    except Refused as error:
        return refused(f"failed to run commands: {error}")
    return outcome_of(stored, run, _exit_status, "script")


def _shell(directory: Path, text: str) -> list[str]:
    path = directory / "_script.sh"
    files.write(path, text.encode("utf-8", "replace"), mode=0o700, durable=False)
    return ["sh", "-c", shlex.quote(str(path))]


def _power_shell(directory: Path, text: str) -> list[str]:
    program = shutil.which("pwsh") or shutil.which("powershell")
    if program is None:
        raise Refused("PowerShell (pwsh) is not installed on this node")
    path = directory / "_script.ps1"
    files.write(path, _MARK_OF_UTF8 + text.encode("utf-8", "replace"), mode=0o700, durable=False)
    return [program, "-NoLogo", "-NonInteractive", "-File", str(path)]


def _script(run: Run, shell: Callable[[Path, str], list[str]]) -> supervisor.Script:
    """Write the script. Raises Refused if the inputs do not allow it."""
    lines = run.inputs.get("runCommand")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Refused("runCommand must be a list of texts")
    directory = working_directory(run)
    if not directory.is_dir():
        raise Refused(f"the working directory {directory} does not exist")
    extra = run.inputs.get("environment") or {}
    if not isinstance(extra, dict):
        raise Refused("environment must be an object of texts")
    given = _texts({**run.environment, **extra})
    if any("=" in name or not name or "\0" in name + value for name, value in given.items()):
        raise Refused("environment holds a name or a value that no environment variable can have")
    return supervisor.Script(
        argv=shell(run.directory, "\n".join([*lines, ""])),
        working_directory=str(directory),
        environment={**os.environ, **given},
    )


def working_directory(run: Run) -> Path:
    """As given; a relative one is below the command's downloads, which is also the default."""
    given = run.inputs.get("workingDirectory")
    return run.downloads / given if isinstance(given, str) and given else run.downloads


def _texts(values: dict[Any, Any]) -> dict[str, str]:
    """As text that can be encoded: half a surrogate pair becomes a question mark."""
    return {
        _clean(str(name)): _clean(value if isinstance(value, str) else str(value)) for name, value in values.items()
    }


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _exit_status(code: int) -> tuple[str, int, str]:
    """Status, code and note of a script that ended by itself. A signal is reported as a shell would, 128 + n."""
    if code == 0:
        return "Success", 0, ""
    if code == 194:
        return "SuccessAndReboot", 194, ""
    if code < 0:
        return "Failed", 128 - code, f"failed to run commands: signal {signal.Signals(-code).name}"
    return "Failed", code, f"failed to run commands: exit status {code}"
