"""How scripts of PowerShell are run: by which program, in which environment, within which bounds.

The program is another one than the server's, so that the process shuts itself in first and becomes it then. It gets
its own folder to read, and what the runtime of .NET needs: /proc of its own process, and more of the address space than
of the memory.
"""

import os
import shutil
from pathlib import Path
from typing import Any, Final

DATA_MIB: Final = 1024
"""Memory that it may write to, as AWS gives it to PowerShell."""
_HEAP_MIB: Final = 768
_ADDRESSES_MIB: Final = 64 << 10
"""The runtime reserves much of which it uses little; the bound is on what the kernel needs to remember about it."""
_OPEN_FILES: Final = 1024
"""Each assembly that is loaded keeps one."""
_LOCKED_BYTES: Final = 64 << 10
LONGEST_INPUT: Final = (128 << 10) - 64
"""Bytes: what a kernel takes as one variable of the environment."""
_INPUT: Final = "InputPayload"
_OWN_FOLDER: Final = "pwsh.dll"
"""Where it lies beside the program, the folder is PowerShell's. Else the program is all there is."""
_ENVIRONMENT: Final = {
    "HOME": "/tmp",  # noqa: S108 - of the shut-in file system
    "TMPDIR": "/tmp",  # noqa: S108 - the same
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "POWERSHELL_TELEMETRY_OPTOUT": "1",
    "POWERSHELL_UPDATECHECK": "Off",
    "POWERSHELL_DIAGNOSTICS_OPTOUT": "1",  # no socket for debuggers, from 7.6 on
    "DOTNET_EnableDiagnostics": "0",  # the runtime's own one
    "COMPlus_EnableDiagnostics": "0",  # as runtimes before .NET 6 call it
    "DOTNET_EnableWriteXorExecute": "0",  # it needs a file in memory of 2 TB, beyond any bound of a file
    "DOTNET_GCHeapHardLimit": f"{_HEAP_MIB << 20:x}",
    "COMPlus_GCHeapHardLimit": f"{_HEAP_MIB << 20:x}",
    "DOTNET_gcServer": "0",
    "DOTNET_TieredPGO": "0",  # scripts are short
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",  # the same on machines with and without libicu
}
_ARGUMENTS: Final = ("-NoLogo", "-NoProfile", "-NonInteractive", "-File")
_RUNNER: Final = r"""
param([int] $Say, [string] $Path)
$ErrorActionPreference = 'Stop'
$InformationPreference = 'Continue'
$ProgressPreference = 'SilentlyContinue'
try {
    $global:LASTEXITCODE = 0
    $given = @(& $Path)
    $said = @{ result = $null }
    if ($global:LASTEXITCODE) {
        $said = @{ failed = "the script ended itself with status $global:LASTEXITCODE" }
    } elseif ($given.Count) {
        $said.result = $given[-1]
    }
    if ($given.Count -gt 1) { $given[0..($given.Count - 2)] | Out-Host }
    $line = ConvertTo-Json -InputObject $said -Depth 10 -Compress -WarningAction SilentlyContinue
} catch {
    $_ | Out-String | Write-Host
    $line = ConvertTo-Json -InputObject @{ failed = "$_" } -Compress
}
$bytes = [System.Text.UTF8Encoding]::new($false).GetBytes($line + "`n")
$handle = [Microsoft.Win32.SafeHandles.SafeFileHandle]::new([System.IntPtr] $Say, $true)
$pipe = [System.IO.FileStream]::new($handle, [System.IO.FileAccess]::Write)
$pipe.Write($bytes, 0, $bytes.Length)
$pipe.Dispose()
"""
"""Runs the script, and says what it gave last. What it gave before that, and what it writes, is output."""


def found(named: str) -> str | None:
    """The program: the one that is named, else `pwsh` where PATH leads to one."""
    path = shutil.which(named or "pwsh")
    return os.path.realpath(path) if path else None


def job(program: str, text: str, events: str) -> dict[str, Any]:
    """What the launcher is told besides what it is told of every script."""
    folder = Path(program).parent
    return {
        "program": {
            "path": program,
            "arguments": list(_ARGUMENTS),
            "environment": {**_ENVIRONMENT, _INPUT: events},
            "runner": _RUNNER,
            "script": text,
        },
        "folder": str(folder) if (folder / _OWN_FOLDER).exists() else program,
        "bounds": {
            "AS": _ADDRESSES_MIB << 20,
            "DATA": DATA_MIB << 20,
            "NOFILE": _OPEN_FILES,
            "MEMLOCK": _LOCKED_BYTES,
        },
    }
