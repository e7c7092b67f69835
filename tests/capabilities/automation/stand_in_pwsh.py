"""A program named pwsh that stands in for PowerShell, which is not on machines that test.

It is started, shut in and heard as PowerShell is, and really runs what it is given, but it knows little of the
language. Of a script it takes these lines, and fails with the line at any other:

    $name = $env:InputPayload | ConvertFrom-Json
    Write-Host "text with $name.member"         also Write-Information; Write-Error and throw fail
    "text"                                      into the pipeline
    . ./file.ps1                                runs the lines of that file
    exit 3
    return @{ member = "text"; member = "text" }

A script whose first line is `# python` is Python: what a program in PowerShell's place can reach is tried so. The
runner of ours, which it is started with, it does not interpret: it does itself what that says in PowerShell.
"""

import os
import shutil
import sys
from pathlib import Path

_PROGRAM = r'''#!{python} -IB
import json, os, re, sys

OPTIONS = ["-NoLogo", "-NoProfile", "-NonInteractive", "-File"]


class Ended(Exception):
    pass


def run(path, names, given):
    """The lines of a script. True when it returned."""
    for line in open(path, encoding="utf-8").read().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if found := re.fullmatch(r"\$(\w+) = \$env:InputPayload \| ConvertFrom-Json", line):
            names[found[1]] = json.loads(os.environ["InputPayload"])
        elif found := re.fullmatch(r'Write-(?:Host|Information) "(.*)"', line):
            print(filled(found[1], names), flush=True)
        elif found := re.fullmatch(r'(?:throw|Write-Error) "(.*)"', line):
            raise ValueError(filled(found[1], names))
        elif found := re.fullmatch(r'"(.*)"', line):
            given.append(filled(found[1], names))
        elif found := re.fullmatch(r"\. (\./[\w./]+\.ps1)", line):
            run(found[1], names, given)
        elif found := re.fullmatch(r"exit (\d+)", line):
            raise Ended(found[1])
        elif found := re.fullmatch(r"return @\{(.*)\}", line):
            pairs = re.findall(r'(\w+) = "([^"]*)"', found[1])
            given.append({key: filled(value, names) for key, value in pairs})
            return True
        else:
            raise ValueError("the stand-in does not know this line: " + line)


def filled(text, names):
    return re.sub(r"\$(\w+)\.(\w+)", lambda found: str(names[found[1]][found[2]]), text)


def main():
    assert sys.argv[1:5] == OPTIONS and sys.argv[6::2] == ["-Say", "-Path"], sys.argv
    runner, say, path = sys.argv[5], int(sys.argv[7]), sys.argv[9]
    assert "ConvertTo-Json" in open(runner).read()
    given = []
    try:
        text = open(path, encoding="utf-8").read()
        if text.startswith("# python\n"):
            names = {"say": say}
            exec(compile(text, path, "exec"), names)
            given = names["given"]
        else:
            run(path, {}, given)
        said = {"result": given[-1] if given else None}
        for each in given[:-1]:
            print(each)
    except Ended as ended:
        said = {"failed": f"the script ended itself with status {ended}"} if str(ended) != "0" else {"result": None}
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        said = {"failed": str(error)}
    sys.stdout.flush()
    with os.fdopen(say, "wb") as pipe:
        pipe.write(json.dumps(said).encode() + b"\n")


main()
'''


def installed(folder: Path) -> str:
    """The path of one in this folder, with what tells a folder of PowerShell."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python3"
    shutil.copy(os.path.realpath(sys.executable), python)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(os.path.realpath(sys.executable)).parent}\n")
    (folder / "pwsh.dll").touch()
    program = folder / "pwsh"
    program.write_text(_PROGRAM.replace("{python}", str(python)))
    program.chmod(0o755)
    folder.chmod(0o755)
    return str(program)
